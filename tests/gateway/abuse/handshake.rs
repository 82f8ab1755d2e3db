//! Hostile beginnings: clients that connect and say nothing, drip, stop half-way, come in floods, or write hellos that no
//! decent client writes. All of them end in time, cost little, and are counted, while the decent are served.

use crate::harness::certs::NAME;
use crate::harness::client::config;
use crate::harness::flood::{Attack, FloodBed, has_ended, size, wait_until_ended};
use crate::harness::{ClientBuilder, DEADLINE, eventually};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_millis(600);

/// What may pass between a deadline and its effect: looks every quarter of a second, and two busy cores.
const TOLERANCE: Duration = Duration::from_secs(3);

const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

pub fn with_short_timeouts() -> FloodBed {
    FloodBed::start(|config| config.set("tls.handshake_timeout", format!("{}ms", TIMEOUT.as_millis())))
}

impl FloodBed {
    pub fn wait_for_failures(&self, how: &str, count: usize) {
        let name = "tidegate_tls_handshake_failures_total";
        self.bed.gateway.wait_for_metric(name, &[("how", how)], count as f64);
    }

    /// Connections that said nothing yet, from several addresses.
    fn silent_connections(&self, attackers: usize) -> Vec<TcpStream> {
        let client_ip = |n: usize| self.bed.workspace.client_ip(2 + (n % 8) as u8);
        (0..attackers).map(|n| self.bed.client_builder().from(client_ip(n)).connect_tcp()).collect()
    }
}

fn client(versions: &[&'static SupportedProtocolVersion]) -> ClientConnection {
    client_with(config(versions))
}

pub fn client_with(config: ClientConfig) -> ClientConnection {
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    connection.set_buffer_limit(None);
    connection
}

/// What it has to say now.
pub fn pending_output(connection: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn connections_that_say_nothing_end_in_time() {
    let flood = with_short_timeouts();
    let attackers = size(200, 1900);
    let outcome = "deadline; `tls_handshake_failures{how=\"timeout\"}`";
    let took = flood.run(&Attack { name: "connect and say nothing", attackers, each: 16, outcome }, || {
        wait_until_ended(&flood.silent_connections(attackers))
    });
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_failures("timeout", attackers);
}

#[test]
fn a_hello_that_drips_has_no_more_time_than_one_that_does_not() {
    let flood = with_short_timeouts();
    let attackers = size(40, 400);
    let outcome = "deadline; `tls_handshake_failures{how=\"timeout\"}`";
    let hello = pending_output(&mut client(ONLY_13));
    let attack = Attack { name: "a hello byte by byte", attackers, each: 24, outcome };
    let (took, dripped) = flood.run(&attack, || {
        let (began, connections) = (Instant::now(), flood.silent_connections(attackers));
        connections.iter().for_each(|tcp| tcp.set_nonblocking(true).unwrap());
        let mut dripped = 0;
        eventually("the gateway ends them", || {
            // a byte now and then, so that the last one never comes
            let byte = &hello[dripped..=dripped];
            dripped = (dripped + 1).min(hello.len() - 2);
            let open =
                connections.iter().filter(|tcp| (&**tcp).write(byte).is_ok() && !has_ended(tcp)).count();
            open == 0
        });
        (began.elapsed(), dripped)
    });
    assert!(dripped > 10, "nothing dripped");
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_failures("timeout", attackers);
}

/// The handshake up to some flight, and not a byte more.
fn stop_at(
    builder: &ClientBuilder,
    versions: &[&'static SupportedProtocolVersion],
    flight: &str,
) -> TcpStream {
    let (mut tcp, mut connection) = (builder.connect_tcp(), client(versions));
    let hello = pending_output(&mut connection);
    if flight == "half a hello" {
        tcp.write_all(&hello[..hello.len() / 2]).unwrap();
        return tcp;
    }
    tcp.write_all(&hello).unwrap();
    if flight == "a hello" {
        return tcp;
    }
    while !connection.wants_write() {
        connection.read_tls(&mut tcp).unwrap();
        connection.process_new_packets().unwrap();
    }
    let rest = pending_output(&mut connection);
    let kept = if flight == "all but a byte" { rest.len() - 1 } else { rest.len() / 2 };
    tcp.write_all(&rest[..kept]).unwrap();
    tcp
}

#[test]
fn a_handshake_that_stops_at_any_flight_ends_in_time() {
    let flood = with_short_timeouts();
    let (flights, each) =
        (["half a hello", "a hello", "half of the second flight", "all but a byte"], size(6, 100));
    let attackers = 2 * flights.len() * each;
    let outcome = "deadline; `tls_handshake_failures{how=\"timeout\"}`";
    // a handshake that is half done has keys and a transcript
    let attack = Attack { name: "stop at each flight, 1.2 and 1.3", attackers, each: 48, outcome };
    let took = flood.run(&attack, || {
        let began = Instant::now();
        let mut stopped = Vec::new();
        for flight in flights {
            for versions in [ONLY_12, ONLY_13] {
                stopped.extend((0..each).map(|_| stop_at(&flood.attacker(), versions, flight)));
            }
        }
        wait_until_ended(&stopped);
        began.elapsed()
    });
    let making = Duration::from_millis(20 * attackers as u64);
    assert!(took < TIMEOUT + TOLERANCE + making, "{took:?}");
    flood.wait_for_failures("timeout", attackers);
}

#[test]
fn whole_handshakes_in_floods_leave_room_for_others() {
    let flood = FloodBed::start(|_| {});
    let outcome = "they leave; `tls_handshakes{resumed=\"false\"}`";
    let threads = size(2, 4);
    let attack =
        Attack { name: "whole handshakes, one after another", attackers: threads, each: 64, outcome };
    let done = AtomicUsize::new(0);
    flood.run(&attack, || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let began = Instant::now();
                    while flood.is_running(began) {
                        // no tickets: each is a whole one
                        let builder = flood.attacker().with(Arc::new(config(ONLY_13)));
                        drop(builder.connect_tls_stream());
                        done.fetch_add(1, SeqCst);
                    }
                });
            }
        });
    });
    let done = done.into_inner();
    println!("{done} handshakes");
    let count = |what: &str, how| flood.bed.gateway.metric(&format!("tidegate_tls_handshake{what}"), &[how]);
    // who leaves before its last word was read is lost
    let counted = || count("s_total", ("resumed", "false")) + count("_failures_total", ("how", "lost"));
    eventually("all of them are counted", || counted() >= done as f64);
    flood.bed.gateway.wait_for_metric("tidegate_refusals_total", &[], 0.0);
}

