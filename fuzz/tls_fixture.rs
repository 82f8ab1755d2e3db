//! The two ends of the TLS connection for `tls_records`: the gateway's own TLS settings with a committed key, and a client
//! that trusts it. Shared by the fuzz target, `tests/corpus.rs` and `tests/properties`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tidegate::config;
use tidegate::control::start::certs::{Facts, Loaded, provider, server_config};
use tidegate::oracles::tls::TlsFixture;

const CERTIFICATE: &[u8] = include_bytes!("keys/certificate.der");
const KEY: &[u8] = include_bytes!("keys/key.der");

/// Runs the oracle of TLS records on one input of the fuzz target.
pub(crate) fn records(input: &[u8]) {
    static FIXTURE: LazyLock<TlsFixture> = LazyLock::new(fixture);
    tidegate::oracles::tls::records(&FIXTURE, input);
}

fn fixture() -> TlsFixture {
    let minimal = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
        [[tls.certificates]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n";
    let tls = config::read(minimal).expect("a configuration with the required keys").tls;
    let chain = vec![CertificateDer::from(CERTIFICATE)];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY));
    let key = CertifiedKey::from_der(chain, key, &provider()).expect("a key that belongs to the certificate");
    let facts = Facts {
        chain: PathBuf::new(),
        names: vec!["localhost".into()],
        not_before: 0,
        not_after: 0,
        by_acme: false,
    };
    let server =
        server_config(&tls, vec![Loaded { key: Arc::new(key), facts }], None).expect("valid TLS settings");
    TlsFixture::new(server, CERTIFICATE, "localhost")
}
