//! Quarantine: a node that refused or timed out is forgotten at once and avoided for a while, as long as another node is
//! known.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::node::{EchoNode, FullBacklog};
use crate::harness::{
    ClientBuilder, Config, Connection, Frame, Gateway, HttpPeer, NodeListener, Reply, Request, Response,
    TestBed, Workspace, eventually,
};
use crate::placement::one_step::name_nodes;

/// Answers that do not expire by themselves, and a quarantine that outlasts the test.
fn lasting_answers(config: &mut Config, _: &Workspace) {
    for key in ["answers.subscribe_ttl", "answers.broadcast_ttl", "origins.quarantine"] {
        config.set(key, "60s");
    }
    config.set("answers.subscribe_uses", 100_000);
}

/// The same with another length of the quarantine.
fn bed_with_quarantine(quarantine: &str) -> TestBed {
    TestBed::with(|config, workspace| {
        lasting_answers(config, workspace);
        config.set("origins.quarantine", quarantine);
    })
}

fn event(stream: &str, action: &str) -> String {
    format!("/streammanager/api/4.0/event/live/{stream}?action={action}")
}

fn subscribe(stream: &str) -> String {
    format!("/as/v1/proxy/ws/subscribe/live/{stream}?id=s&nodeGroup=ng1")
}

/// Makes a dial to the n-th node fail, which begins its quarantine: a client names the node, and nothing listens there.
#[track_caller]
fn make_fail(bed: &TestBed, n: u8) {
    make_fail_for(bed, n, 1);
}

/// The same for a client with this address of its own.
#[track_caller]
fn make_fail_for(bed: &TestBed, n: u8, client: u8) {
    let mut client = bed.client_builder().from(bed.workspace.client_ip(client)).connect_tls();
    let response = client.exchange(&Request::upgrade(&bed.websocket_target(n)));
    assert!(matches!(response.status(), 502 | 504), "{response:?}");
}

/// Checks that the stored answer for the stream "s" still names the first node: no client has put that node away.
#[track_caller]
fn assert_not_put_away(bed: &TestBed) {
    let asked = bed.manager.count();
    assert_eq!(named_by(&bed.get(&event("s", "subscribe"))), bed.ip(1).to_string());
    assert_eq!(bed.manager.count(), asked, "the answer that names the node is still stored");
}

/// A test bed with a stored answer for the stream "s" that names the first node. Nodes may be silent for 300 ms.
fn bed_with_stored_answer(change: impl FnOnce(&mut Config)) -> TestBed {
    let bed = TestBed::with(|config, workspace| {
        lasting_answers(config, workspace);
        config.set("origins.upgrade_timeout", "300ms");
        change(config);
    });
    bed.manager.answer("", Reply::node(bed.ip(1)));
    assert_eq!(named_by(&bed.get(&event("s", "subscribe"))), bed.ip(1).to_string());
    make_known(&bed, 2);
    bed
}

/// Makes the n-th node known, as an alternative.
#[track_caller]
fn make_known(bed: &TestBed, n: u8) {
    bed.manager.answer("/known?", Reply::node(bed.ip(n)));
    assert_eq!(named_by(&bed.get(&event("known", "broadcast"))), bed.ip(n).to_string());
}

#[track_caller]
fn named_by(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{response:?}");
    response.json()["serverAddress"].as_str().expect("a node").to_owned()
}

/// Checks that this node gets a one-step subscriber.
#[track_caller]
fn assert_goes_to(bed: &TestBed, stream: &str, listener: &NodeListener) {
    let (mut client, mut node, head) = bed.pending_upgrade(listener, &Request::upgrade(&subscribe(stream)));
    node.answer_upgrade(&head, "");
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
}

#[test]
fn every_answer_that_names_a_dead_node_is_forgotten_at_once_by_all_workers() {
    let bed = TestBed::with(lasting_answers);
    let streams = ["a", "b", "c", "d", "e", "f"];
    let targets = streams.map(|stream| event(stream, if stream < "d" { "subscribe" } else { "broadcast" }));
    bed.manager.answer("", Reply::node(bed.ip(1)));
    bed.manager.answer("/other?", Reply::node(bed.ip(2)));
    for target in &targets {
        assert_eq!(named_by(&bed.get(target)), bed.ip(1).to_string());
    }
    bed.get(&event("other", "subscribe"));
    assert_eq!(bed.manager.count(), 7);
    make_fail(&bed, 1);
    bed.manager.answer("", Reply::node(bed.ip(2)));
    for target in &targets {
        // on many connections, so that every worker is asked
        for _ in 0..4 {
            assert_eq!(named_by(&bed.get(target)), bed.ip(2).to_string(), "{target}");
        }
    }
    assert_eq!(bed.manager.count(), 13, "one new question for each stream, and the answers are stored again");
    bed.get(&event("other", "subscribe"));
    assert_eq!(bed.manager.count(), 13, "answers that name other nodes stay");
    assert!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "invalidated")]) >= 6.0);
}

