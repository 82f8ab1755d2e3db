//! Secrets in questions to the stream manager, in heads that can't be read, and in bytes that are no TLS.

use super::markers::Channel;
use super::scene::{EVENT, Scene};
use crate::harness::connection::{Connection, Side};
use crate::harness::whip::SDP;
use crate::harness::{Gate, Reply, Request};

/// Questions to the stream manager with every kind of answer.
pub fn questions(scene: &mut Scene) {
    let node = scene.takeover.bed.ip(1);
    let gate = Gate::default();
    let secret = scene.mark("a field of the manager", &[]);
    let hidden =
        |reply: Reply| reply.field("Set-Cookie", &secret).field("X-Debug", &secret).field("Server", &secret);
    let body = scene.mark("an error of the manager, meant for the client", &[Channel::Sender]);
    let moved_to = scene.mark("the target of the manager's redirect", &[]);
    let cases = [
        ("a good question", hidden(Reply::node(node)), 200),
        ("a missing stream", hidden(Reply::manager_error(404)), 404),
        (
            "an error of the manager",
            hidden(Reply::json(500, format!("{{\"errorMessage\":\"{body}\"}}"))),
            500,
        ),
        ("a manager that hangs up", Reply::hang_up(), 502),
        ("a manager that is silent", Reply::json(200, "{}").held(&gate), 504),
        (
            "a redirect",
            Reply::empty(302).field("Location", &format!("http://other.test/?token={moved_to}")),
            502,
        ),
        ("no HTTP", Reply::raw(format!("BANNER {moved_to}\r\n\r\n")), 502),
    ];
    for (n, (what, reply, status)) in cases.into_iter().enumerate() {
        scene.takeover.bed.manager.answer(&format!("/s{n}?"), reply);
        let query = scene.query(what, &[Channel::Manager]);
        let request = Request::get(&format!("{EVENT}/s{n}?action=subscribe{query}"));
        let request = scene.with_fields(request, what, &[]);
        scene.exchange(&request, status);
    }
    gate.open();
    let token = scene.mark("an admin's token", &[]);
    scene.exchange(&Request::get(&format!("{EVENT}/s?action=subscribe&accessToken={token}")), 403);
    scene.exchange(&Request::get(&format!("/streammanager/api/4.0/admin/event?accessToken={token}")), 404);
}

/// Heads that can't be read, and bytes that are no TLS.
pub fn broken(scene: &mut Scene) {
    let secret = scene.mark("a request that can't be read", &[]);
    for head in [
        format!("GET /?token={secret}#x HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: gateway.test\r\nAuthorization Bearer {secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {secret}@gateway.test\r\n\r\n"),
        format!("GET / HTTP/9.9\r\nX: {secret}\r\n\r\n"),
        format!("{secret}\r\n\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n", secret.repeat(500)),
        format!("GET / HTTP/1.1\r\nHost: gateway.test\r\nCookie: {}\r\n\r\n", secret.repeat(2000)),
        format!(
            "POST /live/whip/endpoint/s HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: {SDP}\r\nTransfer-Encoding: chunked\r\n\r\n{secret}\r\n"
        ),
    ] {
        let mut client = scene.takeover.bed.client();
        client.try_send(head.as_bytes()).ok();
        let (rest, _) = client.read_to_end();
        assert!(rest.starts_with(b"HTTP/1.1 4"), "{head}");
        scene.markers.record(Channel::Sender, rest);
    }
    let mut plain =
        Connection::new(Box::new(scene.takeover.bed.client_builder().connect_tcp()), Side::Client);
    plain.send(format!("GET /?token={secret} HTTP/1.1\r\n\r\n").as_bytes());
    let (rest, _) = plain.read_to_end();
    scene.markers.record(Channel::Sender, rest);
}
