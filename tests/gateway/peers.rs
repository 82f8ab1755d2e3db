//! The scripted peers keep their word to each other: without this no other failure here would mean anything.

use crate::town::link::{End, Side};
use crate::town::{Frame, Gate, Link, Manager, Origin, Place, Reply, Request};
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
        (101, Some(super::town::client::ACCEPT))
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
    let manager = Manager::start(place.manager());
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
