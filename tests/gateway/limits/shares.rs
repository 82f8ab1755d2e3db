//! What one client may take of what all share: pending handshakes, idle connections, questions and requests. When all of it is
//! taken, the clients that have most, or need it least, make room for others.

use crate::harness::{Connection, DEADLINE, Request, TestBed};
use crate::questions::stream_manager::silent_manager;
use std::time::{Duration, Instant};

/// A client from the n-th address.
fn client(bed: &TestBed, n: u8) -> Connection {
    bed.client_builder().from(bed.workspace.client_ip(n)).connect_tls()
}

#[test]
fn an_idle_connection_ends_after_keep_alive() {
    let bed = TestBed::with(|config, _| config.set("gateway.keep_alive", "700ms"));
    let mut client = bed.client();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(client.get("/nowhere").status(), 404, "every request begins the time again");
    }
    let since = Instant::now();
    client.expect_end();
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(600) && took < DEADLINE, "{took:?}");
}

/// Sends this question from the n-th address.
fn ask(bed: &TestBed, n: u8, target: &str) -> Connection {
    let mut client = client(bed, n);
    client.send_request(&Request::get(target));
    client
}

fn question(stream: &str, action: &str) -> String {
    format!("/streammanager/api/4.0/event/live/{stream}?action={action}")
}

#[test]
fn an_address_has_its_share_of_the_questions_under_way_and_publishers_a_reserve() {
    let mut asked = None;
    let bed = TestBed::with(|config, workspace| {
        asked = Some(silent_manager(workspace));
        config.set("stream_manager.url", format!("http://{}:5080", workspace.ip(3)));
        config.set("stream_manager.timeout", "60s");
    });
    let asked = asked.expect("a stream manager");
    let mut held = Vec::new();
    let expect_asked = |held: &mut Vec<_>| {
        held.push(asked.recv_timeout(DEADLINE).expect("a question reaches the manager"));
    };
    // a sixteenth of 1024
    let of_one: Vec<_> = (0..64).map(|n| ask(&bed, 1, &question(&format!("a{n}"), "subscribe"))).collect();
    (0..64).for_each(|_| expect_asked(&mut held));
    let mut over = ask(&bed, 1, &question("b", "broadcast"));
    let response = over.read_response();
    response.assert_refusal(429, "too_many");
    assert!(response.field("retry-after").is_some());
    let others = (2..=14).flat_map(|n| (0..64).map(move |s| (n, format!("o{n}-{s}"))));
    let others: Vec<_> = others.map(|(n, stream)| ask(&bed, n, &question(&stream, "subscribe"))).collect();
    others.iter().for_each(|_| expect_asked(&mut held));
    ask(&bed, 15, &question("c", "subscribe")).read_response().assert_refusal(503, "overloaded");
    // to wait for a question that another client asked costs nothing
    let mut joined = ask(&bed, 15, &question("a0", "subscribe"));
    assert!(!joined.receives_within(Duration::from_millis(100)));
    let _publisher = ask(&bed, 16, &question("d", "broadcast"));
    expect_asked(&mut held);
    let _publisher = ask(&bed, 17, "/as/v1/streams/stream/default/publish/live/e");
    expect_asked(&mut held);
    drop(of_one);
}
