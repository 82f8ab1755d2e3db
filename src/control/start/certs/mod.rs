//! Certificates: read from files, checked against their keys, chosen for each client. And the TLS settings that all workers
//! share.
//!
//! Nothing here knows a connection: `rustls` asks the [`Resolver`] during a handshake.

mod challenges;
mod exposure;

pub use challenges::{AcmeNames, Challenges, Digest};
pub(crate) use exposure::{close_key, exposure};

use crate::config::{Certificate, Tls, TlsVersion};
use crate::control::start::secret::{self, Missing, Source, readable};
use challenges::ACME_TLS;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Version};

/// The protocols that a client may offer (ALPN), the preferred one first. Some clients of HTTP/1.0 offer its name only.
const ALPN: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The public facts of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The file of its chain.
    pub chain: PathBuf,
    /// DNS names and IP addresses that it is valid for (subjectAltName), DNS names in lower case.
    pub names: Vec<String>,
    /// Begin of its validity, in seconds since 1970.
    pub not_before: i64,
    /// End of its validity, in seconds since 1970.
    pub not_after: i64,
    /// Whether the gateway ordered it itself, and renews it.
    pub by_acme: bool,
}

impl Facts {
    /// What is wrong with its dates, and what to do; `None` if it is valid for a week or more, or is renewed in time by the
    /// gateway, which says so if it can't.
    pub fn concern(&self) -> Option<(String, &'static str)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        match self {
            facts if facts.not_after < now => {
                Some((format!("expired (since {})", date(facts.not_after)), "clients refuse it: renew it"))
            }
            facts if facts.not_before > now => Some((
                format!("not valid yet (before {})", date(facts.not_before)),
                "look at the clock of this machine",
            )),
            facts if facts.not_after < now + 7 * 86_400 && !facts.by_acme => Some((
                format!("good for less than a week (until {})", date(facts.not_after)),
                "renew it soon",
            )),
            _ => None,
        }
    }
}

/// Seconds since 1970 as `2020-01-01 00:00:00 UTC`; as the number where no calendar has them.
pub(crate) fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(
        |_| format!("{seconds} s after 1970"),
        |time| {
            let time = time.to_datetime();
            let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
            let (hour, minute, second) = time.to_hms();
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
        },
    )
}

/// A chain with its key, ready to be served to clients.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub facts: Facts,
}

/// Why the chain or the key of a certificate can't be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// `chain` or `key`: the entry that is wrong.
    pub entry: &'static str,
    /// What the entry has.
    pub found: String,
    /// What the entry needs.
    pub expected: String,
    /// The file can't be read, as opposed to a file with wrong content.
    pub missing: bool,
}

/// The field of an encrypted key in the form of OpenSSL before PKCS #8 (RFC 1421, 4.6.1.1).
const ENCRYPTED_FIELD: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// The labels of the blocks in a PEM file, such as `CERTIFICATE`: capitals, digits and blanks only, so that nothing else of the
/// file shows. The first few are enough.
fn pem_labels(text: &[u8]) -> Vec<String> {
    const LABELS_MAX: usize = 4;
    let label = |line: &[u8]| {
        let label = line.trim_ascii_end().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        let fits = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
        label.iter().all(fits).then(|| String::from_utf8_lossy(label).into_owned())
    };
    let mut labels: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(label).collect();
    labels.dedup();
    labels.truncate(LABELS_MAX);
    labels
}

/// A fault of a PEM file. It never quotes the content, which may be a key.
pub(crate) fn pem_fault(entry: &'static str, path: &Path, error: &pem::Error, wanted: &str) -> Fault {
    let text = fs::read(path).unwrap_or_default();
    let labels = pem_labels(&text);
    let encrypted = labels.iter().any(|label| label.starts_with("ENCRYPTED "))
        || text.windows(ENCRYPTED_FIELD.len()).any(|window| window == ENCRYPTED_FIELD);
    let path = path.display();
    match error {
        pem::Error::Io(_) => {}
        _ if encrypted => {
            return Fault {
                entry,
                found: format!("{path}, which is encrypted with a passphrase"),
                expected: format!(
                    "a {wanted} without a passphrase (`openssl pkey -in FILE -out NEW` removes it)"
                ),
                missing: false,
            };
        }
        _ => {}
    }
    match error {
        pem::Error::Io(error) => Fault {
            entry,
            found: format!("{path}, which can't be read ({error})"),
            expected: readable(error).to_owned(),
            missing: true,
        },
        pem::Error::NoItemsFound => Fault {
            entry,
            found: match labels.is_empty() {
                true => format!("{path}, which holds no {wanted}"),
                false => format!("{path}, which holds no {wanted}, but {}", labels.join(", ")),
            },
            expected: format!("a PEM file with a {wanted}"),
            missing: false,
        },
        _ => Fault {
            entry,
            found: format!("{path}, which is not valid PEM"),
            expected: format!("a PEM file with a {wanted}"),
            missing: false,
        },
    }
}

