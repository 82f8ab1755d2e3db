//! A CA for tests: Debian's `pebble` with its DNS server `pebble-challtestsrv`, both on addresses of one workspace.
//!
//! pebble really checks a name: it asks that DNS server, which knows every name, and connects to the gateway's port.

use super::certs::Identity;
use super::client::trusting;
use super::connection::{Connection, Side};
use super::{ClientBuilder, DEADLINE, Request, Response, Workspace, eventually};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use instant_acme::{Account, AccountCredentials, BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// How a CA behaves.
pub struct Behaviour {
    /// Seconds that a certificate is valid.
    pub validity: u64,
    /// Percent of good nonces that are rejected.
    pub rejected_nonces: u8,
    /// Whether it waits up to three seconds before each check.
    pub slow: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { validity: 90 * 86_400, rejected_nonces: 5, slow: false }
    }
}

/// A running CA. Dropping it ends it; another one on the same workspace has the same address and knows nothing of it.
pub struct Pebble {
    servers: Vec<Child>,
    api: SocketAddr,
    management: SocketAddr,
    dns_management: SocketAddr,
    /// What a client of its API trusts.
    pub identity: Arc<Identity>,
}

impl Pebble {
    /// Whether this machine has the programs.
    pub fn is_installed() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
        has("pebble") && has("pebble-challtestsrv")
    }

    /// Starts a CA that finds every name at `gateway`, and writes the file `ca.pem`, which its clients trust.
    pub fn start(workspace: &Workspace, gateway: Ipv4Addr, behaviour: &Behaviour) -> Self {
        Self::start_as(workspace, gateway, behaviour, Arc::new(Identity::for_address(workspace.ip(5).into())))
    }

    /// The same with the certificate of an earlier one, so that clients trust it too.
    pub fn start_as(
        workspace: &Workspace,
        gateway: Ipv4Addr,
        behaviour: &Behaviour,
        identity: Arc<Identity>,
    ) -> Self {
        let at = |host: u8, port: u16| SocketAddr::from((workspace.ip(host), port));
        let (api, management) = (at(5, 14000), at(5, 15000));
        let (dns, dns_management) = (at(6, 8053), at(6, 8055));
        std::fs::write(workspace.file("ca.pem"), &identity.chain_pem).unwrap();
        std::fs::write(workspace.file("pebble.key"), &identity.key_pem).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": api.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": workspace.file("ca.pem"),
            "privateKey": workspace.file("pebble.key"),
            "httpPort": 5002,
            "tlsPort": 8443,
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": behaviour.validity,
        }});
        let file = workspace.file("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &dns.to_string(), "-management", &dns_management.to_string()]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        names.args(["-defaultIPv4", &gateway.to_string()]);
        let mut pebble = Command::new("pebble");
        // not by its path: `Takeover` takes each process with that on its command line for a gateway
        pebble.current_dir(workspace.file("")).args(["-config", "pebble.json"]).args([
            "-strict",
            "-dnsserver",
            &dns.to_string(),
        ]);
        pebble.env("PEBBLE_WFE_NONCEREJECT", behaviour.rejected_nonces.to_string());
        // each order is checked again
        pebble.env("PEBBLE_AUTHZREUSE", "0");
        match behaviour.slow {
            true => pebble.env("PEBBLE_VA_SLEEPTIME", "3"),
            false => pebble.env("PEBBLE_VA_NOSLEEP", "1"),
        };
        let log = File::options().create(true).append(true).open(workspace.file("pebble.log")).unwrap();
        let spawn = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
            command.spawn().expect("the program starts")
        };
        let servers = vec![spawn(&mut names), spawn(&mut pebble)];
        for address in [dns_management, management, api] {
            eventually("the CA listens", || TcpStream::connect_timeout(&address, DEADLINE).is_ok());
        }
        Self { servers, api, management, dns_management, identity }
    }

    /// Ends the servers: nothing listens there any more.
    pub fn stop(&mut self) {
        for mut server in self.servers.drain(..) {
            server.kill().ok();
            server.wait().ok();
        }
    }

    /// The URL for `tls.acme.directory`.
    pub fn directory(workspace: &Workspace) -> String {
        format!("https://{}:14000/dir", workspace.ip(5))
    }

    /// Lets every name resolve to another address.
    pub fn resolve_names_to(&self, address: Ipv4Addr) {
        let tcp = TcpStream::connect_timeout(&self.dns_management, DEADLINE).unwrap();
        let mut connection = Connection::new(Box::new(tcp), Side::Client);
        let body = format!("{{\"ip\":\"{address}\"}}");
        let request = Request::new("POST", "/set-default-ipv4").body("application/json", body);
        assert_eq!(connection.exchange(&request).status(), 200);
    }

    /// A configuration of clients that trust what this CA issues, and nothing else.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let pem = self.connect(self.management).get("/roots/0").text();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        Arc::new(trusting(rustls::ALL_VERSIONS, roots))
    }

    /// Deactivates the account in this file of the gateway.
    pub fn deactivate(&self, account: &std::path::Path) {
        let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(account).unwrap()).unwrap();
        let credentials: AccountCredentials = serde_json::from_value(stored["credentials"].clone()).unwrap();
        let http = BlockingHttp { to: self.api, config: self.trust() };
        let deactivated = async {
            let account = Account::builder_with_http(Box::new(http)).from_credentials(credentials).await?;
            account.deactivate().await
        };
        deactivated.now_or_never().expect("the client blocks").expect("deactivated");
    }

    fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.identity.der.clone()).unwrap();
        Arc::new(trusting(rustls::ALL_VERSIONS, roots))
    }

    fn connect(&self, to: SocketAddr) -> Connection {
        connect(to, self.trust())
    }
}

fn connect(to: SocketAddr, config: Arc<ClientConfig>) -> Connection {
    // a name of the harness lives for ever
    let name: &'static str = Box::leak(to.ip().to_string().into_boxed_str());
    ClientBuilder::to(to).sni(name).with(config).connect_tls()
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An HTTP client for the library that needs no runtime: its futures are ready at once.
struct BlockingHttp {
    to: SocketAddr,
    config: Arc<ClientConfig>,
}

impl HttpClient for BlockingHttp {
    fn request(
        &self,
        request: http::Request<BodyWrapper<hyper::body::Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().now_or_never().expect("in memory").unwrap().to_bytes();
        let mut sent =
            Request::new(parts.method.as_str(), parts.uri.path()).instead("Host", &self.to.to_string());
        for (name, value) in &parts.headers {
            sent = sent.with(name.as_str(), value.to_str().unwrap());
        }
        let sent = if body.is_empty() {
            sent
        } else {
            sent.without("content-type").body("application/jose+json", &body)
        };
        let mut connection = connect(self.to, self.config.clone());
        connection.send_request(&sent);
        let answer = match parts.method {
            http::Method::HEAD => Response { head: connection.read_head(), body: Vec::new() },
            _ => connection.read_response(),
        };
        let mut response = http::Response::builder().status(answer.status());
        for name in ["replay-nonce", "location", "content-type"] {
            if let Some(value) = answer.field(name) {
                response = response.header(name, value);
            }
        }
        let body = hyper::body::Bytes::from(answer.text());
        let response = response.body(http_body_util::Full::new(body)).unwrap();
        Box::pin(std::future::ready(Ok(response.into())))
    }
}
