//! Secrets in WebSocket and WHIP sessions: sessions that open, that are refused, and that break.

use super::markers::Channel;
use super::scene::{Scene, everything, look_at_operator_views};
use crate::harness::whip::{SDP, TRICKLE, delete};
use crate::harness::{Connection, Frame, Reply, Request};

/// WebSockets that open, and then those that are refused.
pub fn sockets(scene: &mut Scene) {
    let good = scene.takeover.bed.ip(2);
    for (what, route) in [
        ("a two-step WebSocket", format!("/streammanager/?id=s&host={good}&app=live")),
        ("a one-step WebSocket", format!("/as/v1/proxy/ws/publish/live/s?id=s&host={good}")),
    ] {
        let query = scene.query(what, &[Channel::Node]);
        let request = Request::upgrade(&format!("{route}{query}"));
        let protocol = scene.mark(format!("a token among the subprotocols of {what}"), &[]);
        let request = scene
            .with_fields(request, what, &[])
            .with("Sec-WebSocket-Protocol", &format!("bearer, {protocol}"));
        let cookie = scene.mark(format!("a cookie of the node of {what}"), &[]);
        let mut client = scene.takeover.bed.client();
        client.send_request(&request);
        let mut node = scene.listener.accept();
        let head = node.accept_upgrade_with(&format!("Set-Cookie: {cookie}\r\nX-Debug: {cookie}\r\n"));
        scene.markers.record(Channel::Node, format!("{head:?}"));
        let response = client.read_response();
        assert_eq!(response.status(), 101);
        scene.markers.record(Channel::Sender, everything(&response));
        talk(scene, what, &mut client, &mut node);
        look_at_operator_views(scene);
        end(scene, what, client, node);
    }
    refused_sockets(scene);
}

/// Sends a secret each way.
fn talk(scene: &mut Scene, what: &str, client: &mut Connection, node: &mut Connection) {
    let to_node = scene.mark(format!("a frame of a client on {what}"), &[Channel::Node]);
    client.send_frame(Frame::text(&format!("{{\"ice-pwd\":\"{to_node}\"}}")));
    scene.markers.record(Channel::Node, node.read_frame().payload);
    let to_client = scene.mark(format!("a frame of a node on {what}"), &[Channel::Sender]);
    node.send_frame(Frame::text(&to_client));
    scene.markers.record(Channel::Sender, client.read_frame().payload);
}

/// Ends a two-step session with a reason in its Close, and a one-step session with an invalid frame.
fn end(scene: &mut Scene, what: &str, mut client: Connection, mut node: Connection) {
    let secret = scene
        .mark(format!("the last frame on {what}"), if what.contains("two") { &[Channel::Node] } else { &[] });
    if what.contains("two") {
        client.send_frame(Frame::close(1000, &secret));
        scene.markers.record(Channel::Node, node.read_frame().payload);
        return;
    }
    client.send(&Frame { rsv: 4, ..Frame::text(&secret) }.masked([0; 4]));
    scene.markers.record(Channel::Sender, client.expect_close(1002));
    scene.markers.record(Channel::Node, node.expect_close(1001));
}

/// WebSockets that are refused by the gateway or by a node.
fn refused_sockets(scene: &mut Scene) {
    let bed = &scene.takeover.bed;
    let (good, dead, stranger) = (bed.ip(2), bed.ip(3), bed.ip(20));
    for (what, host, status) in [
        ("an unknown node", stranger.to_string(), 403),
        ("a node that refuses", dead.to_string(), 502),
        ("an invalid host", "x@y".to_owned(), 400),
        ("a node that is silent", good.to_string(), 504),
    ] {
        let query = scene.query(what, if status == 504 { &[Channel::Node] } else { &[] });
        let request = Request::upgrade(&format!("/streammanager/?id=s&host={host}&app=live{query}"));
        let request = scene.with_fields(request, what, &[]);
        scene.exchange(&request, status);
        if status == 504 {
            let head = scene.listener.accept().read_head();
            scene.markers.record(Channel::Node, format!("{head:?}"));
        }
    }
    let secret = scene.mark("a node's refusal of a WebSocket", &[]);
    let mut client = scene.takeover.bed.client();
    client.send_request(&Request::upgrade(&format!("/streammanager/?id=s&host={good}&app=live")));
    let mut node = scene.listener.accept();
    node.read_head();
    node.send(
        format!(
            "HTTP/1.1 403 {secret}\r\nX-Debug: {secret}\r\nContent-Length: {}\r\n\r\n{secret}",
            secret.len()
        )
        .as_bytes(),
    );
    let response = client.read_response();
    assert_eq!(response.status(), 502);
    scene.markers.record(Channel::Sender, everything(&response));
}

