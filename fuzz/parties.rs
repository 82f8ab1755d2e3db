//! The two ends that `tls_records` plays with: the gateway's own settings over a committed key. Shared by the fuzz target
//! and `tests/corpus.rs`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tidegate::config;
use tidegate::control::start::certs::{Facts, Loaded, provider, server_config};
use tidegate::oracles::tls::TlsFixture;

const CERTIFICATE: &[u8] = include_bytes!("keys/certificate.der");
const KEY: &[u8] = include_bytes!("keys/key.der");

/// Plays one input.
pub(crate) fn records(input: &[u8]) {
    static PARTIES: LazyLock<TlsFixture> = LazyLock::new(parties);
    tidegate::oracles::tls::records(&PARTIES, input);
}

fn parties() -> TlsFixture {
    let least = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
        [[tls.certificates]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n";
    let tls = config::read(least).expect("the least that a configuration has to say").tls;
    let chain = vec![CertificateDer::from(CERTIFICATE)];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY));
    let key = CertifiedKey::from_der(chain, key, &provider()).expect("a key of the certificate");
    let facts = Facts { chain: PathBuf::new(), names: vec!["localhost".into()], not_before: 0, not_after: 0 };
    let server = server_config(&tls, vec![Loaded { key: Arc::new(key), facts }]).expect("settings");
    TlsFixture::new(server, CERTIFICATE, "localhost")
}
