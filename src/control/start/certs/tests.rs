//! Tests of certificates: loading, choosing, and the settings all workers share. The clients are rustls' own.

use super::*;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConnection, SignatureScheme,
};

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-certs-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn certificate(&self, file: &str, names: &[&str], kind: &'static SignatureAlgorithm) -> Certificate {
        let key = KeyPair::generate_for(kind).expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate =
            CertificateParams::new(names).and_then(|params| params.self_signed(&key)).expect("signed");
        let (chain, path) = (self.0.join(format!("{file}.pem")), self.0.join(format!("{file}.key")));
        fs::write(&chain, certificate.pem()).expect("written");
        fs::write(&path, key.serialize_pem()).expect("written");
        Certificate { chain, key: path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Trusts every server and verifies with the schemes it is given.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

/// The same, but it leaves the signature to others: rustls reads no certificate with the extension of a challenge.
#[derive(Debug)]
struct Looking;

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![ECDSA]
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, supported)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, supported)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;

fn client(
    schemes: &[SignatureScheme],
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[version])
        .expect("a known version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes.to_vec())))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Completes a handshake in memory, until neither side has bytes to send.
fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        while !wire.is_empty() {
            let used = server.read_tls(&mut &wire[..]).expect("memory");
            wire.drain(..used);
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        while !wire.is_empty() {
            let used = client.read_tls(&mut &wire[..]).expect("memory");
            wire.drain(..used);
            client.process_new_packets()?;
        }
    }
    Ok(client)
}

fn settings(certificates: &[Certificate], min_version: TlsVersion) -> (Arc<ServerConfig>, Vec<Facts>) {
    let loaded: Vec<_> = certificates.iter().map(|certificate| load(certificate).expect("sound")).collect();
    let facts = loaded.iter().map(|loaded| loaded.facts.clone()).collect();
    let handshake_timeout = std::time::Duration::from_secs(5);
    let tls = Tls { min_version, handshake_timeout, certificates: certificates.to_vec() };
    (server_config(&tls, loaded, None).expect("settings"), facts)
}

/// The index of the certificate that the client got.
fn chosen(client: &ClientConnection, certificates: &[Certificate]) -> usize {
    let got = &client.peer_certificates().expect("a chain")[0];
    let same = |certificate: &Certificate| read_chain(&certificate.chain).expect("readable")[0] == *got;
    certificates.iter().position(same).expect("one of the certificates")
}

#[test]
fn the_certificate_is_chosen_by_name_and_by_what_the_client_can_verify() {
    let folder = Folder::new("chosen");
    let certificates = [
        folder.certificate("first", &["first.example", "127.0.0.1"], &PKCS_ECDSA_P256_SHA256),
        folder.certificate("wild", &["*.wild.example"], &PKCS_ECDSA_P256_SHA256),
        folder.certificate("ecdsa", &["Both.example"], &PKCS_ECDSA_P256_SHA256),
        folder.certificate("rsa", &["both.example"], &PKCS_RSA_SHA256),
        folder.certificate("exact", &["a.wild.example"], &PKCS_ECDSA_P256_SHA256),
    ];
    let (server, facts) = settings(&certificates, TlsVersion::V1_2);
    assert_eq!(facts[0].names, ["first.example", "127.0.0.1"]);
    assert!(facts[0].not_before < facts[0].not_after);
    let wanted: [(&str, &[SignatureScheme], usize); 8] = [
        ("first.example", &[ECDSA, RSA], 0),
        ("b.wild.example", &[ECDSA], 1),
        ("b.b.wild.example", &[ECDSA], 0),
        ("wild.example", &[ECDSA], 0),
        ("both.example", &[RSA, ECDSA], 2),
        ("both.example", &[RSA], 3),
        ("a.wild.example", &[ECDSA], 4),
        ("127.0.0.1", &[ECDSA], 0),
    ];
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (name, schemes, index) in wanted {
            let shaken = shake(client(schemes, version), Arc::clone(&server), name);
            assert_eq!(chosen(&shaken.expect("a handshake"), &certificates), index, "{name} {version:?}");
        }
    }
}

#[test]
fn only_http_1_1_is_offered_and_the_key_exchange_is_post_quantum() {
    let folder = Folder::new("offered");
    let certificates = [folder.certificate("one", &["a.example"], &PKCS_ECDSA_P256_SHA256)];
    let (server, _) = settings(&certificates, TlsVersion::V1_3);
    let shaken =
        shake(client(&[ECDSA], &rustls::version::TLS13), Arc::clone(&server), "a.example").expect("shaken");
    assert_eq!(shaken.alpn_protocol(), Some(&b"http/1.1"[..]));
    let group = shaken.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
    assert!(
        shake(client(&[ECDSA], &rustls::version::TLS12), server, "a.example").is_err(),
        "the least version is 1.3"
    );
}

