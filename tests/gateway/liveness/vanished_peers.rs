//! Peers that vanish silently, or only seem to: their sessions end in time on both legs, and no other session does.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::{
    ClientBuilder, Config, Connection, Frame, Gateway, NodeListener, Request, TestBed, Workspace, eventually,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a frame that is never finished.
const SENT: usize = 5;

/// A gateway whose links to clients and nodes can be cut.
struct Scene {
    _workspace: Workspace,
    gateway: Arc<Gateway>,
    listener: Option<NodeListener>,
    links: NetnsLinks,
}

impl Scene {
    /// Pings are due after a second, and pongs a second later. `None` where there are no network namespaces.
    fn create(test: &str) -> Option<Self> {
        let links = NetnsLinks::create(test)?;
        let workspace = Workspace::claim();
        let mut config = Config::new(&workspace);
        config.set("gateway.listen", vec![Self::gateway_address().to_string()]);
        config.set("origins.networks", vec![NetnsLinks::NODE.to_string()]);
        config.set("websocket.ping_interval", "1s");
        config.set("websocket.pong_timeout", "1s");
        let (gateway, workspace) =
            links.gateway.inside(move || (Gateway::start(&workspace, &config), workspace));
        let listener = links.nodes.inside(|| NodeListener::listen((NetnsLinks::NODE, 5080).into()));
        Some(Self { _workspace: workspace, gateway: Arc::new(gateway), listener: Some(listener), links })
    }

    fn gateway_address() -> SocketAddr {
        (NetnsLinks::GATEWAY, 8443).into()
    }

    #[track_caller]
    fn relay(&self) -> (Connection, Connection) {
        let mut client =
            self.links.clients.inside(|| ClientBuilder::to(Self::gateway_address()).connect_tls());
        client.send_request(&Request::upgrade(&format!(
            "/streammanager/?id=stream1&host={}&app=live",
            NetnsLinks::NODE
        )));
        let mut node = self.listener.as_ref().unwrap().accept();
        node.accept_upgrade();
        assert_eq!(client.read_response().status(), 101);
        (client, node)
    }

    #[track_caller]
    fn wait_for_metric(&self, name: &'static str, labels: &'static [(&str, &str)], value: f64) {
        let gateway = self.gateway.clone();
        self.links.gateway.inside(move || gateway.wait_for_metric(name, labels, value));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // it ends by a dial to its own address, which exists only inside the namespace
        let listener = self.listener.take();
        self.links.nodes.inside(move || drop(listener));
    }
}

#[test]
fn a_client_with_a_cut_link_is_gone_in_time_on_both_legs() {
    let Some(scene) = Scene::create("a client with a cut link") else { return };
    let half = Frame::text("half a frame").bare();
    let (_client, mut quiet) = scene.relay();
    let (_client, mut talking) = scene.relay();
    // no Ping can be sent to this client, because a frame to it is unfinished
    let (mut client, mut inside_a_frame) = scene.relay();
    inside_a_frame.send(&half[..SENT]);
    assert_eq!(client.read_bytes(SENT), half[..SENT]);
    let (mut stuck, mut node_of_stuck) = scene.relay();
    let begun = stuck.encode(&Frame::text("half a frame"));
    stuck.send(&begun[..9]);
    assert_eq!(node_of_stuck.read_bytes(9), begun[..9]);

    scene.links.clients.unplug();
    talking.send_frame(Frame::text("are you there?"));
    for node in [&mut quiet, &mut talking, &mut inside_a_frame] {
        node.expect_close(1001);
        node.expect_end();
    }
    // no Close can be sent to this node, because a frame to it is unfinished
    node_of_stuck.expect_end();
    scene.wait_for_metric("tidegate_worker_sessions", &[], 0.0);
    scene.wait_for_metric("tidegate_connections_active", &[], 0.0);
    scene.wait_for_metric("tidegate_ends_total", &[("how", "torn")], 0.0);
}

#[test]
fn a_node_with_a_cut_link_is_gone_in_time_on_both_legs() {
    let Some(scene) = Scene::create("a node with a cut link") else { return };
    let half = Frame::text("half a frame").bare();
    let (quiet, _node) = scene.relay();
    let (mut talking, _node) = scene.relay();
    let (mut inside_a_frame, mut node) = scene.relay();
    node.send(&half[..SENT]);
    assert_eq!(inside_a_frame.read_bytes(SENT), half[..SENT]);

    scene.links.nodes.unplug();
    talking.send_frame(Frame::text("are you there?"));
    std::thread::scope(|scope| {
        for client in [quiet, talking] {
            scope.spawn(move || {
                let mut client = client;
                let close = client.read_frame_answering_pings();
                assert_eq!(close.as_close().expect("a Close").0, Some(1014));
                client.answer_close(1014);
            });
        }
        scope.spawn(|| inside_a_frame.expect_end());
    });
    scene.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 2.0);
    scene.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "torn")], 1.0);
    scene.wait_for_metric("tidegate_connections_active", &[], 0.0);
}

fn bed_with_short_timeouts() -> TestBed {
    TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "1s");
        config.set("websocket.pong_timeout", "1s");
    })
}

#[test]
fn a_client_stuck_inside_its_own_frame_is_closed() {
    let bed = bed_with_short_timeouts();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let begun = client.encode(&Frame::text("half a frame"));
    client.send(&begun[..9]);
    assert_eq!(
        client.read_frame().opcode,
        Frame::PING,
        "a Ping is legal while the client's frame is unfinished"
    );
    client.expect_close(1001);
    assert_eq!(node.read_bytes(9), begun[..9]);
    node.expect_end();
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "silent")], 1.0);
}

#[test]
fn a_client_whose_frame_arrives_byte_by_byte_counts_as_alive() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "400ms");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let frame = Frame::text("it takes its time");
    // longer in all than the allowed silence; the client can't answer a Ping before its frame is finished
    for byte in client.encode(&frame) {
        client.send(&[byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(node.read_frame(), frame);
    node.send_frame(Frame::text("at last"));
    assert_eq!(client.read_frame_answering_pings(), Frame::text("at last"));
}

#[test]
fn a_node_that_never_reads_is_given_up() {
    let bed = bed_with_short_timeouts();
    let listener = bed.node(1);
    let (mut client, _node) = bed.relay(&listener);
    client.tcp().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while client.try_send(&client.encode(&Frame::binary(vec![1; 60_000]))).is_ok() {}
    // the test itself cut the last frame: what counts is that the client is closed and the session is over
    client.expect_close(1014);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 1.0);
    eventually("no connection is left", || bed.gateway.metric("tidegate_connections_active", &[]) == 0.0);
}
