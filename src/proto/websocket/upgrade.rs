//! The WebSocket handshake on both legs (RFC 6455, 4): what the node is asked, whether its answer is right, and what the
//! client hears.
//!
//! Each leg has a key of its own: the node's accept value is checked against ours, the client's is made from its own.
//! The fields that the node gets are those of the vendor's own proxy, and no others: nothing that a client sends reaches
//! the node unless it is named here.

use crate::proto::http::forward_fields::{NodeOrigin, trim_user_agent};
use crate::proto::http::head::{Request, Response};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What a client asked for and what we ask the node in its name.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Target at the node: `/live/?id=stream1`.
    pub target: String,
    /// Key of the client's leg.
    pub client_key: String,
    pub user_agent: Option<String>,
    /// Value of `Sec-WebSocket-Extensions` to pass on; `None` offers none.
    pub extensions: Option<String>,
    /// Subprotocols that the client asked for.
    pub client_protocols: Option<String>,
    /// Subprotocol that the node is asked for.
    pub origin_protocol: Option<String>,
    /// `Origin` at the node.
    pub origin: Option<NodeOrigin>,
}

/// What the configuration has a node hear.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// The client's extensions are passed on.
    pub extensions: bool,
    /// Subprotocol that the node is asked for.
    pub protocol: Option<String>,
    pub origin: Option<NodeOrigin>,
}

/// What the node agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Goes to the client, who asked for it.
    pub protocol: Option<String>,
    pub extensions: Option<String>,
}

/// What is wrong with a node's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeFault {
    /// Some other status than 101.
    Status(u16),
    /// No `Upgrade: websocket` with `Connection: upgrade`.
    NotAnUpgrade,
    WrongAccept,
    /// A subprotocol that it was not asked for.
    UnaskedProtocol,
    /// An extension that it was not asked for.
    UnaskedExtension,
}

impl Upgrade {
    /// What a client's request, which has this key, comes to at a node. Nothing else of it goes on.
    pub fn of(request: &Request<'_>, key: &str, target: String, offer: Offer) -> Self {
        Self {
            target,
            client_key: key.to_owned(),
            user_agent: request.user_agent.and_then(trim_user_agent),
            extensions: request.ws_extensions.filter(|_| offer.extensions).map(str::to_owned),
            client_protocols: request.ws_protocol.map(str::to_owned),
            origin_protocol: offer.protocol,
            origin: offer.origin,
        }
    }

    /// The request that the node gets. `key` is fresh for each dial, `client` is who it is for.
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
        let origin = self.origin.as_ref().map(|origin| origin.text(node));
        let fields = [
            ("Sec-WebSocket-Protocol", &self.origin_protocol),
            ("Sec-WebSocket-Extensions", &self.extensions),
            ("Origin", &origin),
            ("User-Agent", &self.user_agent),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Judges the node's answer to a request with this key.
    pub fn check(&self, key: &str, response: &Response<'_>) -> Result<Agreed, UpgradeFault> {
        if response.status != 101 {
            return Err(UpgradeFault::Status(response.status));
        }
        if !response.upgrade_websocket {
            return Err(UpgradeFault::NotAnUpgrade);
        }
        if response.ws_accept != Some(accept(key).as_str()) {
            return Err(UpgradeFault::WrongAccept);
        }
        if response.ws_protocol.is_some() && response.ws_protocol != self.origin_protocol.as_deref() {
            return Err(UpgradeFault::UnaskedProtocol);
        }
        let offered = self.extensions.as_deref().unwrap_or_default();
        let extensions = response.ws_extensions.filter(|value| !value.trim().is_empty());
        let asked = |name: &str| names(offered).any(|other| other.eq_ignore_ascii_case(name));
        if !extensions.into_iter().flat_map(names).all(asked) {
            return Err(UpgradeFault::UnaskedExtension);
        }
        let wanted = self.client_protocols.as_deref().unwrap_or_default();
        let protocol = response.ws_protocol.filter(|chosen| names(wanted).any(|name| name == *chosen));
        Ok(Agreed { protocol: protocol.map(str::to_owned), extensions: extensions.map(str::to_owned) })
    }

    /// The 101 that the client gets.
    pub fn response(&self, agreed: &Agreed, session: &str) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nX-Tidegate-Session: {session}\r\n",
            accept(&self.client_key)
        );
        for (name, value) in
            [("Sec-WebSocket-Protocol", &agreed.protocol), ("Sec-WebSocket-Extensions", &agreed.extensions)]
        {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// The accept value that belongs to a key.
fn accept(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// Names in a comma list, without their parameters.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|item| item.split(';').next().unwrap_or_default().trim())
}

/// A v4 client that came through a v6 listener is a v4 client.
fn plain_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether a `Sec-WebSocket-Key` is what RFC 6455, 4.1 asks for: 16 bytes in base64.
pub fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.len() == 24
        && bytes.ends_with(b"==")
        && bytes[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && matches!(bytes[21], b'A' | b'Q' | b'g' | b'w')
}
