//! The configuration as used: plain values, defaults filled in, texts parsed.
//!
//! Each struct is one table of the file and each field one key; `docs/configuration.md` says more about every one. All times
//! lie between 1 ms and 365 days. `None` stands for `"off"` or for an empty text, as said at the field.

use crate::proto::http::cors::AllowOrigins;
use crate::proto::proxy_protocol::Versions;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration as used: defaults filled in, texts parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`: the process.
    pub gateway: Gateway,
    /// `[tls]`: what clients connect with.
    pub tls: Tls,
    /// `[tls.acme]`: certificates that the gateway orders itself.
    pub acme: Acme,
    /// `[stream_manager]`: where questions go.
    pub stream_manager: StreamManager,
    /// `[answers]`: what is kept of the stream manager's answers.
    pub answers: Answers,
    /// `[origins]`: the nodes.
    pub origins: Origins,
    /// `[websocket]`: relays.
    pub websocket: WebSocket,
    /// `[limits]`: clients and their requests.
    pub limits: Limits,
    /// `[cors]`: web pages.
    pub cors: Cors,
    /// `[log]`: the log and the access log.
    pub log: Log,
    /// `[monitoring]`: the listener that only shows.
    pub monitoring: Monitoring,
    /// `[admin]`: the listener that changes something.
    pub admin: Admin,
}

/// `[gateway]`: the process, its listeners and workers, and how it drains.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Addresses that every worker listens on with TLS; at least one. Changes with a restart only.
    pub listen: Vec<SocketAddr>,
    /// How many workers there are. Changes with a restart only.
    pub workers: Workers,
    /// Whether each worker is bound to one core. Changes with a restart only.
    pub pin: bool,
    /// What the workers wait on. Changes with a restart only.
    pub driver: Driver,
    /// Versions of the PROXY protocol, one of which every connection has to begin with; `None` ("off"): connections begin
    /// with TLS.
    pub proxy_protocol: Option<Versions>,
    /// The load balancers that may send PROXY headers; connections from other addresses are dropped.
    pub trusted_proxies: Vec<IpNet>,
    /// How long an idle HTTP connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a drain may take; the sessions that are left then are cut.
    pub drain: Duration,
    /// How long a process keeps its sessions after it handed its listeners over; they are closed in the last `drain` of it.
    pub upgrade_drain: Duration,
    /// Close code that clients get when the gateway drains (RFC 6455, 7.4).
    pub drain_close_code: u16,
    /// The path at which load balancers ask whether this gateway serves; `None` ("") answers none.
    pub health_path: Option<String>,
}

/// How many workers to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each core that this process may run on.
    Cores,
    /// This many, from 1 to 1024.
    Count(usize),
}

/// The kernel interface that the workers wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring if the kernel permits it, else epoll.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll in any case.
    Epoll,
}

/// `[tls]`: the handshake with clients, and the certificates.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The oldest version that clients may use.
    pub min_version: TlsVersion,
    /// How long a handshake may take, a PROXY header before it included.
    pub handshake_timeout: Duration,
    /// Chosen by the server name that the client sends; the first one is served when none matches. At least one, except
    /// beside [`Acme::names`].
    pub certificates: Vec<Certificate>,
}

/// `[tls.acme]`: certificates that the gateway orders itself (ACME, RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Host names in lower case, each of which gets a certificate of its own. Without any, ACME is off.
    pub names: Vec<String>,
    /// The mail address that the CA is told, without `mailto:`; `None` ("") tells it none.
    pub contact: Option<String>,
    /// The https URL of the CA's directory.
    pub directory: String,
    /// A PEM bundle of CA certificates that count beside the roots of this machine when `directory` is asked; `None` ("")
    /// adds none.
    pub ca: Option<PathBuf>,
    /// The folder for account, keys and certificates.
    pub storage: PathBuf,
}

/// A version of TLS that the gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// One `[[tls.certificates]]`: the paths of two PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The server's certificate, then the ones that lead to a root.
    pub chain: PathBuf,
    /// The private key of the first certificate in `chain`: a path, or `env:NAME`, `file:PATH` or `credential:NAME`.
    pub key: PathBuf,
}

/// `[stream_manager]`: where the stream manager is, and how it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamManager {
    /// The address that every question goes to.
    pub url: ManagerUrl,
    /// How long one question may take, repetitions included.
    pub timeout: Duration,
    /// Version in the path of questions that the gateway asks on its own for 1.x requests.
    pub api: ApiVersion,
    /// Group for 2.0 requests that name none, or `default`; `None` ("") refuses them.
    pub node_group: Option<String>,
    /// A PEM bundle of CA certificates that count beside the roots of this machine; `None` ("") adds none.
    pub ca: Option<PathBuf>,
    /// Value of the `Authorization` field of every question. It is sent to the stream manager only; `None` ("") sends none.
    pub authorization: Option<Secret>,
}

/// A version of the stream manager's 1.x API, as it stands in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion(pub(crate) &'static str);

impl ApiVersion {
    /// The version as text, such as `4.0`.
    pub const fn text(self) -> &'static str {
        self.0
    }
}

/// The address of the stream manager, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManagerUrl {
    /// Whether it is asked over TLS.
    pub https: bool,
    /// Host name in lower case or address, IPv6 without brackets.
    pub host: String,
    /// TCP port; 80 or 443 where the file has none.
    pub port: u16,
    /// Path before every target: empty, or `/prefix` without a slash at its end.
    pub prefix: String,
}

/// Writes scheme, host, port and path prefix: the beginning of every URL that is asked.
impl std::fmt::Display for ManagerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let (host, port, prefix) = (&self.host, self.port, &self.prefix);
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{prefix}")
        } else {
            write!(f, "{scheme}://{host}:{port}{prefix}")
        }
    }
}

/// A text that no log shows: its `Debug` prints `"***"`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"***\"")
    }
}

/// `[answers]`: how long answers of the stream manager are kept, and nodes learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Bytes of all stored answers together.
    pub capacity: u64,
    /// How long an answer to a broadcast question is kept; at most `learned_ttl`.
    pub broadcast_ttl: Duration,
    /// How long an answer to a subscribe question is kept; at most `learned_ttl`.
    pub subscribe_ttl: Duration,
    /// How often one answer to a subscribe question is given out.
    pub subscribe_uses: u32,
    /// How long a 404 or 400 is kept.
    pub missing_ttl: Duration,
    /// How long a node stays admitted after an answer named it.
    pub learned_ttl: Duration,
    /// Sessions that may wait for one flight, all workers together.
    pub waiters: usize,
    /// Bytes of the longest answer of the stream manager.
    pub body_max: usize,
}

/// `[origins]`: the nodes, which of them may be dialled, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Origins {
    /// TCP port of every node.
    pub port: u16,
    /// First path segments that a client may name; at least one.
    pub apps: Vec<String>,
    /// The most path segments of app and context together, from 1 to 16.
    pub depth: usize,
    /// Networks whose addresses are admitted without having been learned.
    pub networks: Vec<IpNet>,
    /// Whether nodes that the stream manager named are admitted.
    pub learned: bool,
    /// Whether a node has to be both learned and inside `networks`.
    pub strict: bool,
    /// Host names in lower case that a client may use instead of an address.
    pub names: Vec<String>,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long a node's 101 may take after the connect.
    pub upgrade_timeout: Duration,
    /// How long a node's whole answer to a WHIP or WHEP request may take after the connect.
    pub answer_timeout: Duration,
    /// How many nodes are tried where the gateway finds the node: one-step, WHIP, WHEP. From 1 to 10.
    pub attempts: u32,
    /// How long a node that failed is avoided; `None` ("off"): not at all.
    pub quarantine: Option<Duration>,
    /// Subprotocol that is offered to the node; `None` ("") offers none.
    pub subprotocol: Option<String>,
    /// The `Origin` field of the upgrade that the node gets.
    pub origin_header: OriginHeader,
    /// What becomes of the WebSocket extensions that the client offers.
    pub extensions: Extensions,
}

/// The `Origin` field of the upgrade that a node gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginHeader {
    /// No such field.
    None,
    /// `http://{node}:{port}`.
    Node,
    /// What the client sent.
    Client,
    /// This web origin.
    Fixed(String),
}

