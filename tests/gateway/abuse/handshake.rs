//! Hostile TLS handshakes: clients that send nothing, one byte at a time, only a part, or floods of whole handshakes. All
//! of them end in time, cost little memory, and are counted. Regular clients are served meanwhile.

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

/// Allowed time between a deadline and its effect: the gateway checks four times a second, and two cores are busy.
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

    /// Connections from several addresses on which nothing was sent yet.
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

/// The bytes that this TLS client wants to send now.
pub fn pending_output(connection: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn connections_without_a_byte_end_after_the_handshake_timeout() {
    let flood = with_short_timeouts();
    let attackers = size(200, 1900);
    let outcome = "deadline; `tls_handshake_failures{how=\"timeout\"}`";
    let took = flood
        .run(&Attack { name: "connect and send nothing", attackers, kib_each: 16, outcome }, || {
            wait_until_ended(&flood.silent_connections(attackers))
        });
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_failures("timeout", attackers);
}

#[test]
fn a_client_hello_sent_byte_by_byte_gets_no_extra_time() {
    let flood = with_short_timeouts();
    let attackers = size(40, 400);
    let outcome = "deadline; `tls_handshake_failures{how=\"timeout\"}`";
    let hello = pending_output(&mut client(ONLY_13));
    let attack = Attack { name: "a ClientHello byte by byte", attackers, kib_each: 24, outcome };
    let (took, dripped) = flood.run(&attack, || {
        let (began, connections) = (Instant::now(), flood.silent_connections(attackers));
        connections.iter().for_each(|tcp| tcp.set_nonblocking(true).unwrap());
        let mut dripped = 0;
        eventually("the gateway ends the connections", || {
            // one byte at a time; the last byte is never sent
            let byte = &hello[dripped..=dripped];
            dripped = (dripped + 1).min(hello.len() - 2);
            let open =
                connections.iter().filter(|tcp| (&**tcp).write(byte).is_ok() && !has_ended(tcp)).count();
            open == 0
        });
        (began.elapsed(), dripped)
    });
    assert!(dripped > 10, "no bytes were sent one by one");
    assert!(took < TIMEOUT + TOLERANCE, "{took:?}");
    flood.wait_for_failures("timeout", attackers);
}

/// Runs the handshake up to this flight and stops there.
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
    // a handshake that is half done holds keys and a transcript
    let attack = Attack { name: "stop after each flight, TLS 1.2 and 1.3", attackers, kib_each: 48, outcome };
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
fn floods_of_whole_handshakes_do_not_starve_other_clients() {
    let flood = FloodBed::start(|_| {});
    let outcome = "clients leave; `tls_handshakes{resumed=\"false\"}`";
    let threads = size(2, 4);
    let attack = Attack { name: "whole handshakes in sequence", attackers: threads, kib_each: 64, outcome };
    let done = AtomicUsize::new(0);
    flood.run(&attack, || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let began = Instant::now();
                    while flood.is_running(began) {
                        // no tickets: each handshake is a full one
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
    // a client that leaves before the gateway's last flight was read counts as lost
    let counted = || count("s_total", ("resumed", "false")) + count("_failures_total", ("how", "lost"));
    eventually("all handshakes are counted", || counted() >= done as f64);
    flood.bed.gateway.wait_for_metric("tidegate_refusals_total", &[], 0.0);
}

#[test]
fn an_address_over_its_session_limit_is_refused_and_no_other() {
    let slots = size(20, 200);
    let flood = FloodBed::start(|config| config.set("limits.sessions_per_ip", slots as i64));
    let attackers = size(100, 2000);
    let outcome = "429; `refusals{code=\"too_many\"}`";
    let attack = Attack { name: "sessions over the limit of one address", attackers, kib_each: 32, outcome };
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
fn one_address_cannot_take_all_slots_of_unfinished_handshakes() {
    const SLOTS: usize = 160;
    const SHARE: usize = SLOTS / 16;
    let flood = FloodBed::start(|config| {
        config.set("limits.handshakes", SLOTS as i64);
        config.set("tls.handshake_timeout", "500ms");
    });
    let attackers = 3 * SLOTS;
    let outcome = "closed without reading; `refusals{code=\"too_many\"}`";
    let attack = Attack {
        name: "unfinished handshakes over `handshakes`, from one address",
        attackers,
        kib_each: 16,
        outcome,
    };
    flood.run(&attack, || {
        // each connection that the gateway ends is opened again at once
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
    assert!(refused >= (attackers - SHARE) as f64, "{refused} connections were refused");
}

#[test]
fn connections_that_are_reset_at_once_only_count_as_lost() {
    // the attackers have one address: a worker that is late would find more of them at once than the share of an address
    let flood = FloodBed::start(|config| config.set("limits.handshakes", "off"));
    let attackers = size(500, 20_000);
    let outcome = "clients leave; `tls_handshake_failures{how=\"lost\"}`";
    let attack = Attack { name: "connect and reset", attackers, kib_each: 1, outcome };
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
fn messages_that_tls_forbids_during_a_handshake_end_it() {
    // RFC 8446, 4.4.2, 6, 4.2.10; RFC 6520, 4
    let cases: [(&str, u8, Vec<u8>); 5] = [
        ("unrequested certificates", 22, [&[11, 0, 0xc0, 0], &[0; 0xc000][..]].concat()),
        ("endless warnings", 21, [1, 90].repeat(8000)),
        ("a heartbeat", 24, vec![1, 0x40, 0, 1]),
        ("data before the end of the handshake", 23, vec![7; 16_000]),
        ("an empty record", 22, vec![]),
    ];
    let flood = with_short_timeouts();
    let attackers = 2 * cases.len() * size(2, 50);
    let outcome = "alert; `tls_handshake_failures{how=\"protocol\"}`";
    let attack =
        Attack { name: "messages that TLS forbids during a handshake", attackers, kib_each: 208, outcome };
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
