//! Tests WHIP and WHEP at a node: statuses, framing and faults, and frames that reach a player. No gateway takes part.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind};
use support::{DEADLINE, Media};
use tidegate_sandbox::{Cluster, ClusterConfig, Framing, LocationKnob, NodeHandle, WhipKnobs};

const SDP: &str = "application/sdp";
const TRICKLE: &str = "application/trickle-ice-sdpfrag";

/// A response as it was received.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn of(raw: &str) -> Self {
        let (head, body) = raw.split_once("\r\n\r\n").expect("a head and its end");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn send(node: NodeHandle<'_>, request: &str) -> Response {
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
    stream.write_all(request.as_bytes()).expect("the node reads");
    let mut raw = String::new();
    stream.read_to_string(&mut raw).expect("an answer or a close before the deadline");
    Response::of(&raw)
}

fn send_with_fields(node: NodeHandle<'_>, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let len = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n{fields}Content-Length: {len}\r\n\r\n{body}"
    );
    send(node, &request)
}

fn send_body(node: NodeHandle<'_>, method: &str, target: &str, kind: &str, body: &str) -> Response {
    send_with_fields(node, method, target, &format!("Content-Type: {kind}\r\n"), body)
}

fn cluster() -> Cluster {
    Cluster::start(ClusterConfig::default()).expect("loopback has free ports")
}

/// Lets clients run until `condition` holds; fails after the deadline.
fn until(clients: &mut [&mut Media], what: &str, mut condition: impl FnMut(&[&mut Media]) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition(clients) {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        clients.iter_mut().for_each(|client| client.pump());
    }
}

