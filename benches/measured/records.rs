//! The two ends of a TLS connection, the gateway's and a client's, without a socket between them; and the bare cryptography.

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

/// The sizes of payload that are measured, in bytes.
pub const SIZES: [usize; 4] = [64, 256, 1024, 16 * 1024];

/// Size of a buffer for the records of one payload, in bytes.
pub const RECORDS_MAX: usize = 18 * 1024;

/// The settings of both ends: TLS 1.3, AES-128-GCM, X25519, ECDSA P-256, which browsers and the gateway negotiate.
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
        let key =
            CertifiedKey::from_der(chain, key, &provider()).expect("a key that belongs to the certificate");
        let facts = Facts {
            chain: PathBuf::new(),
            names: vec!["localhost".to_owned()],
            not_before: 0,
            not_after: 0,
            by_acme: false,
        };
        let server =
            server_config(&super::memory::config().tls, vec![Loaded { key: Arc::new(key), facts }], None)
                .expect("valid TLS settings");
        let mut client_provider = provider();
        client_provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
        client_provider.kx_groups = vec![X25519];
        let mut client = ClientConfig::builder_with_provider(Arc::new(client_provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        Self { server, client: Arc::new(client) }
    }

    /// A client that has sent nothing yet.
    fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(self.client.clone(), name).expect("a connection")
    }

    /// The ClientHello of one more client.
    pub fn hello(&self) -> Vec<u8> {
        records_of(&mut self.client())
    }

    /// Makes a connection and answers a ClientHello. Returns the answer, up to the gateway's Finished.
    pub fn answer(&self, hello: &mut [u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut gateway = Records::new(self.server.clone()).expect("a connection");
        gateway.feed(hello, &mut reply, |_| {}).expect("a valid ClientHello");
        reply
    }
}

/// Both ends after their handshake.
pub struct Pair {
    pub gateway: Records,
    client: ClientConnection,
}

impl Pair {
    /// Makes both ends and completes their handshake.
    pub fn new(settings: &Settings) -> Self {
        let mut gateway = Records::new(settings.server.clone()).expect("a connection");
        let mut client = settings.client();
        while !gateway.is_open() || client.is_handshaking() {
            let mut flight = records_of(&mut client);
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

    /// The records of the client's next message of `size` bytes. Messages have to be fed to the gateway in this order.
    pub fn message(&mut self, size: usize) -> Vec<u8> {
        self.client.writer().write_all(&vec![b'x'; size]).expect("the client's buffer takes it");
        records_of(&mut self.client)
    }
}

/// The records that a client has to send.
fn records_of(client: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).expect("a vector takes all bytes");
    }
    records
}

/// The cipher of a record and nothing else: the least that TLS can cost.
pub struct BareCipher(LessSafeKey);

/// Length of the tag that the cipher adds to a record, in bytes.
pub const TAG: usize = 16;

impl BareCipher {
    pub fn new() -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key")))
    }

    /// Encrypts all but the last [`TAG`] bytes, and writes the tag into these.
    pub fn seal(&self, bytes: &mut [u8]) {
        let (payload, tag_bytes) = bytes.split_at_mut(bytes.len() - TAG);
        let tag = self.0.seal_in_place_separate_tag(nonce(), head(), payload).expect("encrypted");
        tag_bytes.copy_from_slice(tag.as_ref());
    }

    /// Decrypts what [`BareCipher::seal`] made. Returns the length of the payload.
    pub fn open(&self, bytes: &mut [u8]) -> usize {
        self.0.open_in_place(nonce(), head(), bytes).expect("decrypted").len()
    }
}

/// The nonce of all records. It may repeat, because these records are never sent.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([9; 12])
}

/// The head of a record, which is authenticated data.
fn head() -> Aad<[u8; 5]> {
    Aad::from([23, 3, 3, 0, 0])
}

/// The cryptography that the server's side of a full handshake needs at least: a key share, a key agreement, a signature.
pub struct BareHandshake {
    random: SystemRandom,
    signer: EcdsaKeyPair,
    peer: Vec<u8>,
}

impl BareHandshake {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let peer = EphemeralPrivateKey::generate(&agreement::X25519, &random).expect("a key");
        let peer = peer.compute_public_key().expect("a public key").as_ref().to_vec();
        Self { random, signer, peer }
    }

    /// Runs it once. The signature covers as many bytes as that of a CertificateVerify. The result only keeps the work from
    /// being optimised away.
    pub fn run(&self) -> usize {
        let own_key = EphemeralPrivateKey::generate(&agreement::X25519, &self.random).expect("a key");
        let share = own_key.compute_public_key().expect("a public key");
        let peer = UnparsedPublicKey::new(&agreement::X25519, &self.peer);
        let secret_len = agreement::agree_ephemeral(own_key, peer, (), |secret| Ok(secret.len()))
            .expect("a shared secret");
        let signature = self.signer.sign(&self.random, &[b' '; 130]).expect("a signature");
        secret_len + share.as_ref().len() + signature.as_ref().len()
    }
}
