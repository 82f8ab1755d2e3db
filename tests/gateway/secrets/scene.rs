//! A gateway whose every secret is marked, and everything that was sent to it and received from it.

use super::markers::{Channel, Markers};
use crate::harness::certs::ECDSA;
use crate::harness::takeover::Takeover;
use crate::harness::{Gateway, HttpPeer, NodeListener, Request, eventually};
use std::collections::HashSet;

/// Keys whose values are secret, in spellings that some server reads as such.
const KEYS: [&str; 14] = [
    "password",
    "token",
    "username",
    "user",
    "ice-credential",
    "ice-username",
    "Password",
    "TOKEN",
    "p%61ssword",
    "%74%6f%6b%65%6e",
    "?token",
    "tok%2565n",
    "password+",
    "%3Fuser",
];

/// A gateway, its peers, and everything that was sent and received.
pub struct Scene {
    pub takeover: Takeover,
    pub markers: Markers,
    /// Speaks HTTP.
    pub node: HttpPeer,
    /// Speaks WebSocket.
    pub listener: NodeListener,
    /// Sessions that were asked for.
    looked_at: HashSet<String>,
}

impl Scene {
    pub fn start(level: &str, format: &str, access: &str) -> Self {
        let mut markers = Markers::default();
        let own = markers.mark("authorization, in the configuration file", &[Channel::Manager]);
        let from_environment =
            markers.mark("authorization, from the environment", &[Channel::Manager, Channel::Environment]);
        let takeover = Takeover::start(|config, workspace| {
            config.set("log.level", level);
            config.set("log.format", format);
            let file = workspace.file("access.log");
            config.set("log.access", if access == "file" { file.to_str().unwrap() } else { access });
            config.set("stream_manager.authorization", format!("Bearer {own}"));
            config.set("stream_manager.timeout", "300ms");
            config.set("stream_manager.node_group", "ng1");
            config.set("origins.upgrade_timeout", "300ms");
            config.set("limits.body_timeout", "500ms");
            config.set("origins.answer_timeout", "500ms");
            config.set("answers.missing_ttl", "1ms");
            config.set_env("TIDEGATE_TEST_SECRET", format!("Bearer {from_environment}"));
        });
        let (node, listener) = (takeover.bed.whip_node(1), takeover.bed.node(2));
        Self { takeover, markers, node, listener, looked_at: HashSet::new() }
    }

    pub fn mark(&mut self, what: impl Into<String>, may: &[Channel]) -> String {
        self.markers.mark(what, may)
    }

    /// A query in which every secret key has a secret value.
    pub fn query(&mut self, what: &str, may: &[Channel]) -> String {
        KEYS.map(|key| format!("&{key}={}", self.mark(format!("{key} of {what}"), may))).concat()
    }

    /// Adds fields that carry secrets. Only `Authorization` may appear in the given channels.
    pub fn with_fields(&mut self, request: Request, what: &str, authorization: &[Channel]) -> Request {
        let bearer = self.mark(format!("Authorization of {what}"), authorization);
        let fields = ["Cookie", "X-Api-Key", "Proxy-Authorization", "X-Amz-Security-Token", "Referer"];
        fields.into_iter().fold(
            request.with("Authorization", &format!("Bearer {bearer}")),
            |request, name| {
                let value = self.mark(format!("{name} of {what}"), &[]);
                let value =
                    if name == "Referer" { format!("https://app.test/?token={value}") } else { value };
                request.with(name, &value)
            },
        )
    }

    /// Sends a request on a new connection and records the answer.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request, status: u16) -> crate::harness::Response {
        let response = self.takeover.bed.exchange(request);
        assert_eq!(response.status(), status, "{response:?}");
        self.markers.record(Channel::Sender, everything(&response));
        response
    }

    /// Sends requests of other clients: they must not receive the secrets.
    fn exchange_as_others(&mut self) {
        for target in [
            "/nowhere",
            "/streammanager/api/4.0/event/live/other?action=subscribe",
            "/streammanager/?id=s&app=live",
        ] {
            let response = self.takeover.bed.get(target);
            self.markers.record(Channel::Others, everything(&response));
        }
    }
}

