//! Peers that vanish without a word, or that only seem to: who is gone is let go in time, on both legs, and nobody else.

use crate::harness::netns_link::Cabling;
use crate::harness::{Config, Door, Frame, Gateway, Link, Origin, Place, Request, Town, eventually};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What no side ever sees the end of.
const BEGUN: usize = 5;

/// A gateway between cables.
struct Scene {
    _place: Place,
    gateway: Arc<Gateway>,
    origin: Option<Origin>,
    cabling: Cabling,
}

impl Scene {
    /// With pings after a second and pongs due a second later; nothing where there are no cables.
    fn set(test: &str) -> Option<Self> {
        let cabling = Cabling::lay(test)?;
        let place = Place::claim();
        let mut config = Config::new(&place);
        config.set("gateway.listen", vec![Self::door().to_string()]);
        config.set("origins.networks", vec![Cabling::NODE.to_string()]);
        config.set("websocket.ping_interval", "1s");
        config.set("websocket.pong_timeout", "1s");
        let (gateway, place) = cabling.gateway.inside(move || (Gateway::start(&place, &config), place));
        let origin = cabling.nodes.inside(|| Origin::listen((Cabling::NODE, 5080).into()));
        Some(Self { _place: place, gateway: Arc::new(gateway), origin: Some(origin), cabling })
    }

    fn door() -> SocketAddr {
        (Cabling::DOOR, 8443).into()
    }

    #[track_caller]
    fn relay(&self) -> (Link, Link) {
        let mut client = self.cabling.clients.inside(|| Door::to(Self::door()).enter());
        client.ask(&Request::upgrade(&format!("/streammanager/?id=stream1&host={}&app=live", Cabling::NODE)));
        let mut node = self.origin.as_ref().unwrap().accept();
        node.agree();
        assert_eq!(client.read_response().status(), 101);
        (client, node)
    }

    #[track_caller]
    fn wait_for_metric(&self, name: &'static str, labels: &'static [(&str, &str)], value: f64) {
        let gateway = self.gateway.clone();
        self.cabling.gateway.inside(move || gateway.wait_for_metric(name, labels, value));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // it says goodbye to itself, at its own address
        let origin = self.origin.take();
        self.cabling.nodes.inside(move || drop(origin));
    }
}

/// The next frame that is no Ping; a client answers those.
#[track_caller]
fn hear_and_pong(client: &mut Link) -> Frame {
    loop {
        let frame = client.hear();
        if frame.opcode != Frame::PING {
            return frame;
        }
        client.say(Frame::new(Frame::PONG, frame.payload));
    }
}

#[test]
fn a_client_whose_cable_was_pulled_is_gone_in_time_on_both_legs() {
    let Some(scene) = Scene::set("a client whose cable was pulled") else { return };
    let half = Frame::text("half a frame").bare();
    let (_client, mut quiet) = scene.relay();
    let (_client, mut talking) = scene.relay();
    // nothing can be put into this one's frame: it can't be pinged
    let (mut client, mut inside_a_frame) = scene.relay();
    inside_a_frame.send(&half[..BEGUN]);
    assert_eq!(client.take(BEGUN), half[..BEGUN]);
    let (mut stuck, mut node_of_stuck) = scene.relay();
    let begun = stuck.encode(&Frame::text("half a frame"));
    stuck.send(&begun[..9]);
    assert_eq!(node_of_stuck.take(9), begun[..9]);

    scene.cabling.clients.pull();
    talking.say(Frame::text("are you there?"));
    for node in [&mut quiet, &mut talking, &mut inside_a_frame] {
        node.told(1001);
        node.ended();
    }
    // inside a frame of its client a node can't be told anything
    node_of_stuck.ended();
    scene.wait_for_metric("tidegate_sessions_active", &[], 0.0);
    scene.wait_for_metric("tidegate_connections", &[], 0.0);
    scene.wait_for_metric("tidegate_ends_total", &[("how", "torn")], 0.0);
}

#[test]
fn a_node_whose_cable_was_pulled_is_gone_in_time_on_both_legs() {
    let Some(scene) = Scene::set("a node whose cable was pulled") else { return };
    let half = Frame::text("half a frame").bare();
    let (quiet, _node) = scene.relay();
    let (mut talking, _node) = scene.relay();
    let (mut inside_a_frame, mut node) = scene.relay();
    node.send(&half[..BEGUN]);
    assert_eq!(inside_a_frame.take(BEGUN), half[..BEGUN]);

    scene.cabling.nodes.pull();
    talking.say(Frame::text("are you there?"));
    std::thread::scope(|scope| {
        for client in [quiet, talking] {
            scope.spawn(move || {
                let mut client = client;
                let close = hear_and_pong(&mut client);
                assert_eq!(close.as_close().expect("a Close").0, Some(1014));
                client.part(1014);
            });
        }
        scope.spawn(|| inside_a_frame.ended());
    });
    scene.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 2.0);
    scene.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "torn")], 1.0);
    scene.wait_for_metric("tidegate_connections", &[], 0.0);
}

fn impatient() -> Town {
    Town::with(|config, _| {
        config.set("websocket.ping_interval", "1s");
        config.set("websocket.pong_timeout", "1s");
    })
}

#[test]
fn a_client_stuck_inside_a_frame_of_its_own_is_let_go() {
    let town = impatient();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let begun = client.encode(&Frame::text("half a frame"));
    client.send(&begun[..9]);
    assert_eq!(client.hear().opcode, Frame::PING, "asking is legal, wherever the client is");
    client.told(1001);
    assert_eq!(node.take(9), begun[..9]);
    node.ended();
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "silent")], 1.0);
}

#[test]
fn a_client_whose_frame_drips_is_there() {
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "400ms");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = Frame::text("it takes its time");
    // longer in all than silence may last; it can't answer before it is through
    for byte in client.encode(&frame) {
        client.send(&[byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(node.hear(), frame);
    node.say(Frame::text("at last"));
    assert_eq!(hear_and_pong(&mut client), Frame::text("at last"));
}

#[test]
fn a_node_that_takes_nothing_is_given_up() {
    let town = impatient();
    let origin = town.node(1);
    let (mut client, _node) = town.relay(&origin);
    client.tcp().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while client.try_send(&client.encode(&Frame::binary(vec![1; 60_000]))).is_ok() {}
    // its last frame was cut by the test itself: what counts is that the client is told, and the session is over
    client.told(1014);
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 1.0);
    eventually("nothing is left of it", || town.gateway.metric("tidegate_connections", &[]) == 0.0);
}