#[test]
fn a_silent_node_is_treated_like_one_that_refuses() {
    for deaf in [true, false] {
        let bed = TestBed::with(|config, workspace| {
            lasting_answers(config, workspace);
            config.set("origins.connect_timeout", "300ms");
            config.set("origins.upgrade_timeout", "300ms");
        });
        bed.manager.answer("", Reply::node(bed.ip(1)));
        bed.get(&event("s", "subscribe"));
        let silent = (deaf.then(|| FullBacklog::listen(bed.workspace.node(1))), (!deaf).then(|| bed.node(1)));
        // what the node does with one request says little: several clients have to see it
        let clients = if deaf { 1..=1 } else { 1..=3 };
        clients.for_each(|client| make_fail_for(&bed, 1, client));
        bed.manager.answer("", Reply::node(bed.ip(2)));
        assert_eq!(named_by(&bed.get(&event("s", "subscribe"))), bed.ip(2).to_string());
        drop(silent);
    }
}

#[test]
fn a_node_that_answers_with_an_error_is_not_quarantined() {
    let bed = TestBed::with(lasting_answers);
    bed.manager.answer("", Reply::node(bed.ip(1)));
    bed.get(&event("s", "subscribe"));
    let listener = bed.node(1);
    let (mut client, mut node, _) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    node.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    client.read_response().assert_refusal(502, "origin_bad_handshake");
    bed.get(&event("s", "subscribe"));
    assert_eq!(bed.manager.count(), 1);
}

#[test]
fn the_next_question_of_a_two_step_client_gets_another_node() {
    for action in ["subscribe", "broadcast"] {
        let bed = TestBed::with(lasting_answers);
        make_known(&bed, 2);
        // the manager has not noticed yet, and names the dead node a second time
        let replies = [1, 1, 2].map(|n| Reply::node(bed.ip(n)));
        bed.manager.answer_in_turn("/stream1?", replies);
        assert_eq!(named_by(&bed.get(&event("stream1", action))), bed.ip(1).to_string());
        make_fail(&bed, 1);
        assert_eq!(named_by(&bed.get(&event("stream1", action))), bed.ip(2).to_string(), "{action}");
    }
}

#[test]
fn a_node_in_quarantine_is_avoided_while_another_is_known() {
    let bed = TestBed::with(lasting_answers);
    make_known(&bed, 2);
    make_fail(&bed, 1);
    let (back, healthy) = (bed.node(1), bed.node(2));
    bed.manager.answer_in_turn("/one", [Reply::nodes(&[bed.ip(1)]), Reply::nodes(&[bed.ip(2)])]);
    assert_goes_to(&bed, "one", &healthy);
    bed.manager.answer("/two", Reply::nodes(&[bed.ip(1), bed.ip(2)]));
    assert_goes_to(&bed, "two", &healthy);
    assert_goes_to(&bed, "two", &healthy);
    assert_eq!(back.dials(), 0);
}

#[test]
fn publishers_avoid_a_node_in_quarantine_too() {
    let bed = TestBed::with(lasting_answers);
    make_known(&bed, 2);
    make_fail(&bed, 1);
    let (back, healthy) = (bed.node(1), bed.node(2));
    name_nodes(&bed, &[1, 2]);
    let target = "/as/v1/proxy/ws/publish/live/stream1?id=s&nodeGroup=ng1";
    let (_client, _node, _) = bed.pending_upgrade(&healthy, &Request::upgrade(target));
    assert_eq!(back.dials(), 0);
}

#[test]
fn the_only_known_node_is_used_although_it_failed() {
    let bed = TestBed::with(lasting_answers);
    name_nodes(&bed, &[1]);
    make_fail(&bed, 1);
    let back = bed.node(1);
    assert_goes_to(&bed, "one", &back);
    // also for clients that ask by themselves
    bed.manager.answer("/event/", Reply::node(bed.ip(1)));
    assert_eq!(named_by(&bed.get(&event("stream1", "subscribe"))), bed.ip(1).to_string());
}

