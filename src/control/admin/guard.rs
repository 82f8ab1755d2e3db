//! The guard of the listeners for operators: which requests they answer at all.
//!
//! The monitoring listener changes nothing, so that each client that reaches it may use it. The admin listener is a socket file
//! that the kernel keeps from other users, or a TCP address that asks for a token. A browser of the operator reaches the same
//! addresses, and sends requests for any web page that it shows: the guard refuses those too.

use crate::config::{Config, ShowSessions};
use crate::control::admin::listener::{Client, Kind};
use crate::control::process::state::ProcessState;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How often the log warns of requests without the right token.
const TOKEN_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What the guard of one listener knows. Clones share what was logged.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) state: Arc<ProcessState>,
    kind: Kind,
    /// The address that the listener is bound to; a socket file has none.
    bound: Option<IpAddr>,
    token_logged: Arc<Mutex<Option<Instant>>>,
}

impl Guard {
    /// The guard of a listener. `bound` is `None` for a socket file, which web pages can't reach.
    pub(crate) fn new(state: Arc<ProcessState>, kind: Kind, bound: Option<SocketAddr>) -> Self {
        Self { state, kind, bound: bound.map(|address| address.ip()), token_logged: Arc::default() }
    }

    /// Whether the listener shows sessions and the addresses of clients.
    fn shows_clients(&self, config: &Config) -> bool {
        match (self.kind, config.monitoring.sessions) {
            (Kind::Admin, _) | (_, ShowSessions::On) => true,
            (Kind::Monitoring, ShowSessions::Off) => false,
            (Kind::Monitoring, ShowSessions::Auto) => self.bound.is_none_or(|address| address.is_loopback()),
        }
    }

    /// What the status page may do here.
    pub(crate) const fn access(&self) -> &'static str {
        match (self.kind, self.bound) {
            (Kind::Monitoring, _) => "read",
            (Kind::Admin, None) => "change",
            (Kind::Admin, Some(_)) => "token",
        }
    }

    /// Whether the request has the token of `[admin]`, if this listener asks for it.
    fn has_token(&self, config: &Config, headers: &HeaderMap, client: Option<SocketAddr>) -> bool {
        if self.kind == Kind::Monitoring || self.bound.is_none() {
            return true;
        }
        // without a token in the configuration no request has the right one
        let is_right =
            config.admin.token.as_ref().is_some_and(|token| is_bearer(headers, token.0.as_bytes()));
        if !is_right {
            self.log_refused_token(client);
        }
        is_right
    }

    fn log_refused_token(&self, client: Option<SocketAddr>) {
        let mut logged = self.token_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= TOKEN_LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(
                client = client.map(tracing::field::display),
                "request without the token of [admin] refused; such requests are logged every 10 s at most"
            );
        }
    }
}

/// A refusal in the form of the API: its status, and the text of `error` in its JSON body.
fn refusal(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

/// Refuses a request with another name in `Host` (421), one of another web page that would change something (403), one that
/// would change something at the monitoring listener (405), and one without the token at a TCP address of `[admin]` (401).
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (headers, reads) = (request.headers(), matches!(*request.method(), Method::GET | Method::HEAD));
    let served = guard.state.served();
    if !is_named(headers, guard.bound, &served.config.monitoring.names, reads) {
        let text = "expected a Host field with an address, localhost or a name in [monitoring].names";
        return refusal(StatusCode::MISDIRECTED_REQUEST, text);
    }
    if !reads && is_from_another_page(headers, guard.bound.is_none()) {
        return refusal(StatusCode::FORBIDDEN, "requests of other web pages may not change anything here");
    }
    if !reads && guard.kind == Kind::Monitoring {
        let text = "[monitoring] only shows; requests that change something go to the listener of [admin]";
        return ([(header::ALLOW, "GET, HEAD")], refusal(StatusCode::METHOD_NOT_ALLOWED, text))
            .into_response();
    }
    // the status page has nothing of this gateway in it: it asks for the token, and sends it with its requests
    let is_page = reads && request.uri().path() == "/";
    let client = request.extensions().get::<ConnectInfo<Client>>().map(|ConnectInfo(client)| client.0);
    if !is_page && !guard.has_token(&served.config, headers, client) {
        let text = "expected the token of [admin] in the field Authorization (Bearer)";
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"tidegate\"")];
        return (challenge, refusal(StatusCode::UNAUTHORIZED, text)).into_response();
    }
    next.run(request).await
}

/// Refuses a request for sessions or addresses of clients (403) where `monitoring.sessions` does not show them.
pub(crate) async fn guard_clients(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.shows_clients(&guard.state.served().config) {
        return next.run(request).await;
    }
    let text = "this listener does not show sessions and clients: [monitoring].sessions is off, or auto on an address that \
                others reach; the listener of [admin] shows them";
    refusal(StatusCode::FORBIDDEN, text)
}

/// Whether the request carries this token (RFC 6750, 2.1). Takes the same time for every wrong token of the right length.
fn is_bearer(headers: &HeaderMap, token: &[u8]) -> bool {
    let field = headers.get(header::AUTHORIZATION).map(|field| field.as_bytes()).unwrap_or_default();
    let (scheme, sent) = field.split_at_checked("Bearer ".len()).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(sent.ct_eq(token))
}

/// Whether the request names this listener. A web page whose name was changed to this address after it was loaded (DNS rebinding)
/// still sends its own name. Only a request that reads may come without a `Host` field, as HTTP/1.0 allows.
fn is_named(headers: &HeaderMap, bound: Option<IpAddr>, names: &[String], reads: bool) -> bool {
    match (bound, headers.get(header::HOST)) {
        // web pages can't reach a socket file, so its name does not matter
        (None, _) => true,
        (Some(_), Some(host)) => names_listener(host.to_str().unwrap_or_default(), names),
        (Some(_), None) => reads,
    }
}

