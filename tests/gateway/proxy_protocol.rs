//! PROXY protocol: trusted balancers announce their clients, and no other peer may.

use crate::harness::flood::has_ended;
use crate::harness::{Config, Connection, NodeListener, Request, TestBed, Workspace, eventually};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use toml::Value;

/// The client that the balancer announces.
const CLIENT: &str = "192.0.2.7:50000";

/// A test bed behind a balancer, which has the first client address.
fn bed_behind_balancer(versions: &str, change: impl FnOnce(&mut Config)) -> TestBed {
    TestBed::with(|config, workspace| {
        config.set("gateway.proxy_protocol", versions);
        config.set("gateway.trusted_proxies", vec![Value::from(balancer(workspace).to_string())]);
        change(config);
    })
}

fn balancer(workspace: &Workspace) -> Ipv4Addr {
    workspace.client_ip(1)
}

/// A connection of the balancer on which `header` was sent.
fn connect_announced(bed: &TestBed, header: &[u8]) -> TcpStream {
    let mut tcp = bed.client_builder().from(balancer(&bed.workspace)).connect_tcp();
    tcp.write_all(header).unwrap();
    tcp
}

fn v1(client: SocketAddr) -> Vec<u8> {
    format!("PROXY TCP4 {} 10.0.0.1 {} 443\r\n", client.ip(), client.port()).into_bytes()
}

fn v2(command: u8, client: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(client) = client else { panic!("IPv4 here") };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 16]);
    header.extend(client.ip().octets());
    header.extend([10, 0, 0, 1]);
    header.extend(client.port().to_be_bytes());
    header.extend([1, 0xbb, 0x04, 0, 1, 0]);
    header
}

/// A session on this connection, and the client that the node was told.
#[track_caller]
fn session(bed: &TestBed, listener: &NodeListener, tcp: TcpStream) -> (Connection, Connection, String) {
    let mut client = bed.client_builder().handshake_on(tcp);
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let mut node = listener.accept();
    let head = node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101);
    let told = |name| head.field(name).expect(name).to_owned();
    let client_told = format!("{}:{}", told("x-forwarded-for"), told("x-forwarded-for-meta-port"));
    (client, node, client_told)
}

/// Checks that the gateway ends this connection without sending a byte.
#[track_caller]
fn assert_dropped(mut tcp: TcpStream) {
    let mut received = Vec::new();
    // a connection with unread bytes is reset
    let _ = tcp.read_to_end(&mut received);
    assert!(received.is_empty(), "{received:?}");
}

fn failures(bed: &TestBed, how: &str) -> f64 {
    bed.gateway.metric("tidegate_proxy_protocol_failures_total", &[("how", how)])
}

#[test]
fn nodes_limits_and_operators_see_the_client_behind_the_balancer() {
    let client: SocketAddr = CLIENT.parse().unwrap();
    for (versions, header) in
        [("v1", v1(client)), ("v2", v2(1, client)), ("any", v1(client)), ("any", v2(1, client))]
    {
        let bed = bed_behind_balancer(versions, |config| config.set("limits.sessions_per_ip", 1));
        let listener = bed.node(1);
        let (_client, _node, told) = session(&bed, &listener, connect_announced(&bed, &header));
        assert_eq!(told, CLIENT, "{versions}");
        let rows = bed.gateway.admin_get("/api/sessions").json();
        assert!(rows.to_string().contains(CLIENT), "{rows}");
        // a second session of the same client exceeds its limit; another client behind the same balancer does not
        let mut second = bed.client_builder().handshake_on(connect_announced(&bed, &header));
        second.send_request(&Request::upgrade(&bed.websocket_target(1)));
        second.read_response().assert_refusal(429, "too_many");
        let other = if versions == "v1" { v1 } else { |client| v2(1, client) };
        let other = connect_announced(&bed, &other("192.0.2.8:50000".parse().unwrap()));
        assert_eq!(session(&bed, &listener, other).2, "192.0.2.8:50000");
    }
}

#[test]
fn a_balancer_that_announces_no_client_is_its_own_client() {
    let bed = bed_behind_balancer("any", |_| {});
    let listener = bed.node(1);
    for header in [v2(0, CLIENT.parse().unwrap()), b"PROXY UNKNOWN\r\n".to_vec()] {
        let tcp = connect_announced(&bed, &header);
        let own = tcp.local_addr().unwrap().to_string();
        assert_eq!(session(&bed, &listener, tcp).2, own);
    }
}

