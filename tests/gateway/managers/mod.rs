//! Several stream managers: which of them is asked, what happens when some of them die, and how they are taken back.

mod failover;
mod names;
mod reload;
mod standing;

use crate::harness::{
    ClientBuilder, Config, Gateway, HttpPeer, NodeListener, Reply, Request, Response, Workspace,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SUBSCRIBE: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
const PUBLISH: &str = "/as/v1/streams/stream/default/publish/live/stream1";

/// A subscribe question of its own for each number.
fn subscribe(n: usize) -> String {
    format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe")
}

/// A gateway with several stream managers, some of which may be down.
struct Scene {
    gateway: Gateway,
    config: Config,
    managers: Vec<Option<HttpPeer>>,
    workspace: Workspace,
}

impl Scene {
    /// All `count` stream managers are up, and name the node of their number.
    fn start(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    fn with(count: usize, change: impl FnOnce(&mut Config)) -> Self {
        let workspace = Workspace::claim();
        let mut config = Config::new(&workspace);
        config.unset("stream_manager.url");
        config.set("stream_manager.timeout", "3s");
        config.set("stream_manager.urls", urls(&workspace, &(0..count).collect::<Vec<_>>()));
        change(&mut config);
        let managers = (0..count).map(|n| Some(start(&workspace, n))).collect();
        let gateway = Gateway::start(&workspace, &config);
        Self { gateway, config, managers, workspace }
    }

    /// The peer of a stream manager that is up.
    fn manager(&self, n: usize) -> &HttpPeer {
        self.managers[n].as_ref().expect("a stream manager that is up")
    }

    fn kill(&mut self, n: usize) {
        self.managers[n] = None;
    }

    fn revive(&mut self, n: usize) {
        self.managers[n] = Some(start(&self.workspace, n));
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        ClientBuilder::to(self.workspace.gateway()).connect_tls().get(target)
    }

    /// The node of a stream manager.
    fn node(&self, n: usize) -> IpAddr {
        node(&self.workspace, n)
    }

    /// Checks that a question is answered by this stream manager.
    #[track_caller]
    fn answers(&self, target: &str, n: usize) {
        let response = self.get(target);
        assert_eq!(response.status(), 200, "{response:?}");
        assert!(
            response.text().contains(&self.node(n).to_string()),
            "expected the answer of {n}: {response:?}"
        );
    }

    /// What `/api/status` says of a stream manager.
    fn status(&self, n: usize) -> Value {
        self.gateway.monitoring_get("/api/status").json()["managers"][n].clone()
    }

    fn rank(&self, n: usize) -> String {
        self.status(n)["rank"].as_str().expect("a rank").to_owned()
    }

    /// How many questions to a stream manager ended so.
    fn questions(&self, n: usize, outcome: &str) -> f64 {
        let name = address(&self.workspace, n).to_string();
        let labels = [("cluster", "default"), ("manager", name.as_str()), ("outcome", outcome)];
        self.gateway.metric("tidegate_manager_requests_total", &labels)
    }

    /// Reloads with these stream managers.
    #[track_caller]
    fn reload(&mut self, managers: &[usize]) {
        self.config.set("stream_manager.urls", urls(&self.workspace, managers));
        self.config.write(&self.workspace);
        let (code, output) = self.gateway.reload();
        assert_eq!(code, Some(0), "{output}");
    }

    /// The status that a client gets that opens a WebSocket to a node, which accepts it if it is dialled.
    fn opens(&self, node: &NodeListener) -> u16 {
        let target = format!("/streammanager/?id=stream1&host={}&app=live", node.ip());
        let mut client = ClientBuilder::to(self.workspace.gateway()).connect_tls();
        client.send_request(&Request::upgrade(&target));
        while !client.receives_within(Duration::from_millis(20)) {
            if let Some(mut dialled) = node.try_accept() {
                dialled.accept_upgrade();
            }
        }
        client.read_response().status()
    }
}

fn address(workspace: &Workspace, n: usize) -> SocketAddr {
    (workspace.ip(50 + n as u8), 5080).into()
}

fn urls(workspace: &Workspace, managers: &[usize]) -> Vec<String> {
    managers.iter().map(|n| format!("http://{}", address(workspace, *n))).collect()
}

/// The node that a stream manager names.
fn node(workspace: &Workspace, n: usize) -> IpAddr {
    workspace.node(1 + n as u8).ip()
}

/// A stream manager that names one node for every stream, and has no stream for probes.
fn start(workspace: &Workspace, n: usize) -> HttpPeer {
    let manager = HttpPeer::start(address(workspace, n));
    manager.answer("", Reply::node(node(workspace, n)));
    manager.answer("tidegate-probe", Reply::manager_error(404));
    manager
}