/// Publishes and waits until the stream is live.
fn publish(cluster: &Cluster, node: NodeHandle<'_>, target: &str) -> (Media, Response) {
    let mut client = Media::new();
    let mut change = client.rtc.sdp_api();
    client.video = Some(change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
    let (offer, pending) = change.apply().expect("the change has media");
    let response = send_body(node, "POST", target, SDP, &offer.to_sdp_string());
    assert_eq!(response.status, 201, "{}", response.head);
    let answer = SdpAnswer::from_sdp_string(&response.body).expect("valid SDP");
    client.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
    until(&mut [&mut client], "the stream is live", |_| !cluster.streams().is_empty());
    (client, response)
}

/// Writes frames until the player has received ten.
fn stream(publisher: &mut Media, player: &mut Media) {
    let end = Instant::now() + DEADLINE;
    while player.frames.len() < 10 {
        assert!(Instant::now() < end, "{} of 10 frames", player.frames.len());
        if publisher.rtc.is_connected() {
            publisher.write_frame();
        }
        publisher.pump();
        player.pump();
    }
}

#[test]
fn with_signal_in_the_query_the_node_sends_the_offer_to_players() {
    let cluster = cluster();
    let node = cluster.node(1);
    let (mut publisher, created) = publish(&cluster, node, "/live/whip/endpoint/a?signal=true");
    assert_eq!(created.header("location"), Some("/live/whip/resource/a"));
    assert_eq!((cluster.streams()[0].node, cluster.streams()[0].name.as_str()), (1, "a"));

    let target = "/live/whep/endpoint/a?requestId=p1&signal=true";
    // SDK 11 sends an offer by default, and treats the SDP in the answer as the node's offer.
    for body in ["", "v=0\r\n"] {
        let mut player = Media::new();
        let offered = send_body(node, "POST", target, SDP, body);
        assert_eq!(offered.status, 201);
        assert_eq!(send_body(node, "POST", target, SDP, "").status, 409, "one session per requestId");
        let offer = SdpOffer::from_sdp_string(&offered.body).expect("valid SDP");
        let answer = player.rtc.sdp_api().accept_offer(offer).expect("an acceptable offer").to_sdp_string();
        let resource = "/live/whep/resource/a?requestId=p1";
        assert_eq!(send_body(node, "PATCH", resource, SDP, &answer).status, 204);
        assert_eq!(send_body(node, "PATCH", resource, SDP, &answer).status, 400, "answered already");
        assert_eq!(send_body(node, "PATCH", resource, TRICKLE, "a=end-of-candidates\r\n").status, 204);
        stream(&mut publisher, &mut player);
        assert_eq!(cluster.streams()[0].subscribers, 1);
        assert_eq!(send_body(node, "DELETE", resource, SDP, "").status, 200);
        assert_eq!(send_body(node, "DELETE", resource, SDP, "").status, 404);
    }
    assert_eq!(send_body(node, "DELETE", "/live/whip/resource/a", SDP, "").status, 200);
    assert!(cluster.streams().is_empty());
    let seen = node.whip();
    assert_eq!((seen[0].status, seen[0].head.param("signal")), (201, Some("true")));
    assert!(seen[0].body.starts_with(b"v=0"));
}

#[test]
fn without_signal_in_the_query_players_send_the_offer() {
    let cluster = cluster();
    let node = cluster.node(0);
    let (mut publisher, _) = publish(&cluster, node, "/live/whip/endpoint/a");
    let mut player = Media::new();
    let mut change = player.rtc.sdp_api();
    change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = change.apply().expect("the change has media");
    let created = send_body(node, "POST", "/live/whep/endpoint/a", SDP, &offer.to_sdp_string());
    assert_eq!(created.status, 201);
    let answer = SdpAnswer::from_sdp_string(&created.body).expect("valid SDP");
    player.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
    stream(&mut publisher, &mut player);

    let resource = created.header("location").expect("a Location");
    assert!(resource.starts_with("/live/whep/resource/a?requestId="), "{resource}");
    let etag = created.header("etag").expect("an ETag");
    let fields = |etag: &str| format!("Content-Type: {TRICKLE}\r\nIf-Match: {etag}\r\n");
    let fragment = "a=end-of-candidates\r\n";
    assert_eq!(send_with_fields(node, "PATCH", resource, &fields("\"other\""), fragment).status, 412);
    assert_eq!(send_with_fields(node, "PATCH", resource, &fields(etag), fragment).status, 204);
    assert_eq!(send_body(node, "DELETE", resource, SDP, "").status, 200);
}

#[test]
fn a_node_refuses_invalid_requests_with_the_right_status() {
    let cluster = cluster();
    let node = cluster.node(0);
    cluster.pretend_live("live", "taken", 1);
    for (method, target, kind, body, status) in [
        ("POST", "/live/whip/endpoint/a", SDP, "nonsense", 400),
        ("POST", "/live/whip/endpoint/a", "text/plain", "v=0", 406),
        ("POST", "/live/whip/endpoint/taken", SDP, "v=0", 409),
        ("POST", "/other/whip/endpoint/a", SDP, "v=0", 404),
        ("POST", "/live/whep/endpoint/missing", SDP, "", 404),
        ("POST", "/live/whip/resource/a", SDP, "v=0", 405),
        ("GET", "/live/whip/endpoint/a", SDP, "", 405),
        ("PATCH", "/live/whip/resource/a", TRICKLE, "", 404),
        ("PATCH", "/live/whep/resource/a", "text/plain", "", 406),
        ("DELETE", "/live/whip/resource/a", SDP, "", 404),
    ] {
        assert_eq!(send_body(node, method, target, kind, body).status, status, "{method} {target}");
    }
    let long = "v=0".repeat(100_000);
    assert_eq!(send_body(node, "POST", "/live/whip/endpoint/a", SDP, &long).status, 413);
}

#[test]
fn a_connection_takes_a_chunked_body_and_then_another_request() {
    let cluster = cluster();
    let node = cluster.node(0);
    let chunked = "Content-Type: application/sdp\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nno\r\n5\r\nnsens\r\n0\r\n\r\n";
    let post = "POST /live/whip/endpoint/a HTTP/1.1\r\nHost: n\r\n";
    let last = "OPTIONS /live/whip/endpoint/a HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n";
    let both = send(node, &format!("{post}{chunked}{last}"));
    assert_eq!(both.status, 400);
    assert!(both.body.contains("HTTP/1.1 200 OK"), "{}", both.body);
    assert_eq!(node.whip()[0].body, b"nonsens");
    assert_eq!(node.counts().dials, 1);
}

#[test]
fn the_whip_knobs_of_a_node_change_its_answers() {
    let cluster = cluster();
    let node = cluster.node(0);
    let options = || send_body(node, "OPTIONS", "/live/whip/endpoint/a", SDP, "");
    let post = || send_body(node, "POST", "/live/whip/endpoint/a", SDP, "v=0");
    assert_eq!(options().header("access-control-allow-origin"), Some("*"));
    let link = "<stun:127.0.0.1:3478>; rel=\"ice-server\"";
    node.knobs(|k| {
        k.whip = WhipKnobs { links: vec![link.to_owned()], no_cors: true, ..WhipKnobs::default() }
    });
    assert_eq!(options().header("link"), Some(link));
    assert_eq!(options().header("access-control-allow-origin"), None);
    let only = Some("POST".to_owned());
    node.knobs(|k| k.whip = WhipKnobs { only, status: Some(503), ..WhipKnobs::default() });
    assert_eq!((post().status, options().status), (503, 200));
}

#[test]
fn the_location_and_framing_knobs_shape_the_answer() {
    for (location, expected) in [
        (LocationKnob::Absolute, Some("http://NODE/live/whip/resource/a")),
        (LocationKnob::Query("host=10.0.0.7".to_owned()), Some("/live/whip/resource/a?host=10.0.0.7")),
        (LocationKnob::Text("//evil/x".to_owned()), Some("//evil/x")),
        (LocationKnob::Missing, None),
    ] {
        let cluster = cluster();
        let node = cluster.node(0);
        node.knobs(|k| k.whip.location = location.clone());
        let (_, created) = publish(&cluster, node, "/live/whip/endpoint/a");
        let expected = expected.map(|text| text.replace("NODE", &node.address().to_string()));
        assert_eq!(created.header("location"), expected.as_deref());
    }
    let cluster = cluster();
    let node = cluster.node(0);
    let (_publisher, created) = publish(&cluster, node, "/live/whip/endpoint/a");
    assert_eq!(created.header("content-length"), Some(created.body.len().to_string().as_str()));
    let mut player = 0;
    let mut offer = |framing: Framing| {
        player += 1;
        node.knobs(|k| k.whip.framing = framing);
        send_body(node, "POST", &format!("/live/whep/endpoint/a?requestId={player}"), SDP, "")
    };
    let chunked = offer(Framing::Chunked);
    assert!(chunked.header("content-length").is_none() && chunked.body.ends_with("\r\n0\r\n\r\n"));
    let closed = offer(Framing::UntilClose);
    assert!(closed.header("content-length").is_none() && closed.body.starts_with("v=0"));
    let cut = offer(Framing::Cut);
    let promised: usize = cut.header("content-length").and_then(|len| len.parse().ok()).expect("a length");
    assert_eq!(cut.body.len(), promised / 2);
}

#[test]
fn a_node_that_goes_down_ends_its_streams_and_can_come_back() {
    let cluster = cluster();
    let node = cluster.node(0);
    let (_publisher, _) = publish(&cluster, node, "/live/whip/endpoint/a");
    node.down();
    until(&mut [], "the stream is gone", |_| cluster.streams().is_empty());
    until(&mut [], "connects are refused", |_| TcpStream::connect(node.address()).is_err());
    node.up();
    until(&mut [], "connects work again", |_| TcpStream::connect(node.address()).is_ok());
    assert_eq!(send_body(node, "DELETE", "/live/whip/resource/a", SDP, "").status, 200, "ended recently");
    publish(&cluster, node, "/live/whip/endpoint/a");
}

#[test]
fn each_next_address_is_named_once_and_other_processes_can_change_knobs() {
    let cluster = cluster();
    let manager = cluster.manager_address();
    let at_manager = |request: String| {
        let mut stream = TcpStream::connect(manager).expect("the manager listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
        write!(stream, "{request} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
            .expect("the manager reads");
        let mut raw = String::new();
        stream.read_to_string(&mut raw).expect("an answer before the deadline");
        Response::of(&raw)
    };
    cluster.manager().knobs(|k| k.named_next.push_back("127.0.0.8".to_owned()));
    assert_eq!(at_manager("POST /sandbox/named-next/127.0.0.9".to_owned()).status, 200);
    let named = || at_manager("GET /as/v1/streams/stream/default/publish/live/a?region=x".to_owned()).body;
    assert!(named().contains("127.0.0.8"));
    assert!(named().contains("127.0.0.9"));
    assert!(named().contains("\"127.0.0.1\""));
    assert_eq!(cluster.manager().questions()[0].head.param("region"), Some("x"));
    assert_eq!(at_manager("POST /sandbox/nodes/7/down".to_owned()).status, 404);
    assert_eq!(at_manager("POST /sandbox/nodes/1/location/missing".to_owned()).status, 200);
    let (_publisher, created) = publish(&cluster, cluster.node(1), "/live/whip/endpoint/b");
    assert_eq!(created.header("location"), None);
    assert_eq!(at_manager("POST /sandbox/nodes/1/down".to_owned()).status, 200);
    let node = cluster.node(1).address();
    until(&mut [], "connects are refused", |_| TcpStream::connect(node).is_err());
}
