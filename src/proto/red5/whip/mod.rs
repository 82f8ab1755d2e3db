//! Requests of WHIP and WHEP: which stream, which node, and what the node is asked.
//!
//! A request is read from its route and its query; bodies and sockets are others' business. PATCH and DELETE have to reach
//! the node that took the POST, and three things lead there, best first: the [`Handle`] that the gateway put into the
//! path of `Location`; the `host` that newer SDKs repeat from `Session-Host`, which has to be admitted like any other; and
//! the [`AffinityKey`], which is all that there is of a client that follows no `Location`.

use crate::proto::red5::params::{Host, path_scope, read_host, read_scope};
use crate::proto::red5::query;
use crate::proto::red5::query::{append, is_placement, key_value, routing, split};
use crate::proto::red5::route::{Action, Kind, Step, WhipForm, WhipRoute};
use crate::proto::red5::rules::ParamRules;
use crate::proto::red5::text::{is_ambiguous, is_leftover};
pub use crate::proto::red5::whip::handle::Handle;
use crate::proto::refusal::Refusal;

mod handle;
#[cfg(test)]
mod tests;

/// Longest name of a stream, as it is written; keys and targets are made of it.
const STREAM_MAX: usize = 512;

/// Longest `requestId`; it becomes part of a key.
const REQUEST_ID_MAX: usize = 256;

/// Parameters that are for us, in all forms of the route.
const ROUTING: [&str; 4] = ["host", "nodeGroup", "app", "context"];

/// Methods of WHIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Options,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// As a request line has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method, if this route takes it; otherwise what an `Allow` has to say.
    pub fn read(word: &str, route: &WhipRoute<'_>) -> Result<Self, &'static str> {
        let method = match word {
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return Err(allowed(route)),
        };
        let fits = match (step_of(route), method) {
            (None, _) | (_, Self::Options) => true,
            (Some(Step::Endpoint), method) => method == Self::Post,
            (Some(Step::Resource), method) => method != Self::Post,
        };
        if fits { Ok(method) } else { Err(allowed(route)) }
    }
}

/// The methods of a route, for `Allow` and for preflights.
pub fn allowed(route: &WhipRoute<'_>) -> &'static str {
    match step_of(route) {
        None => "OPTIONS, POST, PATCH, DELETE",
        Some(Step::Endpoint) => "OPTIONS, POST",
        Some(Step::Resource) => "OPTIONS, PATCH, DELETE",
    }
}

/// The step that the path names; 2.0 paths name none.
fn step_of(route: &WhipRoute<'_>) -> Option<Step> {
    match route.form {
        WhipForm::Proxy { .. } => None,
        WhipForm::Direct { step, .. } | WhipForm::Manager { step, .. } => Some(step),
    }
}

/// Of which generation a client is: which question finds it a node, and how its `Location` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The event API of Stream Manager 1.x.
    One,
    /// The streams service of Stream Manager 2.0.
    Two,
}

/// Names a session for clients that follow no `Location`: kind, app, stream, and for WHEP the `requestId`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AffinityKey(Box<str>);

impl AffinityKey {
    /// Whether it is of this request's kind, app and stream, whatever the `requestId`: a client that follows a handle need
    /// not repeat that.
    pub fn is_of(&self, request: &Request) -> bool {
        let stream = |key: &Self| key.0.split('\n').next().unwrap_or_default().to_owned();
        stream(self) == stream(&request.affinity_key())
    }

    /// As another gateway reads it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What another gateway wrote.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Bytes that it takes, for a table with a limit.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// A request of WHIP or WHEP that keeps all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: Kind,
    pub step: Step,
    pub api: Api,
    /// Of a resource: what the path says was made.
    pub handle: Option<Handle>,
    /// The node that the client names. It has to be admitted, and nothing stands in for it if it is not.
    pub host: Option<Host>,
    /// The group to be asked for a node (2.0 only).
    pub group: Option<String>,
    /// App and context: `live/room1`.
    pub scope: String,
    /// The stream as it came, without a handle.
    pub stream: String,
    /// `requestId` as it came.
    pub request_id: Option<String>,
    /// Pairs for the manager, as they came.
    placement: String,
    /// Pairs for the node, as they came.
    opaque: String,
}

