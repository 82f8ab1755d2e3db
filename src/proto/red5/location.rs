//! `Location` of a session that a node made: what of it the client gets, and where the session is at the node.
//!
//! The client's is never the node's: it is built from the path that the client asked, as an absolute **path** with the
//! [`Handle`] in its last segment. That is the one form that every client keeps. SDKs 11 to 14.3 drop the query of a path
//! and put the endpoint's own query there, so a handle in the query would be lost; a whole `https://` URL keeps its query
//! with them, but has to trust the `Host` that the client sent, and breaks behind a front proxy that changes host or
//! port. A path is on our own authority by definition, can't be mixed content, and names no node, whatever the node
//! wrote. It also fits the routes as they are: the handle is part of the stream's segment.

use std::net::SocketAddr;

use crate::proto::red5::route::Step;
use crate::proto::red5::text::is_ambiguous;
use crate::proto::red5::whip::{Api, Handle, Request};
use crate::proto::refusal::Refusal;

/// Why a node's `Location` is of no use. The session is there all the same: it should be deleted by its default path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Unusable {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        Refusal::OriginBadHandshake
    }
}

/// What the client gets as `Location`, whatever the node's was.
pub fn for_client(request: &Request, handle: Handle) -> String {
    match request.api {
        Api::Two => {
            format!("/as/v1/proxy/{}/{}/{}{handle}", request.kind.word(), request.scope, request.stream)
        }
        Api::One => format!("{}{handle}", request.node_path(Step::Resource)),
    }
}

/// The resource's target at the node when the node does not say.
pub fn default_at_node(request: &Request) -> String {
    request.node_path(Step::Resource)
}

/// The resource's target at the node that answered with this `Location`: a path, and perhaps a query.
///
/// A node is asked where it was dialled and nowhere else, so of an absolute URL only what follows the authority counts.
/// Without a `Location` the path is the endpoint's with the other step in it, as the SDK has it.
pub fn at_node(location: Option<&str>, request: &Request) -> Result<String, Unusable> {
    let Some(location) = location.filter(|location| !location.is_empty()) else {
        return Ok(default_at_node(request));
    };
    if !location.bytes().all(crate::proto::http::head::target_byte) {
        return Err(Unusable);
    }
    let target = match after_scheme(location)? {
        Some(rest) => after_authority(rest)?.to_owned(),
        None if location.starts_with("//") => return Err(Unusable),
        None if location.starts_with('/') => location.to_owned(),
        None if location.starts_with('.') => resolve(location, &request.node_path(Step::Endpoint)),
        // meant from the root, as the SDK takes it
        None if location.starts_with(char::is_alphanumeric) => format!("/{location}"),
        None => return Err(Unusable),
    };
    let path = target.split('?').next().unwrap_or_default();
    if path.len() < 2 || path.starts_with("//") || is_ambiguous(path) { Err(Unusable) } else { Ok(target) }
}

/// What follows `http://` or `https://`; `None` if there is no scheme. Any other scheme is of no use, and so is a word
/// that only begins like one.
fn after_scheme(location: &str) -> Result<Option<&str>, Unusable> {
    let lower = location.get(..8).unwrap_or(location).to_ascii_lowercase();
    for scheme in ["http://", "https://"] {
        if lower.starts_with(scheme) {
            return Ok(Some(&location[scheme.len()..]));
        }
    }
    let first = location.split(['/', '?']).next().unwrap_or_default();
    if first.contains(':') || lower.starts_with("http") { Err(Unusable) } else { Ok(None) }
}

/// Path and query behind an authority, which may name no user.
fn after_authority(rest: &str) -> Result<&str, Unusable> {
    let place = rest.find(['/', '?']).ok_or(Unusable)?;
    let (authority, target) = rest.split_at(place);
    let fits = crate::proto::http::head::is_authority(authority) && target.starts_with('/');
    if fits { Ok(target) } else { Err(Unusable) }
}

/// A reference that begins with dots, seen from a base path (RFC 3986, 5.2): this is what a node means that keeps the
/// standard. It never climbs above the root.
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

/// What the client gets as `Session-Host`, so that it can name the node again.
pub fn session_host(node: SocketAddr) -> String {
    node.ip().to_string()
}
