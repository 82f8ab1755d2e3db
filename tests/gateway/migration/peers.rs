//! nginx and HAProxy with the configurations of before: what clients and nodes see of them is what they see of the gateway
//! with the configuration of after. A port goes from one to the other and back without a cut session.

use super::pages::{complete, filled, only_block};
use super::{Cluster, PAGE, Transcript};
use crate::harness::certs::ECDSA;
use crate::harness::gateway::write_pair;
use crate::harness::{Frame, Gateway, Request, eventually, skipped};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that stood in front of the cluster before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    HaProxy,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
        }
    }

    fn page(self) -> String {
        format!("docs/migrate/{}.md", self.program())
    }

    /// The signal at which it closes its port and lets its sessions go on.
    fn soft_stop(self) -> Signal {
        match self {
            Self::Nginx => Signal::QUIT,
            Self::HaProxy => Signal::USR1,
        }
    }

    /// The path of the program; Debian puts it where not every user's `PATH` leads.
    fn path(self) -> Option<String> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let files = path.split(':').map(|folder| format!("{folder}/{}", self.program()));
        files.into_iter().find(|file| fs::metadata(file).is_ok())
    }
}

/// One of them, serving. Dropping it ends it.
struct Peer {
    kind: Kind,
    process: Child,
}

impl Peer {
    /// Writes the page's configuration with the cluster's addresses, lets the program check it, and starts it.
    fn start(kind: Kind, cluster: &Cluster) -> Self {
        Self::start_with(kind, cluster, &[])
    }

