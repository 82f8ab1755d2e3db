//! Random input for the routes of Stream Manager 2.0, WHIP and WHEP, for bodies, and for answers of nodes.

use super::*;
use crate::proto::red5::one_step::OneStep;

#[test]
fn one_step_parameters_are_read_by_the_rules() {
    let pieces = [
        "&",
        "&",
        "&",
        "=",
        "?",
        "?id=s",
        "&id=s",
        "nodeGroup=ng2",
        "nodeGroup=",
        "&nodeGroup=default",
        "&host=10.0.0.5",
        "&host=",
        "undefined",
        "&region=us",
        "&subGroup=a",
        "&strict=true",
        "&transcode=1",
        "nodegroup=x",
        "Host=x",
        "ho%73t=1",
        "&token=a%2Bb=",
        "%2F",
        "%zz",
        "..",
        "%00",
        "username=cluster%2Drestreamer",
        "&accessToken=x",
        "&x",
        "/room1",
        ";",
        "127.0.0.1",
        "node1.example.net",
    ];
    let starts = [
        "/as/v1/proxy/ws/publish/live/s?",
        "/as/v1/proxy/ws/publish/live/s?nodeGroup=ng2",
        "/as/v1/proxy/ws/subscribe/webrtc/room1/a%20b?id=x",
        "/as/v1/proxy/ws/subscribe/live/s?nodeGroup=x",
        "/as/v1/proxy/ws/publish/live",
        "/as/v1/proxy/ws/publish/Live/s?",
    ];
    play(30_000, &starts, &pieces, 6, one_step, |input| {
        let text = std::str::from_utf8(input).unwrap_or_default();
        matches!(route::route(text), Ok(Route::OneStep(route))
            if OneStep::read(&route, &param_rules(), "").is_ok())
    });
}

#[test]
fn no_location_for_a_client_names_a_node() {
    let pieces = [
        "/",
        "/",
        "live",
        "/stream1",
        "..",
        "../",
        "./",
        "//",
        "%2e%2e",
        "?",
        "&host=10.0.0.5",
        "&app=live",
        "&requestId=r",
        "&region=a",
        "nodeGroup=x",
        "http://",
        "https://10.0.0.7:5080/",
        "10.0.0.7",
        ":",
        "@",
        "#",
        ";",
        "~00112233445566778899aabbccddeeff",
        "\n",
        "\n",
        "httpfoo",
        "&context=a",
    ];
    let starts = [
        "POST\n/live/whip/endpoint/s?a=b",
        "POST\n/as/v1/proxy/whep/live/s?nodeGroup=x&requestId=r",
        "PATCH\n/live/room1/whep/resource/s",
        "DELETE\n/as/v1/proxy/whip/live/s",
        "OPTIONS\n/streammanager/whip/endpoint/s?app=live",
        "POST\n/live/whip/endpoint/s\n/live/whip/resource/s",
        "POST\n/live/whip/endpoint/s\nhttp://10.0.0.7:5080/live",
        "POST\n/live/whip/endpoint/s\n..",
    ];
    play(30_000, &starts, &pieces, 6, whip, |input| {
        let text = std::str::from_utf8(input).unwrap_or_default();
        let target = text.split('\n').nth(1).unwrap_or_default();
        matches!(route::route(target), Ok(Route::Whip(_)))
    });
}

#[test]
fn a_body_reads_the_same_wherever_it_is_cut() {
    let pieces = [
        "\r\n",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
        "a;x=y\r\n0123456789\r\n",
        "1\r\n",
        "3f",
        "41\r\n",
        "ffffffffffffffff",
        "0000000000000000001",
        " ",
        ";",
        "\t",
        "abc",
        "Name: value\r\n",
        "\0",
        "\u{fc}",
        "0",
    ];
    let starts = ["\u{1}", "\u{2}", "\u{7}", "\u{3}", "\u{3}3\r\nabc\r\n", "\u{3}0\r\n", "\u{3}0\r\nA: b"];
    play(40_000, &starts, &pieces, 6, body, |input| {
        input.first() == Some(&3) && reference::chunked(&input[1..], 64).is_some_and(|read| read.is_some())
    });
}

#[test]
fn a_nodes_answer_gives_one_answer_to_the_client() {
    let pieces = [
        "\r\n",
        "\r\n\r\n",
        "Location: /x\r\n",
        "location: http://10.0.0.7/\r\n",
        "Link: <stun:a>\r\n",
        "ETag: \"x\"\r\n",
        "Content-Length: 5\r\n",
        "Server: x\r\n",
        "Session-Host: 10.0.0.7\r\n",
        "ETag: \u{fc}\r\n",
        "X:\r\n",
        "\r",
        "\n",
        "body",
        "Sec-WebSocket-Protocol: chat\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; x=1, X-A\r\n",
        "Set-Cookie: a=b\r\n",
        "Connection: close\r\n",
    ];
    let starts = [
        "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "HTTP/1.1 201 Created\r\n",
        "HTTP/1.1 204\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 201 Created\r\nETag: y\r\n",
        "",
    ];
    play(20_000, &starts, &pieces, 8, node_answer, |input| {
        matches!(crate::proto::http::forward_fields::answer(input, 0, &LIMITS), Ok(Some(_)))
    });
}