#[test]
fn one_address_over_its_sessions_is_turned_away_and_nobody_else() {
    let slots = size(20, 200);
    let flood = FloodBed::start(|config| config.set("limits.sessions_per_ip", slots as i64));
    let attackers = size(100, 2000);
    let outcome = "429; `refusals{code=\"too_many\"}`";
    let attack = Attack { name: "sessions over those of one address", attackers, each: 32, outcome };
    flood.run(&attack, || {
        let mut inside: Vec<_> = (0..slots).map(|_| flood.attacker().connect_tls()).collect();
        for client in &mut inside {
            assert_eq!(client.get("/nowhere").status(), 404);
        }
        for _ in 0..attackers {
            flood.attacker().connect_tls().get("/nowhere").assert_refusal(429, "too_many");
        }
    });
    flood.bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", "too_many")], attackers as f64);
}

#[test]
fn one_address_does_not_take_all_places_of_unfinished_handshakes() {
    const SLOTS: usize = 160;
    const SHARE: usize = 64;
    let flood = FloodBed::start(|config| {
        config.set("limits.handshakes", SLOTS as i64);
        config.set("limits.sessions_per_ip", SHARE as i64);
        config.set("tls.handshake_timeout", "500ms");
    });
    let attackers = 3 * SLOTS;
    let outcome = "closed unread; `refusals{code=\"too_many\"}`";
    let attack =
        Attack { name: "half-open over `handshakes`, from one address", attackers, each: 16, outcome };
    flood.run(&attack, || {
        // whoever is let go comes back at once
        let mut connections: Vec<_> = (0..attackers).map(|_| flood.attacker().connect_tcp()).collect();
        let began = Instant::now();
        while flood.is_running(began) {
            for tcp in &mut connections {
                tcp.set_nonblocking(true).unwrap();
                if has_ended(tcp) {
                    *tcp = flood.attacker().connect_tcp();
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let refused = flood.bed.gateway.metric("tidegate_refusals_total", &[("code", "too_many")]);
    assert!(refused >= (attackers - SHARE) as f64, "{refused} were let go");
}

#[test]
fn connections_that_are_reset_at_once_are_nothing() {
    let flood = FloodBed::start(|_| {});
    let attackers = size(500, 20_000);
    let outcome = "they leave; `tls_handshake_failures{how=\"lost\"}`";
    let attack = Attack { name: "connect and reset", attackers, each: 1, outcome };
    flood.run(&attack, || {
        for n in 0..attackers {
            let mut tcp = flood.attacker().connect_tcp();
            if n % 2 == 0 {
                tcp.write_all(b"\x16\x03\x01").unwrap();
            }
            let linger = Some(Duration::ZERO);
            socket2::SockRef::from(&tcp).set_linger(linger).unwrap();
        }
    });
    flood.wait_for_failures("lost", attackers);
}

#[test]
fn what_does_not_belong_into_a_handshake_ends_it() {
    // (RFC 8446, 4.4.2, 6, 4.2.10; RFC 6520, 4)
    let cases: [(&str, u8, Vec<u8>); 5] = [
        ("certificates that nobody asked for", 22, [&[11, 0, 0xc0, 0], &[0; 0xc000][..]].concat()),
        ("warnings without end", 21, [1, 90].repeat(8000)),
        ("a heartbeat", 24, vec![1, 0x40, 0, 1]),
        ("data before the end of it", 23, vec![7; 16_000]),
        ("a record of nothing", 22, vec![]),
    ];
    let flood = with_short_timeouts();
    let attackers = 2 * cases.len() * size(2, 50);
    let outcome = "alert; `tls_handshake_failures{how=\"protocol\"}`";
    let attack = Attack { name: "what does not belong into a handshake", attackers, each: 208, outcome };
    flood.run(&attack, || {
        let mut connections = Vec::new();
        for (_, kind, content) in &cases {
            for versions in [ONLY_12, ONLY_13] {
                for _ in 0..size(2, 50) {
                    let mut tcp = flood.attacker().connect_tcp();
                    tcp.write_all(&pending_output(&mut client(versions))).unwrap();
                    let size = if *kind == 21 { 2 } else { 16_384 };
                    let pieces = content.chunks(size).chain(content.is_empty().then_some(&[][..]));
                    for piece in pieces.cycle().take(40) {
                        let record =
                            [&[*kind, 3, 3][..], &(piece.len() as u16).to_be_bytes(), piece].concat();
                        if tcp.write_all(&record).is_err() {
                            break;
                        }
                    }
                    connections.push(tcp);
                }
            }
        }
        assert!(wait_until_ended(&connections) < DEADLINE);
    });
    flood.wait_for_failures("protocol", attackers);
}
