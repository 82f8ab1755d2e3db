//! Routes that the contract declares unreachable stay unreachable in every encoding: the stream manager gets no request
//! at all.
//!
//! The set of paths is generated: each byte escaped once and twice, each letter in its other case, each slash in every
//! form that some parser reads as a slash or as nothing. The stream manager of these tests would answer every request.

use crate::harness::whip::SDP;
use crate::harness::{Connection, Reply, Request, Response, TestBed};
use std::collections::BTreeSet;

/// Unreachable routes (contract, part 3).
const FORBIDDEN: [&str; 14] = [
    "/streammanager/api/4.0/admin/event/meta/live/stream1",
    "/streammanager/api/2.0/admin/proxy/clients",
    "/streammanager/api/3.1/admin/nodegroup/ng1",
    "/streammanager/api/4.0/event/../admin/node",
    "/streammanager/api/4.0/event/live/../../admin/node",
    "/streammanager/api/4.0/configurations/policies",
    "/streammanager/cluster",
    "/as/v1/admin/nodegroup",
    "/as/v1/admin/streams/x",
    "/as/v1/auth/login",
    "/as/v1/proxy/forward/live/stream1",
    "/as/v1/proxy/forward",
    "/as/v1/streams/stream/ng1/../../../admin/nodegroup",
    "/as/v1/proxy/ws/../forward/x",
];

/// What follows a path: nothing, or parameters that would make it dangerous.
const QUERIES: [&str; 3] = [
    "",
    "?accessToken=xyz123&action=subscribe",
    "?target=http%3A%2F%2F169.254.169.254%2Flatest%2F&host=NODE&app=live&nodeGroup=ng1",
];

/// Forms that some parser reads as a slash, or as a slash and nothing.
const SLASHES: [&str; 24] = [
    "//",
    "///",
    "/./",
    "/x/../",
    "/%2e/",
    "/%2E%2e/../",
    "/x/%2e%2e/",
    "/;/",
    "/;x=y/",
    "/..;/x/",
    "%2f",
    "%2F",
    "%252f",
    "%25252f",
    "\\",
    "%5c",
    "%255c",
    "%c0%af",
    "%e0%80%af",
    "%u2215",
    "/%20/",
    "/%00/",
    "%0d%0a/",
    "/?/",
];

/// All encodings of a path.
fn encodings(path: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([path.to_owned()]);
    for (at, byte) in path.bytes().enumerate() {
        let (before, after) = (&path[..at], &path[at + 1..]);
        let letter = char::from(byte);
        let other = if letter.is_ascii_lowercase() {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        };
        for form in [
            format!("%{byte:02x}"),
            format!("%{byte:02X}"),
            format!("%25{byte:02x}"),
            format!("%2525{byte:02x}"),
            format!("%c{:x}%{:02x}", byte >> 6, 0x80 | (byte & 0x3f)),
            format!("%u00{byte:02x}"),
            other.to_string(),
        ] {
            all.insert(format!("{before}{form}{after}"));
        }
        if byte == b'/' {
            all.extend(SLASHES.map(|slash| format!("{before}{slash}{after}")));
        }
    }
    let whole = |escape: fn(u8) -> String| path.bytes().map(escape).collect::<String>();
    all.extend([
        whole(|byte| format!("%{byte:02x}")),
        whole(|byte| format!("%25{byte:02x}")),
        path.to_ascii_uppercase(),
        format!("/{path}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/streammanager/api/4.0/event/..%2f..%2f..%2f..{path}"),
        format!("/streammanager/api/4.0/event/live%00{path}"),
        format!("/live/whip/endpoint{path}"),
        format!("https://gateway.test:8443{path}"),
        format!("https://gateway.test:8443/.{path}"),
    ]);
    all.extend(
        ["/", "/.", "/..", "/x/..", "%00", "%20", "%2e", ";", ";x", ".", "~", "%3f", "%23", "?", "??"]
            .map(|end| format!("{path}{end}")),
    );
    all
}

/// A client that reconnects when the gateway closes its connection.
struct Scanner<'t> {
    bed: &'t TestBed,
    client: Option<Connection>,
}

impl Scanner<'_> {
    fn exchange(&mut self, request: &Request) -> Response {
        let mut client = self.client.take().unwrap_or_else(|| self.bed.client());
        client.send_request(request);
        let response = client.read_response();
        let ends = response.field("connection").is_some_and(|options| options.contains("close"));
        self.client = (!ends).then_some(client);
        response
    }
}

