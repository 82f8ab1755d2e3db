//! Heads that are read, heads that are refused, and how much of a slow head is searched again.

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_size_max: 1024, target_size_max: 64, headers_max: 8 };

/// Reads a request with this request line, a good `Host`, and these fields.
fn with(line: &str, fields: &str) -> Result<(), HeadFault> {
    let head = format!("{line}\r\nHost: a.example\r\n{fields}\r\n");
    let (request, used) = request(head.as_bytes(), 0, &LIMITS)?.expect("a complete head");
    assert_eq!(used, head.len());
    assert_eq!(request.host, "a.example");
    Ok(())
}

#[test]
fn a_browsers_upgrade_is_read() {
    let head =
        b"GET /streammanager/?id=s HTTP/1.1\r\nHost: a.example:8443\r\nConnection: keep-alive, Upgrade\r\n\
        upgrade: WebSocket\r\nOrigin: https://a.example:8443\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: a=b\r\n\r\n\x81\x80";
    let (request, used) = request(head, 0, &LIMITS).unwrap().unwrap();
    assert_eq!(&head[used..], b"\x81\x80");
    assert_eq!((request.method, request.target), ("GET", "/streammanager/?id=s"));
    assert!(request.upgrade_websocket && request.keep_alive && request.cookie);
    assert_eq!(request.ws_key, Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!((request.ws_version, request.ws_protocol.as_deref()), (Some("13"), None));
    assert_eq!((request.origin, request.body), (Some("https://a.example:8443"), BodyLength::None));
}

#[test]
fn framing_has_one_reading_only() {
    let body = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        request(head.as_bytes(), 0, &LIMITS).map(|read| read.expect("a complete head").0.body)
    };
    assert_eq!(body("Content-Length: 12\r\n"), Ok(BodyLength::Length(12)));
    assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyLength::None));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(BodyLength::Chunked));
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        assert_eq!(body(fields), Err(HeadFault::ContentLength), "{fields}");
    }
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(body(fields), Err(HeadFault::TransferEncoding), "{fields}");
    }
    assert_eq!(with("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), Err(HeadFault::TransferEncoding));
}

#[test]
fn lines_that_other_readers_understand_differently_are_refused() {
    use HeadFault::*;
    for (fields, fault) in [
        ("X: 1\r\n folded\r\n", Malformed),
        ("X: 1\r\n\tfolded\r\n", Malformed),
        ("X : 1\r\n", Malformed),
        (" X: 1\r\n", Malformed),
        ("X\r\n", Malformed),
        (": 1\r\n", Malformed),
        ("X: 1\n", BareLineEnd),
        ("X: 1\rY: 2\r\n", BareLineEnd),
        ("X: 1\r\r\n", BareLineEnd),
        ("X: \0\r\n", Nul),
        ("X: \x01\r\n", Malformed),
        ("X: \x7f\r\n", Malformed),
        ("Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n", Field),
        ("Sec-WebSocket-Version: 13\r\nsec-websocket-version: 8\r\n", Field),
        ("Origin: \u{17c}\r\n", Field),
    ] {
        assert_eq!(with("GET / HTTP/1.1", fields), Err(fault), "{fields:?}");
    }
    for (line, fault) in [
        ("GET  / HTTP/1.1", Malformed),
        ("GET /", Malformed),
        ("GET / HTTP/1.1 ", Malformed),
        ("GET / HTTP/2.0", Version),
        ("GET / HTTP/1.2", Version),
        ("GET / http/1.1", Version),
        ("G(T / HTTP/1.1", Malformed),
        ("GET /a#b HTTP/1.1", Target),
        ("GET /\u{17c} HTTP/1.1", Target),
        ("GET /\x7f HTTP/1.1", Target),
        ("GET * HTTP/1.1", Target),
        ("OPTIONS * HTTP/1.1", Target),
        ("CONNECT a.example:443 HTTP/1.1", Target),
        ("GET ftp://a.example/ HTTP/1.1", Target),
        ("\r\nGET / HTTP/1.1", Malformed),
    ] {
        // one empty line before the request line is ignored; the last row has two
        assert_eq!(with(&format!("\r\n{line}"), ""), Err(fault), "{line:?}");
    }
    assert_eq!(with("GET / HTTP/1.1", "X: a\tb \u{fc}\r\n"), Ok(()));
}

#[test]
fn several_lines_of_a_list_are_one() {
    let read = |fields: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (request, _) = request(head.as_bytes(), 0, &LIMITS)?.expect("a complete head");
        let texts = [&request.ws_protocol, &request.ws_extensions, &request.if_match, &request.acr_headers];
        Ok::<_, HeadFault>(texts.map(|list| list.as_deref().map(str::to_owned)))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        read(
            "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: b, c\r\nSec-WebSocket-Extensions: x; y=1\r\n\
             Sec-WebSocket-Extensions: z\r\nIf-Match: \"1\"\r\nIf-Match: \"2\"\r\n"
        ),
        Ok([some("a, b, c"), some("x; y=1, z"), some("\"1\", \"2\""), None])
    );
    let protocol = |fields: &str| read(fields).map(|[protocol, ..]| protocol);
    let field = "Sec-WebSocket-Protocol:";
    assert_eq!(protocol(&format!("{field}\r\n{field} a\r\n{field}\r\n")), Ok(some("a")));
    assert_eq!(protocol(&format!("{field}\r\n{field}\r\n")), Ok(some("")));
    assert_eq!(protocol(&format!("{field} a\r\n{field} \u{fc}\r\n")), Err(HeadFault::Field));
}

