//! The oracle of the TLS glue: a rustls client and the gateway talk in memory, and an input describes what happens to the
//! records between them.
//!
//! In any case: no panic and no endless loop, the carry stays within its limit, after a fault nothing more is read or sent,
//! and what the gateway received is the beginning of what the client sent. If no record was tampered with: the handshake
//! succeeds, each end receives all that the other sent, and a close is noticed. Pieces change nothing: the same script in
//! other pieces gives the same outcome, and so does the same first flight, even a tampered one.

use crate::oracles::tls::end::End;
use crate::oracles::tls::fixture::{Kind, SUITE, TlsFixture};
use crate::oracles::tls::script::{Script, Step};
use crate::oracles::tls::wire::Wire;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConfig};
use std::io::{Read, Write};
use std::sync::Arc;

/// Most steps of one input; more find nothing new.
const STEPS_MAX: usize = 64;

/// Most flights until two undisturbed ends have nothing more to send.
const FLIGHTS_MAX: usize = 16;

/// Most KeyUpdates of one client. rustls accepts 32 in a row without data between them and takes more for an attack.
const RENEWALS_MAX: u8 = 24;

/// The outcome of a script, as far as it does not depend on keys.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    received: Vec<u8>,
    failed: bool,
    open: bool,
    peer_closed: bool,
    tampered: bool,
    /// A record of a handshake was tampered with. The outcome may depend on random bytes then.
    by_chance: bool,
}

/// Plays an input and asserts what must hold. The first byte of the input chooses the client, the second the size of pieces,
/// the rest are steps.
pub fn records(fixture: &TlsFixture, input: &[u8]) {
    let Some((&[choice, cut], script)) = input.split_first_chunk::<2>() else { return };
    let kind = Kind { is_12: choice & 1 != 0, hybrid: choice & 2 != 0, resumes: choice & 4 != 0 };
    let once = Play::run(fixture, kind, usize::from(cut), script);
    if choice & 8 != 0 && !once.by_chance {
        let again = Play::run(fixture, kind, usize::MAX, script);
        assert_eq!(once, again, "in pieces of {cut}, and undivided");
    }
}

/// Both ends of a connection, and the wire between them.
struct Play {
    gateway: End,
    client: Client,
    /// The client sent close_notify.
    client_closed: bool,
    renewals: u8,
    wire: Wire,
    by_chance: bool,
    /// Settings of the gateway, until it has received something.
    fresh: Option<Arc<ServerConfig>>,
    /// Bytes that the gateway receives at a time.
    at_once: usize,
    /// Plaintext that the client sent, or will send when it can.
    sent: Vec<u8>,
    /// Plaintext that the gateway sent.
    gateway_sent: Vec<u8>,
    /// Plaintext that the client received.
    received: Vec<u8>,
}

/// The client's end.
enum Client {
    /// A client of rustls.
    Rustls(Box<ClientConnection>),
    /// Records by hand: the client's key, and the number of records that were encrypted with it.
    Hand(Box<dyn MessageEncrypter>, u64),
    /// Its key could not be taken.
    Gone,
}

impl Play {
    fn run(fixture: &TlsFixture, kind: Kind, at_once: usize, script: &[u8]) -> Outcome {
        let settings = fixture.settings(kind);
        let new = || Self {
            gateway: End::new(&fixture.server),
            client: Client::Rustls(Box::new(fixture.client(&settings))),
            client_closed: false,
            renewals: 0,
            wire: Wire::default(),
            by_chance: false,
            fresh: Some(Arc::clone(&fixture.server)),
            at_once,
            sent: Vec::new(),
            gateway_sent: Vec::new(),
            received: Vec::new(),
        };
        if kind.resumes {
            // an earlier session, which ends with a close on both sides
            let mut first = new();
            first.settle();
            first.step(Step::ClientCloses);
            first.settle();
            first.end();
        }
        let mut play = new();
        let mut script = Script(script);
        for _ in 0..STEPS_MAX {
            let Some(step) = script.next() else { break };
            play.step(step);
            assert!(
                play.sent.starts_with(&play.gateway.received),
                "the gateway receives the beginning of what the client sent"
            );
        }
        play.settle();
        play.end();
        if kind.resumes && !play.wire.tampered && matches!(play.client, Client::Rustls(_)) {
            assert!(play.gateway.is_resumed(), "a ticket of this gateway resumes");
        }
        Outcome {
            failed: play.gateway.failed,
            open: play.gateway.is_open(),
            peer_closed: play.gateway.peer_closed(),
            tampered: play.wire.tampered,
            by_chance: play.by_chance,
            received: play.gateway.received,
        }
    }

