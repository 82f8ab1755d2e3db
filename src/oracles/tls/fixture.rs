//! The settings of both ends: a gateway with a certificate, and clients that trust it.

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite, version};
use std::sync::Arc;

/// The TLS settings of both ends, made once. An input chooses among the clients.
pub struct TlsFixture {
    pub(crate) server: Arc<ServerConfig>,
    name: ServerName<'static>,
    clients: Vec<Arc<ClientConfig>>,
}

/// The kind of client that an input chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// TLS 1.2 instead of 1.3.
    pub(crate) is_12: bool,
    /// The hybrid post-quantum key exchange.
    pub(crate) hybrid: bool,
    /// The session resumes an earlier one.
    pub(crate) resumes: bool,
}

/// The cipher suite of TLS 1.3; an input can write records of it by hand.
pub(crate) const SUITE: SupportedCipherSuite = cipher_suite::TLS13_AES_128_GCM_SHA256;

impl TlsFixture {
    /// A gateway with these settings, and clients that trust its `certificate` (in DER), which is valid for `name`. Panics if
    /// the certificate or the name can't be read.
    pub fn new(server: Arc<ServerConfig>, certificate: &[u8], name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.to_vec())).expect("a certificate that can be trusted");
        let client = |is_12, hybrid| Arc::new(client(&roots, is_12, hybrid));
        let clients = vec![client(false, false), client(false, true), client(true, false)];
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Self { server, name, clients }
    }

    /// The settings of a client of this kind, with a store of sessions of its own.
    pub(crate) fn settings(&self, kind: Kind) -> Arc<ClientConfig> {
        let index = if kind.is_12 { 2 } else { usize::from(kind.hybrid) };
        let mut settings = ClientConfig::clone(&self.clients[index]);
        if kind.resumes {
            settings.resumption = Resumption::in_memory_sessions(4);
        }
        Arc::new(settings)
    }

    pub(crate) fn client(&self, settings: &Arc<ClientConfig>) -> ClientConnection {
        ClientConnection::new(Arc::clone(settings), self.name.clone()).expect("a client")
    }
}

fn client(roots: &RootCertStore, is_12: bool, hybrid: bool) -> ClientConfig {
    let versions = if is_12 { &[&version::TLS12] } else { &[&version::TLS13] };
    let group: &'static dyn SupportedKxGroup =
        if hybrid { kx_group::X25519MLKEM768 } else { kx_group::X25519 };
    let suites = if is_12 { cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 } else { SUITE };
    let provider = CryptoProvider {
        kx_groups: vec![group],
        cipher_suites: vec![suites],
        ..aws_lc_rs::default_provider()
    };
    let mut settings = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("a version that the suite is for")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    settings.resumption = Resumption::disabled();
    // an input can write records by hand with the client's key
    settings.enable_secret_extraction = true;
    settings
}