#[test]
fn tickets_resume_sessions_without_a_session_store() {
    let folder = Folder::new("tickets");
    let certificates = [folder.certificate("one", &["a.example"], &PKCS_ECDSA_P256_SHA256)];
    let (server, _) = settings(&certificates, TlsVersion::V1_2);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = client(&[ECDSA], version);
        let kinds = [(); 2].map(|()| {
            let shaken = shake(Arc::clone(&client), Arc::clone(&server), "a.example").expect("shaken");
            shaken.handshake_kind().expect("the handshake is complete")
        });
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
    assert!(!server.session_storage.can_cache());
}

#[test]
fn unusable_files_are_faults_that_quote_nothing() {
    let folder = Folder::new("faults");
    let one = folder.certificate("one", &["a.example"], &PKCS_ECDSA_P256_SHA256);
    let other = folder.certificate("other", &["a.example"], &PKCS_ECDSA_P256_SHA256);
    let faults = |chain: &Path, key: &Path| {
        load(&Certificate { chain: chain.to_owned(), key: key.to_owned() }).expect_err("they do not fit")
    };
    let mixed = faults(&one.chain, &other.key);
    assert!(mixed[0].found.ends_with("is not the key of that certificate") && !mixed[0].missing, "{mixed:?}");
    let swapped = faults(&one.key, &one.chain);
    assert_eq!(swapped.iter().map(|fault| fault.entry).collect::<Vec<_>>(), ["chain", "key"]);
    assert!(swapped[0].found.contains("holds no certificate"), "{swapped:?}");
    let gone = faults(&folder.0.join("none"), &folder.0);
    assert!(gone.iter().all(|fault| fault.missing), "{gone:?}");
    let torn = folder.0.join("torn");
    fs::write(&torn, "-----BEGIN PRIVATE KEY-----\nhunter2!!\n").expect("written");
    let torn = faults(&one.chain, &torn);
    assert!(!format!("{torn:?}").contains("hunter2"), "{torn:?}");
}

#[test]
fn a_challenge_is_answered_for_its_name_and_protocol_only() {
    let folder = Folder::new("challenge");
    let certificates = [folder.certificate("one", &["a.example"], &PKCS_ECDSA_P256_SHA256)];
    let loaded: Vec<_> = certificates.iter().map(|certificate| load(certificate).expect("sound")).collect();
    let config =
        crate::config::read("stream_manager.url = \"http://10.0.0.2\"\ntls.acme.names = [\"b.example\"]");
    let config = config.expect("a good configuration");
    let challenges = Arc::default();
    let server =
        server_config(&config.tls, loaded, AcmeNames::of(&config.acme, &challenges)).expect("settings");
    let shown = |name: &str, protocols: &[&[u8]]| {
        let mut client = ClientConfig::clone(&client(&[ECDSA], &rustls::version::TLS13));
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        client.dangerous().set_certificate_verifier(Arc::new(Looking));
        shake(Arc::new(client), Arc::clone(&server), name)
            .map(|shaken| shaken.peer_certificates().expect("a chain")[0].to_vec())
    };
    assert!(shown("b.example", &[ACME_TLS]).is_err(), "there is no challenge");
    challenges.set(&[("b.example".to_owned(), [7; 32])]).expect("an answer");
    let answer = shown("b.example", &[ACME_TLS]).expect("an answer");
    let (_, parsed) = X509Certificate::from_der(&answer).expect("a certificate");
    // RFC 8737, 3: id-pe-acmeIdentifier, critical, the digest as an OCTET STRING
    let identifier =
        parsed.iter_extensions().find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let identifier = identifier.expect("the extension");
    assert!(identifier.critical && identifier.value == [&[4, 32][..], &[7; 32]].concat());
    let names = parsed.subject_alternative_name().expect("sound").expect("names");
    assert_eq!(names.value.general_names, [GeneralName::DNSName("b.example")]);
    assert_eq!(shown("B.example", &[ACME_TLS]).as_ref(), Ok(&answer), "names have no case");
    challenges.set(&[("b.example".to_owned(), [7; 32]), ("c.example".to_owned(), [1; 32])]).expect("answers");
    assert_eq!(shown("b.example", &[ACME_TLS]).as_ref(), Ok(&answer), "an answer that goes on is the same");
    for (name, protocols) in [
        ("a.example", &[ACME_TLS][..]),
        ("b.example", &[ACME_TLS, b"h2"]),
        ("b.example", &[b"http/1.1"]),
        ("b.example", &[]),
    ] {
        assert!(shown(name, protocols).is_err(), "{name} {protocols:?}");
    }
    let served = read_chain(&certificates[0].chain).expect("readable")[0].to_vec();
    assert_eq!(shown("a.example", &[ACME_TLS, b"http/1.1"]).as_ref(), Ok(&served));
    assert_eq!(shown("unknown.example", &[b"http/1.1"]).as_ref(), Ok(&served));
    challenges.set(&[]).expect("none");
    assert!(shown("b.example", &[ACME_TLS]).is_err(), "it was taken back");
}
