//! What one client may take of what all share: pending handshakes, idle connections, questions and requests. When all of it is
//! taken, the clients that have most, or need it least, make room for others.

use crate::harness::{DEADLINE, TestBed};
use std::time::{Duration, Instant};

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
