//! Two ends of one TLS connection without a socket between them: the gateway's, and a client's; and the bare cryptography.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate::control::start::certs::{Facts, Loaded, provider, server_config};
use tidegate::oracles::pieces::Records;

/// Payloads that are measured.
pub const SIZES: [usize; 4] = [64, 256, 1024, 16 * 1024];

/// Room for the records of one payload.
pub const ROOM: usize = 18 * 1024;

/// The settings of both ends: TLS 1.3, AES-128-GCM, X25519, ECDSA P-256, as browsers and the gateway agree.
pub struct Settings {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

impl Settings {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).expect("a root");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let key = CertifiedKey::from_der(chain, key, &provider()).expect("a key of the certificate");
        let facts =
            Facts { chain: PathBuf::new(), names: vec!["localhost".to_owned()], not_before: 0, not_after: 0 };
        let server = server_config(&super::memory::config().tls, vec![Loaded { key: Arc::new(key), facts }])
            .expect("settings");
        let mut narrow = provider();
        narrow.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
        narrow.kx_groups = vec![X25519];
        let mut client = ClientConfig::builder_with_provider(Arc::new(narrow))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        Self { server, client: Arc::new(client) }
    }

    /// A client, with nothing said yet.
    fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(self.client.clone(), name).expect("a connection")
    }

    /// The ClientHello of one more client.
    pub fn hello(&self) -> Vec<u8> {
        said_by(&mut self.client())
    }

    /// A connection made, and what it says to its ClientHello: everything up to its own Finished.
    pub fn answer(&self, hello: &mut [u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut gateway = Records::new(self.server.clone()).expect("a connection");
        gateway.feed(hello, &mut reply, |_| {}).expect("a right ClientHello");
        reply
    }
}

/// Both ends, after their handshake.
pub struct Pair {
    pub gateway: Records,
    client: ClientConnection,
}

impl Pair {
    /// Shakes hands.
    pub fn new(settings: &Settings) -> Self {
        let mut gateway = Records::new(settings.server.clone()).expect("a connection");
        let mut client = settings.client();
        while !gateway.is_open() || client.is_handshaking() {
            let mut flight = said_by(&mut client);
            let mut reply = Vec::new();
            gateway.feed(&mut flight, &mut reply, |_| {}).expect("the client's flight");
            let mut reply = &reply[..];
            while !reply.is_empty() {
                client.read_tls(&mut reply).expect("a slice");
                client.process_new_packets().expect("the gateway's flight");
            }
        }
        Self { gateway, client }
    }

    /// The client's next message, as it comes from its socket: records, to be fed in this order.
    pub fn message(&mut self, size: usize) -> Vec<u8> {
        self.client.writer().write_all(&vec![b'x'; size]).expect("its buffer");
        said_by(&mut self.client)
    }
}

fn said_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut said = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut said).expect("a vector");
    }
    said
}

/// The cipher of a record and nothing else: no lower floor has TLS.
pub struct Bare(LessSafeKey);

/// Bytes that a record's cipher adds.
pub const TAG: usize = 16;

impl Bare {
    pub fn new() -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key")))
    }

    /// Seals what stands before the last [`TAG`] bytes, and puts the tag there.
    pub fn seal(&self, bytes: &mut [u8]) {
        let (payload, room) = bytes.split_at_mut(bytes.len() - TAG);
        let tag = self.0.seal_in_place_separate_tag(nonce(), head(), payload).expect("sealed");
        room.copy_from_slice(tag.as_ref());
    }

    /// Opens what [`Bare::seal`] made.
    pub fn open(&self, bytes: &mut [u8]) -> usize {
        self.0.open_in_place(nonce(), head(), bytes).expect("opened").len()
    }
}

/// Always the same one: nobody reads these records.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([9; 12])
}

/// A record's head, which is authenticated.
fn head() -> Aad<[u8; 5]> {
    Aad::from([23, 3, 3, 0, 0])
}

/// What a full handshake can't do without on our side: a key share, its agreement, a signature.
pub struct Exchange {
    random: SystemRandom,
    signer: EcdsaKeyPair,
    peer: Vec<u8>,
}

impl Exchange {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let peer = EphemeralPrivateKey::generate(&agreement::X25519, &random).expect("a key");
        let peer = peer.compute_public_key().expect("its public half").as_ref().to_vec();
        Self { random, signer, peer }
    }

    /// Signs as many bytes as a CertificateVerify covers.
    pub fn once(&self) -> usize {
        let ours = EphemeralPrivateKey::generate(&agreement::X25519, &self.random).expect("a key");
        let shown = ours.compute_public_key().expect("its public half");
        let peer = UnparsedPublicKey::new(&agreement::X25519, &self.peer);
        let agreed = agreement::agree_ephemeral(ours, peer, (), |secret| Ok(secret.len())).expect("agreed");
        let signature = self.signer.sign(&self.random, &[b' '; 130]).expect("signed");
        agreed + shown.as_ref().len() + signature.as_ref().len()
    }
}
