//! The HTTP side of WHIP and WHEP at a node: routes, statuses and headers. `media` has the sessions and the SDP, `http` the
//! bytes.

use percent_encoding::percent_decode_str;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::config::{LocationKnob, WhipKnobs};
use crate::http::Head;
use crate::media::{Command, PeerId, Resource, ResourceReply, ResourceRequest, Side};

/// The longest SDP that a node accepts, in bytes.
pub(crate) const BODY_MAX: usize = 256 * 1024;

/// A request path taken apart: `/{app…}/{whip|whep}/{endpoint|resource}/{stream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) scope: String,
    pub(crate) side: Side,
    /// True for `resource`, false for `endpoint`.
    pub(crate) resource: bool,
    pub(crate) name: String,
}

impl Route {
    /// Parses a path. None for other paths: those are for WebSockets, or unknown.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let decoded = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let name = decoded(segments.pop()?);
        let resource = match segments.pop()? {
            "endpoint" => false,
            "resource" => true,
            _ => return None,
        };
        let side = match segments.pop()? {
            "whip" => Side::Publish,
            "whep" => Side::Play,
            _ => return None,
        };
        let known = !segments.is_empty() && !name.is_empty();
        known.then(|| Self { scope: segments.join("/"), side, resource, name })
    }

    fn protocol(&self) -> &'static str {
        match self.side {
            Side::Publish => "whip",
            Side::Play => "whep",
        }
    }

    fn allowed(&self) -> &'static str {
        if self.resource { "OPTIONS, PATCH, DELETE" } else { "OPTIONS, POST" }
    }

    /// The path of the resource that belongs to an endpoint. The stream is spelled as in `path`.
    fn resource_path(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or_default();
        format!("/{}/{}/resource/{name}", self.scope, self.protocol())
    }
}

/// A response before it is framed.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the fields of a node's own CORS filter. A gateway in front of the node has to remove them.
    pub(crate) fn with_cors(self) -> Self {
        self.with("Access-Control-Allow-Origin", "*")
            .with("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS")
            .with("Access-Control-Allow-Headers", "*")
            .with("Access-Control-Expose-Headers", "Location, Link, ETag")
    }
}

/// One request, with what is needed to answer it.
pub(crate) struct Exchange<'a> {
    pub(crate) route: &'a Route,
    pub(crate) head: &'a Head,
    pub(crate) knobs: &'a WhipKnobs,
    pub(crate) media: &'a UnboundedSender<Command>,
    /// The id of the session, if the request creates one.
    pub(crate) peer: PeerId,
    /// `ADDRESS:PORT` of this node.
    pub(crate) authority: &'a str,
}