#[test]
fn a_header_in_pieces_or_together_with_the_client_hello_is_read() {
    let bed = bed_behind_balancer("any", |_| {});
    let listener = bed.node(1);
    for header in [v1(CLIENT.parse().unwrap()), v2(1, CLIENT.parse().unwrap())] {
        let mut tcp = bed.client_builder().from(balancer(&bed.workspace)).connect_tcp();
        tcp.set_nodelay(true).unwrap();
        for byte in &header {
            tcp.write_all(&[*byte]).unwrap();
            std::thread::yield_now();
        }
        assert_eq!(session(&bed, &listener, tcp).2, CLIENT);
        // corked: the kernel sends the header only with the ClientHello, or once a packet is full
        let tcp = bed.client_builder().from(balancer(&bed.workspace)).connect_tcp();
        rustix::net::sockopt::set_tcp_cork(&tcp, true).unwrap();
        (&tcp).write_all(&header).unwrap();
        assert_eq!(session(&bed, &listener, tcp).2, CLIENT);
    }
}

#[test]
fn untrusted_peers_are_dropped_whatever_they_send() {
    let bed = bed_behind_balancer("any", |_| {});
    for header in [v1(CLIENT.parse().unwrap()), v2(1, CLIENT.parse().unwrap()), vec![]] {
        let mut tcp = bed.client_builder().from(bed.workspace.client_ip(2)).connect_tcp();
        // the gateway may have dropped it already
        let _ = tcp.write_all(&header);
        assert_dropped(tcp);
    }
    assert_eq!(failures(&bed, "untrusted"), 3.0);
}

#[test]
fn headers_of_another_version_or_none_are_dropped() {
    let client = CLIENT.parse().unwrap();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    for (versions, header) in
        [("v1", v2(1, client)), ("v2", v1(client)), ("any", hello), ("any", b"PROXY TCP4 x\r\n".into())]
    {
        let bed = bed_behind_balancer(versions, |_| {});
        assert_dropped(connect_announced(&bed, &header));
        assert_eq!(failures(&bed, "malformed"), 1.0, "{versions}");
        assert_eq!(bed.gateway.metric("tidegate_tls_handshake_failures_total", &[("how", "protocol")]), 0.0);
    }
}

#[test]
fn a_header_that_never_ends_times_out() {
    let bed = bed_behind_balancer("any", |config| config.set("tls.handshake_timeout", "200ms"));
    assert_dropped(connect_announced(&bed, b"PROXY TCP4 192."));
    assert_eq!(failures(&bed, "timeout"), 1.0);
    drop(connect_announced(&bed, b"PROXY"));
    bed.gateway.wait_for_metric("tidegate_proxy_protocol_failures_total", &[("how", "lost")], 1.0);
}

#[test]
fn without_the_proxy_protocol_its_header_is_no_tls() {
    let bed = TestBed::start();
    let mut tcp = bed.client_builder().connect_tcp();
    tcp.write_all(&v1(CLIENT.parse().unwrap())).unwrap();
    let mut received = Vec::new();
    tcp.read_to_end(&mut received).unwrap();
    assert_eq!(received.first(), Some(&21), "an alert: {received:?}");
    bed.gateway.wait_for_metric("tidegate_tls_handshake_failures_total", &[("how", "protocol")], 1.0);
}

#[test]
fn a_reload_can_turn_the_proxy_protocol_on() {
    let mut kept = None;
    let bed = TestBed::with(|config, _| kept = Some(config.clone()));
    let listener = bed.node(1);
    let own = bed.client_builder().from(balancer(&bed.workspace)).connect_tcp();
    session(&bed, &listener, own);
    let mut config = kept.expect("the closure was called");
    config.set("gateway.proxy_protocol", "v2");
    config.set("gateway.trusted_proxies", vec![Value::from(balancer(&bed.workspace).to_string())]);
    config.write(&bed.workspace);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert_eq!(session(&bed, &listener, connect_announced(&bed, &v2(1, CLIENT.parse().unwrap()))).2, CLIENT);
}

#[test]
fn silent_clients_behind_a_balancer_have_their_shares_of_handshakes() {
    let bed = bed_behind_balancer("v1", |config| {
        config.set("limits.handshakes", 32);
        config.set("tls.handshake_timeout", "60s");
    });
    let address = |n: usize| SocketAddr::from(([198, 51, 100, n as u8], 4000));
    let silent = |n: usize| connect_announced(&bed, &v1(address(n)));
    // a sixteenth of 32
    let of_one: Vec<_> = (0..8).map(|_| silent(1)).collect();
    of_one.iter().for_each(|tcp| tcp.set_nonblocking(true).unwrap());
    eventually("all but its share are ended", || of_one.iter().filter(|tcp| has_ended(tcp)).count() == 6);
    let _silent: Vec<_> = (2..=40).map(silent).collect();
    for n in 50..60 {
        let tcp = connect_announced(&bed, &v1(address(n)));
        assert_eq!(bed.client_builder().handshake_on(tcp).get("/nowhere").status(), 404, "others make room");
    }
}
