//! The scripted peers keep their word to each other: without this no other failure here would mean anything.

use crate::harness::certs::{ECDSA, NAME, RSA, RSA_NAME};
use crate::harness::connection::{End, Side};
use crate::harness::node::{Deaf, Echo};
use crate::harness::tls_records::{self, APPLICATION_DATA, Records};
use crate::harness::{Door, Frame, Gate, HttpPeer, Link, Origin, Place, Reply, Request};
use std::net::{SocketAddr, TcpStream};

fn connect(address: SocketAddr) -> Link {
    Link::new(Box::new(TcpStream::connect(address).unwrap()), Side::Client)
}

#[test]
fn a_client_and_a_node_talk_frames() {
    let place = Place::claim();
    let origin = Origin::listen(place.node(1));
    let mut client = connect(place.node(1));
    client.ask(&Request::upgrade("/live/?id=s"));
    let mut node = origin.accept();
    assert_eq!(node.agree().target(), "/live/?id=s");
    let response = client.read_response();
    assert_eq!(
        (response.status(), response.field("sec-websocket-accept")),
        (101, Some(crate::harness::client::ACCEPT))
    );

    for length in [0, 1, 125, 126, 65_535, 65_536] {
        client.say(Frame::binary(vec![7; length]));
        assert_eq!(node.hear(), Frame::binary(vec![7; length]));
        node.say(Frame::binary(vec![9; length]).unfinished());
        assert_eq!(client.hear(), Frame::binary(vec![9; length]).unfinished());
    }
    client.say(Frame::close(1000, "bye"));
    assert_eq!(node.hear_close(), (Some(1000), "bye".to_owned()));
    node.say(Frame::empty_close());
    assert_eq!(client.hear_close(), (None, String::new()));
    client.finish();
    assert_eq!(node.ended(), End::Clean);
    node.abort();
    assert_eq!(client.ended(), End::Torn);
    assert_eq!(origin.dials(), 1);
}

#[test]
fn a_manager_answers_in_both_framings_and_counts() {
    let place = Place::claim();
    let manager = HttpPeer::start(place.manager());
    manager.answer("/whole", Reply::node(place.node(1).ip()));
    manager.answer("/chunked", Reply::node(place.node(1).ip()).chunked());
    manager.answer("/torn", Reply::json(200, "{}").torn());
    let gate = Gate::default();
    manager.answer("/held", Reply::json(200, "{}").held(&gate));

    let mut client = connect(place.manager());
    let whole = client.get("/whole");
    assert_eq!(whole.body, client.get("/chunked").body);
    assert_eq!(whole.json()["serverAddress"], place.node(1).ip().to_string());
    assert_eq!(client.get("/nobody").status(), 404);
    client.ask(&Request::get("/held"));
    manager.wait_for_questions(4);
    gate.open();
    assert_eq!(client.read_response().text(), "{}");
    assert_eq!((manager.count(), manager.connections()), (4, 1));
    client.ask(&Request::get("/torn"));
    assert!(client.read_head().line.contains("200"));
    assert_eq!(client.rest(), (b"{}".to_vec(), End::Clean));
}

#[test]
fn a_client_comes_in_through_tls_with_either_certificate() {
    let place = Place::claim();
    for (identity, name) in [(&ECDSA, NAME), (&RSA, RSA_NAME)] {
        let manager = HttpPeer::start_tls(place.gateway(), identity);
        manager.answer("/", Reply::json(200, "[]").chunked());
        let mut client = Door::to(place.gateway()).from(place.home(1)).sni(name).enter();
        assert_eq!(client.tcp().local_addr().unwrap().ip(), place.home(1));
        for n in 0..3 {
            client.renew_keys();
            assert_eq!(client.get(&format!("/{n}")).text(), "[]");
        }
        let other = if name == NAME { RSA_NAME } else { NAME };
        assert!(Door::to(place.gateway()).sni(other).try_enter().is_none(), "the wrong certificate");
    }
}

#[test]
fn records_by_hand_are_real_tls() {
    let place = Place::claim();
    let manager = HttpPeer::start_tls(place.gateway(), &ECDSA);
    manager.answer("/", Reply::json(200, "[]"));
    let mut client = Door::to(place.gateway()).with(tls_records::config()).enter();
    assert_eq!(client.get("/before").text(), "[]");
    let mut records = Records::take_over(client);
    for _ in 0..3 {
        records.write_record(APPLICATION_DATA, b"");
        records.write_record(APPLICATION_DATA, &Request::get("/by-hand").bytes());
        let (kind, content) = records.read_record();
        assert!(kind == APPLICATION_DATA && content.ends_with(b"\r\n\r\n[]"), "{}", content.escape_ascii());
    }
    assert_eq!(manager.count(), 4);
}

#[test]
fn an_echo_answers_every_client_and_the_deaf_nobody() {
    let place = Place::claim();
    let _echo = Echo::listen(place.node(1));
    for n in 0..3 {
        let mut client = connect(place.node(1));
        client.ask(&Request::upgrade("/"));
        assert_eq!(client.read_response().status(), 101);
        client.say(Frame::text(&n.to_string()));
        assert_eq!(client.hear(), Frame::text(&n.to_string()));
        client.say(Frame::empty_close());
        assert_eq!(client.hear(), Frame::empty_close());
        assert_eq!(client.ended(), End::Clean);
    }
    let _deaf = Deaf::listen(place.node(2));
    let soon = std::time::Duration::from_millis(300);
    assert_eq!(
        TcpStream::connect_timeout(&place.node(2), soon).unwrap_err().kind(),
        std::io::ErrorKind::TimedOut
    );
}
