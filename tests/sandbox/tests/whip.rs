//! WHIP and WHEP at a node: statuses, framing and faults, and frames that reach a player. No gateway here.

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

/// A response as it came.
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
    stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout is no zero");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut raw = String::new();
    stream.read_to_string(&mut raw).expect("it answers or closes in time");
    Response::of(&raw)
}

fn ask_with(node: NodeHandle<'_>, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let len = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n{fields}Content-Length: {len}\r\n\r\n{body}"
    );
    send(node, &request)
}

fn ask(node: NodeHandle<'_>, method: &str, target: &str, kind: &str, body: &str) -> Response {
    ask_with(node, method, target, &format!("Content-Type: {kind}\r\n"), body)
}

fn cluster() -> Cluster {
    Cluster::start(ClusterConfig::default()).expect("loopback has free ports")
}

/// Lets clients run until something is true.
fn until(clients: &mut [&mut Media], what: &str, mut right: impl FnMut(&[&mut Media]) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !right(clients) {
        assert!(Instant::now() < end, "not in time: {what}");
        clients.iter_mut().for_each(|client| client.pump());
    }
}

/// Publishes and waits until the stream is live.
fn publish(cluster: &Cluster, node: NodeHandle<'_>, target: &str) -> (Media, Response) {
    let mut client = Media::new();
    let mut change = client.rtc.sdp_api();
    client.video = Some(change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
    let (offer, pending) = change.apply().expect("there is something to offer");
    let response = ask(node, "POST", target, SDP, &offer.to_sdp_string());
    assert_eq!(response.status, 201, "{}", response.head);
    let answer = SdpAnswer::from_sdp_string(&response.body).expect("good SDP");
    client.rtc.sdp_api().accept_answer(pending, answer).expect("it fits");
    until(&mut [&mut client], "the stream is live", |_| !cluster.streams().is_empty());
    (client, response)
}

/// Writes frames until the player has ten.
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
fn the_vendors_way_the_node_offers_to_players() {
    let cluster = cluster();
    let node = cluster.node(1);
    let (mut publisher, made) = publish(&cluster, node, "/live/whip/endpoint/a?signal=true");
    assert_eq!(made.header("location"), Some("/live/whip/resource/a"));
    assert_eq!((cluster.streams()[0].node, cluster.streams()[0].name.as_str()), (1, "a"));

    let target = "/live/whep/endpoint/a?requestId=p1&signal=true";
    // SDK 11 sends an offer unless told otherwise, and takes what comes for the node's.
    for body in ["", "v=0\r\n"] {
        let mut player = Media::new();
        let offered = ask(node, "POST", target, SDP, body);
        assert_eq!(offered.status, 201);
        assert_eq!(ask(node, "POST", target, SDP, "").status, 409, "one session per requestId");
        let offer = SdpOffer::from_sdp_string(&offered.body).expect("good SDP");
        let answer = player.rtc.sdp_api().accept_offer(offer).expect("it fits").to_sdp_string();
        let resource = "/live/whep/resource/a?requestId=p1";
        assert_eq!(ask(node, "PATCH", resource, SDP, &answer).status, 204);
        assert_eq!(ask(node, "PATCH", resource, SDP, &answer).status, 400, "answered already");
        assert_eq!(ask(node, "PATCH", resource, TRICKLE, "a=end-of-candidates\r\n").status, 204);
        stream(&mut publisher, &mut player);
        assert_eq!(cluster.streams()[0].subscribers, 1);
        assert_eq!(ask(node, "DELETE", resource, SDP, "").status, 200);
        assert_eq!(ask(node, "DELETE", resource, SDP, "").status, 404);
    }
    assert_eq!(ask(node, "DELETE", "/live/whip/resource/a", SDP, "").status, 200);
    assert!(cluster.streams().is_empty());
    let seen = node.whip();
    assert_eq!((seen[0].status, seen[0].head.param("signal")), (201, Some("true")));
    assert!(seen[0].body.starts_with(b"v=0"));
}

#[test]
fn the_drafts_way_players_offer() {
    let cluster = cluster();
    let node = cluster.node(0);
    let (mut publisher, _) = publish(&cluster, node, "/live/whip/endpoint/a");
    let mut player = Media::new();
    let mut change = player.rtc.sdp_api();
    change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = change.apply().expect("there is something to offer");
    let made = ask(node, "POST", "/live/whep/endpoint/a", SDP, &offer.to_sdp_string());
    assert_eq!(made.status, 201);
    let answer = SdpAnswer::from_sdp_string(&made.body).expect("good SDP");
    player.rtc.sdp_api().accept_answer(pending, answer).expect("it fits");
    stream(&mut publisher, &mut player);

    let resource = made.header("location").expect("a name of its own");
    assert!(resource.starts_with("/live/whep/resource/a?requestId="), "{resource}");
    let etag = made.header("etag").expect("of the session");
    let fields = |etag: &str| format!("Content-Type: {TRICKLE}\r\nIf-Match: {etag}\r\n");
    let fragment = "a=end-of-candidates\r\n";
    assert_eq!(ask_with(node, "PATCH", resource, &fields("\"other\""), fragment).status, 412);
    assert_eq!(ask_with(node, "PATCH", resource, &fields(etag), fragment).status, 204);
    assert_eq!(ask(node, "DELETE", resource, SDP, "").status, 200);
}

#[test]
fn what_a_node_refuses() {
    let cluster = cluster();
    let node = cluster.node(0);
    cluster.pretend_live("live", "taken", 1);
    for (method, target, kind, body, status) in [
        ("POST", "/live/whip/endpoint/a", SDP, "nonsense", 400),
        ("POST", "/live/whip/endpoint/a", "text/plain", "v=0", 406),
        ("POST", "/live/whip/endpoint/taken", SDP, "v=0", 409),
        ("POST", "/other/whip/endpoint/a", SDP, "v=0", 404),
        ("POST", "/live/whep/endpoint/nobody", SDP, "", 404),
        ("POST", "/live/whip/resource/a", SDP, "v=0", 405),
        ("GET", "/live/whip/endpoint/a", SDP, "", 405),
        ("PATCH", "/live/whip/resource/a", TRICKLE, "", 404),
        ("PATCH", "/live/whep/resource/a", "text/plain", "", 406),
        ("DELETE", "/live/whip/resource/a", SDP, "", 404),
    ] {
        assert_eq!(ask(node, method, target, kind, body).status, status, "{method} {target}");
    }
    let long = "v=0".repeat(100_000);
    assert_eq!(ask(node, "POST", "/live/whip/endpoint/a", SDP, &long).status, 413);
}

#[test]
fn bodies_may_come_in_chunks_and_requests_one_after_the_other() {
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
fn knobs_of_whip() {
    let cluster = cluster();
    let node = cluster.node(0);
    let options = || ask(node, "OPTIONS", "/live/whip/endpoint/a", SDP, "");
    let post = || ask(node, "POST", "/live/whip/endpoint/a", SDP, "v=0");
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
fn locations_and_framings() {
    for (location, shown) in [
        (LocationKnob::Absolute, Some("http://NODE/live/whip/resource/a")),
        (LocationKnob::Query("host=10.0.0.7".to_owned()), Some("/live/whip/resource/a?host=10.0.0.7")),
        (LocationKnob::Text("//evil/x".to_owned()), Some("//evil/x")),
        (LocationKnob::Missing, None),
    ] {
        let cluster = cluster();
        let node = cluster.node(0);
        node.knobs(|k| k.whip.location = location.clone());
        let (_, made) = publish(&cluster, node, "/live/whip/endpoint/a");
        let shown = shown.map(|text| text.replace("NODE", &node.address().to_string()));
        assert_eq!(made.header("location"), shown.as_deref());
    }
    let cluster = cluster();
    let node = cluster.node(0);
    let (_publisher, made) = publish(&cluster, node, "/live/whip/endpoint/a");
    assert_eq!(made.header("content-length"), Some(made.body.len().to_string().as_str()));
    let mut player = 0;
    let mut offer = |framing: Framing| {
        player += 1;
        node.knobs(|k| k.whip.framing = framing);
        ask(node, "POST", &format!("/live/whep/endpoint/a?requestId={player}"), SDP, "")
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
fn a_node_that_goes_down_takes_its_streams_along_and_comes_back() {
    let cluster = cluster();
    let node = cluster.node(0);
    let (_publisher, _) = publish(&cluster, node, "/live/whip/endpoint/a");
    node.down();
    until(&mut [], "the stream is gone", |_| cluster.streams().is_empty());
    until(&mut [], "connects are refused", |_| TcpStream::connect(node.address()).is_err());
    node.up();
    until(&mut [], "connects work again", |_| TcpStream::connect(node.address()).is_ok());
    assert_eq!(ask(node, "DELETE", "/live/whip/resource/a", SDP, "").status, 200, "it ended lately");
    publish(&cluster, node, "/live/whip/endpoint/a");
}

#[test]
fn names_are_given_once_each_and_other_processes_can_turn_knobs() {
    let cluster = cluster();
    let manager = cluster.manager_address();
    let at_manager = |request: String| {
        let mut stream = TcpStream::connect(manager).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout is no zero");
        write!(stream, "{request} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut raw = String::new();
        stream.read_to_string(&mut raw).expect("it answers in time");
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
    let (_publisher, made) = publish(&cluster, cluster.node(1), "/live/whip/endpoint/b");
    assert_eq!(made.header("location"), None);
    assert_eq!(at_manager("POST /sandbox/nodes/1/down".to_owned()).status, 200);
    let node = cluster.node(1).address();
    until(&mut [], "connects are refused", |_| TcpStream::connect(node).is_err());
}
