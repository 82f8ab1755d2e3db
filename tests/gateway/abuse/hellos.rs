//! Hostile ClientHellos: huge ones, endless ones, and contents that no regular client writes.

use super::handshake::{ONLY_13, client_with, pending_output, with_short_timeouts};
use crate::harness::client::config;
use crate::harness::flood::{Attack, FloodBed, size, wait_until_ended};
use crate::harness::{Request, TestBed, eventually};
use rustls::ClientConnection;
use std::io::{Read, Write};

/// A handshake message in records of this size in bytes.
fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat();
    message.chunks(size).flat_map(record).collect()
}

/// A valid ClientHello with this many additional ALPN protocols of 255 bytes each, without record headers.
fn hello_of(protocols: usize) -> (ClientConnection, Vec<u8>) {
    let mut config = config(ONLY_13);
    config.alpn_protocols.extend((0..protocols).map(|n| vec![b'a' + (n % 26) as u8; 255]));
    let mut connection = client_with(config);
    let records = pending_output(&mut connection);
    let mut rest = records.as_slice();
    let mut message = Vec::new();
    while let [_, _, _, high, low, following @ ..] = rest {
        let (piece, next) = following.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend_from_slice(piece);
        rest = next;
    }
    (connection, message)
}

#[test]
fn a_large_client_hello_is_accepted_in_any_fragmentation() {
    let flood = FloodBed::start(|_| {});
    // a little under 16 KiB fits into one record; the others need several
    for (protocols, pieces) in [(0, 1), (0, 3), (55, 16_384), (55, 100), (62, 16_384), (200, 16_384)] {
        let (mut connection, message) = hello_of(protocols);
        let mut tcp = flood.attacker().connect_tcp();
        tcp.write_all(&in_records(&message, pieces)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).unwrap_or_else(|e| panic!("{} in {pieces}: {e}", message.len()));
        }
        let mut tls = rustls::StreamOwned::new(connection, tcp);
        tls.write_all(&Request::get("/nowhere").bytes()).unwrap();
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
}

#[test]
fn client_hellos_that_never_end_cost_one_buffer_each() {
    let flood = with_short_timeouts();
    let attackers = size(40, 400);
    let outcome = "deadline, alert; `tls_handshake_failures{how=\"timeout\"}`, `\"protocol\"`";
    // a message announces its length in 24 bits; up to 80 KiB of it are kept, and a growing vector doubles
    let attack = Attack {
        name: "ClientHellos of 64 KiB less a byte, and of 16 MiB",
        attackers,
        kib_each: 208,
        outcome,
    };
    let endless = [(0xffff_u32, 0xfffe), (0x00ff_ffff, 1 << 20)].map(|(length, comes)| {
        let mut message = vec![0; 4 + comes];
        message[..4].copy_from_slice(&(0x0100_0000 | length).to_be_bytes());
        in_records(&message, 16_384)
    });
    flood.run(&attack, || {
        let begun = |n: usize| {
            let mut tcp = flood.attacker().connect_tcp();
            // a ClientHello that announces 16 MiB is not read to the end
            tcp.write_all(&endless[n % 2]).ok();
            tcp
        };
        wait_until_ended(&(0..attackers).map(begun).collect::<Vec<_>>());
    });
    flood.wait_for_failures("timeout", attackers / 2);
    flood.wait_for_failures("protocol", attackers / 2);
}

/// A ClientHello written by hand: TLS 1.2 in its version field, some suites of both versions, and these extensions.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let listed: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body)| {
            [&kind.to_be_bytes(), &(body.len() as u16).to_be_bytes(), &body[..]].concat()
        })
        .collect();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(prefixed(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b, 0xc0, 0x2f]));
    body.extend([1, 0]);
    body.extend(prefixed(&listed));
    [&(0x0100_0000 | body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// These bytes with their length in 16 bits before them.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// The extension `server_name` with these names of this type.
fn names(kind: u8, names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[kind][..], &prefixed(name)].concat()).collect();
    (0, prefixed(&list))
}

/// The extensions that a ClientHello needs beside the name.
fn usual_extensions() -> Vec<(u16, Vec<u8>)> {
    let signatures = (13, prefixed(&[4, 3, 8, 4, 4, 1]));
    vec![(10, prefixed(&[0, 29, 0, 23])), (11, vec![1, 0]), signatures]
}

/// The usual extensions for TLS 1.3: the version, and an invalid key share.
fn usual_extensions_13() -> Vec<(u16, Vec<u8>)> {
    let key = prefixed(&[&[0, 29][..], &prefixed(&[9; 32])].concat());
    [usual_extensions(), vec![(43, vec![2, 3, 4]), (51, key)]].concat()
}

