//! The main flow on either driver: what works on the ring works without it.

use crate::harness::{Frame, Gateway, HttpPeer, Place, Reply, Request, Town, eventually};

/// A page asks where, opens the socket, talks, hands off and closes: the whole seed.
#[track_caller]
fn main_flow(driver: &str) {
    let mut town = Town::with(|config, _| {
        config.set("gateway.driver", driver);
        config.set("origins.strict", true);
    });
    assert_eq!(town.gateway.metric("tidegate_info", &[("driver", driver)]), 1.0);
    let origin = town.node(1);
    town.manager.answer("/stream1", Reply::node(origin.ip()));
    let answer = town.get("/streammanager/api/4.0/event/live/stream1?action=broadcast").json();
    let (host, app) = (answer["serverAddress"].as_str().unwrap(), answer["scope"].as_str().unwrap());

    let target = format!("/streammanager/?id=stream1&host={host}&app={}", app.replace('/', "%2F"));
    let mut client = town.client();
    client.ask(&Request::upgrade(&target));
    let mut node = origin.accept();
    assert_eq!(node.agree().target(), "/live/?id=stream1");
    assert_eq!(client.read_response().status(), 101);
    for size in [0, 1, 300, 12_000, 65_536] {
        client.say(Frame::binary(vec![1; size]));
        assert_eq!(node.hear().payload.len(), size);
        node.say(Frame::binary(vec![2; size]));
        assert_eq!(client.hear().payload.len(), size);
    }
    client.say(Frame::text(r#"{"switchChannel":"red5pro"}"#));
    client.say(Frame::empty_close());
    assert_eq!(node.hear(), Frame::text(r#"{"switchChannel":"red5pro"}"#));
    assert_eq!(node.hear(), Frame::empty_close());
    node.say(Frame::empty_close());
    assert_eq!(client.hear(), Frame::empty_close());
    client.ended();
    node.ended();
    town.gateway.terminate();
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn the_main_flow_works_on_epoll() {
    main_flow("epoll");
}

#[test]
fn the_main_flow_works_on_the_ring_where_there_is_one() {
    if io_uring::IoUring::new(8).is_ok() {
        return main_flow("io_uring");
    }
    // Without a ring the gateway must say so instead of serving in another way than it was told.
    let place = Place::claim();
    let _manager = HttpPeer::start(place.manager());
    let mut config = crate::harness::Config::new(&place);
    config.set("gateway.driver", "io_uring");
    let mut gateway = Gateway::spawn(&place, &config);
    assert_ne!(gateway.wait_for_exit().code(), Some(0));
    assert!(gateway.stderr().contains("io_uring"), "{}", gateway.stderr());
}

#[test]
fn the_gateway_chooses_a_driver_and_says_which() {
    let town = Town::open();
    let drivers =
        ["io_uring", "epoll"].map(|driver| town.gateway.metric("tidegate_info", &[("driver", driver)]));
    assert_eq!(drivers.iter().sum::<f64>(), 1.0);
    let named = ["io_uring", "epoll"][usize::from(drivers[0] == 0.0)];
    eventually("the log names the driver", || town.gateway.stderr().contains(named));
}
