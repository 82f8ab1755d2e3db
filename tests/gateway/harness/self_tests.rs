//! The scripted peers work with each other: without that no other failure of these tests would mean anything.

use crate::harness::certs::{ECDSA, NAME, RSA, RSA_NAME};
use crate::harness::connection::{End, Side};
use crate::harness::node::{EchoNode, FullBacklog};
use crate::harness::tls_records::{self, APPLICATION_DATA, TlsRecords};
use crate::harness::{
    ClientBuilder, Connection, Frame, Gate, HttpPeer, NodeListener, Reply, Request, Workspace,
};
use std::net::{SocketAddr, TcpStream};

fn connect(address: SocketAddr) -> Connection {
    Connection::new(Box::new(TcpStream::connect(address).unwrap()), Side::Client)
}

#[test]
fn a_client_and_a_node_exchange_frames() {
    let workspace = Workspace::claim();
    let listener = NodeListener::listen(workspace.node(1));
    let mut client = connect(workspace.node(1));
    client.send_request(&Request::upgrade("/live/?id=s"));
    let mut node = listener.accept();
    assert_eq!(node.accept_upgrade().target(), "/live/?id=s");
    let response = client.read_response();
    assert_eq!(
        (response.status(), response.field("sec-websocket-accept")),
        (101, Some(crate::harness::client::ACCEPT))
    );

    for length in [0, 1, 125, 126, 65_535, 65_536] {
        client.send_frame(Frame::binary(vec![7; length]));
        assert_eq!(node.read_frame(), Frame::binary(vec![7; length]));
        node.send_frame(Frame::binary(vec![9; length]).unfinished());
        assert_eq!(client.read_frame(), Frame::binary(vec![9; length]).unfinished());
    }
    client.send_frame(Frame::close(1000, "bye"));
    assert_eq!(node.read_close(), (Some(1000), "bye".to_owned()));
    node.send_frame(Frame::empty_close());
    assert_eq!(client.read_close(), (None, String::new()));
    client.shutdown_write();
    assert_eq!(node.expect_end(), End::Clean);
    node.reset();
    assert_eq!(client.expect_end(), End::Abrupt);
    assert_eq!(listener.dials(), 1);
}

#[test]
fn a_manager_answers_in_both_framings_and_counts_requests() {
    let workspace = Workspace::claim();
    let manager = HttpPeer::start(workspace.manager());
    manager.answer("/whole", Reply::node(workspace.node(1).ip()));
    manager.answer("/chunked", Reply::node(workspace.node(1).ip()).chunked());
    manager.answer("/torn", Reply::json(200, "{}").truncated());
    let gate = Gate::default();
    manager.answer("/held", Reply::json(200, "{}").held(&gate));

    let mut client = connect(workspace.manager());
    let whole = client.get("/whole");
    assert_eq!(whole.body, client.get("/chunked").body);
    assert_eq!(whole.json()["serverAddress"], workspace.node(1).ip().to_string());
    assert_eq!(client.get("/unknown").status(), 404);
    client.send_request(&Request::get("/held"));
    manager.wait_for_requests(4);
    gate.open();
    assert_eq!(client.read_response().text(), "{}");
    assert_eq!((manager.count(), manager.connections()), (4, 1));
    client.send_request(&Request::get("/torn"));
    assert!(client.read_head().line.contains("200"));
    assert_eq!(client.read_to_end(), (b"{}".to_vec(), End::Clean));
}

#[test]
fn a_client_connects_through_tls_with_either_certificate() {
    let workspace = Workspace::claim();
    for (identity, name) in [(&ECDSA, NAME), (&RSA, RSA_NAME)] {
        let manager = HttpPeer::start_tls(workspace.gateway(), identity);
        manager.answer("/", Reply::json(200, "[]").chunked());
        let mut client =
            ClientBuilder::to(workspace.gateway()).from(workspace.client_ip(1)).sni(name).connect_tls();
        assert_eq!(client.tcp().local_addr().unwrap().ip(), workspace.client_ip(1));
        for n in 0..3 {
            client.renew_keys();
            assert_eq!(client.get(&format!("/{n}")).text(), "[]");
        }
        let other = if name == NAME { RSA_NAME } else { NAME };
        assert!(
            ClientBuilder::to(workspace.gateway()).sni(other).try_connect_tls().is_none(),
            "the wrong certificate"
        );
    }
}

#[test]
fn records_written_by_hand_are_real_tls() {
    let workspace = Workspace::claim();
    let manager = HttpPeer::start_tls(workspace.gateway(), &ECDSA);
    manager.answer("/", Reply::json(200, "[]"));
    let mut client = ClientBuilder::to(workspace.gateway()).with(tls_records::config()).connect_tls();
    assert_eq!(client.get("/before").text(), "[]");
    let mut records = TlsRecords::take_over(client);
    for _ in 0..3 {
        records.write_record(APPLICATION_DATA, b"");
        records.write_record(APPLICATION_DATA, &Request::get("/by-hand").bytes());
        let (kind, content) = records.read_record();
        assert!(kind == APPLICATION_DATA && content.ends_with(b"\r\n\r\n[]"), "{}", content.escape_ascii());
    }
    assert_eq!(manager.count(), 4);
}

#[test]
fn an_echo_node_answers_every_client_and_a_full_backlog_none() {
    let workspace = Workspace::claim();
    let _echo = EchoNode::listen(workspace.node(1));
    for n in 0..3 {
        let mut client = connect(workspace.node(1));
        client.send_request(&Request::upgrade("/"));
        assert_eq!(client.read_response().status(), 101);
        client.send_frame(Frame::text(&n.to_string()));
        assert_eq!(client.read_frame(), Frame::text(&n.to_string()));
        client.send_frame(Frame::empty_close());
        assert_eq!(client.read_frame(), Frame::empty_close());
        assert_eq!(client.expect_end(), End::Clean);
    }
    let _unresponsive = FullBacklog::listen(workspace.node(2));
    let soon = std::time::Duration::from_millis(300);
    assert_eq!(
        TcpStream::connect_timeout(&workspace.node(2), soon).unwrap_err().kind(),
        std::io::ErrorKind::TimedOut
    );
}
