//! Answers to challenges of a CA (TLS-ALPN-01, RFC 8737): a certificate for each name that is being proved, which every
//! worker finds during a handshake.
//!
//! What makes an answer right is the digest in its certificate, and that is no secret. So each process makes the certificate
//! itself, with a key of its own, and processes tell each other the digest only.

use crate::config::Acme;
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The protocol that a CA offers (ALPN) to see the answer to a challenge, and no other client.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// SHA-256 of the key authorization of a challenge (RFC 8737, 3).
pub type Digest = [u8; 32];

/// The answers of this process. All its workers read them, in every revision.
#[derive(Debug, Default)]
pub struct Challenges(ArcSwap<HashMap<String, Answer>>);

#[derive(Debug, Clone)]
struct Answer {
    digest: Digest,
    key: Arc<CertifiedKey>,
}

impl Challenges {
    /// Gives these answers from now on, and no others: names in lower case, each with its digest. Workers see them in their next
    /// handshake. Fails if no certificate can be made for a name; then the answers stay as they are.
    pub fn set(&self, wanted: &[(String, Digest)]) -> Result<(), rcgen::Error> {
        let given = self.0.load();
        let same = |(name, digest): &(String, Digest)| {
            given.get(name).filter(|answer| answer.digest == *digest).cloned()
        };
        if given.len() == wanted.len() && wanted.iter().all(|wanted| same(wanted).is_some()) {
            return Ok(());
        }
        let answer = |wanted: &(String, Digest)| {
            let answer = same(wanted).map_or_else(|| Answer::new(&wanted.0, wanted.1), Ok)?;
            Ok((wanted.0.clone(), answer))
        };
        let answers = wanted.iter().map(answer).collect::<Result<_, rcgen::Error>>()?;
        self.0.store(Arc::new(answers));
        Ok(())
    }

    /// Whether workers answer a challenge of this name with this digest.
    pub fn holds(&self, name: &str, digest: &Digest) -> bool {
        self.0.load().get(name).is_some_and(|answer| answer.digest == *digest)
    }

    /// The answer for a name in lower case.
    pub(crate) fn answer(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.load().get(name).map(|answer| Arc::clone(&answer.key))
    }
}

impl Answer {
    /// A certificate that signs itself, for this name only, with the digest as its critical extension.
    fn new(name: &str, digest: Digest) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&private)
            .map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
        Ok(Self { digest, key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)) })
    }
}

/// The names whose certificates the gateway orders, and the answers to challenges for them.
#[derive(Debug, Clone)]
pub struct AcmeNames {
    pub(crate) names: Vec<String>,
    pub(crate) challenges: Arc<Challenges>,
}

impl AcmeNames {
    /// The names of `acme`; `None` if it has none.
    pub fn of(acme: &Acme, challenges: &Arc<Challenges>) -> Option<Self> {
        let (names, challenges) = (acme.names.clone(), Arc::clone(challenges));
        (!names.is_empty()).then_some(Self { names, challenges })
    }
}
