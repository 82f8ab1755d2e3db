//! Hostile requests: heads and bodies sent byte by byte, floods on kept connections, and requests ahead of every answer.
//! Regular clients are served meanwhile.

use crate::harness::flood::{
    Attack, BUSY_KIB, FloodBed, discard_input, flood_duration, has_ended, send_while, size,
};
use crate::harness::whip::SDP;
use crate::harness::{Connection, Request, eventually};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Allowed time between a deadline and its effect: the gateway checks four times a second, and two cores are busy.
const TOLERANCE: Duration = Duration::from_secs(3);

const TIMEOUT: Duration = Duration::from_millis(700);

impl FloodBed {
    fn wait_for_refusals(&self, code: &str, count: usize) {
        self.bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", code)], count as f64);
    }
}

/// Clients send the beginning of a request and then single bytes until the gateway has ended all of them. Returns the
/// time from the last client's beginning until then.
fn drip(flood: &FloodBed, attackers: usize, beginning: &[u8]) -> Duration {
    let begun = |_| {
        let mut client = flood.attacker().connect_tls();
        client.send(beginning);
        let tcp = client.tcp().try_clone().unwrap();
        (client, tcp)
    };
    let mut connections: Vec<(Connection, TcpStream)> = (0..attackers).map(begun).collect();
    let began = Instant::now();
    connections.iter().for_each(|(_, tcp)| tcp.set_nonblocking(true).unwrap());
    eventually("the gateway ends the connections", || {
        connections.retain_mut(|(client, tcp)| client.try_send(b"x").is_ok() && !has_ended(tcp));
        connections.is_empty()
    });
    began.elapsed()
}

#[test]
fn heads_sent_byte_by_byte_end_after_the_head_timeout() {
    let flood = FloodBed::start(|config| config.set("limits.head_timeout", "700ms"));
    let attackers = size(40, 400);
    let outcome = "408; `refusals{code=\"head_timeout\"}`";
    let attack = Attack { name: "heads byte by byte", attackers, kib_each: 48, outcome };
    let took = flood.run(&attack, || drip(&flood, attackers, b"GET /nowhere HTTP/1.1\r\nHost: a\r\nX: "));
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_refusals("head_timeout", attackers);
}

#[test]
fn bodies_sent_byte_by_byte_end_after_the_body_timeout() {
    let flood = FloodBed::start(|config| config.set("limits.body_timeout", "700ms"));
    let attackers = size(40, 400);
    let outcome = "408; `refusals{code=\"body_timeout\"}`";
    let attack = Attack { name: "bodies byte by byte", attackers, kib_each: 48, outcome };
    let post = Request::new("POST", "/as/v1/proxy/whip/live/s?nodeGroup=ng1");
    let post = post.with("Content-Type", SDP).with("Content-Length", "200000");
    let took = flood.run(&attack, || drip(&flood, attackers, &post.bytes()));
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_refusals("body_timeout", attackers);
    assert_eq!(flood.bed.manager.count(), 0, "an incomplete body leads to no question");
}

#[test]
fn requests_ahead_of_their_answers_do_not_starve_other_clients() {
    let flood = FloodBed::start(|_| {});
    for (name, reads) in [("requests without waiting for answers", true), ("the same, never reading", false)]
    {
        let outcome = "none; `refusals{code=\"no_such_route\"}`";
        let attack = Attack { name, attackers: size(2, 4), kib_each: BUSY_KIB, outcome };
        flood.run(&attack, || {
            std::thread::scope(|scope| {
                for _ in 0..attack.attackers {
                    scope.spawn(|| {
                        let mut client = flood.attacker().connect_tls();
                        let tcp = client.tcp().try_clone().unwrap();
                        tcp.set_write_timeout(Some(flood_duration())).unwrap();
                        let answers = reads.then(|| {
                            let tcp = tcp.try_clone().unwrap();
                            std::thread::spawn(move || drop(discard_input(&tcp)))
                        });
                        let requests = Request::get("/nowhere").bytes().repeat(100);
                        let began = Instant::now();
                        let (sent, _) = send_while(
                            || flood.is_running(began),
                            || client.try_send(&requests).map(|()| 100),
                        );
                        assert!(sent > 0);
                        tcp.shutdown(std::net::Shutdown::Both).ok();
                        answers.map(std::thread::JoinHandle::join);
                    });
                }
            });
        });
        let answered = flood.bed.gateway.metric("tidegate_refusals_total", &[("code", "no_such_route")]);
        println!("{answered} answers");
        assert!(answered > 100.0, "{answered} answers");
    }
}

#[test]
fn a_connection_with_endless_requests_costs_no_more_memory_than_another() {
    let flood = FloodBed::start(|_| {});
    let outcome = "none; `refusals{code=\"no_such_route\"}`";
    let attack = Attack { name: "one request after the other", attackers: size(2, 4), kib_each: 64, outcome };
    let requests_sent = AtomicUsize::new(0);
    flood.run(&attack, || {
        std::thread::scope(|scope| {
            for _ in 0..attack.attackers {
                scope.spawn(|| {
                    let mut client = flood.attacker().connect_tls();
                    let began = Instant::now();
                    while flood.is_running(began) {
                        assert_eq!(client.get("/nowhere").status(), 404);
                        requests_sent.fetch_add(1, SeqCst);
                    }
                });
            }
        });
    });
    flood.wait_for_refusals("no_such_route", requests_sent.into_inner());
}