#[test]
fn if_all_nodes_failed_all_are_used() {
    let bed = TestBed::with(lasting_answers);
    make_known(&bed, 2);
    make_fail(&bed, 1);
    make_fail(&bed, 2);
    name_nodes(&bed, &[1]);
    let back = bed.node(1);
    assert_goes_to(&bed, "one", &back);
}

#[test]
fn a_failed_node_that_the_manager_names_again_is_used() {
    let bed = TestBed::with(lasting_answers);
    make_known(&bed, 2);
    make_fail(&bed, 1);
    name_nodes(&bed, &[1]);
    let back = bed.node(1);
    assert_goes_to(&bed, "one", &back);
}

#[test]
fn a_quarantine_ends() {
    let bed = bed_with_quarantine("1s");
    make_known(&bed, 2);
    make_fail(&bed, 1);
    let (back, healthy) = (bed.node(1), bed.node(2));
    bed.manager.answer("", Reply::nodes(&[bed.ip(1), bed.ip(2)]));
    assert_goes_to(&bed, "s", &healthy);
    let mut n = 0;
    eventually("the first node is used again", || {
        n += 1;
        let mut client = bed.client();
        client.send_request(&Request::upgrade(&subscribe(&format!("s{n}"))));
        let mut node =
            [&back, &healthy].into_iter().cycle().find_map(NodeListener::try_accept).expect("a node");
        let first = node.tcp().local_addr().unwrap().ip() == bed.ip(1);
        node.accept_upgrade();
        assert_eq!(client.read_response().status(), 101);
        first
    });
}

#[test]
fn without_quarantine_a_dead_node_is_forgotten_but_not_avoided() {
    let bed = bed_with_quarantine("off");
    make_known(&bed, 2);
    bed.manager.answer("/stream1?", Reply::node(bed.ip(1)));
    bed.get(&event("stream1", "subscribe"));
    make_fail(&bed, 1);
    let asked = bed.manager.count();
    bed.get(&event("stream1", "subscribe"));
    assert_eq!(bed.manager.count(), asked + 1, "the answer that named it is gone");
    let (back, _healthy) = (bed.node(1), bed.node(2));
    bed.manager.answer("/as/", Reply::nodes(&[bed.ip(1), bed.ip(2)]));
    assert_goes_to(&bed, "one", &back);
}

#[test]
fn a_client_may_name_a_node_in_quarantine() {
    let bed = TestBed::with(lasting_answers);
    make_known(&bed, 2);
    make_fail(&bed, 1);
    let back = bed.node(1);
    bed.relay(&back);
}

#[test]
fn many_waiting_clients_move_to_the_next_node_together() {
    let bed = TestBed::with(lasting_answers);
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]));
    let question = "/as/v1/streams/stream/ng1/subscribe/live/stream1";
    assert_eq!(bed.get(question).status(), 200, "an answer that is stored");
    bed.manager.answer("", Reply::nodes(&[bed.ip(2)]));
    let _echo = EchoNode::listen(bed.workspace.node(2));
    let mut clients: Vec<Connection> = (0..40).map(|_| bed.client()).collect();
    for client in &mut clients {
        client.send_request(&Request::upgrade(&subscribe("stream1")));
    }
    for client in &mut clients {
        let response = client.read_response();
        assert_eq!(response.status(), 101, "{response:?}");
    }
    assert!(bed.manager.count() < 10, "{} questions for 40 clients", bed.manager.count());
}

#[test]
fn a_request_head_too_large_for_a_node_does_not_quarantine_the_node() {
    let bed = TestBed::with(|config, workspace| {
        lasting_answers(config, workspace);
        config.set("origins.extensions", "forward");
    });
    let node = bed.node(1);
    bed.manager.answer("", Reply::node(bed.ip(1)));
    assert_eq!(named_by(&bed.get(&event("s", "broadcast"))), bed.ip(1).to_string());
    let long = "x".repeat(4000);
    let request = Request::new("OPTIONS", &format!("/live/whip/endpoint/s?host={}", bed.ip(1)))
        .with("Accept", &long)
        .with("If-Match", &long)
        .with("If-None-Match", &long);
    let socket = Request::upgrade(&bed.websocket_target(1));
    for request in [request, socket.with("Sec-WebSocket-Extensions", &format!("{long}{long}{long}"))] {
        bed.exchange(&request).assert_refusal(431, "head_too_large");
    }
    assert_eq!(node.dials(), 0);
    bed.get(&event("s", "broadcast"));
    assert_eq!(bed.manager.count(), 1, "the answer that names the node stays");
}

