//! TLS records written by hand, for those that no TLS library would write.

use super::Connection;
use super::connection::Tls;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{ClientConfig, ConnectionTrafficSecrets};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A client configuration for `TlsRecords::take_over`: one cipher suite, and its secrets can be extracted.
pub fn config() -> Arc<ClientConfig> {
    taken_over(&rustls::version::TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384)
}

/// The same with TLS 1.2, for records that are only written.
pub fn config_12() -> Arc<ClientConfig> {
    taken_over(&rustls::version::TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
}

fn taken_over(
    version: &'static rustls::SupportedProtocolVersion,
    suite: rustls::SupportedCipherSuite,
) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(super::certs::roots()).with_no_client_auth();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// A connection whose records the test writes and reads itself.
pub struct TlsRecords {
    tcp: TcpStream,
    is_13: bool,
    send: (u64, LessSafeKey, [u8; 12]),
    receive: (u64, LessSafeKey, [u8; 12]),
}

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;
pub const HEARTBEAT: u8 = 24;

impl TlsRecords {
    /// Takes over a connection on which nothing is in flight.
    pub fn take_over(connection: Connection) -> Self {
        let tls = *connection.into_transport().into_any().downcast::<Tls>().expect("TLS");
        let is_13 = tls.conn.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let secrets = tls.conn.dangerous_extract_secrets().unwrap();
        let key = |(sequence, secret): (u64, ConnectionTrafficSecrets)| {
            let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secret else {
                panic!("only AES-256 is offered")
            };
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
            (sequence, key, iv.as_ref().try_into().unwrap())
        };
        Self { tcp: tls.sock, is_13, send: key(secrets.tx), receive: key(secrets.rx) }
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn nonce((sequence, _, iv): &mut (u64, LessSafeKey, [u8; 12])) -> [u8; 12] {
        let mut nonce = *iv;
        nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, bit)| *byte ^= bit);
        *sequence += 1;
        nonce
    }

    /// One encrypted record with this content (RFC 8446, 5.2; RFC 5246, 6.2.3.3).
    pub fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let sequence = self.send.0;
        let nonce = Self::nonce(&mut self.send);
        let sealed = |mut inner: Vec<u8>, bound: &[u8]| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.send.1.seal_in_place_append_tag(nonce, Aad::from(bound), &mut inner).unwrap();
            inner
        };
        if self.is_13 {
            let length = (content.len() + 1 + AES_256_GCM.tag_len()) as u16;
            let header = [&[APPLICATION_DATA, 3, 3][..], &length.to_be_bytes()].concat();
            let inner = sealed([content, &[kind]].concat(), &header);
            return [header, inner].concat();
        }
        let plain = (content.len() as u16).to_be_bytes();
        let inner = sealed(content.to_vec(), &[&sequence.to_be_bytes()[..], &[kind, 3, 3], &plain].concat());
        let length = (8 + inner.len()) as u16;
        [&[kind, 3, 3][..], &length.to_be_bytes(), &nonce[4..], &inner].concat()
    }

    /// Sends one record with this content.
    pub fn write_record(&mut self, kind: u8, content: &[u8]) {
        let record = self.seal(kind, content);
        self.tcp.write_all(&record).unwrap();
    }

    /// The type of the next record and its content.
    pub fn read_record(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.tcp.read_exact(&mut header).expect("a record in time");
        let mut sealed = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.tcp.read_exact(&mut sealed).unwrap();
        let nonce = Nonce::assume_unique_for_key(Self::nonce(&mut self.receive));
        let inner = self.receive.1.open_in_place(nonce, Aad::from(header), &mut sealed).unwrap();
        let end = inner.iter().rposition(|byte| *byte != 0).expect("a content type");
        (inner[end], inner[..end].to_vec())
    }
}
