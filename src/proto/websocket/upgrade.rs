//! The WebSocket handshake on both legs (RFC 6455 4): the request to the node, the check of its answer, and the answer to
//! the client.
//!
//! Each leg has a key of its own: the node's accept value is checked against the gateway's key, the client's is computed
//! from the client's key. The node gets the fields that the vendor's own proxy sends, and no others: nothing of a client's
//! request reaches the node unless it is named here.

use crate::proto::http::forward_fields::{NodeOrigin, trim_user_agent};
use crate::proto::http::head::{Request, Response};
use crate::proto::http::trace_context::TraceFields;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What of a client's handshake matters for both legs, and what the gateway asks the node for on its behalf.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Target at the node: `/live/?id=stream1`.
    pub target: String,
    /// The client's `Sec-WebSocket-Key`.
    pub client_key: String,
    /// `User-Agent` for the node, trimmed.
    pub user_agent: Option<String>,
    /// Value of `Sec-WebSocket-Extensions` for the node; `None` offers no extension.
    pub extensions: Option<String>,
    /// The client's `Sec-WebSocket-Protocol`: the subprotocols that it offers, separated by commas.
    pub client_protocols: Option<String>,
    /// The subprotocol that the node is offered.
    pub node_protocol: Option<String>,
    /// Value of `Origin` at the node; `None` sends no such field.
    pub origin_header: Option<NodeOrigin>,
    /// The trace that the session belongs to.
    pub trace: Option<TraceFields>,
}

/// What the configuration `[origins]` says about handshakes with nodes.
#[derive(Debug, Clone, Default)]
pub struct UpgradeOptions {
    /// Whether the extensions that the client offers are offered to the node.
    pub forward_extensions: bool,
    /// The subprotocol that the node is offered.
    pub node_protocol: Option<String>,
    /// Value of `Origin` at the node; `None` sends no such field.
    pub origin_header: Option<NodeOrigin>,
    /// The trace that the session belongs to.
    pub trace: Option<TraceFields>,
}

/// The subprotocol and extensions that the node chose, as the client gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Value of `Sec-WebSocket-Protocol`, if the client offered this subprotocol too.
    pub protocol: Option<String>,
    /// Value of `Sec-WebSocket-Extensions`.
    pub extensions: Option<String>,
}

/// Why a node's answer completes no handshake (RFC 6455 4.1, the client's checks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeFault {
    /// This status instead of 101.
    Status(u16),
    /// No `Upgrade: websocket` with `Connection: upgrade`.
    NotAnUpgrade,
    /// `Sec-WebSocket-Accept` is missing or does not belong to the key.
    WrongAccept,
    /// A subprotocol that the node was not offered.
    UnofferedProtocol,
    /// An extension that the node was not offered.
    UnofferedExtension,
}

impl Upgrade {
    /// Takes from a client's request what the node may get of it; `key` is its `Sec-WebSocket-Key`, `target` the target at
    /// the node. Nothing else of the request is forwarded.
    pub fn new(request: &Request<'_>, key: &str, target: String, options: UpgradeOptions) -> Self {
        Self {
            target,
            client_key: key.to_owned(),
            user_agent: request.user_agent.and_then(trim_user_agent),
            extensions: request
                .ws_extensions
                .as_deref()
                .filter(|_| options.forward_extensions)
                .map(str::to_owned),
            client_protocols: request.ws_protocol.as_deref().map(str::to_owned),
            node_protocol: options.node_protocol,
            origin_header: options.origin_header,
            trace: options.trace,
        }
    }

    /// The request head for the node. `key` has to be a new one for each dial (16 random bytes in base64); `node` is the
    /// address that is dialled, `client` the address that the node is told in `X-Forwarded-For`.
    pub fn request(&self, key: &str, node: SocketAddr, client: SocketAddr) -> Vec<u8> {
        let mut head = String::with_capacity(512 + self.target.len());
        let _ = write!(
            head,
            "GET {} HTTP/1.1\r\nHost: {node}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\n\
             Sec-WebSocket-Version: 13\r\nX-Forwarded-For: {}\r\nX-Forwarded-For-Meta-Port: {}\r\n\
             X-Forwarded-For-Meta-Type: WEB\r\nX-Forwarded-For-Meta-Secure: true\r\n",
            self.target,
            key,
            plain_address(client.ip()),
            client.port()
        );
        let origin = self.origin_header.as_ref().map(|origin| origin.text(node));
        let fields = [
            ("Sec-WebSocket-Protocol", &self.node_protocol),
            ("Sec-WebSocket-Extensions", &self.extensions),
            ("Origin", &origin),
            ("User-Agent", &self.user_agent),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        if let Some(trace) = &self.trace {
            trace.write(&mut head);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Checks the node's answer to a request with this key (RFC 6455 4.1). Fails unless it is a 101 with the accept value
    /// of the key that chooses nothing that was not offered.
    pub fn check(&self, key: &str, response: &Response<'_>) -> Result<Negotiated, UpgradeFault> {
        if response.status != 101 {
            return Err(UpgradeFault::Status(response.status));
        }
        if !response.upgrade_websocket {
            return Err(UpgradeFault::NotAnUpgrade);
        }
        if response.ws_accept != Some(accept(key).as_str()) {
            return Err(UpgradeFault::WrongAccept);
        }
        if response.ws_protocol.is_some() && response.ws_protocol != self.node_protocol.as_deref() {
            return Err(UpgradeFault::UnofferedProtocol);
        }
        let offered = self.extensions.as_deref().unwrap_or_default();
        let extensions = response.ws_extensions.filter(|value| !value.trim().is_empty());
        let is_offered = |name: &str| names(offered).any(|other| other.eq_ignore_ascii_case(name));
        if !extensions.into_iter().flat_map(names).all(is_offered) {
            return Err(UpgradeFault::UnofferedExtension);
        }
        let offered = self.client_protocols.as_deref().unwrap_or_default();
        let protocol = response.ws_protocol.filter(|chosen| names(offered).any(|name| name == *chosen));
        Ok(Negotiated { protocol: protocol.map(str::to_owned), extensions: extensions.map(str::to_owned) })
    }

    /// The head of the 101 for the client, with the id of its session.
    pub fn response(&self, negotiated: &Negotiated, session: &str) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nX-Tidegate-Session: {session}\r\n",
            accept(&self.client_key)
        );
        for (name, value) in [
            ("Sec-WebSocket-Protocol", &negotiated.protocol),
            ("Sec-WebSocket-Extensions", &negotiated.extensions),
        ] {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// The accept value that belongs to a key (RFC 6455 4.2.2).
fn accept(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// The names in a list of extensions or subprotocols that commas separate, without their parameters.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|item| item.split(';').next().unwrap_or_default().trim())
}

/// The client's address without the mapping into IPv6 that a dual-stack listener adds to an IPv4 address.
fn plain_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether a `Sec-WebSocket-Key` is what RFC 6455 4.1 requires: 16 bytes in base64.
pub fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.len() == 24
        && bytes.ends_with(b"==")
        && bytes[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && matches!(bytes[21], b'A' | b'Q' | b'g' | b'w')
}
