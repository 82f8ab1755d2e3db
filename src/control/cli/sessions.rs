//! `tidegate sessions` and `kick`: the sessions of the running gateway.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::print;
use crate::control::cli::table::{self, Column, Cut, span};
use crate::control::cli::target::Target;
use crate::control::cli::watch::{self, Show};
use crate::control::exit::ExitError;
use crate::shared::session_id::{InvalidSessionId, SessionId};
use clap::builder::PossibleValuesParser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most sessions that the gateway puts into one answer.
const PAGE_MAX: usize = 1000;

/// Which sessions are listed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only sessions of this app, with its context: live/room1
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Only sessions of this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Only sessions at the node with this address
    #[arg(long, value_name = "IP")]
    node: Option<IpAddr>,
    /// Only sessions of the client with this address
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Only publishers or only subscribers
    #[arg(long, value_name = "ROLE", value_parser = PossibleValuesParser::new(["publisher", "subscriber"]))]
    role: Option<String>,
    /// Only sessions of this kind; `http` are connections that carry requests, which are left out otherwise
    #[arg(long, value_name = "ROUTE", value_parser = PossibleValuesParser::new(["two_step", "one_step", "whip", "whep", "http"]))]
    route: Option<String>,
    /// At most this many sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Sessions and requests that have ended, the last ones first, instead of those that are open
    #[arg(long)]
    ended: bool,
    /// Show the list every two seconds until it is interrupted
    #[arg(long)]
    watch: bool,
}

