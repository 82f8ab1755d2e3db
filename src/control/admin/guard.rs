//! Who may talk to the admin listener: only requests under its own names, and no web page but its own may change anything.
//!
//! The listener has no passwords; who reaches it may use it. A browser on the same machine reaches it too, on behalf of
//! any page that it shows, and this is what keeps those out.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// Refuses requests under foreign names, and those of other pages that would change something. `address` is what the
/// listener is bound to; a socket file has none.
pub(crate) async fn guard(
    State(address): State<Option<SocketAddr>>,
    request: Request,
    next: Next,
) -> Response {
    let (headers, reads) = (request.headers(), matches!(*request.method(), Method::GET | Method::HEAD));
    if !is_named(headers, address.map(|address| address.ip()), reads) {
        let text = "This listener answers only under its own address.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !reads && is_of_another_page(headers) {
        return (StatusCode::FORBIDDEN, "Other pages may not change anything here.\n").into_response();
    }
    next.run(request).await
}

/// Whether the request names this listener. A web page whose name was pointed at us after it was loaded (DNS rebinding)
/// still sends its own name. Only a request that reads may name nobody, as HTTP/1.0 allows.
fn is_named(headers: &HeaderMap, bound: Option<IpAddr>, reads: bool) -> bool {
    match (bound, headers.get(header::HOST)) {
        // a socket file is out of reach of web pages, whatever they call it
        (None, _) => true,
        (Some(bound), Some(host)) => is_ours(host.to_str().unwrap_or_default(), bound),
        (Some(_), None) => reads,
    }
}

/// Whether a browser sent it for a page that is not ours. Programs send neither field; browsers can't be made to leave
/// out `Origin` from a request that changes something.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = text("host").map(|host| format!("http://{host}"));
    let foreign_origin = text("origin").is_some_and(|origin| own.as_deref() != Some(origin));
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    foreign_origin || foreign_site
}

/// Whether a Host field names this listener: loopback, or the bound address; any address when all are bound.
fn is_ours(host: &str, bound: IpAddr) -> bool {
    let port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if port(rest) => address,
        Some(_) => return false,
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            if !port(rest) {
                return false;
            }
            name
        }
    };
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == bound || bound.is_unspecified(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
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
    fn only_our_own_page_and_programs_may_change_something() {
        let ours: [&[(&str, &str)]; 4] = [
            &[("host", "127.0.0.1:9180")],
            &[("host", "127.0.0.1:9180"), ("origin", "http://127.0.0.1:9180")],
            &[("host", "localhost"), ("origin", "http://localhost"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1]:9180"), ("sec-fetch-site", "none")],
        ];
        for fields in ours {
            assert!(!is_of_another_page(&headers(fields)), "{fields:?}");
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
            assert!(is_of_another_page(&headers(fields)), "{fields:?}");
        }
    }

    #[test]
    fn what_changes_something_names_the_listener() {
        let bound = Some(IpAddr::from([127, 0, 0, 1]));
        let [own, other, none] =
            [headers(&[("host", "localhost:9180")]), headers(&[("host", "evil.example")]), headers(&[])];
        for reads in [true, false] {
            assert!(is_named(&own, bound, reads) && !is_named(&other, bound, reads));
            assert!(is_named(&none, None, reads), "a socket file has no name");
        }
        assert!(is_named(&none, bound, true) && !is_named(&none, bound, false));
    }
    #[test]
    fn foreign_names_are_not_ours() {
        let ours = |host: &str, bound: &str| is_ours(host, bound.parse().expect("an address"));
        for host in ["127.0.0.1", "127.9.9.9:1", "[::1]:9180", "localhost:80", "LOCALHOST", "10.0.0.5"] {
            assert!(ours(host, "10.0.0.5"), "{host}");
        }
        for host in [
            "10.0.0.6",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1]x",
            "localhost:x",
            "[::1",
        ] {
            assert!(!ours(host, "10.0.0.5"), "{host}");
        }
        assert!(ours("10.0.0.6:9180", "0.0.0.0") && !ours("evil.example", "0.0.0.0"));
    }
}