/// Reads all certificates of a PEM file. A file without any is an error.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) }
}

/// Reads a certificate with its chain and its key, and checks that they belong together. The error has a fault for each file that
/// can't be used.
pub fn load(certificate: &Certificate) -> Result<Loaded, Vec<Fault>> {
    let chain = read_chain(&certificate.chain)
        .map_err(|error| pem_fault("chain", &certificate.chain, &error, "certificate"))
        .and_then(|chain| facts(&certificate.chain, &chain[0]).map(|facts| (chain, facts)));
    let key = read_key(&certificate.key).and_then(|key| {
        aws_lc_rs::sign::any_supported_type(&key).map_err(|_| Fault {
            entry: "key",
            found: format!("{}, a key of a type that can't be used", certificate.key.display()),
            expected: "an RSA key of 2048 bits or more, an ECDSA key (P-256, P-384, P-521) or Ed25519"
                .to_owned(),
            missing: false,
        })
    });
    let ((chain, facts), key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) => Ok(Loaded { key: Arc::new(key), facts }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(vec![Fault {
            entry: "key",
            found: format!("{}, which is not the key of that certificate", certificate.key.display()),
            expected: "the private key of the first certificate of the chain".to_owned(),
            missing: false,
        }]),
        // the certificate was not even compared with the key
        Err(error) => Err(vec![Fault {
            entry: "chain",
            found: format!(
                "{}, whose first certificate can't be used ({error})",
                certificate.chain.display()
            ),
            expected: SERVER_CERTIFICATE.to_owned(),
            missing: false,
        }]),
    }
}

/// Reads the private key that `tls.certificates` names: a file, or a secret from elsewhere.
fn read_key(key: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let missing =
        |Missing { found, expected, is_file }| Fault { entry: "key", found, expected, missing: is_file };
    let path = match key.to_str().map_or(Ok(None), secret::source).map_err(missing)? {
        Some(Source::Variable(name)) => {
            let text = secret::variable(&name).map_err(missing)?;
            return PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Fault {
                entry: "key",
                found: format!("env:{name}, which holds no private key"),
                expected: "the text of a PEM file with a private key without a passphrase".to_owned(),
                missing: false,
            });
        }
        Some(Source::File(path)) => path,
        None => key.to_owned(),
    };
    PrivateKeyDer::from_pem_file(&path).map_err(|error| pem_fault("key", &path, &error, "private key"))
}

/// What the first certificate of a chain has to be.
const SERVER_CERTIFICATE: &str = "a chain that begins with the server's own certificate";