pub fn everything(response: &crate::harness::Response) -> Vec<u8> {
    let mut bytes = format!("{:?}", response.head).into_bytes();
    bytes.extend_from_slice(&response.body);
    bytes
}

pub const EVENT: &str = "/streammanager/api/4.0/event/live";

/// What operators read. The lists are looked at without and with connections that carry requests.
const PAGES: [&str; 10] = [
    "/",
    "/metrics",
    "/livez",
    "/readyz",
    "/api/status",
    "/api/nodes",
    "/api/sessions",
    "/api/sessions?route=http",
    "/api/ends",
    "/api/ends?limit=1000",
];

/// The ids of all sessions that are listed, those that have ended first.
fn session_ids(gateway: &Gateway) -> Vec<String> {
    ["/api/ends?limit=1000", "/api/sessions?route=http", "/api/sessions"]
        .map(|list| gateway.ids(list))
        .concat()
}

/// Records everything that operators see now.
pub fn look_at_operator_views(scene: &mut Scene) {
    let bed = &scene.takeover.bed;
    let mut seen = Vec::new();
    for page in PAGES {
        seen.extend(everything(&bed.gateway.admin_get(page)));
    }
    for (method, page) in [("DELETE", "/api/answers"), ("DELETE", "/api/sessions/1"), ("POST", "/api/reload")]
    {
        seen.extend(everything(&bed.gateway.send_admin(&bed.gateway.admin_request(method, page))));
    }
    let ids = session_ids(&bed.gateway);
    for id in ids.iter().filter(|id| scene.looked_at.insert((*id).clone())) {
        seen.extend(everything(&bed.gateway.admin_get(&format!("/api/sessions/{id}"))));
    }
    scene.markers.record(Channel::Admin, seen);
    let newest = ids.last().map_or("1", String::as_str);
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["sessions"],
        &["sessions", "--json"],
        &["sessions", "--ended"],
        &["why", newest],
        &["why", newest, "--json"],
        &["nodes"],
        &["kick", "1"],
        &["reload"],
    ] {
        let said = scene.takeover.bed.gateway.command(words);
        scene.markers.record(Channel::Commands, [said.stdout, said.stderr].concat());
    }
    for pid in scene.takeover.running_pids() {
        // a draining process may have exited meanwhile
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        scene.markers.record(Channel::Process, read("cmdline"));
        scene.markers.record(Channel::Environment, read("environ"));
    }
    scene.exchange_as_others();
}

/// Records what the peers received, and what the program wrote.
pub fn collect(scene: &mut Scene) {
    let text = |peer: &HttpPeer| {
        let asked = peer.received().into_iter();
        asked
            .flat_map(|asked| [format!("{:?}\n", asked.head).into_bytes(), asked.body])
            .flatten()
            .collect::<Vec<u8>>()
    };
    scene.markers.record(Channel::Manager, text(&scene.takeover.bed.manager));
    scene.markers.record(Channel::Node, text(&scene.node));
    // the last lines are written by a thread of their own
    eventually("the log of the last question", || {
        let file =
            std::fs::read_to_string(scene.takeover.bed.workspace.file("access.log")).unwrap_or_default();
        (scene.takeover.bed.gateway.stderr() + &file).contains("/after?action=subscribe")
    });
    let log = scene.takeover.bed.gateway.stderr();
    scene.markers.record(Channel::Log, &log);
    if let Ok(file) = std::fs::read(scene.takeover.bed.workspace.file("access.log")) {
        scene.markers.record(Channel::AccessLog, file);
    }
    // the private key of the test bed's certificate
    let der: String = ECDSA.key_pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!log.contains(&der[..40]), "the private key is in the log");
}
