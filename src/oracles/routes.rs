//! The oracles of the one-step and WHIP routes, of `Location`, and of bodies.

use crate::oracles::params::param_rules;
use crate::oracles::reference;
use crate::proto::http::body::{Body, BodyFault};
use crate::proto::http::head::BodyLength;
use crate::proto::red5::location;
use crate::proto::red5::one_step::OneStep;
use crate::proto::red5::route::{self, Route, Step};
use crate::proto::red5::rules::ParamRules;
use crate::proto::red5::whip::{Handle, Method, Request};

/// Whether any server accepts this text as a target.
fn is_target(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Asserts that one-step parameters are read as the reference reads them, and that they become targets at the node and the
/// manager. Input: the target.
pub fn one_step(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(Route::OneStep(route)) = route::route(text) else { return };
    let rules = param_rules();
    for configured in ["", "ng1"] {
        let ours = OneStep::read(&route, &rules, configured);
        let plain = ours.as_ref().map(|step| {
            let group = step.group.clone();
            (step.host.clone(), group, step.node_target.clone(), step.question())
        });
        let theirs = reference::one_step(text, &rules, configured);
        assert_eq!(plain.map_err(|refusal| *refusal), theirs, "{text}");
        let Ok(step) = ours else { continue };
        assert!(step.host.is_some() || step.group.is_some());
        assert!(is_target(&step.node_target) && step.node_target.starts_with(&format!("/{}/", step.scope)));
        let Some(question) = step.question() else { continue };
        match route::route(&question) {
            Ok(Route::Event(event)) => assert_eq!(event.name, format!("{}/{}", step.scope, step.stream)),
            other => panic!("{question}: {other:?}"),
        }
    }
}

/// Asserts that a WHIP request becomes targets at the node and the manager, and that its `Location` leads back to it. Input:
/// the method, a line end, the target, and behind another line end the `Location` of a node.
pub fn whip(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let (Some(method), Some(text)) = (lines.next(), lines.next()) else { return };
    let Ok(Route::Whip(route)) = route::route(text) else { return };
    let Ok(method) = Method::read(method, &route) else { return };
    let rules = param_rules();
    let Ok(request) = Request::read(&route, method, &rules, "ng1") else { return };
    let node = request.node_target();
    let path =
        format!("/{}/{}/{}/{}", request.scope, request.kind.word(), request.step.word(), request.stream);
    assert!(is_target(&node) && node.split('?').next() == Some(path.as_str()), "{text}: {node}");
    let (_, query) = node.split_once('?').unwrap_or_default();
    for pair in query.split('&') {
        let key = pair.split('=').next().unwrap_or_default();
        assert!(!["host", "nodeGroup", "app", "context"].contains(&key), "{text}: {node}");
    }
    if let Some(question) = request.question("4.0") {
        assert!(is_target(&question) && matches!(route::route(&question), Ok(Route::Event(_))), "{question}");
    }
    resource(&request, lines.next(), &rules);
}

/// Asserts that the `Location` for the client is a target that leads back to the request, and that the node's one becomes a
/// target with one reading or is unusable.
fn resource(request: &Request, location: Option<&str>, rules: &ParamRules) {
    let handle = Handle::new(std::array::from_fn(|n| n as u8));
    let out = location::for_client(request, handle);
    assert!(is_target(&out) && !out.contains('?'), "{out}");
    let Ok(Route::Whip(route)) = route::route(&out) else { panic!("{out} has no route") };
    let back =
        Request::read(&route, Method::Delete, rules, "").expect("the gateway's own Location is accepted");
    assert_eq!((back.handle, back.step), (Some(handle), Step::Resource));
    assert_eq!((&back.scope, &back.stream, back.kind), (&request.scope, &request.stream, request.kind));
    let Ok(at_node) = location::at_node(location.map(str::as_bytes), request) else { return };
    let path = at_node.split('?').next().unwrap_or_default();
    assert!(is_target(&at_node) && is_target(&request.resource_target(&at_node)), "{at_node}");
    let segments = reference::path_segments(path).expect("a path with one reading");
    assert!(!segments.iter().any(|segment| matches!(segment.as_slice(), b"." | b"..")), "{at_node}");
}

/// The result of reading a body: the payload, the number of bytes used, and whether it was whole.
type Read = (Vec<u8>, usize, Result<bool, BodyFault>);

/// Asserts that a body is read the same in pieces of any size, and as the reference reads it. The first byte of the input is
/// the kind of body, the rest what is sent.
pub fn body(bytes: &[u8]) {
    const MAX: u64 = 64;
    let Some((&kind, sent)) = bytes.split_first() else { return };
    let length = match kind % 8 {
        0 => BodyLength::None,
        1 => BodyLength::Length(u64::from(kind / 2)),
        _ => BodyLength::Chunked,
    };
    let new = || if kind % 8 == 2 { Ok(Body::until_close(MAX)) } else { Body::new(length, MAX) };
    let Ok(body) = new() else {
        assert!(matches!(length, BodyLength::Length(length) if length > MAX));
        return;
    };
    let whole = in_steps(body.clone(), sent, usize::MAX);
    for step in [1, 2, 3, 7] {
        let read = in_steps(body.clone(), sent, step);
        assert_eq!((read.1, &read.2), (whole.1, &whole.2), "in steps of {step}");
        assert!(whole.2.is_err() || read.0 == whole.0, "in steps of {step}");
    }
    if length == BodyLength::Chunked && kind % 8 != 2 {
        let theirs = reference::chunked(sent, MAX);
        let ours = match whole.2 {
            Ok(true) => Some(Some((whole.0, whole.1))),
            Ok(false) => Some(None),
            Err(_) => None,
        };
        assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(sent));
    }
}

/// Reads a body of which `step` bytes more come each time.
fn in_steps(mut body: Body, sent: &[u8], step: usize) -> Read {
    let (mut payload, mut used, mut received) = (Vec::new(), 0, 0);
    loop {
        let piece = match body.next(&sent[used..received]) {
            Ok(piece) => piece,
            // at which byte a fault is found may depend on the pieces
            Err(fault) => return (payload, 0, Err(fault)),
        };
        assert!(piece.payload.len() <= piece.used && piece.used <= received - used);
        payload.extend_from_slice(piece.payload);
        used += piece.used;
        if body.is_done() {
            return (payload, used, Ok(true));
        }
        if piece.used == 0 {
            if received == sent.len() {
                return (payload, used, Ok(false));
            }
            received = sent.len().min(received.saturating_add(step));
        }
    }
}