/// ClientHellos that no regular client writes.
fn absurd_hellos() -> Vec<(&'static str, Vec<u8>)> {
    let with = |more: Vec<(u16, Vec<u8>)>| hello(&[usual_extensions(), more].concat());
    let with_13 = |more: Vec<(u16, Vec<u8>)>| hello(&[usual_extensions_13(), more].concat());
    let many_names = vec![&b"a.test"[..]; 5000];
    let identities: Vec<u8> = (0..200).flat_map(|n| [&prefixed(&[n; 200])[..], &[0; 4]].concat()).collect();
    let binders: Vec<u8> = (0..200).flat_map(|_| [&[32][..], &[1; 32]].concat()).collect();
    let keys: Vec<u8> = (0..500).flat_map(|_| [&[0, 29][..], &prefixed(&[9; 32])].concat()).collect();
    vec![
        ("no extensions at all", hello(&[])),
        ("no name in the list", with(vec![(0, vec![0, 0])])),
        ("an empty name", with(vec![names(0, &[b""])])),
        ("a name of 60,000 bytes", with(vec![names(0, &[&[b'a'; 60_000]])])),
        ("a name of 255 dots", with(vec![names(0, &[&[b'.'; 255]])])),
        ("a NUL in the name", with(vec![names(0, &[b"gateway\0.test"])])),
        ("a name that is not text", with(vec![names(0, &[&[0xff, 0xfe, 0x80]])])),
        ("an address as a name", with(vec![names(0, &[b"127.0.0.1"])])),
        ("a path as a name", with(vec![names(0, &[b"../../etc/passwd"])])),
        ("a wildcard as a name", with(vec![names(0, &[b"*.test"])])),
        ("a name of another type", with(vec![names(7, &[b"gateway.test"])])),
        ("5000 names", with(vec![names(0, &many_names)])),
        ("the name twice", with(vec![names(0, &[b"gateway.test"]), names(0, &[b"rsa.test"])])),
        ("a list longer than its extension", with(vec![(0, vec![0xff, 0xff, 0, 0, 1])])),
        ("an extension twice", with(vec![(35, vec![]), (35, vec![])])),
        ("a ticket of 60,000 bytes", with(vec![(35, vec![9; 60_000])])),
        ("no protocol in the list", with(vec![(16, vec![0, 0])])),
        ("an empty protocol", with(vec![(16, vec![0, 1, 0])])),
        ("heartbeats", with(vec![(15, vec![1])])),
        ("renegotiation data in a first hello", with(vec![(0xff01, [vec![12], vec![1; 12]].concat())])),
        (
            "200 tickets of TLS 1.3",
            with_13(vec![(45, vec![1, 1]), (41, [prefixed(&identities), prefixed(&binders)].concat())]),
        ),
        (
            "tickets that are not the last extension",
            with_13(vec![
                (41, [prefixed(&identities[..206]), prefixed(&binders[..33])].concat()),
                (45, vec![1, 1]),
            ]),
        ),
        ("early data", with_13(vec![(42, vec![])])),
        ("500 keys", hello(&[usual_extensions(), vec![(43, vec![2, 3, 4]), (51, prefixed(&keys))]].concat())),
        (
            "an empty key share",
            hello(&[usual_extensions(), vec![(43, vec![2, 3, 4]), (51, prefixed(&[0, 29, 0, 0]))]].concat()),
        ),
        ("a cookie that the gateway did not send", with_13(vec![(44, prefixed(&[5; 60_000]))])),
        (
            "unknown future versions",
            hello(&[usual_extensions(), vec![(43, [vec![254], [0x7f, 0x1c].repeat(127)].concat())]].concat()),
        ),
        ("15,000 unknown extensions", hello(&(0..15_000).map(|n| (20_000 + n, vec![])).collect::<Vec<_>>())),
    ]
}

#[test]
fn absurd_client_hellos_are_answered_or_ended_without_harm_to_other_clients() {
    let flood = with_short_timeouts();
    let cases = absurd_hellos();
    let attackers = cases.len() * size(1, 20);
    let outcome = "alert, deadline; `tls_handshake_failures`";
    let attack =
        Attack { name: "absurd ClientHellos: names, tickets, keys", attackers, kib_each: 208, outcome };
    flood.run(&attack, || {
        for _ in 0..size(1, 20) {
            let said = |(_, hello): &(&str, Vec<u8>)| {
                let mut tcp = flood.attacker().connect_tcp();
                // the gateway may refuse it before it is read to its end
                tcp.write_all(&in_records(hello, 16_384)).ok();
                tcp
            };
            wait_until_ended(&cases.iter().map(said).collect::<Vec<_>>());
        }
    });
    eventually("all failures are counted", || {
        flood.bed.gateway.metric("tidegate_tls_handshake_failures_total", &[]) == attackers as f64
    });
}

/// rustls 0.23 refuses such names before the gateway sees them. When this test fails, its version can ignore them: then the
/// handshake should go on with the first certificate, and docs/operations.md and docs/decisions.md have to say so.
#[test]
fn a_server_name_that_is_no_host_name_ends_the_handshake() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let bed = TestBed::start();
    for (name, answer) in
        [("gateway.test", HANDSHAKE), ("localhost:443", ALERT), ("[::1]", ALERT), ("xn--", ALERT)]
    {
        let hello = hello(&[usual_extensions(), vec![names(0, &[name.as_bytes()])]].concat());
        let mut tcp = bed.client_builder().connect_tcp();
        tcp.write_all(&in_records(&hello, 16_384)).unwrap();
        let mut first = [0];
        tcp.read_exact(&mut first).unwrap();
        assert_eq!(first[0], answer, "{name}");
    }
}