    fn step(&mut self, step: Step<'_>) {
        // rustls 0.23.46 has a debug assertion that no fatal alert follows its close_notify; so the fault of a client after
        // the gateway's close is played only in builds without debug assertions
        let asserts = cfg!(debug_assertions);
        match step {
            Step::GatewayCloses if asserts && self.wire.tampered => {}
            step if asserts && self.gateway.closed && step.harms() => {}
            Step::Say(size) => self.say(size),
            Step::Answer(size) => self.answer(size),
            Step::Renew => self.renew(),
            Step::ToGateway => self.gateway_receives(),
            Step::ToClient => self.client_receives(),
            Step::Settle => self.settle(),
            Step::ClientCloses => self.client_closes(),
            Step::GatewayCloses => self.gateway.close(),
            Step::Swap(record) => self.wire.swap(record),
            Step::Double(record) => self.wire.double(record),
            Step::Lose(record) => self.wire.lose(record),
            Step::Cut(record, by) => self.wire.cut(record, by),
            Step::Flip(record, at) => self.wire.flip(record, at),
            Step::Put(record, bytes) => self.wire.put(record, bytes),
            Step::Fragment(record, at) => self.wire.fragment(record, at),
            Step::Hand(kind, payload) => self.send_by_hand(kind, payload),
            Step::AtOnce(size) => {
                if self.at_once != usize::MAX {
                    self.at_once = size.into();
                }
            }
        }
        self.by_chance |= self.wire.tampered && !self.gateway.is_open();
        self.client_sends();
    }

    /// The client's rustls, as long as it may send something.
    fn sender(&mut self) -> Option<&mut ClientConnection> {
        match &mut self.client {
            Client::Rustls(client) if !self.client_closed => Some(client),
            _ => None,
        }
    }

    fn client_closes(&mut self) {
        // during a handshake close_notify gives it up
        if let Some(client) = self.sender().filter(|client| !client.is_handshaking()) {
            client.send_close_notify();
            self.client_closed = true;
        }
    }

    /// The client sends this number of bytes, now or when it can.
    fn say(&mut self, size: usize) {
        let began = self.sent.len();
        let Some(client) = self.sender() else { return };
        let bytes: Vec<u8> = (0..size).map(|n| (n + began) as u8).collect();
        // rustls takes as much as its buffer holds
        let taken = client.writer().write(&bytes).unwrap_or_default();
        self.sent.extend_from_slice(&bytes[..taken]);
    }

    fn answer(&mut self, size: usize) {
        let bytes: Vec<u8> = (0..size).map(|n| (n + self.gateway_sent.len()) as u8 ^ 0xff).collect();
        if self.gateway.say(&bytes) {
            self.gateway_sent.extend_from_slice(&bytes);
        }
    }

    /// The client sends a KeyUpdate that asks for one in return; TLS 1.2 has none.
    fn renew(&mut self) {
        if self.renewals == RENEWALS_MAX {
            return;
        }
        // refused before the end of the handshake
        if self.sender().is_some_and(|client| client.refresh_traffic_keys().is_ok()) {
            self.renewals += 1;
        }
    }

