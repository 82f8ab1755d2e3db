//! Clients: the way in through TLS, and requests written as told, good ones and bad ones.

use super::DEADLINE;
use super::certs;
use super::connection::{Connection, Side};
use super::http_message::Response;
use super::reply::chunks;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};

/// The key every handshake of the town offers, and the only right answer to it (RFC 6455, 1.3).
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(config(rustls::ALL_VERSIONS)));

/// A fresh configuration: no tickets from other tests.
pub fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    trusting(versions, certs::roots())
}

/// The same for a client that trusts others.
pub fn trusting(versions: &[&'static SupportedProtocolVersion], roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Where and how a client comes in.
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

    /// A TCP connection and nothing more.
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

    /// The whole handshake.
    #[track_caller]
    pub fn connect_tls_stream(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.try_connect_tls_stream().expect("a TLS handshake")
    }

    /// The handshake, which may be refused.
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

    /// The handshake on a connection that was made before.
    #[track_caller]
    pub fn handshake_on(&self, tcp: TcpStream) -> Connection {
        let tls = self.handshake(tcp).expect("a TLS handshake");
        Connection::new(Box::new(tls), Side::Client)
    }

    #[track_caller]
    pub fn connect_tls(&self) -> Connection {
        Connection::new(Box::new(self.connect_tls_stream()), Side::Client)
    }

    /// Like `enter`, for when the gateway may turn clients away.
    pub fn try_connect_tls(&self) -> Option<Connection> {
        Some(Connection::new(Box::new(self.try_connect_tls_stream().ok()?), Side::Client))
    }
}

/// A request head in the making.
#[derive(Clone)]
pub struct Request {
    line: String,
    fields: Vec<(String, String)>,
    /// As it stands on the wire.
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

    /// Like a page that asks from another origin, or from our own.
    pub fn by_page(self, listener: &str) -> Self {
        self.with("Origin", listener)
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    /// Puts another value in the place of a field.
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

    /// One request and its answer; the connection stays.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.send_request(request);
        self.read_response()
    }

    /// One question and its answer; the connection stays.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send_request(&Request::get(target));
        self.read_response()
    }
}
