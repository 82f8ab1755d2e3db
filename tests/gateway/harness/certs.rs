//! Certificates generated once for all tests of a run: one ECDSA, one RSA, each for a name of its own.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of the first certificate, ECDSA P-256.
pub const NAME: &str = "gateway.test";
/// The name of the second one, RSA.
pub const RSA_NAME: &str = "rsa.test";

/// A self-signed certificate and its key.
pub struct Identity {
    pub chain_pem: String,
    pub key_pem: String,
    pub der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

pub static ECDSA: LazyLock<Identity> =
    LazyLock::new(|| Identity::new(&[NAME, "127.0.0.1"], &PKCS_ECDSA_P256_SHA256));
pub static RSA: LazyLock<Identity> = LazyLock::new(|| Identity::new(&[RSA_NAME], &PKCS_RSA_SHA256));

impl Identity {
    /// Another certificate for the name of the first one.
    pub fn renewed() -> Self {
        Self::new(&[NAME, "127.0.0.1"], &PKCS_ECDSA_P256_SHA256)
    }

    /// The same that is valid for so long from now.
    pub fn valid_for(time: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self::made(&[NAME, "127.0.0.1"], &PKCS_ECDSA_P256_SHA256, |params| {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + time;
        })
    }

    pub fn for_address(ip: IpAddr) -> Self {
        Self::new(&[&ip.to_string()], &PKCS_ECDSA_P256_SHA256)
    }

    fn new(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Self {
        Self::made(names, algorithm, |_| {})
    }

    fn made(
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_no_client_auth().with_single_cert(vec![self.der.clone()], key).unwrap())
    }
}

/// The certificates that clients of the tests trust.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(ECDSA.der.clone()).unwrap();
    roots.add(RSA.der.clone()).unwrap();
    roots
}