impl Request {
    /// Reads a request. `configured` is the group for those who name none; empty if there is none.
    pub fn read(
        route: &WhipRoute<'_>,
        method: Method,
        rules: &ParamRules,
        configured: &str,
    ) -> Result<Self, Refusal> {
        let api = match route.form {
            WhipForm::Proxy { .. } => Api::Two,
            WhipForm::Direct { .. } | WhipForm::Manager { .. } => Api::One,
        };
        let step = step_of(route).unwrap_or(match method {
            Method::Options | Method::Post => Step::Endpoint,
            Method::Patch | Method::Delete => Step::Resource,
        });
        let [host, group, app, context] = routing(route.query, split(route.query), &ROUTING, rules)?;
        let scope = scope(&route.form, step, app, context, rules)?;
        let host = host.map(|host| read_host(host, rules)).transpose()?;
        let group = query::group(group, configured)?.filter(|_| api == Api::Two);
        if api == Api::Two && step == Step::Endpoint && host.is_none() && group.is_none() {
            return Err(Refusal::BadParams);
        }
        let (stream, handle) = match step {
            Step::Endpoint => (route.stream, None),
            Step::Resource => Handle::split(route.stream),
        };
        // the path as a whole had one reading only; without the handle its last segment may be dots
        if stream.len() > STREAM_MAX || (handle.is_some() && is_ambiguous(stream)) {
            return Err(Refusal::BadTarget);
        }
        let request_id = split(route.query).map(key_value).find(|(key, _)| *key == "requestId");
        let request_id = request_id.and_then(|(_, value)| value).filter(|value| !value.is_empty());
        if request_id.is_some_and(|id| id.len() > REQUEST_ID_MAX) {
            return Err(Refusal::BadParams);
        }
        let for_manager: Vec<&str> = split(route.query).filter(|pair| is_placement(pair)).collect();
        // nodes of 1.x are given what the manager's own servlet would have seen
        let for_node =
            |pair: &&str| !ROUTING.contains(&key_value(pair).0) && (api == Api::One || !is_placement(pair));
        let for_node: Vec<&str> = split(route.query).filter(for_node).collect();
        Ok(Self {
            kind: route.kind,
            step,
            api,
            handle,
            host,
            group,
            scope,
            stream: stream.to_owned(),
            request_id: request_id.map(str::to_owned),
            placement: for_manager.join("&"),
            opaque: for_node.join("&"),
        })
    }

    /// What the node is asked at this step: `/live/whip/endpoint/stream1?signal=true&…`.
    pub fn node_target(&self) -> String {
        let mut target = self.node_path(self.step);
        append(&mut target, split(&self.opaque));
        target
    }

    /// A resource's target at the node with the `requestId` under which it was made: nodes of this vendor find a WHEP
    /// session by it, and a client that follows a `Location` need not repeat it.
    pub fn with_request_id(&self, at_node: String) -> String {
        let (_, known) = at_node.split_once('?').unwrap_or((&at_node, ""));
        match &self.request_id {
            Some(id)
                if self.kind == Kind::Whep && !split(known).any(|pair| key_value(pair).0 == "requestId") =>
            {
                let mark = if at_node.contains('?') { '&' } else { '?' };
                format!("{at_node}{mark}requestId={id}")
            }
            _ => at_node,
        }
    }

    /// What the node is asked about a resource whose target at the node is known from its `Location`. What that says
    /// already is not said twice.
    pub fn resource_target(&self, at_node: &str) -> String {
        let (_, known) = at_node.split_once('?').unwrap_or((at_node, ""));
        let is_known = |pair: &&str| split(known).any(|other| key_value(other).0 == key_value(pair).0);
        let mut target = at_node.to_owned();
        append(&mut target, split(&self.opaque).filter(|pair| !is_known(pair)));
        target
    }

