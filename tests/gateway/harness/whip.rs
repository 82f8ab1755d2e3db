//! WHIP and WHEP as different SDK versions speak them, and a node that accepts them.

use super::{HttpPeer, Reply, Request, Response, TestBed};
use std::net::IpAddr;

pub const SDP: &str = "application/sdp";
pub const TRICKLE: &str = "application/trickle-ice-sdpfrag";
pub const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=offer\r\n";
pub const ANSWER: &str = "v=0\r\no=- 2 2 IN IP4 0.0.0.0\r\ns=answer\r\n";
pub const CANDIDATES: &str = "a=ice-ufrag:x\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n";
pub const ICE: &str = "<stun:stun.example:19302>; rel=\"ice-server\"";

/// The forms of a WHIP path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Stream Manager 2.0.
    Proxy,
    /// 1.x, the app in the path.
    Direct,
    /// 1.x, the app and the node among the parameters.
    Manager,
}

pub const FORMS: [Form; 3] = [Form::Proxy, Form::Direct, Form::Manager];

impl Form {
    /// The endpoint at which `live/{stream}` is published or played, with further parameters.
    pub fn endpoint(self, kind: &str, stream: &str, node: IpAddr, more: &str) -> String {
        match self {
            Self::Proxy => format!("/as/v1/proxy/{kind}/live/{stream}?nodeGroup=ng1{more}"),
            Self::Direct => format!("/live/{kind}/endpoint/{stream}?signal=true{more}"),
            Self::Manager => format!("/streammanager/{kind}/endpoint/{stream}?host={node}&app=live{more}"),
        }
    }

    /// The resource for a client that does not use `Location`: SDK 11, and pages that may not read the field.
    pub fn resource(self, kind: &str, stream: &str, node: IpAddr, more: &str) -> String {
        let endpoint = self.endpoint(kind, stream, node, more).replace("/endpoint/", "/resource/");
        // SDK 11 keeps only the requestId of the endpoint's parameters
        endpoint.replace("?signal=true&", "?").trim_end_matches("?signal=true").to_owned()
    }
}

impl TestBed {
    /// The n-th node accepts WHIP and WHEP, and the manager names it in every answer.
    pub fn whip_node(&self, n: u8) -> HttpPeer {
        self.manager_names(n);
        let node = self.http_node(n);
        node.answer("OPTIONS ", Reply::empty(204).field("Link", ICE));
        node.answer("POST ", Reply::created("/live/whip/resource/stream1", ANSWER));
        node.answer("/whep/endpoint/", Reply::created("/live/whep/resource/stream1", OFFER));
        node.answer("OPTIONS ", Reply::empty(204).field("Link", ICE));
        node.answer("PATCH ", Reply::empty(204));
        node.answer("DELETE ", Reply::empty(200));
        node
    }

    /// From now on the manager names the n-th node, on the routes of both generations.
    pub fn manager_names(&self, n: u8) {
        self.manager.answer("/as/", Reply::nodes(&[self.ip(n)]));
        self.manager.answer("/streammanager/", Reply::node(self.ip(n)));
    }

    /// Creates a WHIP session on a new connection.
    #[track_caller]
    pub fn created(&self, request: &Request) -> Response {
        let response = self.exchange(request);
        assert_eq!(response.status(), 201, "{response:?}");
        response
    }
}

/// An offer to this endpoint.
pub fn post(endpoint: &str) -> Request {
    Request::new("POST", endpoint).body(SDP, OFFER)
}

/// WHEP's empty POST, as browsers send it.
pub fn empty_post(endpoint: &str) -> Request {
    Request::new("POST", endpoint).with("Content-Length", "0")
}

pub fn patch(resource: &str) -> Request {
    Request::new("PATCH", resource).body(TRICKLE, CANDIDATES)
}

pub fn delete(resource: &str) -> Request {
    Request::new("DELETE", resource)
}

impl Response {
    /// The `Location` of the session: a path on the gateway without a host.
    #[track_caller]
    pub fn location(&self) -> &str {
        let location = self.field("location").unwrap_or_else(|| panic!("a Location: {self:?}"));
        assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
        location
    }

    /// Checks that no field and no body names the node, except `Session-Host`.
    #[track_caller]
    pub fn assert_names_no_node(&self, ip: IpAddr) {
        let ip = ip.to_string();
        for (name, value) in &self.head.fields {
            assert!(name.eq_ignore_ascii_case("session-host") || !value.contains(&ip), "{self:?}");
        }
        assert!(!self.text().contains(&ip), "{self:?}");
    }
}
