//! Finds the route of a request target.

use crate::proto::http::head::target_byte;
use crate::proto::red5::route::event::{Event, event, streams};
use crate::proto::red5::route::streams::{
    Action, Kind, OneStepRoute, STREAM_MAX, Step, StreamPath, WhipForm, WhipRoute, stream_path,
};
use crate::proto::red5::text::is_ambiguous;
use crate::proto::refusal::Refusal;

/// What the gateway serves a request as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'t> {
    /// The WebSocket whose query names the node.
    TwoStep {
        /// What stands between `/streammanager` and the query: empty, `/`, `/room1/`, …
        suffix: &'t str,
        /// What stands behind the first `?`; empty if there is none.
        query: &'t str,
    },
    /// A question to the stream manager.
    Event(Event<'t>),
    /// The WebSocket for which the gateway finds the node.
    OneStep(OneStepRoute<'t>),
    /// A request of WHIP or WHEP.
    Whip(WhipRoute<'t>),
}

/// Finds the route of a target in origin-form. Fails with [`Refusal::BadTarget`] if it is none or has two readings, with
/// [`Refusal::NoSuchRoute`] if no route serves it, and with [`Refusal::AdminParameter`] for a question with `accessToken`.
pub fn route(target: &str) -> Result<Route<'_>, Refusal> {
    if !target.starts_with('/') || !target.bytes().all(target_byte) {
        return Err(Refusal::BadTarget);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if is_ambiguous(path) {
        return Err(Refusal::BadTarget);
    }
    let (first, suffix) = match path[1..].find('/') {
        Some(end) => path.split_at(end + 1),
        None => (path, ""),
    };
    match first {
        "/streammanager" => below_manager(target, suffix, query),
        "/as" => below_as(target, path, query),
        _ => direct(path, query),
    }
}

/// The routes below `/streammanager`; a segment that is no word of a route is a context of the two-step route.
fn below_manager<'t>(target: &'t str, suffix: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    match suffix.split('/').nth(1) {
        Some("api") => event(target, suffix, query).map(Route::Event),
        Some("whip" | "whep") => whip_below_manager(suffix, query).ok_or(Refusal::NoSuchRoute),
        _ => Ok(whip_below_manager(suffix, query).unwrap_or(Route::TwoStep { suffix, query })),
    }
}

/// The routes below `/as`, all those that the gateway serves.
fn below_as<'t>(target: &'t str, path: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    let rest = path.strip_prefix("/as/v1/").ok_or(Refusal::NoSuchRoute)?;
    let segment = |rest: &'t str| rest.split_once('/').ok_or(Refusal::NoSuchRoute);
    let (service, rest) = segment(rest)?;
    let (first, rest) = segment(rest)?;
    match (service, first) {
        ("streams", "stream") => {
            let (group, rest) = segment(rest)?;
            let (action, guid) = segment(rest)?;
            let action = Action::read(action).ok_or(Refusal::NoSuchRoute)?;
            streams(target, query, group, action, guid).map(Route::Event)
        }
        ("proxy", "ws") => {
            let (action, guid) = segment(rest)?;
            let action = Action::read(action).ok_or(Refusal::NoSuchRoute)?;
            Ok(Route::OneStep(OneStepRoute { action, path: stream_path(guid)?, query }))
        }
        ("proxy", word) => {
            let kind = Kind::read(word).ok_or(Refusal::NoSuchRoute)?;
            let StreamPath { app, stream } = stream_path(rest)?;
            Ok(Route::Whip(WhipRoute { kind, form: WhipForm::Proxy { app }, stream, query }))
        }
        _ => Err(Refusal::NoSuchRoute),
    }
}

/// The parts of `{before}/{whip|whep}/{endpoint|resource}/{stream}`; `None` for any other path.
fn split_whip(path: &str) -> Option<(&str, Kind, Step, &str)> {
    let (rest, stream) = path.rsplit_once('/')?;
    let (rest, step) = rest.rsplit_once('/')?;
    let (before, kind) = rest.rsplit_once('/')?;
    let step = match step {
        "endpoint" => Step::Endpoint,
        "resource" => Step::Resource,
        _ => return None,
    };
    (!stream.is_empty() && stream.len() <= STREAM_MAX).then_some((before, Kind::read(kind)?, step, stream))
}

/// The route of `/{app…}/{whip|whep}/{endpoint|resource}/{stream}`.
fn direct<'t>(path: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    let (before, kind, step, stream) = split_whip(path).ok_or(Refusal::NoSuchRoute)?;
    let app = before.strip_prefix('/').filter(|app| !app.is_empty()).ok_or(Refusal::NoSuchRoute)?;
    Ok(Route::Whip(WhipRoute { kind, form: WhipForm::Direct { app, step }, stream, query }))
}

/// The route of the same path below `/streammanager`; `None` for any other path.
fn whip_below_manager<'t>(suffix: &'t str, query: &'t str) -> Option<Route<'t>> {
    let (suffix, kind, step, stream) = split_whip(suffix)?;
    Some(Route::Whip(WhipRoute { kind, form: WhipForm::Manager { suffix, step }, stream, query }))
}