impl Exchange<'_> {
    pub(crate) async fn answer(&self, body: &[u8]) -> Reply {
        let allowed = self.route.allowed();
        match (self.head.method.as_str(), self.route.resource) {
            ("OPTIONS", _) => self.options(),
            ("POST", false) => self.post(body).await,
            ("PATCH", true) => self.patch(body).await,
            ("DELETE", true) => match self.send(ResourceRequest::Delete).await {
                Ok(_) => Reply::of(200),
                Err(status) => Reply::of(status),
            },
            _ => Reply::of(405).with("Allow", allowed),
        }
    }

    fn options(&self) -> Reply {
        let mut reply = Reply::of(200).with("Allow", self.route.allowed()).with("Accept-Post", SDP);
        for link in &self.knobs.links {
            reply = reply.with("Link", link);
        }
        reply
    }

    /// Creates a session. For WHEP with `signal=`, which the vendor's clients send, the answer is the node's offer, even if
    /// the client sent one. Other clients that send an offer get an answer, as in the WHEP draft.
    async fn post(&self, body: &[u8]) -> Reply {
        let publishes = self.route.side == Side::Publish;
        if !(self.is(SDP) || (body.is_empty() && !publishes)) {
            return Reply::of(406);
        }
        let Ok(sdp) = std::str::from_utf8(body) else { return Reply::of(400) };
        let vendor = self.head.param("signal").is_some();
        let offer = (publishes || !(body.is_empty() || vendor)).then(|| sdp.to_owned());
        let created = match self.send(ResourceRequest::Create { offer }).await {
            Ok(created) => created,
            Err(status) => return Reply::of(status),
        };
        let mut reply = Reply::of(201).with("Content-Type", SDP).with("ETag", created.etag());
        if let Some(location) = self.location() {
            reply = reply.with("Location", location);
        }
        for link in &self.knobs.links {
            reply = reply.with("Link", link);
        }
        reply = reply.with("Accept-Patch", TRICKLE);
        reply.body = created.sdp.into_bytes();
        reply
    }

    async fn patch(&self, body: &[u8]) -> Reply {
        let Ok(text) = std::str::from_utf8(body) else { return Reply::of(400) };
        let request = if self.is(TRICKLE) {
            ResourceRequest::Trickle { fragment: text.to_owned() }
        } else if !self.is(SDP) {
            return Reply::of(406);
        } else if self.route.side == Side::Publish {
            // A publisher sends the offer and the node has answered it: an answer from the client is wrong.
            return Reply::of(400);
        } else {
            ResourceRequest::Answer { sdp: text.to_owned() }
        };
        match self.send(request).await {
            Ok(patched) => Reply::of(204).with("ETag", patched.etag()),
            Err(status) => Reply::of(status),
        }
    }

    async fn send(&self, request: ResourceRequest) -> Result<ResourceReply, u16> {
        let (reply, answered) = oneshot::channel();
        let resource = Resource {
            scope: self.route.scope.clone(),
            name: self.route.name.clone(),
            side: self.route.side,
            id: self.id(matches!(request, ResourceRequest::Create { .. })),
        };
        let if_match = self.head.header("if-match").map(str::to_owned);
        let command = Command::Resource { peer: self.peer, resource, request, if_match, reply };
        // The send fails only when the cluster is ending.
        self.media.send(command).map_err(|_| 503_u16)?;
        answered.await.map_err(|_| 503_u16)?
    }

    /// The id that distinguishes the players of one stream: the client's `requestId`. A new session (`new`) without one gets
    /// an id in its `Location`.
    fn id(&self, new: bool) -> String {
        match (self.route.side, self.head.param("requestId")) {
            (Side::Publish, _) => String::new(),
            (Side::Play, Some(id)) => id.to_owned(),
            // Without a Location the client could not learn the id.
            (Side::Play, None) if new && self.knobs.location != LocationKnob::Missing => {
                format!("player-{}", self.peer)
            }
            (Side::Play, None) => String::new(),
        }
    }

    fn location(&self) -> Option<String> {
        let path = self.route.resource_path(self.head.path());
        let nameless = self.route.side == Side::Play && self.head.param("requestId").is_none();
        let query = if nameless { format!("?requestId={}", self.id(true)) } else { String::new() };
        match &self.knobs.location {
            LocationKnob::Path => Some(format!("{path}{query}")),
            LocationKnob::Absolute => Some(format!("http://{}{path}{query}", self.authority)),
            LocationKnob::Query(more) if nameless => Some(format!("{path}{query}&{more}")),
            LocationKnob::Query(more) => Some(format!("{path}?{more}")),
            LocationKnob::Missing => None,
            LocationKnob::Text(text) => Some(text.clone()),
        }
    }

    /// Whether the body has that `Content-Type`.
    fn is(&self, wanted: &str) -> bool {
        let content_type = self.head.header("content-type").unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
    }
}

const SDP: &str = "application/sdp";
const TRICKLE: &str = "application/trickle-ice-sdpfrag";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whip_and_whep_paths_are_recognised_and_other_paths_are_not() {
        let route = Route::of("/live/room/whep/resource/a%20b").unwrap();
        assert_eq!((route.scope.as_str(), route.name.as_str()), ("live/room", "a b"));
        assert_eq!((route.side, route.resource), (Side::Play, true));
        assert_eq!(
            route.resource_path("/live/room/whep/endpoint/a%20b"),
            "/live/room/whep/resource/a%20b",
            "spelled as the client spelled it"
        );
        for other in
            ["/live/", "/whip/endpoint/a", "/live/whip/endpoint/", "/live/whip/a", "/live/x/endpoint/a"]
        {
            assert_eq!(Route::of(other), None, "{other}");
        }
    }
}
