//! What a request is about, as its target says before any parameter is checked: for the record of its session.

use crate::metrics::RequestRoute;
use crate::proto::red5::role::Role;
use crate::proto::red5::route::{EventKind, Kind, OneStepRoute, Route, WhipForm};
use crate::proto::red5::whip::Handle;
use crate::proto::refusal::Refusal;
use crate::worker::session::recording::About;
use std::borrow::Cow;

/// What a request with this route is about. `target` is its target with parameters redacted, from which names in the query are
/// taken; `health` tells that it is the health check of a load balancer.
pub(crate) fn about<'r>(route: &Result<Route<'r>, Refusal>, target: &'r str, health: bool) -> About<'r> {
    let other = About { route: RequestRoute::Other, role: None, app: Cow::Borrowed(""), stream: "" };
    match route {
        _ if health => About { route: RequestRoute::Health, ..other },
        Err(_) => other,
        Ok(Route::TwoStep { suffix, .. }) => {
            let stream = parameter(target, "id");
            let (role, app) = (Some(Role::of_id(stream)), app_of(target, suffix));
            About { route: RequestRoute::TwoStep, role, app, stream }
        }
        Ok(Route::Event(event)) => {
            let is_streams = event.target.starts_with("/as/");
            let role = match event.kind {
                EventKind::Broadcast => Some(Role::Publisher),
                EventKind::Subscribe => Some(Role::Subscriber),
                EventKind::List | EventKind::Other => None,
            };
            About {
                route: if is_streams { RequestRoute::Streams } else { RequestRoute::Event },
                role,
                app: event.name.strip_suffix(event.stream).unwrap_or_default().trim_end_matches('/').into(),
                stream: event.stream,
            }
        }
        Ok(Route::OneStep(OneStepRoute { action, path, .. })) => {
            let role = Some((*action).into());
            About { route: RequestRoute::OneStep, role, app: path.app.into(), stream: path.stream }
        }
        Ok(Route::Whip(whip)) => About {
            route: match whip.kind {
                Kind::Whip => RequestRoute::Whip,
                Kind::Whep => RequestRoute::Whep,
            },
            role: Some(whip.kind.into()),
            app: match whip.form {
                WhipForm::Proxy { app } | WhipForm::Direct { app, .. } => app.into(),
                WhipForm::Manager { .. } => app_of(target, ""),
            },
            // a handle in the path lets its holder end the session
            stream: Handle::split(whip.stream).0,
        },
    }
}

/// The app that a target names in its query, with its context: that of the query, or of the path.
fn app_of<'t>(target: &'t str, context_of_path: &str) -> Cow<'t, str> {
    let app = parameter(target, "app");
    let context = Some(parameter(target, "context")).filter(|context| !context.is_empty());
    match context.unwrap_or(context_of_path).trim_matches('/') {
        "" => app.into(),
        context => format!("{app}/{context}").into(),
    }
}

/// The value of the first parameter of this name, as it came; empty if there is none.
fn parameter<'t>(target: &'t str, name: &str) -> &'t str {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let mut pairs = query.split(['&', '?']);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}
