//! Clients that read a long answer slowly, or not at all.

use crate::harness::{Reply, Request, TestBed, eventually};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Bytes of the list: more than a client takes in ten seconds at [`RATE`], and what the kernel keeps for it.
const LIST: usize = 3_300_000;

/// Bytes that the client reads in a second.
const RATE: usize = 250_000;

const TARGET: &str = "/streammanager/api/4.0/event/list";

/// A bed whose stream manager has a long list.
fn bed_with_list() -> TestBed {
    let bed = TestBed::with(|config, _| {
        config.set("limits.body_max", "4MiB");
        config.set("gateway.workers", 1);
    });
    bed.manager.answer("", Reply::json(200, format!("[\"{}\"]", "x".repeat(LIST - 4))));
    bed
}

#[test]
fn a_long_list_reaches_a_client_that_reads_it_slowly() {
    let bed = bed_with_list();
    let mut client = bed.client_builder().connect_tls_stream();
    client.write_all(&Request::get(TARGET).with("Connection", "close").bytes()).unwrap();
    let (mut got, mut piece, began) = (0, vec![0; RATE / 20], Instant::now());
    loop {
        let due = Duration::from_secs_f64(got as f64 / RATE as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(e) => panic!("{e} after {got} bytes and {:?}", began.elapsed()),
        }
    }
    assert!((LIST..LIST + 1000).contains(&got), "{got} bytes");
    assert!(began.elapsed() > Duration::from_secs(11), "the client read too fast for this test");
    assert_eq!(held(&bed), 0.0);
}

#[test]
fn a_client_that_takes_nothing_of_a_long_list_is_ended_after_ten_seconds_and_counted_meanwhile() {
    let bed = bed_with_list();
    let mut client = bed.client_builder().connect_tls_stream();
    client.write_all(&Request::get(TARGET).bytes()).unwrap();
    eventually("the answer waits for the client", || held(&bed) >= LIST as f64);
    let began = Instant::now();
    let end = began + Duration::from_secs(20);
    while held(&bed) > 0.0 {
        assert!(Instant::now() < end, "the gateway still holds the answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    bed.gateway.wait_for_metric("tidegate_worker_sessions", &[], 0.0);
}

/// Bytes that the gateway holds for clients that do not read.
fn held(bed: &TestBed) -> f64 {
    bed.gateway.metric("tidegate_worker_buffers_lent_bytes", &[])
}