    /// Puts the client's records on the wire.
    fn client_sends(&mut self) {
        let Client::Rustls(client) = &mut self.client else { return };
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).expect("a vector takes all");
        }
        self.wire.push(&sent);
    }

    fn gateway_receives(&mut self) {
        self.client_sends();
        let bytes = self.wire.take();
        self.gateway.receive(&bytes, self.at_once);
        let Some(server) = self.fresh.take().filter(|_| self.wire.tampered) else { return };
        let mut other = End::new(&server);
        other.receive(&bytes, usize::MAX);
        assert_eq!(
            self.gateway.failed, other.failed,
            "the first flight in pieces of {}, and whole",
            self.at_once
        );
        assert_eq!(self.gateway.out.is_empty(), other.out.is_empty(), "and the answer to it");
    }

    fn client_receives(&mut self) {
        let out = std::mem::take(&mut self.gateway.out);
        let Client::Rustls(client) = &mut self.client else { return };
        let mut rest = &out[..];
        while !rest.is_empty() {
            let taken = client.read_tls(&mut rest).expect("a slice");
            let Ok(state) = client.process_new_packets() else {
                assert!(self.wire.tampered, "an undisturbed client finds no fault");
                return;
            };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            let _ = client.reader().read_exact(&mut plain);
            self.received.extend_from_slice(&plain);
            if taken == 0 {
                break;
            }
        }
        assert!(
            self.gateway_sent.starts_with(&self.received),
            "the client receives the beginning of what the gateway sent"
        );
    }

    /// Both ends receive all that is under way, until neither has anything to send.
    fn settle(&mut self) {
        for _ in 0..FLIGHTS_MAX {
            self.gateway_receives();
            self.client_receives();
            self.client_sends();
            if self.wire.is_empty() && self.gateway.out.is_empty() {
                return;
            }
        }
        assert!(self.wire.tampered, "both ends never stop sending");
    }

    /// Sends a record of this type with this payload, correctly encrypted. From then on all records of the client are made
    /// this way.
    fn send_by_hand(&mut self, kind: u8, payload: &[u8]) {
        self.settle();
        self.take_key();
        let Client::Hand(key, count) = &mut self.client else { return };
        let kind = match kind % 8 {
            0..=2 => ContentType::Handshake,
            3 | 4 => ContentType::ApplicationData,
            5 => ContentType::Alert,
            6 => ContentType::ChangeCipherSpec,
            // by number, which may be that of a known type
            _ => ContentType::from(kind),
        };
        let record = key.encrypt(plain(kind, payload), *count).expect("a few bytes");
        *count += 1;
        if kind == ContentType::ApplicationData {
            self.sent.extend_from_slice(payload);
        }
        self.wire.tampered = true;
        self.wire.push(&record.encode());
    }

    /// Takes the client's key; only with TLS 1.3, and only if nothing was tampered with before.
    fn take_key(&mut self) {
        let undisturbed = self.gateway.is_open() && !self.gateway.failed && !self.wire.tampered;
        let is_13 =
            |client: &mut ClientConnection| client.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if !undisturbed || !self.sender().is_some_and(is_13) {
            return;
        }
        let Client::Rustls(client) = std::mem::replace(&mut self.client, Client::Gone) else { return };
        assert_eq!(self.gateway.received, self.sent, "all was received before");
        let secrets = client.dangerous_extract_secrets().expect("the settings allow it");
        let (count, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("expected the suite of the fixture")
        };
        let suite = SUITE.tls13().expect("a suite of TLS 1.3");
        let mut key = suite.aead_alg.encrypter(key, iv);
        if count > 0 {
            // aws-lc-rs requires growing sequence numbers and takes the first one it sees for zero; this record is not sent
            key.encrypt(plain(ContentType::ApplicationData, b""), 0).expect("an empty record");
        }
        self.client = Client::Hand(key, count);
    }

    /// Asserts what must hold at the end.
    fn end(&self) {
        assert!(self.sent.starts_with(&self.gateway.received));
        if self.wire.tampered {
            return;
        }
        assert!(!self.gateway.failed && self.gateway.is_open(), "without tampering nothing fails");
        assert_eq!(self.gateway.received.len(), self.sent.len(), "the gateway received all");
        assert_eq!(self.gateway.peer_closed(), self.client_closed, "and the close, if there was one");
        assert_eq!(self.received.len(), self.gateway_sent.len(), "the client received all");
    }
}

/// The content of a record before it is encrypted.
const fn plain(typ: ContentType, payload: &[u8]) -> OutboundPlainMessage<'_> {
    OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: OutboundChunks::Single(payload) }
}
