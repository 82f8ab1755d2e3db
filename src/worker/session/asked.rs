//! What a client asked for, kept during its request for the line that says why it was refused.

use crate::proto::http::head::Request;
use crate::proto::red5::query::{key_value, split};
use crate::proto::red5::route::{self, Kind, Route, WhipForm};
use std::cell::Cell;
use std::net::IpAddr;

/// A request, as far as the line of its refusal shows it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    /// The web origin of its page.
    pub(crate) origin: Option<String>,
    /// The node that was not admitted or did not take the request.
    pub(crate) node: Cell<Option<IpAddr>>,
    /// What was reached, if the code of the refusal does not say it: a key, or a bound without one.
    pub(crate) limit: Cell<Option<&'static str>>,
}

/// What the target of a request names, as its client wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named<'t> {
    /// The route, in the words of the metrics; empty if there is none.
    pub(crate) route: &'static str,
    /// The app and its contexts.
    pub(crate) app: &'t str,
    pub(crate) stream: &'t str,
}

impl Asked {
    /// What `request` asks for.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        Self {
            target: request.target.to_owned(),
            origin: request.origin.map(str::to_owned),
            node: Cell::default(),
            limit: Cell::default(),
        }
    }

    /// Route, app and stream. Only a refusal that becomes a line needs them exactly; nothing is decoded.
    pub(crate) fn named(&self) -> Named<'_> {
        let Ok(route) = route::route(&self.target) else { return Named::default() };
        match route {
            Route::TwoStep { query, .. } => {
                Named { route: "two_step", app: value(query, "app"), stream: value(query, "id") }
            }
            Route::Event(event) => {
                let (app, stream) = event.name.rsplit_once('/').unwrap_or(("", event.name));
                Named { route: "event", app, stream }
            }
            Route::OneStep(step) => Named { route: "one_step", app: step.path.app, stream: step.path.stream },
            Route::Whip(whip) => Named {
                route: if whip.kind == Kind::Whip { "whip" } else { "whep" },
                app: match whip.form {
                    WhipForm::Proxy { app } | WhipForm::Direct { app, .. } => app,
                    WhipForm::Manager { .. } => value(whip.query, "app"),
                },
                stream: whip.stream,
            },
        }
    }
}

/// The raw value of the first pair with this key; empty without one.
fn value<'q>(query: &'q str, wanted: &str) -> &'q str {
    let mut pairs = split(query).map(key_value);
    pairs.find_map(|(key, value)| value.filter(|_| key == wanted)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_names_its_app_and_stream() {
        for (target, expected) in [
            ("/streammanager/?id=s1&host=10.0.0.5&app=live", ["two_step", "live", "s1"]),
            ("/streammanager/api/4.0/event/live/room/s1?action=subscribe", ["event", "live/room", "s1"]),
            ("/streammanager/api/4.0/event/list", ["event", "", "list"]),
            ("/as/v1/streams/stream/g/subscribe/live/s1", ["event", "live", "s1"]),
            ("/as/v1/proxy/ws/subscribe/live/s1?nodeGroup=g", ["one_step", "live", "s1"]),
            ("/as/v1/proxy/whip/live/s1", ["whip", "live", "s1"]),
            ("/live/whep/endpoint/s1", ["whep", "live", "s1"]),
            ("/streammanager/whep/endpoint/s1?app=live", ["whep", "live", "s1"]),
            ("/streammanager/?id&app", ["two_step", "", ""]),
            ("/nowhere", ["", "", ""]),
            ("no target", ["", "", ""]),
        ] {
            let asked = Asked {
                target: target.to_owned(),
                origin: None,
                node: Cell::default(),
                limit: Cell::default(),
            };
            let [route, app, stream] = expected;
            assert_eq!(asked.named(), Named { route, app, stream }, "{target}");
        }
    }
}