    /// The target at the stream manager that finds a node. `version` is that of the event API, for clients of 1.x; `None`
    /// if a client of 2.0 named a node and there is no group.
    pub fn question(&self, version: &str) -> Option<String> {
        let action = self.kind.action();
        match self.api {
            Api::Two => {
                let group = self.group.as_deref()?;
                let (scope, stream) = (&self.scope, &self.stream);
                Some(super::one_step::streams_question(group, action, scope, stream, &self.placement))
            }
            Api::One => {
                let action = match action {
                    Action::Publish => "broadcast",
                    Action::Subscribe => "subscribe",
                };
                let mut target = format!(
                    "/streammanager/api/{version}/event/{}/{}?action={action}",
                    self.scope, self.stream
                );
                append(&mut target, split(&self.placement));
                Some(target)
            }
        }
    }

    /// By what a session is found again without a handle.
    pub fn affinity_key(&self) -> AffinityKey {
        // no segment of a path can hold a slash or a line end, so no two sessions read alike
        let id = self.request_id.as_deref().filter(|_| self.kind == Kind::Whep).unwrap_or_default();
        let key = format!("{}/{}/{}\n{id}", self.kind.word(), self.scope, self.stream);
        AffinityKey(key.into_boxed_str())
    }

    /// A path of this stream at a node.
    pub(crate) fn node_path(&self, step: Step) -> String {
        format!("/{}/{}/{}/{}", self.scope, self.kind.word(), step.word(), self.stream)
    }
}

/// App and context, from wherever this form of the path has them. What is said twice has to be the same.
fn scope(
    form: &WhipForm<'_>,
    step: Step,
    app: Option<&str>,
    context: Option<&str>,
    rules: &ParamRules,
) -> Result<String, Refusal> {
    let in_path = match form {
        WhipForm::Manager { suffix, .. } => {
            let app = app.ok_or(Refusal::BadParams)?;
            let scope = read_scope(app, context, suffix, rules)?;
            // its Location has the scope in the path, where no segment may be such a word
            return if scope.split('/').any(is_leftover) { Err(Refusal::ScriptLeftover) } else { Ok(scope) };
        }
        WhipForm::Proxy { app } | WhipForm::Direct { app, .. } => path_scope(app, rules)?,
    };
    // an SDK that was given a relative Location repeats the parameters of its endpoint, where the context may have stood
    // in the path
    let repeats = |said: &str| {
        let rest = in_path
            .strip_prefix(said)
            .filter(|_| step == Step::Resource && context.is_none_or(str::is_empty));
        said == in_path || rest.is_some_and(|rest| rest.starts_with('/'))
    };
    match app {
        Some(app) if !repeats(&read_scope(app, context, "", rules)?) => Err(Refusal::BadParams),
        None if context.is_some_and(|context| !context.is_empty()) => Err(Refusal::BadParams),
        _ => Ok(in_path.to_owned()),
    }
}

/// Whether a body of this type may follow a head with this method. There is no status 415 in our table: it is a bad request.
///
/// `empty`: the head announces no body. A WHEP client may POST nothing, since nodes answer that with their own offer.
pub fn check_body(
    kind: Kind,
    method: Method,
    content_type: Option<&str>,
    empty: bool,
) -> Result<(), Refusal> {
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    let is = |name: &str| essence.is_some_and(|essence| essence.eq_ignore_ascii_case(name));
    let sdp = is("application/sdp");
    let fits = match method {
        Method::Post if empty => kind == Kind::Whep,
        Method::Post => sdp,
        Method::Patch => !empty && (sdp || is("application/trickle-ice-sdpfrag")),
        Method::Options | Method::Delete => empty,
    };
    if fits { Ok(()) } else { Err(Refusal::BadRequest) }
}
