//! Clients: connecting with or without TLS, and requests written exactly as given, valid or not.

use super::DEADLINE;
use super::certs;
use super::connection::{Connection, Side};
use super::http_message::Response;
use super::reply::chunks;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};

/// The key that every WebSocket handshake of the harness offers, and the only right answer to it (RFC 6455, 1.3).
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(config(rustls::ALL_VERSIONS)));

/// A fresh configuration: no tickets from other tests.
pub fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    trusting(versions, certs::roots())
}

/// The same for a client that trusts other roots.
pub fn trusting(versions: &[&'static SupportedProtocolVersion], roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Where a client connects to, from which address, and with which TLS configuration.
#[derive(Clone)]
pub struct ClientBuilder {
    to: SocketAddr,
    from: Option<Ipv4Addr>,
    name: &'static str,
    config: Arc<ClientConfig>,
}

impl ClientBuilder {
    pub fn to(to: SocketAddr) -> Self {
        Self { to, from: None, name: certs::NAME, config: CONFIG.clone() }
    }

    pub fn from(self, client_ip: Ipv4Addr) -> Self {
        Self { from: Some(client_ip), ..self }
    }

    pub fn sni(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub fn with(self, config: Arc<ClientConfig>) -> Self {
        Self { config, ..self }
    }

    /// A TCP connection without TLS.
    #[track_caller]
    pub fn connect_tcp(&self) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if let Some(client_ip) = self.from {
            socket.bind(&SocketAddr::from((client_ip, 0)).into()).unwrap();
        }
        socket.connect_timeout(&self.to.into(), DEADLINE).expect("the gateway listens");
        let tcp = TcpStream::from(socket);
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
        tcp
    }

    /// A TLS connection; fails the test if the handshake fails.
    #[track_caller]
    pub fn connect_tls_stream(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.try_connect_tls_stream().expect("a TLS handshake")
    }

    /// A TLS connection, or the error of the handshake.
    pub fn try_connect_tls_stream(&self) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        self.handshake(self.connect_tcp())
    }

    fn handshake(&self, mut tcp: TcpStream) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.name).expect("a name");
        let mut tls = ClientConnection::new(self.config.clone(), name).expect("a client");
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(StreamOwned::new(tls, tcp))
    }

    /// The TLS handshake on an existing TCP connection.
    #[track_caller]
    pub fn handshake_on(&self, tcp: TcpStream) -> Connection {
        let tls = self.handshake(tcp).expect("a TLS handshake");
        Connection::new(Box::new(tls), Side::Client)
    }

    #[track_caller]
    pub fn connect_tls(&self) -> Connection {
        Connection::new(Box::new(self.connect_tls_stream()), Side::Client)
    }

    /// Like `connect_tls`, for a gateway that may refuse clients.
    pub fn try_connect_tls(&self) -> Option<Connection> {
        Some(Connection::new(Box::new(self.try_connect_tls_stream().ok()?), Side::Client))
    }
}

/// A request under construction.
#[derive(Clone)]
pub struct Request {
    line: String,
    fields: Vec<(String, String)>,
    /// The bytes that are sent, chunks included.
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        let fields = vec![("Host".to_owned(), format!("{}:8443", certs::NAME))];
        Self { line: format!("{method} {target} HTTP/1.1"), fields, body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// What a browser sends to open a WebSocket, without its Origin.
    pub fn upgrade(target: &str) -> Self {
        Self::get(target)
            .with("Connection", "Upgrade")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Key", KEY)
            .with("Sec-WebSocket-Version", "13")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of this type.
    pub fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.with("Content-Type", content_type).with("Content-Length", &length)
    }

    /// With a body of this type in chunks of this size.
    pub fn chunked_body(mut self, content_type: &str, body: impl AsRef<[u8]>, size: usize) -> Self {
        self.body = chunks(body.as_ref(), size);
        self.with("Content-Type", content_type).with("Transfer-Encoding", "chunked")
    }

    /// As a page of this web origin sends it.
    pub fn by_page(self, listener: &str) -> Self {
        self.with("Origin", listener)
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    /// Replaces the value of a field.
    pub fn instead(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        [format!("{}\r\n{fields}\r\n", self.line).as_bytes(), &self.body].concat()
    }
}

impl Connection {
    #[track_caller]
    pub fn send_request(&mut self, request: &Request) {
        self.send(&request.bytes());
    }

    /// Sends one request and reads its answer. The connection stays open.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.send_request(request);
        self.read_response()
    }

    /// Sends a GET and reads its answer. The connection stays open.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send_request(&Request::get(target));
        self.read_response()
    }
}
