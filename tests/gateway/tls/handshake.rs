//! TLS handshakes: versions, certificates, resumption and deadlines.

use super::connection;
use crate::harness::certs::{ECDSA, NAME, RSA, RSA_NAME};
use crate::harness::client::config;
use crate::harness::connection::Tls;
use crate::harness::{Frame, Reply, Request, TestBed};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, StreamOwned};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

const EVENT: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn speaking(protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = config(rustls::ALL_VERSIONS);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[test]
fn both_versions_carry_a_session() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for (versions, expected, label) in
        [(ONLY_13, ProtocolVersion::TLSv1_3, "1.3"), (ONLY_12, ProtocolVersion::TLSv1_2, "1.2")]
    {
        let tls = bed.client_builder().with(Arc::new(config(versions))).connect_tls_stream();
        assert_eq!(tls.conn.protocol_version(), Some(expected));
        let mut client = connection(tls);
        let mut node = bed.open_websocket(&mut client, &listener);
        for length in [1, 20_000, 60_000] {
            client.send_frame(Frame::binary(vec![1; length]));
            assert_eq!(node.read_frame().payload.len(), length);
            node.send_frame(Frame::binary(vec![2; length]));
            assert_eq!(client.read_frame().payload.len(), length);
        }
        client.send_frame(Frame::empty_close());
        assert_eq!(node.read_frame(), Frame::empty_close());
        let labels = [("version", label), ("resumed", "false")];
        assert_eq!(bed.gateway.metric("tidegate_tls_handshakes_total", &labels), 1.0);
    }
}

#[test]
fn the_oldest_version_is_the_configured_one() {
    let bed = TestBed::with(|config, _| config.set("tls.min_version", "1.3"));
    assert!(bed.client_builder().with(Arc::new(config(ONLY_12))).try_connect_tls_stream().is_err());
    bed.client_builder().with(Arc::new(config(ONLY_13))).connect_tls_stream();
}

#[test]
fn the_server_name_chooses_the_certificate_in_both_versions() {
    let bed = TestBed::start();
    for versions in [ONLY_12, ONLY_13] {
        let builder = bed.client_builder().with(Arc::new(config(versions)));
        // an address sends no name: the first certificate answers
        for (name, identity) in [(NAME, &ECDSA), (RSA_NAME, &RSA), ("127.0.0.1", &ECDSA)] {
            let tls = builder.clone().sni(name).connect_tls_stream();
            assert_eq!(tls.conn.peer_certificates().unwrap()[0], identity.der, "{name}");
        }
        // the first certificate answers for an unknown name too; this client rejects it, but the gateway sent one
        let refused = builder.sni("unknown.test").try_connect_tls_stream().unwrap_err().to_string();
        assert!(refused.contains("not valid for name"), "{refused}");
    }
}

#[test]
fn the_key_exchange_is_post_quantum() {
    let bed = TestBed::start();
    let tls = bed.client_tls();
    assert_eq!(tls.conn.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn alpn_chooses_http_1_1_before_http_1_0_and_nothing_else() {
    let bed = TestBed::start();
    for (offer, answer) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.0", "http/1.1"], Some(b"http/1.1")),
        (&["http/1.0"], Some(b"http/1.0")),
        (&[], None),
    ] {
        let tls = bed.client_builder().with(speaking(offer)).connect_tls_stream();
        assert_eq!(tls.conn.alpn_protocol(), answer);
        assert_eq!(connection(tls).get("/nowhere").status(), 404);
    }
    let refused = bed.client_builder().with(speaking(&["h2"])).try_connect_tls_stream();
    assert!(refused.is_err(), "no common protocol");
}

#[test]
fn sessions_are_resumed_on_any_worker() {
    let bed = TestBed::start();
    for versions in [ONLY_13, ONLY_12] {
        let builder = bed.client_builder().with(Arc::new(config(versions)));
        // once an answer is read, the tickets before it are read too
        assert_eq!(connection(builder.connect_tls_stream()).get("/nowhere").status(), 404);
        for n in 0..12 {
            let tls = builder.connect_tls_stream();
            assert_eq!(tls.conn.handshake_kind(), Some(HandshakeKind::Resumed), "connection {n}");
            assert_eq!(connection(tls).get("/nowhere").status(), 404);
        }
    }
    let resumed = bed.gateway.metric("tidegate_tls_handshakes_total", &[("resumed", "true")]);
    assert_eq!(resumed, 24.0);
}

#[test]
fn a_handshake_ends_after_its_timeout() {
    let bed = TestBed::with(|config, _| config.set("tls.handshake_timeout", "300ms"));
    let silent = bed.client_builder().connect_tcp();
    let mut half = bed.client_builder().connect_tcp();
    half.write_all(&client_hello()[..40]).unwrap();
    for mut tcp in [silent, half] {
        let mut rest = Vec::new();
        // an alert is fine, hanging is not
        if let Err(e) = tcp.read_to_end(&mut rest) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

fn client_hello() -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config(ONLY_13)), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_client_hello_may_arrive_byte_by_byte() {
    let bed = TestBed::start();
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config(ONLY_13)), name).unwrap();
    let mut tcp = bed.client_builder().connect_tcp();
    tcp.set_nodelay(true).unwrap();
    while connection.is_handshaking() {
        drip(&mut connection, &mut tcp);
        connection.complete_io(&mut tcp).unwrap();
    }
    connection.writer().write_all(&Request::get("/nowhere").bytes()).unwrap();
    drip(&mut connection, &mut tcp);
    assert_eq!(super::connection(StreamOwned::new(connection, tcp)).read_response().status(), 404);
}

/// Sends what TLS wants to send one byte at a time.
fn drip(connection: &mut ClientConnection, tcp: &mut TcpStream) {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes.chunks(1).for_each(|byte| tcp.write_all(byte).unwrap());
}

#[test]
fn bytes_that_are_no_tls_end_the_connection() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.workers", 1));
    let nonsense: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        &[22, 3, 1, 0xff, 0xff, 1],
        b"\x16\x03\x01\x00\x00",
    ];
    for bytes in nonsense {
        let mut tcp = bed.client_builder().connect_tcp();
        tcp.write_all(bytes).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        if let Err(e) = tcp.read_to_end(&mut rest) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    assert_eq!(bed.get("/nowhere").status(), 404);
    bed.gateway.assert_healthy();
}

#[test]
fn a_question_works_over_either_certificate() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::json(200, "[]"));
    for name in [NAME, RSA_NAME] {
        assert_eq!(bed.client_builder().sni(name).connect_tls().get(EVENT).status(), 200);
    }
}

impl TestBed {
    fn client_tls(&self) -> Tls {
        self.client_builder().connect_tls_stream()
    }
}
