//! Peers that send without pause what costs the gateway much work for each byte: no peer keeps a worker for itself, and no
//! deadline waits for a peer to pause. There is one worker, so that each regular client shares it with the attackers.

use crate::harness::Request;
use crate::harness::flood::{Attack, BUSY_KIB, FloodBed, flood_duration, send_while, size};
use crate::harness::whip::{SDP, post};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Allowed time between a deadline and its effect: two busy cores.
const TOLERANCE: Duration = Duration::from_secs(3);

fn flood_bed() -> FloodBed {
    FloodBed::start(|config| {
        config.set("gateway.workers", 1);
        config.set("limits.body_timeout", "1s");
        // no attack ends because it sent enough
        config.set("limits.body_max", "1GiB");
    })
}

/// The requests whose bodies the gateway reads: those that it forwards, and those whose bodies it drops.
fn requests_with_bodies() -> [Request; 3] {
    let endless = |request: Request| request.with("Content-Type", SDP).with("Transfer-Encoding", "chunked");
    [
        endless(Request::new("POST", "/as/v1/proxy/whip/live/s?nodeGroup=ng1")),
        endless(Request::get("/streammanager/api/4.0/event/live/s?action=subscribe")),
        endless(Request::get("/nowhere")),
    ]
}

#[test]
fn a_body_without_a_pause_ends_at_its_deadline_and_starves_no_client() {
    let flood = flood_bed();
    let attackers = size(6, 24);
    let outcome = "408; `refusals{code=\"body_timeout\"}`";
    let attack = Attack { name: "chunks of one byte without pause", attackers, kib_each: BUSY_KIB, outcome };
    let batch = b"1\r\nx\r\n".repeat(8192);
    let (requests, began) = (requests_with_bodies(), Instant::now());
    flood.run(&attack, || {
        std::thread::scope(|scope| {
            for request in requests.iter().cycle().take(attackers) {
                scope.spawn(|| {
                    let mut client = flood.attacker().connect_tls();
                    client.send(&request.bytes());
                    let body_began = Instant::now();
                    let (sent, ended) = send_while(
                        || body_began.elapsed() < 3 * TOLERANCE,
                        || client.try_send(&batch).map(|()| 1),
                    );
                    assert!(sent > 0 && ended, "the body went on for {:?}", body_began.elapsed());
                });
            }
        });
    });
    assert!(began.elapsed() < Duration::from_secs(1) + 2 * TOLERANCE, "{:?}", began.elapsed());
    flood.bed.gateway.wait_for_metric(
        "tidegate_refusals_total",
        &[("code", "body_timeout")],
        attackers as f64,
    );
}

#[test]
fn chunk_extensions_end_the_request_after_a_few_kilobytes() {
    let flood = flood_bed();
    let attackers = size(6, 24);
    let outcome = "400; `refusals{code=\"bad_request\"}`";
    let attack = Attack { name: "long chunk extensions", attackers, kib_each: BUSY_KIB, outcome };
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(250));
    flood.run(&attack, || {
        for request in requests_with_bodies().iter().cycle().take(attackers) {
            let mut client = flood.attacker().connect_tls();
            client.send(&request.bytes());
            client.send(chunk.repeat(30).as_bytes());
            client.read_response().assert_refusal(400, "bad_request");
        }
    });
}

/// A node that reads a request and then writes `first`, and `more` without pause for as long as it can, or for the
/// duration of a flood.
fn sending_node(address: SocketAddr, first: &'static [u8], more: Vec<u8>) {
    let listener = TcpListener::bind(address).expect("a free address");
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let more = more.clone();
            std::thread::spawn(move || send_on(tcp, first, &more));
        }
    });
}

fn send_on(mut tcp: TcpStream, first: &[u8], more: &[u8]) {
    if !matches!(tcp.read(&mut [0; 16 << 10]), Ok(1..)) || tcp.write_all(first).is_err() {
        return;
    }
    let began = Instant::now();
    send_while(|| began.elapsed() < 2 * flood_duration(), || tcp.write_all(more).map(|()| 1));
}

#[test]
fn endless_interim_heads_of_a_node_are_a_bad_answer() {
    let flood = flood_bed();
    sending_node(flood.bed.workspace.node(2), b"", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
    let target = format!("/as/v1/proxy/whip/live/s?nodeGroup=ng1&host={}", flood.bed.ip(2));
    let attack = Attack {
        name: "a node sends interim heads without pause",
        attackers: size(4, 16),
        kib_each: BUSY_KIB,
        outcome: "502; `refusals{code=\"origin_bad_handshake\"}`",
    };
    flood.run(&attack, || {
        for _ in 0..attack.attackers {
            let began = Instant::now();
            let mut client = flood.attacker().connect_tls();
            client.exchange(&post(&target)).assert_refusal(502, "origin_bad_handshake");
            assert!(began.elapsed() < TOLERANCE, "{:?}", began.elapsed());
        }
    });
}

#[test]
fn an_answer_of_a_node_without_a_pause_starves_no_client() {
    let flood = flood_bed();
    let head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nContent-Type: application/sdp\r\n\r\n";
    sending_node(flood.bed.workspace.node(2), head, b"1\r\nx\r\n".repeat(8192));
    let target = format!("/as/v1/proxy/whip/live/s?nodeGroup=ng1&host={}", flood.bed.ip(2));
    let attack = Attack {
        name: "a node sends an answer in chunks of one byte",
        attackers: size(4, 16),
        kib_each: 64 << 10,
        outcome: "502 or 504",
    };
    flood.run(&attack, || {
        std::thread::scope(|scope| {
            for _ in 0..attack.attackers {
                scope.spawn(|| {
                    let mut client = flood.attacker().connect_tls();
                    let response = client.exchange(&post(&target));
                    assert!(matches!(response.status(), 502 | 504), "{response:?}");
                });
            }
        });
    });
}