/// A whole WHIP session in each form of path, and then failures.
pub fn whip(scene: &mut Scene) {
    let node = scene.takeover.bed.ip(1);
    for (what, target, authorization) in [
        ("WHIP of 2.0", format!("/as/v1/proxy/whip/live/s?host={node}"), &[Channel::Node][..]),
        ("WHIP of 1.x", format!("/live/whip/endpoint/s?host={node}"), &[]),
        ("WHIP on the manager's path", format!("/streammanager/whip/endpoint/s?host={node}&app=live"), &[]),
    ] {
        let location = scene.mark(format!("a parameter of the node's Location of {what}"), &[Channel::Node]);
        let answer = scene.mark(format!("the node's answer of {what}"), &[Channel::Sender]);
        let turn = scene.mark(format!("a TURN credential of {what}"), &[Channel::Sender]);
        let hidden = scene.mark(format!("a field of the node of {what}"), &[]);
        let ice_link = format!("<turn:turn.test>; rel=\"ice-server\"; username=\"u\"; credential=\"{turn}\"");
        let created = Reply::created(
            &format!("/live/whip/resource/s?jwt={location}"),
            &format!("a=ice-pwd:{answer}\r\n"),
        );
        scene.node.answer(
            "POST ",
            created.field("Link", &ice_link).field("Set-Cookie", &hidden).field("X-Debug", &hidden),
        );
        let offer = scene.mark(format!("the offer of {what}"), &[Channel::Node]);
        let query = scene.query(what, &[Channel::Node]);
        let request = Request::new("POST", &format!("{target}{query}"))
            .body(SDP, format!("v=0\r\na=ice-pwd:{offer}\r\n"));
        let request = scene.with_fields(request, what, authorization);
        let session = scene.exchange(&request, 201).location().to_owned();
        let (_, handle) = session.rsplit_once('~').expect("a handle");
        let handle = handle.split(['?', '/']).next().expect("its digits").to_owned();
        scene.markers.adopt(format!("the handle of {what}"), handle, &[Channel::Sender]);
        let candidates = scene.mark(format!("the candidates of {what}"), &[Channel::Node]);
        let request = Request::new("PATCH", &session).body(TRICKLE, format!("a=ice-pwd:{candidates}\r\n"));
        let request = scene.with_fields(request, &format!("PATCH of {what}"), authorization);
        scene.exchange(&request, 204);
        look_at_operator_views(scene);
        let query = scene.query(&format!("DELETE of {what}"), &[Channel::Node]);
        let request = delete(&format!("{session}?{}", &query[1..]));
        let request = scene.with_fields(request, &format!("DELETE of {what}"), authorization);
        scene.exchange(&request, 200);
    }
    failing_whip(scene);
}

fn failing_whip(scene: &mut Scene) {
    let node = scene.takeover.bed.ip(1);
    let (body, challenge) = (
        scene.mark("an error of a node, meant for the client", &[Channel::Sender]),
        scene.mark("a node's field", &[]),
    );
    scene.node.answer(
        "/whip/endpoint/no",
        Reply::json(409, format!("{{\"x\":\"{body}\"}}")).field("Server", &challenge),
    );
    scene.node.answer("/whip/endpoint/gone", Reply::hang_up());
    scene.node.answer(
        "/whip/endpoint/moved",
        Reply::empty(307).field("Location", &format!("http://other.test/?token={challenge}")),
    );
    for (stream, kind, status) in
        [("no", SDP, 409), ("gone", SDP, 502), ("moved", SDP, 502), ("text", "text/plain", 400)]
    {
        let may: &[Channel] = if status == 400 { &[] } else { &[Channel::Node] };
        let offer = scene.mark(format!("the offer to {stream}"), may);
        let query = scene.query(&format!("the offer to {stream}"), may);
        let target = format!("/live/whip/endpoint/{stream}?host={node}{query}");
        scene.exchange(&Request::new("POST", &target).body(kind, format!("a=ice-pwd:{offer}\r\n")), status);
    }
    let half = scene.mark("half a body", &[]);
    let query = scene.query("half a body", &[]);
    let request = Request::new("POST", &format!("/live/whip/endpoint/half?host={node}{query}"));
    let bytes = request.body(SDP, format!("{half}{}", "x".repeat(100))).bytes();
    for cut in [90, 0] {
        let mut client = scene.takeover.bed.client();
        client.send(&bytes[..bytes.len() - cut - 1]);
        if cut == 0 {
            client.reset();
        } else {
            let response = client.read_response();
            assert_eq!(response.status(), 408);
            scene.markers.record(Channel::Sender, everything(&response));
        }
    }
}
