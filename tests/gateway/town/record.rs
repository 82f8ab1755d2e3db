//! TLS 1.3 records by hand, for those that no TLS library would write.

use super::Link;
use super::link::Tls;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConfig, ConnectionTrafficSecrets};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// How to come in if the records shall be taken over: one cipher suite, and its secrets can be had.
pub fn config() -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut config = builder.with_root_certificates(super::certs::roots()).with_no_client_auth();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// A connection whose records the test writes and reads itself.
pub struct Records {
    tcp: TcpStream,
    send: (u64, LessSafeKey, [u8; 12]),
    receive: (u64, LessSafeKey, [u8; 12]),
}

pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;

impl Records {
    /// Takes over a connection on which nothing is under way.
    pub fn take_over(link: Link) -> Self {
        let tls = *link.into_wire().into_any().downcast::<Tls>().expect("TLS");
        let secrets = tls.conn.dangerous_extract_secrets().unwrap();
        let key = |(sequence, secret): (u64, ConnectionTrafficSecrets)| {
            let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secret else {
                panic!("AES-256 was asked for")
            };
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
            (sequence, key, iv.as_ref().try_into().unwrap())
        };
        Self { tcp: tls.sock, send: key(secrets.tx), receive: key(secrets.rx) }
    }

    fn nonce((sequence, _, iv): &mut (u64, LessSafeKey, [u8; 12])) -> Nonce {
        let mut nonce = *iv;
        nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, bit)| *byte ^= bit);
        *sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// One record with this content (RFC 8446, 5.2).
    pub fn write_record(&mut self, kind: u8, content: &[u8]) {
        let mut inner = [content, &[kind]].concat();
        let length = (inner.len() + AES_256_GCM.tag_len()) as u16;
        let header = [&[APPLICATION_DATA, 3, 3][..], &length.to_be_bytes()].concat();
        let nonce = Self::nonce(&mut self.send);
        self.send.1.seal_in_place_append_tag(nonce, Aad::from(&header), &mut inner).unwrap();
        self.tcp.write_all(&[header, inner].concat()).unwrap();
    }

    /// The content of the next record and its kind.
    pub fn read_record(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.tcp.read_exact(&mut header).expect("a record in time");
        let mut sealed = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.tcp.read_exact(&mut sealed).unwrap();
        let nonce = Self::nonce(&mut self.receive);
        let inner = self.receive.1.open_in_place(nonce, Aad::from(header), &mut sealed).unwrap();
        let end = inner.iter().rposition(|byte| *byte != 0).expect("a content type");
        (inner[end], inner[..end].to_vec())
    }
}
