//! The oracle of the TLS glue: a rustls client and the gateway talk in memory, and an input says what happens to the records
//! between them.
//!
//! Whatever happens: no panic and no spin, the carry stays bounded, after a fault nothing more is taken or said, and what
//! the gateway heard is the beginning of what the client said. If nobody tampered: the handshake succeeds, both hear all
//! that the other said, and a close is heard. Cuts change nothing: the same script with other cuts gives the same, and so
//! does the same first flight, whatever was done to it.

use crate::oracles::tls::end::End;
use crate::oracles::tls::fixture::{Kind, SUITE, TlsFixture};
use crate::oracles::tls::script::{Script, Step};
use crate::oracles::tls::wire::Wire;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConfig};
use std::io::{Read, Write};
use std::sync::Arc;

/// Steps of one input. More show nothing new.
const STEPS_MAX: usize = 64;

/// Flights until two ends that are not disturbed have nothing more to say.
const FLIGHTS_MAX: usize = 16;

/// KeyUpdates of one client. rustls takes 32 that nothing follows, and then calls it an attack.
const RENEWALS_MAX: u8 = 24;

/// What came of a script, as far as it does not depend on keys.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    heard: Vec<u8>,
    failed: bool,
    open: bool,
    peer_closed: bool,
    tampered: bool,
    /// Somebody tampered with a handshake. What comes of that may depend on random bytes.
    by_chance: bool,
}

/// Plays an input: a byte that chooses the client, one that cuts what it sends, then steps.
pub fn records(parties: &TlsFixture, input: &[u8]) {
    let Some((&[choice, cut], script)) = input.split_first_chunk::<2>() else { return };
    let kind = Kind { is_12: choice & 1 != 0, hybrid: choice & 2 != 0, resumes: choice & 4 != 0 };
    let once = Play::run(parties, kind, usize::from(cut), script);
    if choice & 8 != 0 && !once.by_chance {
        let again = Play::run(parties, kind, usize::MAX, script);
        assert_eq!(once, again, "in pieces of {cut}, and as it came");
    }
}

/// Both ends, and what is between them.
struct Play {
    gateway: End,
    client: Client,
    /// The client said close_notify.
    client_closed: bool,
    renewals: u8,
    wire: Wire,
    by_chance: bool,
    /// Settings of the gateway, until it has received something.
    fresh: Option<Arc<ServerConfig>>,
    /// How many bytes the gateway receives at a time.
    at_once: usize,
    /// What the client said, or will when it can.
    said: Vec<u8>,
    /// What the gateway said.
    answered: Vec<u8>,
    /// What the client heard.
    heard: Vec<u8>,
}

/// The client's end.
enum Client {
    Rustls(Box<ClientConnection>),
    /// Its key for what it sends, and how many records went out under it: nothing else is known of it any more.
    Hand(Box<dyn MessageEncrypter>, u64),
    /// It was not to be had.
    Gone,
}

impl Play {
    fn run(parties: &TlsFixture, kind: Kind, at_once: usize, script: &[u8]) -> Outcome {
        let settings = parties.settings(kind);
        let new = || Self {
            gateway: End::new(&parties.server),
            client: Client::Rustls(Box::new(parties.client(&settings))),
            client_closed: false,
            renewals: 0,
            wire: Wire::default(),
            by_chance: false,
            fresh: Some(Arc::clone(&parties.server)),
            at_once,
            said: Vec::new(),
            answered: Vec::new(),
            heard: Vec::new(),
        };
        if kind.resumes {
            // a session to be resumed, and a close on both sides
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
                play.said.starts_with(&play.gateway.heard),
                "what is heard is the beginning of what was said"
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
            heard: play.gateway.heard,
        }
    }

    fn step(&mut self, step: Step<'_>) {
        // rustls 0.23.46 asserts that no fatal alert follows its close_notify, and goes on without its debug assertions:
        // there the fault of a client after our close is played too
        let asserts = cfg!(debug_assertions);
        match step {
            Step::GatewayCloses if asserts && self.wire.tampered => {}
            step if asserts && self.gateway.closed && step.harms() => {}
            Step::Say(size) => self.say(size),
            Step::Answer(size) => self.answer(size),
            Step::Renew => self.renew(),
            Step::ToGateway => self.gateway_hears(),
            Step::ToClient => self.client_hears(),
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
            Step::Hand(kind, payload) => self.by_hand(kind, payload),
            Step::AtOnce(size) => {
                if self.at_once != usize::MAX {
                    self.at_once = size.into();
                }
            }
        }
        self.by_chance |= self.wire.tampered && !self.gateway.is_open();
        self.client_speaks();
    }

    /// The client's rustls, as long as it may say something.
    fn speaker(&mut self) -> Option<&mut ClientConnection> {
        match &mut self.client {
            Client::Rustls(client) if !self.client_closed => Some(client),
            _ => None,
        }
    }

    fn client_closes(&mut self) {
        // during the handshake it would be a way to give up
        if let Some(client) = self.speaker().filter(|client| !client.is_handshaking()) {
            client.send_close_notify();
            self.client_closed = true;
        }
    }

