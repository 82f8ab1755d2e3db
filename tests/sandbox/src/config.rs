//! What a cluster is started with, and the knobs that make a part of it misbehave while it runs.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Where a cluster lives. The default is a manager on 127.0.0.1 and two nodes on 127.0.0.1 and 127.0.0.2, all ports free ones.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The stream manager's address.
    pub manager: IpAddr,
    /// Its port; 0 takes a free one.
    pub manager_port: u16,
    /// One node each, signalling and media on the same address.
    pub nodes: Vec<IpAddr>,
    /// The one signalling port of all nodes; 0 takes one that is free on every address.
    pub nodes_port: u16,
    /// First path segments a node knows; everything else is 404 there.
    pub apps: Vec<String>,
    /// How often a node pings, with `PING!` as payload.
    pub ping_interval: Duration,
    /// The node groups of the streams service.
    pub groups: Vec<Group>,
    /// Files the manager hands out as well, so that a page can be tried without a gateway.
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

/// One node group of Stream Manager 2.0. The name `default` means the only group when there is just one.
#[derive(Debug, Clone)]
pub struct Group {
    /// What clients call it.
    pub name: String,
    /// Indexes of its nodes; none means all.
    pub nodes: Vec<usize>,
}

/// One file for the manager to hand out.
#[derive(Debug, Clone)]
pub struct Page {
    /// The exact path, with its slash.
    pub path: String,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The file itself.
    pub body: Vec<u8>,
}

/// How the stream manager answers; the default is: rightly and at once.
#[derive(Debug, Clone)]
pub struct ManagerKnobs {
    /// Wait so long before every answer.
    pub delay: Duration,
    /// Answer with this status instead; the body says `errorMessage`.
    pub status: Option<u16>,
    /// Answer with this body instead.
    pub body: Option<String>,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// Name this address instead of a node's, in every answer.
    pub named: Option<String>,
    /// Addresses to name in the next answers, one each, before `named` and the real ones.
    pub named_next: VecDeque<String>,
    /// `/live` (as event answers are documented) or `live`.
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

/// How a node treats connections; the default is: well.
#[derive(Debug, Clone, Default)]
pub struct NodeKnobs {
    /// What goes wrong with every new connection.
    pub fault: Option<NodeFault>,
    /// Send the 101 and the first frame in one write.
    pub coalesce: bool,
    /// Never ping.
    pub no_pings: bool,
    /// How WHIP and WHEP are answered.
    pub whip: WhipKnobs,
}

/// How a node answers WHIP and WHEP; the default is: rightly and at once.
#[derive(Debug, Clone, Default)]
pub struct WhipKnobs {
    /// Only requests of this method are treated so; `location` and `links` are for all.
    pub only: Option<String>,
    /// Wait so long before the answer.
    pub delay: Duration,
    /// Answer with this status and do nothing else.
    pub status: Option<u16>,
    /// How the body of an answer goes over the wire.
    pub framing: Framing,
    /// What a new session's `Location` looks like.
    pub location: LocationKnob,
    /// Values of `Link` fields, for example `<stun:127.0.0.1:3478>; rel=\"ice-server\"`.
    pub links: Vec<String>,
    /// Leave the node's own CORS fields out.
    pub no_cors: bool,
}

/// How the end of an answer is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`.
    #[default]
    Length,
    /// In chunks of a few bytes.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// `Content-Length` promises all of it; the connection closes after half.
    Cut,
}

/// What a new session's `Location` looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LocationKnob {
    /// `/live/whip/resource/stream1`.
    #[default]
    Path,
    /// The same below `http://NODE:PORT`.
    Absolute,
    /// The same with a query of this text.
    Query(String),
    /// There is none.
    Missing,
    /// Exactly this, however wrong.
    Text(String),
}

impl LocationKnob {
    /// The knob by a word, for tests in another process.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Some(match word {
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
    /// Nobody listens: the connect is refused.
    Refuse,
    /// The connect never completes.
    HangConnect,
    /// The connection is taken, its head is read, and nothing is ever answered.
    HangUpgrade,
    /// The connection is taken and closed after its head.
    CloseAtUpgrade,
    /// An HTTP response of this status instead of a 101.
    Answer(u16),
    /// A 101 with the accept key of another handshake.
    WrongAccept,
    /// A 101 with this header line added, for example an extension nobody asked for.
    Header(String),
    /// A good 101; after so many frames from the client the TCP connection closes without a Close frame.
    Vanish {
        /// Frames read before.
        after: usize,
    },
    /// A good 101; after so many frames from the client a Close frame with this code.
    Close {
        /// Frames read before.
        after: usize,
        /// The close code.
        code: u16,
    },
}
