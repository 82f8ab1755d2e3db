//! The configurations in the documents, taken out of their pages and started: each one of tidegate serves, and nginx and
//! HAProxy with the configuration of before give clients and nodes what the gateway gives them after.
//!
//! nginx and HAProxy are Debian's; where one is not installed, its tests are skipped. Traefik is not in Debian: nothing
//! starts it, its files are only read and their references checked.

use crate::harness::whip::{ANSWER, post};
use crate::harness::{ClientBuilder, Connection, Frame, HttpPeer, NodeListener, Reply, Request, Workspace};
use std::net::IpAddr;

mod configurations;
mod pages;
mod peers;
mod traefik;

/// The page in the documents' `cors.allow_origins`.
const PAGE: &str = "https://www.example.com";

/// The stream manager, a node for WebSockets and a node for WHIP, behind whatever listens at the gateway's address.
struct Cluster {
    workspace: Workspace,
    manager: HttpPeer,
    sockets: NodeListener,
    whip: HttpPeer,
}

/// What clients and nodes saw of one round of requests.
#[derive(Debug, PartialEq)]
struct Transcript {
    /// Status of "which node has the stream?", the node in it, and whether the page may read it.
    question: (u16, String, Option<String>),
    /// The path at the node, and what each side got from the other.
    websocket: (String, Frame, Frame),
    /// Status and body of a WHIP session's POST, and whether the page may read it.
    whip: (u16, String, Option<String>),
    /// Requests that are none of the cluster's business, with the status of each refusal.
    refused: Vec<(&'static str, u16)>,
}

impl Cluster {
    fn start() -> Self {
        let workspace = Workspace::claim();
        let manager = HttpPeer::start(workspace.manager());
        let (sockets, whip) = (NodeListener::listen(workspace.node(1)), HttpPeer::start(workspace.node(2)));
        let (first, second) = (sockets.ip(), workspace.node(2).ip());
        manager.answer("/streammanager/", Reply::node(first));
        manager.answer("/event/live/camera", Reply::node(second));
        manager.answer("/event/list", Reply::json(200, "[]"));
        manager.answer("/as/v1/streams/", Reply::nodes(&[first]));
        manager.answer("/publish/live/camera", Reply::nodes(&[second]));
        let created = Reply::created("/live/whip/resource/camera", ANSWER);
        // the stream manager's own proxy, before; the node, after
        manager.answer("POST /live/whip/", created.clone());
        whip.answer("POST ", created);
        Self { workspace, manager, sockets, whip }
    }

    fn client(&self) -> Connection {
        ClientBuilder::to(self.workspace.gateway()).connect_tls()
    }

    fn websocket_target(host: IpAddr, app: &str) -> String {
        format!("/streammanager/?id=stream1&host={host}&app={app}")
    }

    /// Opens a WebSocket of the two-step route; returns the client's end, the node's end and the path at the node.
    fn open_websocket(&self, app: &str) -> (Connection, Connection, String) {
        let target = Self::websocket_target(self.sockets.ip(), app);
        self.open(&Request::upgrade(&target).by_page(PAGE))
    }

    fn open(&self, request: &Request) -> (Connection, Connection, String) {
        let mut client = self.client();
        client.send_request(request);
        let mut node = self.sockets.accept();
        let head = node.accept_upgrade();
        for field in ["origin", "sec-websocket-extensions"] {
            assert_eq!(head.field(field), None, "{head:?}");
        }
        assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"), "{head:?}");
        let (path, query) = head.target().split_once('?').expect("a query");
        assert!(query.split('&').any(|pair| pair.starts_with("id=")), "{head:?}");
        let path = path.to_owned();
        let response = client.read_response();
        assert_eq!(response.status(), 101, "{response:?}");
        (client, node, path)
    }

    /// One round as pages of the first generation make it: question, WebSocket, WHIP, and what is refused.
    fn first_generation(&self) -> Transcript {
        let question = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
        let response = self.client().exchange(&Request::get(question).by_page(PAGE));
        let readable = |name: &str| response.field(name).map(str::to_owned);
        let node = response.json()["serverAddress"].as_str().unwrap_or_default().to_owned();
        assert_eq!(node, self.sockets.ip().to_string(), "{response:?}");
        let question = (response.status(), node, readable("access-control-allow-origin"));
        let offer = post("/live/whip/endpoint/camera?signal=true").by_page(PAGE);
        let created = self.client().exchange(&offer);
        let readable = created.field("access-control-allow-origin").map(str::to_owned);
        let whip = (created.status(), created.text(), readable);
        Transcript { question, websocket: self.websocket(), whip, refused: self.refused() }
    }

    fn websocket(&self) -> (String, Frame, Frame) {
        let (mut client, mut node, path) = self.open_websocket("%2Flive");
        node.send_frame(Frame::text("from the node"));
        client.send_frame(Frame::text("from the client"));
        let got = (client.read_frame(), node.read_frame());
        client.send_frame(Frame::empty_close());
        assert_eq!(node.read_frame().opcode, Frame::CLOSE);
        node.send_frame(Frame::empty_close());
        assert_eq!(client.read_frame().opcode, Frame::CLOSE);
        (path, got.0, got.1)
    }

    fn refused(&self) -> Vec<(&'static str, u16)> {
        let node = self.sockets.ip();
        let unknown = self.workspace.node(20).ip();
        let socket = |host, app: &str| Request::upgrade(&Self::websocket_target(host, app));
        let requests = [
            ("an unknown node", socket(unknown, "live").by_page(PAGE)),
            ("another app", socket(node, "other").by_page(PAGE)),
            ("a foreign page", socket(node, "live").by_page("https://www.example.net")),
            ("administration", Request::get("/streammanager/api/4.0/admin/nodegroup?accessToken=x")),
            ("the web application", Request::get("/streammanager/api/4.0/media/live/mediafiles")),
            ("another server's page", Request::get("/")),
        ];
        let asked = self.manager.count();
        let refused = requests.map(|(what, request)| (what, self.client().exchange(&request).status()));
        let received = self.manager.lines();
        let later = &received[asked.min(received.len())..];
        assert!(later.iter().all(|line| line.contains("/event/list")), "the stream manager got {later:?}");
        refused.to_vec()
    }
}
