//! The guard of the admin listener: it answers only requests that name it in `Host`, and only its own page may change anything.
//!
//! The listener has no passwords: each client that reaches it may use it. A browser on the same machine reaches it too, and
//! sends requests for any web page that it shows. The guard refuses those.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// Refuses a request with another name in `Host` (421), and one of another web page that would change something (403). `address`
/// is the address that the listener is bound to; a socket file has none.
pub(crate) async fn guard(
    State(address): State<Option<SocketAddr>>,
    request: Request,
    next: Next,
) -> Response {
    let (headers, reads) = (request.headers(), matches!(*request.method(), Method::GET | Method::HEAD));
    if !is_named(headers, address.map(|address| address.ip()), reads) {
        let text = "expected a Host field with this listener's own address or localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !reads && is_from_another_page(headers) {
        let text = "requests of other web pages may not change anything here\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether the request names this listener. A web page whose name was changed to this address after it was loaded (DNS rebinding)
/// still sends its own name. Only a request that reads may come without a `Host` field, as HTTP/1.0 allows.
fn is_named(headers: &HeaderMap, bound: Option<IpAddr>, reads: bool) -> bool {
    match (bound, headers.get(header::HOST)) {
        // web pages can't reach a socket file, so its name does not matter
        (None, _) => true,
        (Some(bound), Some(host)) => names_listener(host.to_str().unwrap_or_default(), bound),
        (Some(_), None) => reads,
    }
}

/// Whether a browser sent the request for a page of another web origin. Programs send neither `Origin` nor `Sec-Fetch-PageOrigin`; a
/// page can't make a browser leave out `Origin` in a request that changes something.
fn is_from_another_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = text("host").map(|host| format!("http://{host}"));
    let foreign_origin = text("origin").is_some_and(|origin| own.as_deref() != Some(origin));
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    foreign_origin || foreign_site
}

/// Whether a Host field names this listener: localhost, a loopback address or the bound address, with or without a port. Any
/// address does if the listener is bound to all addresses.
fn names_listener(host: &str, bound: IpAddr) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if is_port(rest) => address,
        Some(_) => return false,
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            if !is_port(rest) {
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
    fn programs_and_the_status_page_may_change_something_and_other_pages_may_not() {
        let own: [&[(&str, &str)]; 4] = [
            &[("host", "127.0.0.1:9180")],
            &[("host", "127.0.0.1:9180"), ("origin", "http://127.0.0.1:9180")],
            &[("host", "localhost"), ("origin", "http://localhost"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1]:9180"), ("sec-fetch-site", "none")],
        ];
        for fields in own {
            assert!(!is_from_another_page(&headers(fields)), "{fields:?}");
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
            assert!(is_from_another_page(&headers(fields)), "{fields:?}");
        }
    }

    #[test]
    fn a_request_that_changes_something_has_to_name_the_listener() {
        let bound = Some(IpAddr::from([127, 0, 0, 1]));
        let [own, other, none] =
            [headers(&[("host", "localhost:9180")]), headers(&[("host", "evil.example")]), headers(&[])];
        for reads in [true, false] {
            assert!(is_named(&own, bound, reads) && !is_named(&other, bound, reads));
            assert!(is_named(&none, None, reads), "a socket file answers any name");
        }
        assert!(is_named(&none, bound, true) && !is_named(&none, bound, false));
    }

    #[test]
    fn only_local_names_and_the_bound_address_name_the_listener() {
        let names_us = |host: &str, bound: &str| names_listener(host, bound.parse().expect("an address"));
        for host in ["127.0.0.1", "127.9.9.9:1", "[::1]:9180", "localhost:80", "LOCALHOST", "10.0.0.5"] {
            assert!(names_us(host, "10.0.0.5"), "{host}");
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
            assert!(!names_us(host, "10.0.0.5"), "{host}");
        }
        assert!(names_us("10.0.0.6:9180", "0.0.0.0") && !names_us("evil.example", "0.0.0.0"));
    }
}