    /// The same with further values that replace the page's.
    fn start_with(kind: Kind, cluster: &Cluster, values: &[(&str, &str)]) -> Self {
        let file = cluster.workspace.file(&format!("{}.conf", kind.program()));
        let text = filled(&only_block(&kind.page(), kind.program()), values);
        let text = match kind {
            Kind::Nginx => nginx(cluster, &text),
            Kind::HaProxy => haproxy(cluster, &text),
        };
        fs::write(&file, text).unwrap();
        let program = kind.path().expect("installed");
        let arguments = |check: bool| match (kind, check) {
            (Kind::Nginx, true) => vec!["-t", "-c"],
            (Kind::Nginx, false) => vec!["-g", "daemon off;", "-c"],
            (Kind::HaProxy, true) => vec!["-c", "-f"],
            // master and worker, as Debian's unit starts it
            (Kind::HaProxy, false) => vec!["-W", "-f"],
        };
        let checked = Command::new(&program).args(arguments(true)).arg(&file).output().unwrap();
        let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert!(checked.status.success(), "{kind:?}: {said}");
        let log = fs::File::create(cluster.workspace.file("peer.log")).unwrap();
        let mut command = Command::new(&program);
        command.args(arguments(false)).arg(&file).stdin(Stdio::null());
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let peer = Self { kind, process };
        eventually("the program of before listens", || {
            TcpStream::connect(cluster.workspace.gateway()).is_ok()
        });
        peer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).ok();
    }

    /// Closes the port; open sessions go on.
    fn stop_softly(&self, cluster: &Cluster) {
        let is_free = || TcpStream::connect(cluster.workspace.gateway()).is_err();
        eventually("the port is free", || {
            // HAProxy's master executes itself anew once its worker runs; a signal of that moment is lost
            self.signal(self.kind.soft_stop());
            let end = Instant::now() + Duration::from_millis(500);
            while !is_free() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            is_free()
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx' workers end with it at this signal; at SIGKILL they would stay
        self.signal(Signal::TERM);
        self.process.wait().ok();
    }
}

fn nginx(cluster: &Cluster, text: &str) -> String {
    let workspace = &cluster.workspace;
    let pair = write_pair(workspace, "before", &ECDSA);
    let file = |name: &str| workspace.file(name).to_str().unwrap().to_owned();
    // as another user than root it can't write to Debian's folders
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", file(kind)))
        .concat();
    filled(
        text,
        &[
            ("listen 443 ssl", &format!("listen {} ssl", workspace.gateway())),
            ("listen [::]:443 ssl;", ""),
            ("/etc/nginx/certificates/fullchain.pem", pair["chain"].as_str().unwrap()),
            ("/etc/nginx/certificates/privkey.pem", pair["key"].as_str().unwrap()),
            ("/run/nginx.pid", &file("nginx.pid")),
            ("/var/log/nginx/", &file("")),
            ("/var/cache/nginx", &file("cache")),
            ("http {", &format!("http {{\n{folders}")),
            ("10.0.0.2:5080", &workspace.manager().to_string()),
            ("10.0.0.11", &workspace.node(1).ip().to_string()),
            ("10.0.0.12", &workspace.node(2).ip().to_string()),
        ],
    )
}

fn haproxy(cluster: &Cluster, text: &str) -> String {
    let workspace = &cluster.workspace;
    let both = workspace.file("before.pem");
    fs::write(&both, format!("{}{}", ECDSA.chain_pem, ECDSA.key_pem)).unwrap();
    filled(
        text,
        &[
            ("bind :::443 v4v6", &format!("bind {}", workspace.gateway())),
            ("/etc/haproxy/certificates/edge.example.com.pem", both.to_str().unwrap()),
            // only root can become another user, and raise its limit of open files
            ("    user haproxy\n    group haproxy\n", ""),
            ("maxconn 20000", "maxconn 200"),
            ("10.0.0.2:5080", &workspace.manager().to_string()),
            ("10.0.0.11", &workspace.node(1).ip().to_string()),
            ("10.0.0.12", &workspace.node(2).ip().to_string()),
        ],
    )
}

/// Whether the program is installed; if not, a line says that the test is skipped.
fn is_installed(kind: Kind, test: &str) -> bool {
    let is_installed = kind.path().is_some();
    if !is_installed {
        skipped(&format!("migration::peers::{test}"), &format!("{} is not installed", kind.program()));
    }
    is_installed
}

fn before_and_after(kind: Kind) {
    let cluster = Cluster::start();
    let before = Peer::start(kind, &cluster);
    let seen: Transcript = cluster.first_generation();
    drop(before);
    let config = cluster.fitted(complete(&kind.page()));
    let mut gateway = Gateway::start(&cluster.workspace, &config);
    assert_eq!(cluster.first_generation(), seen, "the gateway on the left, {kind:?} on the right");
    let posts = |lines: Vec<String>| lines.iter().filter(|line| line.starts_with("POST ")).count();
    let posts = (posts(cluster.manager.lines()), posts(cluster.whip.lines()));
    assert_eq!(posts, (1, 1), "the stream manager gets WHIP before, the node after");
    gateway.assert_healthy();
}

/// What the third session of one address gets, where two are served.
fn at_a_limit_of_two(cluster: &Cluster) -> u16 {
    let open = [cluster.open_websocket("live"), cluster.open_websocket("live")];
    let target = Cluster::websocket_target(cluster.sockets.ip(), "live");
    let status = cluster.client().exchange(&Request::upgrade(&target).by_page(PAGE)).status();
    drop(open);
    status
}

fn limited_before_and_after(kind: Kind, value: (&str, &str)) {
    let cluster = Cluster::start();
    let before = Peer::start_with(kind, &cluster, &[value]);
    assert_eq!(at_a_limit_of_two(&cluster), 429, "{kind:?}");
    drop(before);
    let mut config = cluster.fitted(complete(&kind.page()));
    config.set("limits.sessions_per_ip", 2);
    let mut gateway = Gateway::start(&cluster.workspace, &config);
    assert_eq!(at_a_limit_of_two(&cluster), 429, "the gateway");
    gateway.assert_healthy();
}

fn over_and_back(kind: Kind) {
    let cluster = Cluster::start();
    let before = Peer::start(kind, &cluster);
    let (mut old_client, mut old_node, _) = cluster.open_websocket("live");
    before.stop_softly(&cluster);
    let config = cluster.fitted(complete(&kind.page()));
    let mut gateway = Gateway::start(&cluster.workspace, &config);
    cluster.first_generation();
    old_node.send_frame(Frame::text("still here"));
    assert_eq!(old_client.read_frame(), Frame::text("still here"), "{kind:?} was told to stop");
    // `learned` is empty in a new process, so that a page asks first
    let (mut client, mut node, _) = cluster.open_websocket("live");
    gateway.terminate();
    let told = std::thread::spawn(move || {
        client.expect_close(1001);
        client.answer_close(1001);
    });
    node.expect_close(1001);
    node.answer_close(1001);
    told.join().unwrap();
    assert!(gateway.wait_for_exit().success());
    let again = Peer::start(kind, &cluster);
    cluster.first_generation();
    drop(again);
}

#[test]
fn the_gateway_gives_clients_what_nginx_gave_them() {
    if is_installed(Kind::Nginx, "the_gateway_gives_clients_what_nginx_gave_them") {
        before_and_after(Kind::Nginx);
    }
}

#[test]
fn a_port_goes_from_nginx_to_the_gateway_and_back() {
    if is_installed(Kind::Nginx, "a_port_goes_from_nginx_to_the_gateway_and_back") {
        over_and_back(Kind::Nginx);
    }
}

#[test]
fn the_gateway_gives_clients_what_haproxy_gave_them() {
    if is_installed(Kind::HaProxy, "the_gateway_gives_clients_what_haproxy_gave_them") {
        before_and_after(Kind::HaProxy);
    }
}

#[test]
fn a_port_goes_from_haproxy_to_the_gateway_and_back() {
    if is_installed(Kind::HaProxy, "a_port_goes_from_haproxy_to_the_gateway_and_back") {
        over_and_back(Kind::HaProxy);
    }
}

#[test]
fn an_address_over_its_share_gets_429_from_nginx_and_from_the_gateway() {
    if is_installed(Kind::Nginx, "an_address_over_its_share_gets_429_from_nginx_and_from_the_gateway") {
        limited_before_and_after(Kind::Nginx, ("limit_conn sessions 1000;", "limit_conn sessions 2;"));
    }
}

#[test]
fn an_address_over_its_share_gets_429_from_haproxy_and_from_the_gateway() {
    if is_installed(Kind::HaProxy, "an_address_over_its_share_gets_429_from_haproxy_and_from_the_gateway") {
        limited_before_and_after(Kind::HaProxy, ("sc0_conn_cur gt 1000", "sc0_conn_cur gt 2"));
    }
}
