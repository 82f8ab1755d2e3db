//! The peers of the gateway, scripted: clients, nodes and a stream manager that do exactly what a test says.
//!
//! A test reads as a transcript: the client sends, the node reads, the manager answers. Every wait has a deadline and
//! fails with what it waited for. The peers know the protocols (HTTP/1.1, RFC 6455, TLS) but nothing of the gateway's
//! inside.

pub mod certs;
pub mod client;
pub mod connection;
pub mod flood;
pub mod frame;
pub mod gateway;
pub mod http_message;
pub mod http_peer;
pub mod journal;
pub mod netns_link;
pub mod node;
pub mod pebble;
pub mod predecessor;
pub mod records;
pub mod reply;
mod self_tests;
pub mod systemd;
pub mod takeover;
pub mod tls_records;
pub mod whip;
pub mod workspace;

pub use client::{ClientBuilder, Request};
pub use connection::Connection;
pub use frame::Frame;
pub use gateway::{Config, Gateway};
pub use http_message::{Head, Response};
pub use http_peer::HttpPeer;
pub use node::NodeListener;
pub use reply::Reply;
pub use workspace::Workspace;

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for anything. Generous: only failures wait that long.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Polls until `done` holds; fails with `what` after the deadline.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reports that a test was skipped. Writes to stderr directly, because the test harness captures prints; `tests/run.sh`
/// shows it.
pub fn skipped(test: &str, why: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("SKIPPED {test}: {why}\n"));
}

/// A gate that holds threads back until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let guard = self.0.0.lock().unwrap();
        let opened = self.0.1.wait_timeout_while(guard, 3 * DEADLINE, |open| !*open).unwrap();
        assert!(*opened.0, "the gate was not opened");
    }
}

/// One gateway, its stream manager, and loopback addresses of their own.
pub struct TestBed {
    pub workspace: Workspace,
    pub manager: HttpPeer,
    pub gateway: Gateway,
}

impl TestBed {
    pub fn start() -> Self {
        Self::with(|_, _| {})
    }

    /// A test bed with a changed configuration.
    pub fn with(change: impl FnOnce(&mut Config, &Workspace)) -> Self {
        let workspace = Workspace::claim();
        let manager = HttpPeer::start(workspace.manager());
        let mut config = Config::new(&workspace);
        change(&mut config, &workspace);
        let gateway = Gateway::start(&workspace, &config);
        Self { workspace, manager, gateway }
    }

    /// The n-th node, listening for WebSockets.
    pub fn node(&self, n: u8) -> NodeListener {
        NodeListener::listen(self.workspace.node(n))
    }

    /// The n-th node, speaking HTTP.
    pub fn http_node(&self, n: u8) -> HttpPeer {
        HttpPeer::start(self.workspace.node(n))
    }

    /// The address of the n-th node, whether it listens or not.
    pub fn ip(&self, n: u8) -> IpAddr {
        self.workspace.node(n).ip()
    }

    pub fn client_builder(&self) -> ClientBuilder {
        ClientBuilder::to(self.workspace.gateway())
    }

    /// A client whose TLS handshake is done.
    #[track_caller]
    pub fn client(&self) -> Connection {
        self.client_builder().connect_tls()
    }

    /// The target that opens a WebSocket to the n-th node.
    pub fn websocket_target(&self, n: u8) -> String {
        format!("/streammanager/?id=stream1&host={}&app=live", self.workspace.node(n).ip())
    }

    /// Sends a GET on a new connection and returns the answer.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// An established session: the client's end and the node's end.
    #[track_caller]
    pub fn relay(&self, listener: &NodeListener) -> (Connection, Connection) {
        let mut client = self.client();
        let node = self.open_websocket(&mut client, listener);
        (client, node)
    }

    /// A session in the middle of a frame from its node. The gateway can't send its own Close before the rest of the
    /// frame, which is returned.
    #[track_caller]
    pub fn relay_mid_frame(&self, listener: &NodeListener) -> (Connection, Connection, Vec<u8>) {
        let (mut client, mut node) = self.relay(listener);
        let frame = Frame::text("one half and the other").bare();
        node.send(&frame[..10]);
        // the gateway has forwarded these bytes, so it has seen them
        assert_eq!(client.read_bytes(10), &frame[..10]);
        (client, node, frame[10..].to_vec())
    }

    /// Opens a WebSocket on an existing connection: request, dial, the node's 101, the client's 101.
    #[track_caller]
    pub fn open_websocket(&self, client: &mut Connection, listener: &NodeListener) -> Connection {
        client.send_request(&Request::upgrade(&format!(
            "/streammanager/?id=stream1&host={}&app=live",
            listener.ip()
        )));
        let mut node = listener.accept();
        node.accept_upgrade();
        let response = client.read_response();
        assert_eq!(response.status(), 101, "{response:?}");
        node
    }

    /// A client that requested a WebSocket; the node has read the upgrade and not answered yet.
    #[track_caller]
    pub fn pending_upgrade(
        &self,
        listener: &NodeListener,
        request: &Request,
    ) -> (Connection, Connection, Head) {
        let mut client = self.client();
        client.send_request(request);
        let mut node = listener.accept();
        let head = node.read_head();
        (client, node, head)
    }

    /// Sends a request on a new connection and returns the answer.
    #[track_caller]
    pub fn exchange(&self, request: &Request) -> Response {
        let mut client = self.client();
        client.send_request(request);
        client.read_response()
    }
}

impl Response {
    /// Checks that this answer is a refusal with this status and code, in the form that the vendor's pages understand.
    #[track_caller]
    pub fn assert_refusal(&self, status: u16, code: &str) {
        assert_eq!((self.status(), self.json()["code"].as_str()), (status, Some(code)), "{self:?}");
        let json = self.json();
        assert_eq!(json["error"], json["errorMessage"], "both names have the same text");
        assert!(json["error"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        assert!(json["timestamp"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{json}");
        assert!(self.field("content-type").is_some_and(|t| t.starts_with("application/json")), "{self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"));
    }
}