    /// The client says so many bytes, now or when it can.
    fn say(&mut self, size: usize) {
        let began = self.said.len();
        let Some(client) = self.speaker() else { return };
        let bytes: Vec<u8> = (0..size).map(|n| (n + began) as u8).collect();
        // it takes what its buffer holds
        let taken = client.writer().write(&bytes).unwrap_or_default();
        self.said.extend_from_slice(&bytes[..taken]);
    }

    fn answer(&mut self, size: usize) {
        let bytes: Vec<u8> = (0..size).map(|n| (n + self.answered.len()) as u8 ^ 0xff).collect();
        if self.gateway.say(&bytes) {
            self.answered.extend_from_slice(&bytes);
        }
    }

    /// A KeyUpdate that asks for one in return; TLS 1.2 has none.
    fn renew(&mut self) {
        if self.renewals == RENEWALS_MAX {
            return;
        }
        // refused before the end of the handshake
        if self.speaker().is_some_and(|client| client.refresh_traffic_keys().is_ok()) {
            self.renewals += 1;
        }
    }

    /// The client's records are on the wire as soon as it has them.
    fn client_speaks(&mut self) {
        let Client::Rustls(client) = &mut self.client else { return };
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("a vector takes all");
        }
        self.wire.push(&said);
    }

    fn gateway_hears(&mut self) {
        self.client_speaks();
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
        assert_eq!(self.gateway.out.is_empty(), other.out.is_empty(), "and what is said to it");
    }

    fn client_hears(&mut self) {
        let out = std::mem::take(&mut self.gateway.out);
        let Client::Rustls(client) = &mut self.client else { return };
        let mut rest = &out[..];
        while !rest.is_empty() {
            let taken = client.read_tls(&mut rest).expect("a slice");
            let Ok(state) = client.process_new_packets() else {
                assert!(self.wire.tampered, "a client that nobody harmed finds no fault");
                return;
            };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            let _ = client.reader().read_exact(&mut plain);
            self.heard.extend_from_slice(&plain);
            if taken == 0 {
                break;
            }
        }
        assert!(self.answered.starts_with(&self.heard), "what the client hears was said");
    }

    /// Both hear all that is under way, until nobody has anything to say.
    fn settle(&mut self) {
        for _ in 0..FLIGHTS_MAX {
            self.gateway_hears();
            self.client_hears();
            self.client_speaks();
            if self.wire.is_empty() && self.gateway.out.is_empty() {
                return;
            }
        }
        assert!(self.wire.tampered, "two ends that talk without an end");
    }

    /// From here on the client's records are made of the input: any type, any payload, rightly encrypted.
    fn by_hand(&mut self, kind: u8, payload: &[u8]) {
        self.settle();
        self.take_key();
        let Client::Hand(key, count) = &mut self.client else { return };
        let kind = match kind % 8 {
            0..=2 => ContentType::Handshake,
            3 | 4 => ContentType::ApplicationData,
            5 => ContentType::Alert,
            6 => ContentType::ChangeCipherSpec,
            // whatever it is called: the number may be that of a known one
            _ => ContentType::from(kind),
        };
        let record = key.encrypt(plain(kind, payload), *count).expect("a few bytes");
        *count += 1;
        if kind == ContentType::ApplicationData {
            self.said.extend_from_slice(payload);
        }
        self.wire.tampered = true;
        self.wire.push(&record.encode());
    }

    /// Takes the key that the client sends with; only TLS 1.3's, and only of a client that nobody has harmed yet.
    fn take_key(&mut self) {
        let sound = self.gateway.is_open() && !self.gateway.failed && !self.wire.tampered;
        let is_13 =
            |client: &mut ClientConnection| client.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if !sound || !self.speaker().is_some_and(is_13) {
            return;
        }
        let Client::Rustls(client) = std::mem::replace(&mut self.client, Client::Gone) else { return };
        assert_eq!(self.gateway.heard, self.said, "all was heard before");
        let secrets = client.dangerous_extract_secrets().expect("the settings allow it");
        let (count, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("the suite that was agreed on")
        };
        let suite = SUITE.tls13().expect("it is one of TLS 1.3");
        let mut key = suite.aead_alg.encrypter(key, iv);
        if count > 0 {
            // the cryptography insists on numbers that grow, and takes the first one it sees for zero
            key.encrypt(plain(ContentType::ApplicationData, b""), 0).expect("a record that nobody gets");
        }
        self.client = Client::Hand(key, count);
    }

    /// What holds when all is over.
    fn end(&self) {
        assert!(self.said.starts_with(&self.gateway.heard));
        if self.wire.tampered {
            return;
        }
        assert!(!self.gateway.failed && self.gateway.is_open(), "nobody tampered");
        assert_eq!(self.gateway.heard.len(), self.said.len(), "the gateway heard all");
        assert_eq!(self.gateway.peer_closed(), self.client_closed, "and the end, if it was said");
        assert_eq!(self.heard.len(), self.answered.len(), "the client heard all");
    }
}

/// What a record holds before it is encrypted.
const fn plain(typ: ContentType, payload: &[u8]) -> OutboundPlainMessage<'_> {
    OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: OutboundChunks::Single(payload) }
}