/// Whether a browser sent the request for a page of another web origin. Programs send neither `Origin` nor `Sec-Fetch-Site`; a
/// page can't make a browser leave out `Origin` in a request that changes something. Browsers reach a socket file by a proxy
/// only, which may speak TLS (`by_proxy`).
fn is_from_another_page(headers: &HeaderMap, by_proxy: bool) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_own = |origin: &str| {
        let name =
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://").filter(|_| by_proxy));
        name.is_some() && name == text("host")
    };
    let foreign_origin = text("origin").is_some_and(|origin| !is_own(origin));
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    foreign_origin || foreign_site
}

/// Whether a Host field names this listener: any address, localhost or one of `names`, with or without a port. An address is
/// never one that a page was given by DNS.
fn names_listener(host: &str, names: &[String]) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return is_port(rest) && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
    let is_ours = |known: &str| name.eq_ignore_ascii_case(known);
    is_port(rest)
        && (name.parse::<Ipv4Addr>().is_ok()
            || is_ours("localhost")
            || names.iter().any(|known| is_ours(known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn programs_and_the_status_page_may_change_something_and_other_pages_may_not() {
        let own: [&[(&str, &str)]; 4] = [
            &[("host", "127.0.0.1:9180")],
            &[("host", "127.0.0.1:9180"), ("origin", "http://127.0.0.1:9180")],
            &[("host", "localhost"), ("origin", "http://localhost"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1]:9180"), ("sec-fetch-site", "none")],
        ];
        for fields in own {
            assert!(!is_from_another_page(&headers(fields), false), "{fields:?}");
        }
        let foreign: [&[(&str, &str)]; 6] = [
            &[("host", "127.0.0.1:9180"), ("origin", "https://127.0.0.1:9180")],
            &[("host", "127.0.0.1:9180"), ("origin", "http://127.0.0.1:8080")],
            &[("host", "127.0.0.1:9180"), ("origin", "null")],
            &[("host", "127.0.0.1:9180"), ("origin", "")],
            &[("host", "127.0.0.1:9180"), ("sec-fetch-site", "same-site")],
            &[("origin", "http://127.0.0.1:9180")],
        ];
        for fields in foreign {
            assert!(is_from_another_page(&headers(fields), false), "{fields:?}");
        }
        let by_tls = headers(&[("host", "edge.example"), ("origin", "https://edge.example")]);
        assert!(is_from_another_page(&by_tls, false) && !is_from_another_page(&by_tls, true));
        let other = headers(&[("host", "edge.example"), ("origin", "https://evil.example")]);
        assert!(is_from_another_page(&other, true));
    }

    #[test]
    fn a_request_that_changes_something_has_to_name_the_listener() {
        let bound = Some(IpAddr::from([127, 0, 0, 1]));
        let [own, other, none] =
            [headers(&[("host", "localhost:9180")]), headers(&[("host", "evil.example")]), headers(&[])];
        for reads in [true, false] {
            assert!(is_named(&own, bound, &[], reads) && !is_named(&other, bound, &[], reads));
            assert!(is_named(&none, None, &[], reads), "a socket file answers any name");
        }
        assert!(is_named(&none, bound, &[], true) && !is_named(&none, bound, &[], false));
    }

    #[test]
    fn only_addresses_localhost_and_configured_names_name_the_listener() {
        let names = ["edge1.example.com".to_owned()];
        for host in [
            "127.0.0.1",
            "10.0.0.6:9180",
            "[::1]:9180",
            "[fd00::1]",
            "localhost:80",
            "LOCALHOST",
            "edge1.example.com",
            "Edge1.example.com:9180",
        ] {
            assert!(names_listener(host, &names), "{host}");
        }
        for host in [
            "edge2.example.com",
            "edge1.example.com.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "",
            "[::1]x",
            "[evil.example]",
            "localhost:x",
            "[::1",
            "::1",
        ] {
            assert!(!names_listener(host, &names), "{host}");
        }
        assert!(!names_listener("edge1.example.com", &[]));
    }

    #[test]
    fn only_a_monitoring_listener_on_loopback_shows_clients_by_default() {
        let text =
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let shows = |kind, bound: Option<&str>, keys: &str| {
            let config = crate::config::read(&format!("{keys}\n{text}")).expect("a good configuration");
            let state = Arc::new(ProcessState::new(config.clone(), 1, Vec::new(), Vec::new()));
            let bound = bound.map(|bound| bound.parse().expect("an address"));
            Guard::new(state, kind, bound).shows_clients(&config)
        };
        let (on, off) = ("monitoring.sessions = \"on\"", "monitoring.sessions = \"off\"");
        for (bound, expected) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("10.0.0.5:1", false), ("[::]:1", false)]
        {
            assert_eq!(shows(Kind::Monitoring, Some(bound), ""), expected, "{bound}");
            assert!(shows(Kind::Monitoring, Some(bound), on) && !shows(Kind::Monitoring, Some(bound), off));
            assert!(shows(Kind::Admin, Some(bound), off) && shows(Kind::Admin, None, off));
        }
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let is_right =
            |field: &'static str| is_bearer(&headers(&[("authorization", field)]), b"0123456789abcdef");
        assert!(is_right("Bearer 0123456789abcdef") && is_right("bearer 0123456789abcdef"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Bearer  0123456789abcdef",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!is_right(wrong), "{wrong:?}");
        }
        assert!(!is_bearer(&headers(&[]), b"0123456789abcdef"));
    }
}