#[test]
fn a_request_has_exactly_one_legal_host() {
    for host in ["a", "a.example:443", "10.0.0.1", "[::1]", "[::1]:8443", "node_1.example"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(request(head.as_bytes(), 0, &LIMITS).unwrap().unwrap().0.host, host);
    }
    for fields in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\n",
        "Host: u@a\r\n",
        "Host: a/b\r\n",
        "Host: a:\r\n",
        "Host: a:99999\r\n",
        "Host: :443\r\n",
        "Host: [::1\r\n",
        "Host: [a]\r\n",
        "Host: ::1\r\n",
        "Host: \u{fc}\r\n",
    ] {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(request(head.as_bytes(), 0, &LIMITS), Err(HeadFault::Host), "{fields:?}");
    }
}

#[test]
fn an_absolute_target_for_the_same_host_is_reduced() {
    let target = |absolute: &str, host: &str| {
        let head = format!("GET {absolute} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        request(&head, 0, &LIMITS).map(|read| read.expect("a complete head").0.target.to_owned())
    };
    assert_eq!(target("https://A.example/x?y", "a.example"), Ok("/x?y".to_owned()));
    assert_eq!(target("https://a.example:443/x", "a.example"), Ok("/x".to_owned()));
    assert_eq!(target("HTTPS://a.example", "a.example:443"), Ok("/".to_owned()));
    assert_eq!(target("https://b.example/x", "a.example"), Err(HeadFault::OtherHost));
    assert_eq!(target("https://u@a.example/x", "a.example"), Err(HeadFault::OtherHost));
    assert_eq!(target("https://a.example:444/x", "a.example"), Err(HeadFault::OtherHost));
    assert_eq!(target("https:///x", "a.example"), Err(HeadFault::OtherHost));
    assert_eq!(target("https://a.example?x", "a.example"), Err(HeadFault::Target));
}

#[test]
fn limits_hold_before_a_head_is_complete() {
    let line = |length: usize| format!("GET /{} HTTP/1.1", "a".repeat(length - 1));
    assert_eq!(with(&line(64), ""), Ok(()));
    assert_eq!(with(&line(65), ""), Err(HeadFault::TargetTooLong));
    let endless = "a".repeat(200);
    assert_eq!(request(format!("GET /{endless}").as_bytes(), 0, &LIMITS), Err(HeadFault::TargetTooLong));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(1024));
    assert_eq!(request(&large.as_bytes()[..1023], 0, &LIMITS), Ok(None));
    assert_eq!(request(&large.as_bytes()[..1024], 0, &LIMITS), Err(HeadFault::TooLarge));
    assert_eq!(with("GET / HTTP/1.1", &"X: 1\r\n".repeat(7)), Ok(()));
    assert_eq!(with("GET / HTTP/1.1", &"X: 1\r\n".repeat(8)), Err(HeadFault::TooManyFields));
    assert_eq!(HeadFault::TooManyFields.refusal().status(), 431);
    assert_eq!(HeadFault::TargetTooLong.refusal().status(), 414);
}

#[test]
fn bytes_seen_before_are_not_searched_again() {
    let mut head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "a".repeat(100)).into_bytes();
    let seen = head.len();
    assert_eq!(request(&head, 0, &LIMITS), Ok(None));
    // a NUL among the bytes that were searched before is found only when the head is complete
    head[seen - 10] = 0;
    head.push(b'\r');
    assert_eq!(request(&head, seen, &LIMITS), Ok(None));
    head.push(b'\n');
    assert_eq!(request(&head, seen + 1, &LIMITS), Err(HeadFault::Malformed));
}

#[test]
fn a_connection_is_kept_closed_or_upgraded() {
    let keep = |line: &str, fields: &str| {
        let head = format!("{line}\r\nHost: a\r\n{fields}\r\n").into_bytes();
        let (request, _) = request(&head, 0, &LIMITS).unwrap().unwrap();
        (request.keep_alive, request.upgrade_websocket)
    };
    assert_eq!(keep("GET / HTTP/1.1", ""), (true, false));
    assert_eq!(keep("GET / HTTP/1.1", "Connection: x, Close\r\n"), (false, false));
    assert_eq!(keep("GET / HTTP/1.0", ""), (false, false));
    assert_eq!(keep("GET / HTTP/1.0", "Connection: keep-alive\r\n"), (true, false));
    let upgrade = "Connection: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(keep("GET / HTTP/1.1", upgrade), (true, true));
    assert_eq!(keep("GET / HTTP/1.0", upgrade), (false, false));
    assert_eq!(keep("GET / HTTP/1.1", "Upgrade: websocket\r\n"), (true, false));
    assert_eq!(keep("GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n"), (true, false));
}

#[test]
fn a_response_head_frames_its_body() {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00";
    let (switching, used) = response(head, 0, &LIMITS).unwrap().unwrap();
    assert_eq!(&head[used..], b"\x81\x00");
    assert!(switching.status == 101 && switching.upgrade_websocket && !switching.until_close);
    assert_eq!(switching.ws_accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let endless =
        response(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", 0, &LIMITS).unwrap().unwrap().0;
    assert!(endless.until_close && !endless.keep_alive);
    assert_eq!(endless.content_type, Some("text/html"));
    let empty =
        response(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 0, &LIMITS).unwrap().unwrap().0;
    assert!(empty.body == BodyLength::None && !empty.until_close);
    let twice = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: a\r\nSec-WebSocket-Accept: a\r\n\r\n";
    assert_eq!(response(twice, 0, &LIMITS), Err(HeadFault::Field));
    assert_eq!(response(b"HTTP/1.1 99 X\r\n\r\n", 0, &LIMITS), Err(HeadFault::Malformed));
    assert_eq!(response(b"HTTP/1.1 700 X\r\n\r\n", 0, &LIMITS), Err(HeadFault::Malformed));
    assert_eq!(response(b"SSH-2.0-OpenSSH\r\n\r\n", 0, &LIMITS), Err(HeadFault::Version));
}