/// What becomes of the WebSocket extensions that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// The node gets no offer.
    Strip,
    /// Client and node negotiate them end to end.
    Forward,
}

/// `[websocket]`: times and sizes of a relay. `None` means "off".
#[derive(Debug, Clone, PartialEq)]
pub struct WebSocket {
    /// Bytes of one message, all its fragments together.
    pub message_max: Option<u64>,
    /// How long a client may send nothing before it gets a Ping.
    pub ping_interval: Option<Duration>,
    /// How long the client may take to answer a Ping.
    pub pong_timeout: Duration,
    /// How long a relay lasts in which neither side sends more than control frames.
    pub idle: Option<Duration>,
    /// How long any relay lasts.
    pub lifetime: Option<Duration>,
    /// How long a side may take to answer a Close.
    pub close_timeout: Duration,
}

/// `[limits]`: how many clients, and how large and slow requests may be. `None` means "off".
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Client connections past their first request head, of all workers together.
    pub sessions: Option<usize>,
    /// The same for one client address, or one /64 of IPv6.
    pub sessions_per_ip: Option<usize>,
    /// How many sessions one client address may begin in a time.
    pub new_per_ip: Option<Rate>,
    /// Client connections before the end of their first request head, of all workers together.
    pub handshakes: Option<usize>,
    /// How many requests one client address may send in a time.
    pub requests_per_ip: Option<Rate>,
    /// How long a request head may take.
    pub head_timeout: Duration,
    /// Bytes of a request head.
    pub head_size: usize,
    /// Bytes of a request target; less than `head_size`.
    pub target_size: usize,
    /// Fields of a request head.
    pub headers: usize,
    /// Bytes of a request body, and of an answer of the stream manager or of a node.
    pub body_max: usize,
    /// How long a request body may take, and a node's whole answer to a WHIP or WHEP request.
    pub body_timeout: Duration,
}