#[test]
fn no_encoding_reaches_an_admin_path() {
    let bed = TestBed::start();
    let node = bed.http_node(1);
    bed.manager.answer("", Reply::json(200, r#"{"secret":"admin"}"#));
    let mut scanner = Scanner { bed: &bed, client: None };
    let paths: BTreeSet<String> = FORBIDDEN.iter().flat_map(|path| encodings(path)).collect();
    assert!(paths.len() > 4000, "{} paths", paths.len());
    for (n, path) in paths.iter().enumerate() {
        let query = QUERIES[n % QUERIES.len()].replace("NODE", &bed.ip(1).to_string());
        let target = format!("{path}{query}");
        let request = match n / QUERIES.len() % 6 {
            0 | 1 => Request::get(&target),
            2 => Request::upgrade(&target),
            3 => Request::new("POST", &target).body(SDP, "v=0"),
            4 => Request::new(["PUT", "DELETE", "PATCH", "OPTIONS"][n % 4], &target)
                .with("Authorization", "Bearer x"),
            _ => Request::get(&target).with("Authorization", "Basic YWRtaW46eHl6MTIz"),
        };
        let response = scanner.exchange(&request);
        assert!(
            matches!(response.status(), 204 | 400 | 403 | 404 | 405 | 414 | 426),
            "{target}: {response:?}"
        );
        assert!(!response.text().contains("admin\"}"), "{target}: {response:?}");
        assert_eq!(bed.manager.connections(), 0, "{target} reached the stream manager");
    }
    assert_eq!((bed.manager.dials(), node.dials()), (0, 0));
    // the same manager answers permitted questions
    let answer = bed.get("/streammanager/api/4.0/event/live/stream1?action=subscribe");
    assert_eq!((answer.text().as_str(), bed.manager.dials()), (r#"{"secret":"admin"}"#, 1));
}

#[test]
fn a_question_stays_below_the_routes_of_its_api() {
    // whatever takes the place of a scope, a stream or a group, the manager's request begins with the route of the
    // question
    let bed = TestBed::start();
    bed.manager.answer("", Reply::json(200, "{}"));
    let mut scanner = Scanner { bed: &bed, client: None };
    let tricks = [
        "..",
        "%2e%2e",
        "%252e%252e",
        "%25252e%25252e",
        "..%2fadmin",
        "..%252fadmin",
        // slashes of other scripts are letters of a name
        "..%e2%88%95admin",
        "..%ef%bc%8fadmin",
        "..;",
        "admin",
        "%61dmin",
        ".",
        "%00",
        "%0d%0aGET%20/as/v1/admin",
        "?x=/../admin",
        "%3f/../../admin",
        "%ef%bc%8e%ef%bc%8e",
        "\\..\\admin",
        "~",
        "*",
        "@127.0.0.1",
        "%40127.0.0.1",
        ":80",
        "%E2%80%A5",
        "[::1]",
        "http:%2f%2f127.0.0.1",
        "&",
        "'",
        "\"",
        "<>",
        "{}",
        "|",
    ];
    for trick in tricks {
        for path in [
            "/streammanager/api/4.0/event/T/stream1?action=subscribe",
            "/streammanager/api/4.0/event/live/T?action=broadcast",
            "/streammanager/api/4.0/event/live/T/admin/s?action=broadcast",
            "/streammanager/api/T/event/live/s",
            "/as/v1/streams/stream/T/subscribe/live/s",
            "/as/v1/streams/stream/ng1/subscribe/T/s",
            "/as/v1/streams/stream/ng1/subscribe/live/T",
            "/as/v1/streams/stream/ng1/T/live/s",
        ] {
            scanner.exchange(&Request::get(&path.replace('T', trick)));
        }
        for target in [
            format!("/as/v1/proxy/ws/publish/live/s?nodeGroup={trick}"),
            format!("/as/v1/proxy/ws/publish/live/{trick}?nodeGroup=ng1"),
            format!("/as/v1/proxy/ws/publish/live/s?nodeGroup=ng1&region={trick}"),
        ] {
            scanner.exchange(&Request::upgrade(&target));
        }
        for target in [
            format!("/live/whip/endpoint/{trick}"),
            format!("/live/{trick}/whip/endpoint/s"),
            format!("/as/v1/proxy/whip/live/{trick}?nodeGroup=ng1"),
            format!("/streammanager/whip/endpoint/s?app=live&context={trick}"),
            format!("/live/whip/endpoint/s?geozone={trick}"),
        ] {
            scanner.exchange(&Request::new("POST", &target).body(SDP, "v=0"));
        }
    }
    let asked = bed.manager.received_heads();
    assert!(asked.len() > tricks.len(), "some tricks are valid names of streams: {}", asked.len());
    for question in asked {
        let path = question.target().split('?').next().unwrap();
        // as Tomcat reads it: unescaped once, parameters of segments dropped, dots resolved
        let read = percent_encoding::percent_decode_str(path).decode_utf8().expect("UTF-8").into_owned();
        let inside =
            read.starts_with("/streammanager/api/4.0/event/") || read.starts_with("/as/v1/streams/stream/");
        let climbs = read
            .split(['/', '\\'])
            .any(|segment| segment.split(';').next().is_some_and(|name| name == ".." || name == "."));
        assert!(inside && !climbs && !read.contains("//"), "{}", question.line);
        assert!(
            !question.line.contains(['\r', '\n']) && question.line.matches(' ').count() == 2,
            "{}",
            question.line
        );
    }
}
