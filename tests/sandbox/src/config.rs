//! The settings a cluster starts with, and the knobs that make the stream manager or a node misbehave while it runs.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The settings of a cluster. The default is a stream manager on 127.0.0.1 and two nodes on 127.0.0.1 and 127.0.0.2, all on
/// free ports.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The stream manager's address.
    pub manager: IpAddr,
    /// The stream manager's port; 0 takes a free one.
    pub manager_port: u16,
    /// The address of each node, used for signalling and for media.
    pub nodes: Vec<IpAddr>,
    /// The signalling port of all nodes; 0 takes one that is free on all their addresses.
    pub nodes_port: u16,
    /// Applications of the nodes: a node answers 404 when the first path segment is not among them.
    pub apps: Vec<String>,
    /// How often a node pings its clients, with `PING!` as payload.
    pub ping_interval: Duration,
    /// The node groups of the streams API.
    pub groups: Vec<Group>,
    /// Files that the stream manager serves too, so that a page can be tried without a gateway.
    pub pages: Vec<Page>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            manager: Ipv4Addr::LOCALHOST.into(),
            manager_port: 0,
            nodes: vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()],
            nodes_port: 0,
            apps: vec!["live".to_owned()],
            ping_interval: Duration::from_secs(5),
            groups: vec![Group { name: "ng1".to_owned(), nodes: Vec::new() }],
            pages: Vec::new(),
        }
    }
}

/// One node group of Stream Manager 2.0. When there is only one group, the name `default` means that group.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name that clients send.
    pub name: String,
    /// Indexes of its nodes; empty means all nodes.
    pub nodes: Vec<usize>,
}

/// One file that the stream manager serves.
#[derive(Debug, Clone)]
pub struct Page {
    /// The exact request path, which begins with a slash.
    pub path: String,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The content of the file.
    pub body: Vec<u8>,
}

/// How the stream manager answers. By default it answers correctly and at once.
#[derive(Debug, Clone)]
pub struct ManagerKnobs {
    /// How long to wait before every answer.
    pub delay: Duration,
    /// Answer with this status instead, and with an error body that has `errorMessage`.
    pub status: Option<u16>,
    /// Answer with this body instead.
    pub body: Option<String>,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// Name this address instead of a node's in every answer.
    pub named: Option<String>,
    /// Addresses for the next answers, one for each answer. They go before `named` and before the real addresses.
    pub named_next: VecDeque<String>,
    /// True: the scope in an event answer is `/live`, as documented. False: it is `live`.
    pub slashed_scope: bool,
    /// Write these bytes instead of any HTTP response, then close.
    pub raw: Option<Vec<u8>>,
    /// Close the connection instead of answering.
    pub hang_up: bool,
    /// Close the connection after every answer.
    pub no_keep_alive: bool,
}

impl Default for ManagerKnobs {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            status: None,
            body: None,
            content_type: "application/json;charset=UTF-8".to_owned(),
            named: None,
            named_next: VecDeque::new(),
            slashed_scope: true,
            raw: None,
            hang_up: false,
            no_keep_alive: false,
        }
    }
}

/// How a node treats connections. By default it behaves correctly.
#[derive(Debug, Clone, Default)]
pub struct NodeKnobs {
    /// The fault that every new connection meets.
    pub fault: Option<NodeFault>,
    /// Send the 101 and the first frame in one write.
    pub coalesce: bool,
    /// Never ping.
    pub no_pings: bool,
    /// How WHIP and WHEP are answered.
    pub whip: WhipKnobs,
}

/// How a node answers WHIP and WHEP. By default it answers correctly and at once.
#[derive(Debug, Clone, Default)]
pub struct WhipKnobs {
    /// Apply `delay`, `status` and `framing` only to requests of this method; the other knobs apply to all requests.
    pub only: Option<String>,
    /// How long to wait before the answer.
    pub delay: Duration,
    /// Answer with this status and do nothing else.
    pub status: Option<u16>,
    /// How the body of an answer is delimited.
    pub framing: Framing,
    /// The form of the `Location` field for a new session.
    pub location: LocationKnob,
    /// Values of `Link` fields, for example `<stun:127.0.0.1:3478>; rel=\"ice-server\"`.
    pub links: Vec<String>,
    /// Leave the node's own CORS fields out.
    pub no_cors: bool,
}

/// How the end of an answer's body is marked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`.
    #[default]
    Length,
    /// By chunked coding, in chunks of 100 bytes.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// Not at all: `Content-Length` is the whole length, but the connection closes after half of the body.
    Cut,
}

/// The form of the `Location` field for a new session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LocationKnob {
    /// A path: `/live/whip/resource/stream1`.
    #[default]
    Path,
    /// An absolute URI: `http://NODE:PORT` and the path.
    Absolute,
    /// The path, with this query.
    Query(String),
    /// No `Location` field.
    Missing,
    /// Exactly this text, valid or not.
    Text(String),
}

impl LocationKnob {
    /// Finds a form by its name, for tests that run in another process. None when the name is unknown.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "path" => Self::Path,
            "absolute" => Self::Absolute,
            "query" => Self::Query("host=10.0.0.7".to_owned()),
            "missing" => Self::Missing,
            "foreign" => Self::Text("//evil/x".to_owned()),
            _ => return None,
        })
    }
}

/// One way a node fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeFault {
    /// There is no listener: the connect is refused.
    Refuse,
    /// The connect never completes.
    HangConnect,
    /// The node accepts the connection, reads the head and never answers.
    HangUpgrade,
    /// The node accepts the connection and closes it after the head.
    CloseAtUpgrade,
    /// The node answers with this status instead of a 101.
    Answer(u16),
    /// The 101 carries the `Sec-WebSocket-Accept` of another handshake.
    WrongAccept,
    /// The 101 carries this additional header line, for example an extension that was not requested.
    Header(String),
    /// The 101 is correct. After `after` frames from the client the TCP connection closes without a Close frame.
    Vanish {
        /// Number of frames that the node reads before.
        after: usize,
    },
    /// The 101 is correct. After `after` frames from the client the node sends a Close frame with this code.
    Close {
        /// Number of frames that the node reads before.
        after: usize,
        /// The close code.
        code: u16,
    },
}
