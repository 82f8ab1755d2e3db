//! Tests the sandbox over sockets, with its knobs and its records. No gateway takes part.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidegate_sandbox::{Cluster, ClusterConfig, NodeFault};
use tungstenite::{Error, Message, WebSocket};

const DEADLINE: Duration = Duration::from_secs(5);

fn cluster() -> Cluster {
    Cluster::start(ClusterConfig::default()).expect("loopback has free ports")
}

/// Waits until `condition` holds; fails after the deadline.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the node listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
    stream
}

fn upgrade(address: SocketAddr, path: &str) -> Result<WebSocket<TcpStream>, String> {
    let url = format!("ws://{address}{path}");
    tungstenite::client(url.as_str(), dial(address)).map(|(ws, _)| ws).map_err(|why| why.to_string())
}

fn join(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut ws = upgrade(address, "/live/?id=a").expect("a node upgrades");
    let first = ws.read().expect("a node sends the first message").to_string();
    assert!(first.contains("NetConnection.Connect.Success"), "{first}");
    ws
}

/// Sends one GET on its own connection and returns the whole response.
fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = dial(address);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: sm\r\nConnection: close\r\n\r\n")
        .expect("the manager reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer or a close before the deadline");
    response
}

const BROADCAST: &str = "/streammanager/api/4.0/event/live/a?action=broadcast";
const SUBSCRIBE: &str = "/streammanager/api/4.0/event/live/a?action=subscribe";