/// A number of events in a time, as in `"50/s"` and `"600/m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// `[cors]`: the web pages that may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The web origins of those pages.
    pub allow_origins: AllowOrigins,
    /// Names of request fields that pages may send beside those that the gateway reads.
    pub allow_headers: Vec<String>,
    /// Whether pages may send cookies and client certificates; with exact web origins only.
    pub allow_credentials: bool,
    /// Whether a WebSocket may come without an `Origin` field: browsers always send one, other clients need not.
    pub allow_missing: bool,
}

/// `[log]`: the log on stderr, and the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What is logged.
    pub level: LogLevel,
    /// How the lines of both logs look.
    pub format: LogFormat,
    /// Where the access log goes.
    pub access: AccessLog,
    /// How its lines look.
    pub access_format: AccessFormat,
    /// Names of query parameters whose values are masked in logs (compared without regard to case).
    pub redact: Vec<String>,
}

/// The least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs an operator now.
    Error,
    /// The above, and what may need one soon.
    Warn,
    /// The above, and the life of the process.
    Info,
    /// The above, and what single sessions do.
    Debug,
    /// The above, and all details.
    Trace,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A message, then `field=value` pairs.
    Text,
    /// One JSON object.
    Json,
}

/// Where the access log goes: one line for each session or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// There is none.
    Off,
    /// Beside the log.
    Stderr,
    /// To the end of this file.
    File(PathBuf),
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// All fields, in the format of the log.
    Fields,
    /// As nginx and Apache write it.
    Combined,
}

/// `[monitoring]`: the listener that only shows: metrics, health, the status page and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// Its address; `None` ("off"): there is none. Changes with a restart only.
    pub listen: Option<SocketAddr>,
    /// Host names in lower case that it may be asked by, besides addresses and localhost.
    pub names: Vec<String>,
    /// Whether it shows the table of sessions and the addresses of clients.
    pub sessions: ShowSessions,
    /// For how long `/readyz` answers 200 while no stream manager answers; `None` ("off"): for as long as that takes.
    pub ready_without_manager: Option<Duration>,
}

/// Whether the monitoring listener shows the table of sessions and the addresses of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowSessions {
    /// Only if it listens on a loopback address.
    Auto,
    /// In any case.
    On,
    /// Never.
    Off,
}

/// `[admin]`: the listener that has everything of `[monitoring]` and all that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address. Changes with a restart only.
    pub listen: AdminListen,
    /// What clients of a TCP address send as `Authorization: Bearer`; a socket file needs none.
    pub token: Option<Secret>,
}

/// The address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// A Unix socket `admin.sock` in the runtime directory of the service, if that can be had.
    Auto,
    /// There is no admin listener.
    Off,
    /// A TCP address, with a token.
    Tcp(SocketAddr),
    /// The path of a Unix socket, at most 107 bytes.
    Unix(PathBuf),
}