#[test]
fn a_node_that_is_slow_with_the_requests_of_one_client_is_not_put_away() {
    let bed = bed_with_stored_answer(|_| {});
    let _slow = bed.node(1);
    for _ in 0..4 {
        make_fail_for(&bed, 1, 1);
    }
    make_fail_for(&bed, 1, 2);
    assert_not_put_away(&bed);
    make_fail_for(&bed, 1, 3);
    let asked = bed.manager.count();
    bed.get(&event("s", "subscribe"));
    assert!(bed.manager.count() > asked, "three clients got no answer: the node has failed");
}

#[test]
fn a_node_that_answers_another_client_meanwhile_is_slow_and_not_silent() {
    let bed = bed_with_stored_answer(|config| config.set("origins.upgrade_timeout", "1s"));
    let slow = bed.node(1);
    let waiting: Vec<_> = (1..=4)
        .map(|n| {
            let mut client = bed.client_builder().from(bed.workspace.client_ip(n)).connect_tls();
            client.send_request(&Request::upgrade(&bed.websocket_target(1)));
            let mut node = slow.accept();
            node.read_head();
            (client, node)
        })
        .collect();
    let _served = bed.relay(&slow);
    for (mut client, node) in waiting {
        client.read_response().assert_refusal(504, "origin_timeout");
        drop(node);
    }
    assert_not_put_away(&bed);
}

#[test]
fn a_node_that_breaks_off_the_requests_of_one_client_is_not_put_away() {
    let bed = bed_with_stored_answer(|_| {});
    let listener = bed.node(1);
    for request in [Request::upgrade(&bed.websocket_target(1)), {
        Request::new("OPTIONS", &format!("/live/whip/endpoint/s?host={}", bed.ip(1)))
    }] {
        for _ in 0..4 {
            let (mut client, node, _) = bed.pending_upgrade(&listener, &request);
            node.reset();
            client.read_response().assert_refusal(502, "origin_refused");
        }
    }
    assert_not_put_away(&bed);
}

#[test]
fn a_node_that_this_machine_cannot_dial_is_not_put_away() {
    let Some(links) = NetnsLinks::create("a node without a route") else { return };
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    lasting_answers(&mut config, &workspace);
    config.set("gateway.listen", vec![format!("{}:8443", NetnsLinks::GATEWAY)]);
    config.set("origins.networks", vec![NetnsLinks::NODE.to_string()]);
    let (manager, _gateway, _workspace) = links.gateway.inside(move || {
        let manager = HttpPeer::start(workspace.manager());
        manager.answer("", Reply::node(NetnsLinks::NODE.into()));
        (manager, Gateway::start(&workspace, &config), workspace)
    });
    let exchange = |request: Request| {
        links.clients.inside(move || {
            ClientBuilder::to((NetnsLinks::GATEWAY, 8443).into()).connect_tls().exchange(&request)
        })
    };
    assert_eq!(exchange(Request::get(&event("s", "subscribe"))).status(), 200);
    // no permission, no host, no network; a firewall's EPERM is like the first
    for route in
        ["route add prohibit 10.77.2.2", "route replace unreachable 10.77.2.2", "route flush 10.77.2.0/24"]
    {
        if route.contains("flush") {
            links.gateway.ip("route del 10.77.2.2");
        }
        links.gateway.ip(route);
        let target = format!("/streammanager/?id=s&host={}&app=live", NetnsLinks::NODE);
        exchange(Request::upgrade(&target)).assert_refusal(502, "origin_refused");
        exchange(Request::get(&event("s", "subscribe")));
        assert_eq!(manager.count(), 1, "{route}: the answer that names the node is still stored");
    }
    // it ends with a dial of its own, which has to come from inside
    links.gateway.inside(|| drop(manager));
}

#[test]
fn an_early_refusal_of_an_upgrade_is_read_although_the_node_resets_the_connection() {
    let bed = bed_with_stored_answer(|_| {});
    let listener = bed.node(1);
    for _ in 0..3 {
        let (mut client, mut node, _) =
            bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
        node.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
        node.reset();
        client.read_response().assert_refusal(502, "origin_bad_handshake");
    }
    assert_not_put_away(&bed);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::text("well"));
    assert_eq!(node.read_frame(), Frame::text("well"));
}