#[test]
fn the_manager_places_publishers_in_turn_and_subscribers_only_at_live_streams() {
    let cluster = cluster();
    let manager = cluster.manager_address();
    assert!(get(manager, BROADCAST).contains(r#""serverAddress":"127.0.0.1""#));
    assert!(get(manager, BROADCAST).contains(r#""serverAddress":"127.0.0.2""#));
    assert!(get(manager, SUBSCRIBE).starts_with("HTTP/1.1 404"));
    cluster.pretend_live("live", "a", 1);
    assert!(get(manager, SUBSCRIBE).contains(r#""serverAddress":"127.0.0.2""#));
    assert_eq!(cluster.manager().asked(), 4);
    assert_eq!(cluster.manager().questions()[3].head.target, SUBSCRIBE);
}

#[test]
fn the_knobs_of_the_manager_change_its_answers() {
    let cluster = cluster();
    let (manager, handle) = (cluster.manager_address(), cluster.manager());
    handle.knobs(|k| k.named = Some("10.9.8.7".to_owned()));
    assert!(get(manager, BROADCAST).contains("10.9.8.7"));
    handle.knobs(|k| k.status = Some(500));
    assert!(get(manager, BROADCAST).starts_with("HTTP/1.1 500"));
    handle.knobs(|k| k.body = Some("<html>".to_owned()));
    assert!(get(manager, BROADCAST).ends_with("\r\n\r\n<html>"));
    handle.knobs(|k| k.raw = Some(b"nonsense".to_vec()));
    assert_eq!(get(manager, BROADCAST), "nonsense");
    handle.knobs(|k| *k = tidegate_sandbox::ManagerKnobs { hang_up: true, ..Default::default() });
    assert_eq!(get(manager, BROADCAST), "");
    let delay = Duration::from_millis(80);
    handle.knobs(|k| *k = tidegate_sandbox::ManagerKnobs { delay, ..Default::default() });
    let before = Instant::now();
    get(manager, BROADCAST);
    assert!(before.elapsed() >= delay);
}

#[test]
fn the_manager_keeps_a_connection_open_for_further_questions() {
    let cluster = cluster();
    let mut stream = dial(cluster.manager_address());
    let request = format!("GET {BROADCAST} HTTP/1.1\r\nHost: sm\r\n\r\n");
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    eventually("three answers", || cluster.manager().asked() == 3);
    assert_eq!(cluster.manager().connections(), 1);
}

#[test]
fn a_node_sends_the_first_message_answers_and_records() {
    let cluster = cluster();
    let node = cluster.node(1);
    let mut ws = join(node.address());
    ws.send(r#"{"isAvailable":"a","bundle":true}"#.into()).unwrap();
    assert_eq!(ws.read().unwrap().to_string(), r#"{"isAvailable":false,"streamName":"a"}"#);
    ws.send(r#"{"switchChannel":"red5pro"}"#.into()).unwrap();
    ws.close(None).unwrap();
    eventually("the close is recorded", || !node.closes().is_empty());
    let close = node.closes().remove(0);
    assert_eq!(close.code, Some(1005));
    assert_eq!(close.last_message.as_deref(), Some(r#"{"switchChannel":"red5pro"}"#));
    let head = node.heads().remove(0);
    assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/live/?id=a"));
    assert_eq!(head.header("UPGRADE"), Some("websocket"));
    eventually("the hand-off is counted", || node.counts().handed_off == 1);
    assert_eq!(node.counts().open, 0);
}

#[test]
fn a_node_pings_with_its_payload_and_echoes_binary_messages() {
    let ping_interval = Duration::from_millis(30);
    let cluster = Cluster::start(ClusterConfig { ping_interval, ..ClusterConfig::default() }).unwrap();
    let mut ws = join(cluster.node(0).address());
    ws.send(Message::Binary(vec![7; 1000].into())).unwrap();
    let (mut pinged, mut echoed) = (false, false);
    while !(pinged && echoed) {
        match ws.read().expect("a message before the deadline") {
            Message::Ping(payload) => pinged = payload == "PING!",
            Message::Binary(bytes) => echoed = bytes.len() == 1000,
            _ => {}
        }
    }
    eventually("the pong arrived", || {
        let _ = ws.flush();
        cluster.node(0).counts().pongs > 0
    });
}

#[test]
fn unknown_apps_and_plain_requests_are_refused() {
    let cluster = cluster();
    let node = cluster.node(0).address();
    assert!(upgrade(node, "/other/?id=a").is_err_and(|why| why.contains("404")));
    assert!(get(node, "/live/?id=a").starts_with("HTTP/1.1 400"));
}

#[test]
fn the_faults_of_an_upgrade_reach_the_client() {
    let cluster = cluster();
    let node = cluster.node(0);
    for (fault, text) in [
        (NodeFault::Answer(200), "200"),
        (NodeFault::Answer(500), "500"),
        (NodeFault::WrongAccept, "Sec-WebSocket-Accept"),
        (NodeFault::CloseAtUpgrade, "not finished"),
        (NodeFault::Header("Sec-WebSocket-Protocol: json".to_owned()), "SubProtocol"),
    ] {
        node.knobs(|knobs| knobs.fault = Some(fault.clone()));
        let refused = upgrade(node.address(), "/live/?id=a").expect_err("the upgrade fails");
        assert!(refused.contains(text), "{fault:?}: {refused}");
    }
    node.knobs(|knobs| knobs.fault = Some(NodeFault::HangUpgrade));
    let mut stream = dial(node.address());
    write!(stream, "GET /live/ HTTP/1.1\r\nHost: n\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let timeout = stream.read(&mut [0; 1]).expect_err("the node does not answer");
    assert!(matches!(timeout.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{timeout}");
}

#[test]
fn connects_can_be_refused_or_hang_and_work_again_afterwards() {
    let cluster = cluster();
    let node = cluster.node(0);
    let short = Duration::from_millis(150);
    let kind = || TcpStream::connect_timeout(&node.address(), short).err().map(|why| why.kind());
    node.knobs(|knobs| knobs.fault = Some(NodeFault::Refuse));
    eventually("connects are refused", || kind() == Some(ErrorKind::ConnectionRefused));
    node.knobs(|knobs| knobs.fault = Some(NodeFault::HangConnect));
    eventually("connects hang", || kind() == Some(ErrorKind::TimedOut));
    node.knobs(|knobs| knobs.fault = None);
    eventually("connects work again", || kind().is_none());
    join(node.address());
}

#[test]
fn a_node_can_end_a_session_without_a_close_or_with_a_code() {
    let cluster = cluster();
    let node = cluster.node(0);
    node.knobs(|knobs| knobs.fault = Some(NodeFault::Vanish { after: 1 }));
    let mut ws = join(node.address());
    ws.send("{}".into()).unwrap();
    let end = ws.read().expect_err("the connection ends without a Close");
    assert!(matches!(end, Error::Protocol(_) | Error::Io(_)), "{end}");
    node.knobs(|knobs| knobs.fault = Some(NodeFault::Close { after: 1, code: 1011 }));
    let mut ws = join(node.address());
    ws.send("{}".into()).unwrap();
    let Message::Close(Some(frame)) = ws.read().unwrap() else { panic!("expected a Close frame") };
    assert_eq!(u16::from(frame.code), 1011);
}

#[test]
fn the_first_message_can_come_in_one_write_with_the_101() {
    let cluster = cluster();
    let node = cluster.node(0);
    node.knobs(|knobs| knobs.coalesce = true);
    let mut stream = dial(node.address());
    write!(
        stream,
        "GET /live/?id=a HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut first = [0; 1024];
    let len = stream.read(&mut first).unwrap();
    let first = String::from_utf8_lossy(&first[..len]);
    assert!(first.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{first}");
    assert!(first.contains("Connect.Success"), "expected both in one write: {first}");
}

#[test]
fn stopping_a_cluster_ends_it_at_once_and_frees_its_ports() {
    let cluster = cluster();
    let (node, manager) = (cluster.node(0).address(), cluster.manager_address());
    let _open = join(node);
    let before = Instant::now();
    cluster.stop();
    assert!(before.elapsed() < DEADLINE);
    for address in [node, manager] {
        TcpListener::bind(address).expect("the port is free");
    }
}