impl Filter {
    /// Most sessions that are shown.
    fn limit(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The path of a page with at most `limit` sessions, those behind the id `after`.
    fn path(&self, limit: usize, after: Option<&str>) -> String {
        let mut path =
            format!("/api/{}?limit={}", if self.ended { "ends" } else { "sessions" }, limit.min(PAGE_MAX));
        let pairs = [
            ("app", self.app.clone()),
            ("stream", self.stream.clone()),
            ("node", self.node.map(|node| node.to_string())),
            ("client", self.client.map(|client| client.to_string())),
            ("role", self.role.clone()),
            ("route", self.route.clone()),
            ("after", after.map(str::to_owned)),
        ];
        for (name, value) in pairs.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
            path += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        path
    }
}

/// Prints the sessions that `filter` accepts, as a table or as JSON.
pub(crate) fn sessions(target: &Target, filter: &Filter, json: bool) -> Result<(), ExitError> {
    let ask = || Ok(json!({ "sessions": all(target, filter)? }));
    let draw = |answer: &Value, width: usize| {
        let rows = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
        if filter.ended { ended_table(rows, now(), width) } else { open_table(rows, width) }
    };
    watch::show(Show { json, watch: filter.watch }, ask, draw)
}

/// Reads the list page by page.
fn all(target: &Target, filter: &Filter) -> Result<Vec<Value>, ExitError> {
    let (mut all, limit) = (Vec::new(), filter.limit());
    let mut path = filter.path(limit, None);
    loop {
        let mut page = client::json(&client::request(target, Method::GET, &path)?)?;
        if let Value::Array(sessions) = page["sessions"].take() {
            all.extend(sessions);
        }
        match page["next"].as_str().filter(|_| all.len() < limit) {
            Some(next) => path = filter.path(limit - all.len(), Some(next)),
            None => return Ok(all),
        }
    }
}

/// Ends one session: a WebSocket by a Close on both legs, a WHIP session by a DELETE at its node, another connection after its
/// answer.
pub(crate) fn kick(target: &Target, id: &str, json: bool) -> Result<(), ExitError> {
    let answer = client::request(target, Method::DELETE, &format!("/api/sessions/{id}"))?;
    if json {
        return print(&[&answer[..], b"\n"].concat());
    }
    let answer = client::json(&answer)?;
    let at_node = match answer.get("node_status") {
        None => String::new(),
        Some(Value::Null) => "; its node did not answer the DELETE".to_owned(),
        Some(status) => format!("; its node answered the DELETE with {status}"),
    };
    print(format!("kicked {id}{at_node}\n").as_bytes())
}

/// Checks the id of a session on the command line.
pub(crate) fn session_id(text: &str) -> Result<String, String> {
    match text.parse::<SessionId>() {
        Ok(_) => Ok(text.to_owned()),
        Err(InvalidSessionId) => {
            Err("expected the sixteen hexadecimal digits that `tidegate sessions` shows".to_owned())
        }
    }
}

const OPEN: [Column; 9] = [
    Column("SESSION", Cut::Never),
    Column("ROUTE", Cut::Never),
    Column("ROLE", Cut::Never),
    Column("STATE", Cut::Never),
    Column("STREAM", Cut::Middle),
    Column("CLIENT", Cut::Middle),
    Column("NODE", Cut::Middle),
    Column("AGE", Cut::Never),
    Column("IDLE", Cut::Never),
];

const ENDED: [Column; 8] = [
    Column("SESSION", Cut::Never),
    Column("AGO", Cut::Never),
    Column("LASTED", Cut::Never),
    Column("ROLE", Cut::Never),
    Column("STREAM", Cut::Middle),
    Column("CLIENT", Cut::Middle),
    Column("NODE", Cut::Middle),
    Column("END", Cut::Never),
];

fn open_table(sessions: &[Value], width: usize) -> Vec<String> {
    let cells = |session: &Value| {
        [
            text(&session["id"]),
            text(&session["route"]),
            role(session),
            text(&session["state"]),
            stream(session),
            ip(&session["client"]),
            ip(&session["node"]),
            seconds(&session["age_seconds"]),
            seconds(&session["idle_seconds"]),
        ]
    };
    table::lines(&OPEN, &sessions.iter().map(cells).collect::<Vec<_>>(), width)
}

/// `now` is in seconds since 1970, as the times in the rows are.
fn ended_table(sessions: &[Value], now: f64, width: usize) -> Vec<String> {
    let cells = |session: &Value| {
        let ended = session["ended"].as_f64().unwrap_or(now);
        [
            text(&session["id"]),
            span((now - ended).max(0.0)),
            seconds(&session["seconds"]),
            role(session),
            stream(session),
            ip(&session["client"]),
            ip(&session["node"]),
            end(session),
        ]
    };
    table::lines(&ENDED, &sessions.iter().map(cells).collect::<Vec<_>>(), width)
}

/// How a session or a request ended: the code of its refusal, the party and its act, or the status.
fn end(session: &Value) -> String {
    match (session["code"].as_str(), session["by"].as_str(), session["how"].as_str()) {
        (Some(code), ..) => format!("{} {code}", session["status"]),
        (None, Some(by), Some(how)) => format!("{by} {how}"),
        _ => text(&session["status"]),
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn role(session: &Value) -> String {
    match session["role"].as_str() {
        Some("publisher") => "pub".to_owned(),
        Some("subscriber") => "sub".to_owned(),
        _ => "-".to_owned(),
    }
}

fn stream(session: &Value) -> String {
    match (session["app"].as_str(), session["stream"].as_str()) {
        (Some(app), Some(stream)) => format!("{app}/{stream}"),
        (Some(app), None) => format!("{app}/"),
        (None, stream) => stream.unwrap_or("-").to_owned(),
    }
}

/// An address without its port.
fn ip(address: &Value) -> String {
    let text = text(address);
    text.parse::<std::net::SocketAddr>().map_or(text, |address| address.ip().to_canonical().to_string())
}

fn seconds(value: &Value) -> String {
    span(value.as_f64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_line_for_each_session_and_fit_100_columns() {
        let open = json!({ "id": "00000000000000ff", "route": "two_step", "role": "subscriber", "state": "open",
            "app": "live/room1", "stream": "a-stream-with-a-long-name", "client": "203.0.113.200:51000",
            "node": "10.100.200.100:5080", "age_seconds": 61.4, "idle_seconds": 0.2 });
        let young = json!({ "id": "0000000000000100", "route": "http", "state": "open", "app": null, "stream": null,
            "client": "[2001:db8::1]:6", "node": null, "age_seconds": 1.0, "idle_seconds": 1.0 });
        let lines = open_table(&[open, young], table::WIDTH);
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), OPEN.map(|Column(name, _)| name));
        assert!(lines.iter().all(|line| line.chars().count() <= table::WIDTH), "{lines:#?}");
        let cells = |line: usize| lines[line].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(1)[..4], ["00000000000000ff", "two_step", "sub", "open"]);
        assert!(cells(1)[4].starts_with("live/roo") && cells(1)[4].contains('…'), "{lines:#?}");
        assert_eq!(cells(1)[5..], ["203.0.113.200", "10.100.200.100", "61s", "0s"]);
        assert_eq!(cells(2)[2..], ["-", "open", "-", "2001:db8::1", "-", "1s", "1s"]);
        let refused = json!({ "id": "0000000000000100", "seconds": 0.1, "ended": 940.0, "status": 403,
            "code": "origin_not_admitted", "role": "publisher", "app": "live", "stream": "s", "client": "10.0.0.1:6" });
        let lost = json!({ "id": "0000000000000101", "seconds": 7_300.0, "ended": 400.0, "status": 101, "by": "origin",
            "how": "lost" });
        let lines = ended_table(&[refused, lost], 1000.0, table::WIDTH);
        assert!(
            lines[1].contains("60s  0s      pub   live/s") && lines[1].ends_with("403 origin_not_admitted"),
            "{lines:#?}"
        );
        assert!(lines[2].contains("10m  2h") && lines[2].ends_with("origin lost"), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= table::WIDTH), "{lines:#?}");
    }

    #[test]
    fn filters_are_in_the_path_and_escaped() {
        let filter = Filter {
            app: Some("live/a&b".into()),
            node: Some(IpAddr::from([10, 0, 0, 1])),
            role: Some("publisher".into()),
            ..Filter::default()
        };
        assert_eq!(
            filter.path(usize::MAX, Some("ff")),
            "/api/sessions?limit=1000&app=live%2Fa%26b&node=10%2E0%2E0%2E1&role=publisher&after=ff"
        );
        assert_eq!(Filter { ended: true, ..Filter::default() }.path(7, None), "/api/ends?limit=7");
    }
}
