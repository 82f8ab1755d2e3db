//! The configuration as used: plain values, defaults filled in, texts parsed.

use crate::proto::admission::Network;
use crate::proto::http::cors::AllowOrigins;
use crate::proto::proxy_protocol::Versions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration as used: defaults filled in, texts parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub gateway: Gateway,
    pub tls: Tls,
    pub stream_manager: StreamManager,
    pub answers: Answers,
    pub origins: Origins,
    pub websocket: WebSocket,
    pub limits: Limits,
    pub cors: Cors,
    pub log: Log,
    pub admin: Admin,
}

/// `[gateway]`: what needs a restart to change, and how the process ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Addresses that every worker listens on with TLS.
    pub listen: Vec<SocketAddr>,
    pub workers: Workers,
    /// One worker, one core.
    pub pin: bool,
    pub driver: Driver,
    /// Versions of the PROXY protocol, one of which every connection has to begin with; `None` if with none.
    pub proxy_protocol: Option<Versions>,
    /// From whom such connections are taken.
    pub trusted_proxies: Vec<Network>,
    /// How long a drain may take before what is left is cut.
    pub drain: Duration,
    /// How long a process keeps its sessions after it handed its listeners over; they are closed in the last `drain` of it.
    pub upgrade_drain: Duration,
    /// Close code that clients get when the gateway drains (RFC 6455, 7.4).
    pub drain_close_code: u16,
}

/// How many workers to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each core this process may run on.
    Cores,
    Count(usize),
}

/// Which kernel interface the workers wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring if it can be had, else epoll.
    Auto,
    IoUring,
    Epoll,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    pub min_version: TlsVersion,
    pub handshake_timeout: Duration,
    /// Chosen by SNI; the first one answers when nothing matches.
    pub certificates: Vec<Certificate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// One `[[tls.certificates]]`: two PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// `[stream_manager]`.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamManager {
    pub url: ManagerUrl,
    pub timeout: Duration,
    /// Version for questions that the gateway asks itself on 1.x paths.
    pub api: ApiVersion,
    /// Group for one-step requests that name none, or `default`.
    pub node_group: Option<String>,
    /// Extra CA bundle (PEM) for https.
    pub ca: Option<PathBuf>,
    /// Value of the `Authorization` field sent to the stream manager, and to nobody else.
    pub authorization: Option<Secret>,
}

/// A version of the stream manager's 1.x API, as it stands in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion(pub(crate) &'static str);

impl ApiVersion {
    /// `4.0` and the like.
    pub const fn text(self) -> &'static str {
        self.0
    }
}

/// Where the stream manager is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerUrl {
    pub https: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// Path before every target; empty or `/prefix` without a slash at its end.
    pub prefix: String,
}

/// Something that never reaches a log: `Debug` masks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"***\"")
    }
}

/// `[answers]`: what the stream manager said, and how long it is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Bytes of all stored answers together.
    pub capacity: u64,
    pub broadcast_ttl: Duration,
    pub subscribe_ttl: Duration,
    pub subscribe_uses: u32,
    pub missing_ttl: Duration,
    pub learned_ttl: Duration,
    /// Callers that may wait for one flight.
    pub waiters: usize,
}

/// `[origins]`: which nodes may be dialled, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Origins {
    pub port: u16,
    /// First path segments that a client may name.
    pub apps: Vec<String>,
    /// Path segments in all.
    pub depth: usize,
    pub networks: Vec<Network>,
    pub learned: bool,
    pub strict: bool,
    pub names: Vec<String>,
    pub connect_timeout: Duration,
    pub upgrade_timeout: Duration,
    /// One-step routes only: how many nodes are tried.
    pub attempts: u32,
    /// A node that failed is avoided so long; `None` means "off".
    pub quarantine: Option<Duration>,
    /// Subprotocol sent to the node; `None` sends none.
    pub subprotocol: Option<String>,
    pub origin_header: OriginHeader,
    pub extensions: Extensions,
}

/// What stands in the `Origin` field of the upgrade that a node gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginHeader {
    None,
    /// `http://{node}:{port}`.
    Node,
    /// What the client sent.
    Client,
    Fixed(String),
}

/// WebSocket extensions offered by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    Strip,
    /// Negotiated end to end between client and node.
    Forward,
}

/// `[websocket]`. `None` means "off".
#[derive(Debug, Clone, PartialEq)]
pub struct WebSocket {
    /// Bytes of one message, all its fragments together.
    pub message_max: Option<u64>,
    pub ping_interval: Option<Duration>,
    pub pong_timeout: Duration,
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
    pub close_timeout: Duration,
}

/// `[limits]`. `None` means "off".
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub sessions: Option<usize>,
    pub sessions_per_ip: Option<usize>,
    pub new_per_ip: Option<Rate>,
    pub handshakes: Option<usize>,
    pub head_timeout: Duration,
    pub head_size: usize,
    pub target_size: usize,
    pub headers: usize,
    pub body_max: usize,
    pub body_timeout: Duration,
}

/// So many in so long, as in `"50/s"`, `"600/m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

/// `[cors]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    pub allow_origins: AllowOrigins,
    /// WebSockets without an `Origin` field: not browsers.
    pub allow_missing: bool,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    pub access: AccessLog,
    /// Names of query parameters whose values are masked in logs (compared without regard to case).
    pub redact: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// One line per session or request, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Stderr,
    File(PathBuf),
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub listen: AdminListen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    Off,
    Tcp(SocketAddr),
    Unix(PathBuf),
}
