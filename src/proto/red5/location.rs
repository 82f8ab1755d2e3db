//! The `Location` of a WHIP session: the one that the client gets, and the target at the node that the node's one means.
//!
//! The client never gets the node's. Its own is built from the path that the client requested, as an absolute **path** with
//! the [`Handle`] in its last segment, the only form that every client keeps. SDKs 11 to 14.3 drop the query of a path and
//! put the endpoint's query there, so a handle in the query would be lost. They keep the query of a whole `https://` URL, but
//! for one the gateway would have to trust the `Host` that the client sent, and it breaks behind a front proxy that changes
//! host or port. A path always means the gateway's own authority, can't be mixed content, and names no node, whatever the
//! node wrote. It needs no route of its own: the handle is part of the stream's segment.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::net::SocketAddr;

use crate::proto::http::head::{is_authority, target_byte};
use crate::proto::red5::route::Step;
use crate::proto::red5::text::is_ambiguous;
use crate::proto::red5::whip::{Api, Handle, Request};
use crate::proto::refusal::Refusal;

/// What a node may have left unescaped in its `Location`, beside bytes beyond ASCII.
const UNESCAPED: &AsciiSet = &CONTROLS.add(b' ');

/// A node's `Location` that means no target at that node. The node has created a session all the same; it should be deleted
/// at its [default target](default_at_node).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnusableLocation;

impl UnusableLocation {
    /// The refusal that the client gets.
    pub const fn refusal(self) -> Refusal {
        Refusal::OriginBadHandshake
    }
}

/// The `Location` for the client, whatever the node's is: the path of the resource in the form of the client's API, with the
/// handle behind the stream.
pub fn for_client(request: &Request, handle: Handle) -> String {
    match request.api {
        Api::Two => {
            format!("/as/v1/proxy/{}/{}/{}{handle}", request.kind.word(), request.scope, request.stream)
        }
        Api::One => format!("{}{handle}", request.node_path(Step::Resource)),
    }
}

/// The target of the resource at the node if the node names none: the endpoint's path with `resource` in it, as the SDK
/// builds it.
pub fn default_at_node(request: &Request) -> String {
    request.node_path(Step::Resource)
}

/// The target of the resource at the node that answered a request with this `Location`: a path, and perhaps a query.
///
/// The node is dialled at the address where it answered and nowhere else, so of an absolute URL only what follows the
/// authority counts. Without a `Location` it is the [default target](default_at_node). Spaces and UTF-8 that the node did
/// not escape are escaped, as every reader of URLs does; where that gives no target, and for other bytes beyond ASCII, it is
/// the default target too. Fails if a value of ASCII is no target, has another scheme than http or https, or a path with two
/// readings.
pub fn at_node(location: Option<&[u8]>, request: &Request) -> Result<String, UnusableLocation> {
    let Some(location) = location.filter(|location| !location.is_empty()) else {
        return Ok(default_at_node(request));
    };
    match std::str::from_utf8(location) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => target_of(text, request),
        Ok(text) => {
            let escaped = utf8_percent_encode(text, UNESCAPED).to_string();
            Ok(target_of(&escaped, request).unwrap_or_else(|_| default_at_node(request)))
        }
        Err(_) => Ok(default_at_node(request)),
    }
}

/// The target that a `Location` of visible ASCII means.
fn target_of(location: &str, request: &Request) -> Result<String, UnusableLocation> {
    if !location.bytes().all(target_byte) {
        return Err(UnusableLocation);
    }
    let target = match after_scheme(location)? {
        Some(rest) => after_authority(rest)?.to_owned(),
        None if location.starts_with("//") => return Err(UnusableLocation),
        None if location.starts_with('/') => location.to_owned(),
        None if location.starts_with('.') => resolve(location, &request.node_path(Step::Endpoint)),
        // relative to the root, as the SDK reads it
        None if location.starts_with(char::is_alphanumeric) => format!("/{location}"),
        None => return Err(UnusableLocation),
    };
    let path = target.split('?').next().unwrap_or_default();
    if path.len() < 2 || path.starts_with("//") || is_ambiguous(path) {
        Err(UnusableLocation)
    } else {
        Ok(target)
    }
}

/// What follows `http://` or `https://`; `None` if there is no scheme. Fails at any other scheme, and at a word that only
/// begins like one of these.
fn after_scheme(location: &str) -> Result<Option<&str>, UnusableLocation> {
    let lower = location.get(..8).unwrap_or(location).to_ascii_lowercase();
    for scheme in ["http://", "https://"] {
        if lower.starts_with(scheme) {
            return Ok(Some(&location[scheme.len()..]));
        }
    }
    let first = location.split(['/', '?']).next().unwrap_or_default();
    if first.contains(':') || lower.starts_with("http") { Err(UnusableLocation) } else { Ok(None) }
}

/// Path and query behind an authority. Fails if there is no path, or if the authority is none or names a user.
fn after_authority(rest: &str) -> Result<&str, UnusableLocation> {
    let end = rest.find(['/', '?']).ok_or(UnusableLocation)?;
    let (authority, target) = rest.split_at(end);
    let fits = is_authority(authority) && target.starts_with('/');
    if fits { Ok(target) } else { Err(UnusableLocation) }
}

/// Resolves a reference that begins with dots against a base path (RFC 3986 5.2), as a node that keeps the standard means it.
/// The result is never above the root.
fn resolve(location: &str, base: &str) -> String {
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let mut segments: Vec<&str> = base.split('/').skip(1).collect();
    segments.pop();
    let mut rest = path;
    loop {
        rest = if let Some(after) = rest.strip_prefix("../") {
            segments.pop();
            after
        } else if let Some(after) = rest.strip_prefix("./") {
            after
        } else {
            break;
        };
    }
    segments.push(rest);
    let target = format!("/{}", segments.join("/"));
    match query {
        Some(query) => format!("{target}?{query}"),
        None => target,
    }
}

/// The value of `Session-Host` for the client: the node's address without its port, for `host` in later requests.
pub fn session_host(node: SocketAddr) -> String {
    node.ip().to_string()
}