/// Names and dates of the first certificate of a chain.
fn facts(path: &Path, der: &CertificateDer<'_>) -> Result<Facts, Fault> {
    let broken = || Fault {
        entry: "chain",
        found: format!("{}, whose first certificate is not valid X.509", path.display()),
        expected: SERVER_CERTIFICATE.to_owned(),
        missing: false,
    };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| broken())?;
    if certificate.version() != X509Version::V3 {
        let version = certificate.version().0 + 1;
        let path = path.display();
        return Err(Fault {
            found: format!(
                "{path}, whose first certificate is of X.509 version {version}, which has no names for clients"
            ),
            expected: "a certificate of version 3 with its names as subjectAltName".to_owned(),
            ..broken()
        });
    }
    let names = certificate.subject_alternative_name().map_err(|_| broken())?;
    let names =
        names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
    Ok(Facts {
        chain: path.to_owned(),
        names: names.collect(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        by_acme: false,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Chooses a certificate by server name (SNI, RFC 6066 section 3): one with the exact name, else one with the wildcard for its
/// first label, else the first of all. Of several for one name it takes the first whose key the client can verify. A name whose
/// certificate is still to be issued gets none: another one would only look like a mistake of the operator.
#[derive(Debug)]
pub struct Resolver {
    certificates: Vec<Loaded>,
    /// Indexes in `certificates` by name; wildcards keep their `*.`.
    by_name: HashMap<String, Vec<usize>>,
    provider: Arc<CryptoProvider>,
    /// Names with certificates by ACME; `None` if that is off.
    acme: Option<AcmeNames>,
}

impl Resolver {
    /// A resolver that chooses from these certificates, at least one if `acme` is off.
    pub fn new(certificates: Vec<Loaded>, provider: Arc<CryptoProvider>, acme: Option<AcmeNames>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.facts.names {
                by_name.entry(name.clone()).or_default().push(index);
            }
        }
        Self { certificates, by_name, provider, acme }
    }

    /// Certificates for a name in the order of the configuration. When none matches, those with the same names as the first of all.
    fn candidates(&self, name: Option<&str>) -> Vec<&Loaded> {
        let exact = name.and_then(|name| self.by_name.get(name));
        let wildcard = || {
            let (_, parent) = name?.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        if let Some(indexes) = exact.or_else(wildcard) {
            return indexes.iter().map(|index| &self.certificates[*index]).collect();
        }
        let is_ordered = |acme: &AcmeNames| name.is_some_and(|name| acme.names.iter().any(|own| own == name));
        if self.acme.as_ref().is_some_and(is_ordered) {
            return Vec::new();
        }
        let first = self.certificates.first().map(|first| &first.facts.names);
        self.certificates.iter().filter(|certificate| Some(&certificate.facts.names) == first).collect()
    }

    /// Whether the client can verify signatures of this key: it offers a signature scheme and a cipher suite (TLS 1.2) for it.
    fn fits(&self, key: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
        let offered = hello.cipher_suites();
        let offers = |suite: CipherSuite| offered.contains(&suite);
        let suites = &self.provider.cipher_suites;
        let mut usable = suites.iter().filter(|suite| offers(suite.suite()));
        key.key.choose_scheme(hello.signature_schemes()).is_some()
            && usable.any(|suite| suite.usable_for_signature_algorithm(key.key.algorithm()))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        if let Some(acme) = self.acme.as_ref().filter(|_| asks_for_challenge(&hello)) {
            // RFC 8737, 3: a CA offers this protocol alone
            let alone = hello.alpn().is_some_and(|mut offered| offered.nth(1).is_none());
            return acme.challenges.answer(name.as_deref().filter(|_| alone)?);
        }
        let candidates = self.candidates(name.as_deref());
        let fitting = candidates.iter().find(|candidate| self.fits(&candidate.key, &hello));
        // when none fits, rustls ends the handshake with the alert for it
        fitting.or_else(|| candidates.first()).map(|certificate| Arc::clone(&certificate.key))
    }
}

/// Whether the protocol that would be agreed on with this client is the one of challenges.
fn asks_for_challenge(hello: &ClientHello<'_>) -> bool {
    let offers =
        |protocol: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|other| other == protocol));
    offers(ACME_TLS) && !ALPN.iter().any(|protocol| offers(protocol))
}

/// The cryptography of the gateway: aws-lc-rs, with key exchanges in this order of preference.
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() }
}

/// The TLS settings for all workers: `tls` as configured, with these certificates. They have one ticketer, so that every worker
/// can read the tickets of the others. With `acme` they also answer challenges. It fails if rustls refuses the settings.
pub fn server_config(
    tls: &Tls,
    certificates: Vec<Loaded>,
    acme: Option<AcmeNames>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let challenge_protocol = acme.as_ref().map(|_| ACME_TLS.to_vec());
    let resolver = Resolver::new(certificates, Arc::clone(&provider), acme);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into_iter().chain(challenge_protocol).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 2;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Gives new TLS settings the ticketer of the served ones, so that a renewal does not cost every client a full handshake.
/// A client that resumes is not shown a certificate. So `may_resume` has to be false if a name is not served any more or if
/// the least TLS version has changed: then former tickets become void.
pub fn keep_tickets(new: &mut Arc<ServerConfig>, served: &ServerConfig, may_resume: bool) {
    if may_resume {
        Arc::make_mut(new).ticketer = Arc::clone(&served.ticketer);
    }
}

#[cfg(test)]
mod tests;
