//! DNS rebinding: the gateway resolves configured names of nodes, dials exactly the address that it judged, and judges
//! again at each dial.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::{
    ClientBuilder, Config, Gateway, HttpPeer, NodeListener, Request, Response, Workspace, can_mount,
    with_hosts,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const NAME: &str = "node.test";

/// A gateway with an /etc/hosts of its own, which the test can change.
struct Scene {
    gateway: Gateway,
    hosts: PathBuf,
    workspace: Workspace,
    manager: HttpPeer,
    node: NodeListener,
    dials: usize,
}

impl Scene {
    /// `None` where there are no mount namespaces.
    fn create(test: &str) -> Option<Self> {
        if !can_mount(test) {
            return None;
        }
        let workspace = Workspace::claim();
        let (hosts, node) = (workspace.file("hosts"), NodeListener::listen(workspace.node(1)));
        std::fs::write(&hosts, format!("{} {NAME}\n", node.ip())).unwrap();
        let mut config = Config::new(&workspace);
        config.set("origins.names", vec![NAME]);
        config.set("origins.networks", vec![node.ip().to_string()]);
        let manager = HttpPeer::start(workspace.manager());
        let gateway = Gateway::spawn_by(with_hosts(&hosts), &workspace, &config).wait_until_ready();
        Some(Self { gateway, hosts, workspace, manager, node, dials: 0 })
    }

    /// Changes the addresses of the name. The gateway does not resolve it before its next look.
    fn set_addresses(&self, addresses: &[IpAddr]) {
        let lines = addresses.iter().map(|address| format!("{address} {NAME}\n"));
        // written in place: the gateway would not see a new file
        std::fs::write(&self.hosts, lines.collect::<String>()).unwrap();
    }

    fn reload_names(&self) {
        let revision = self.gateway.revision();
        self.gateway.send_sighup();
        self.gateway.wait_for_revision(revision + 1);
    }

    fn request() -> Request {
        Request::upgrade(&format!("/streammanager/?id=s&host={NAME}&app=live"))
    }

    /// Checks that the name leads to the node, at the address that was judged.
    #[track_caller]
    fn leads_to_the_node(&mut self) {
        let mut client = ClientBuilder::to(self.workspace.gateway()).connect_tls();
        client.send_request(&Self::request());
        let head = self.node.accept().accept_upgrade();
        assert_eq!(
            head.field("host"),
            Some(format!("{}:5080", self.node.ip()).as_str()),
            "an address, not a name"
        );
        assert_eq!(client.read_response().status(), 101);
        self.dials += 1;
        self.assert_dials();
    }

    #[track_caller]
    fn answer(&self) -> Response {
        let mut client = ClientBuilder::to(self.workspace.gateway()).connect_tls();
        client.send_request(&Self::request());
        client.read_response()
    }

    /// Checks that the name is refused and no address is dialled.
    #[track_caller]
    fn leads_nowhere(&self) {
        self.answer().assert_refusal(403, "origin_not_admitted");
        self.assert_dials();
    }

    #[track_caller]
    fn assert_dials(&self) {
        assert_eq!(self.gateway.metric("tidegate_origin_dials_total", &[]), self.dials as f64);
        assert_eq!(self.node.dials(), self.dials);
        assert_eq!(self.manager.dials(), 0);
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_name_that_moves_to_a_denied_address_is_refused() {
    let Some(mut scene) = Scene::create("a name that moves") else { return };
    let own = [scene.workspace.gateway(), scene.workspace.manager(), scene.workspace.node(20)]
        .map(|address| address.ip());
    let inner = [NodeListener::listen((own[0], 5080).into()), NodeListener::listen((own[2], 5080).into())];
    scene.leads_to_the_node();
    let all = ips(&[
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "100.100.100.200",
        "::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fe80::1",
    ]);
    for bad in all.iter().chain(&own) {
        scene.set_addresses(&[*bad]);
        // the address is pinned: what a resolver answers meanwhile does not count
        scene.leads_to_the_node();
        scene.reload_names();
        scene.leads_nowhere();
        scene.set_addresses(&[*bad, scene.node.ip()]);
        scene.reload_names();
        // a denied address does not hide an admitted one
        scene.leads_to_the_node();
    }
    assert!(inner.iter().all(|listener| listener.dials() == 0));
    // a name that vanishes keeps its addresses
    scene.set_addresses(&[]);
    scene.reload_names();
    scene.leads_to_the_node();
    // a name that is not configured is not even resolved
    let mut client = ClientBuilder::to(scene.workspace.gateway()).connect_tls();
    client.send_request(&Request::upgrade("/streammanager/?id=s&host=other.test&app=live"));
    client.read_response().assert_refusal(403, "origin_not_admitted");
    scene.gateway.assert_healthy();
}

/// Two ordinary addresses that nodes may have, in the network of the nodes.
const OLD: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 8);
const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 9);

/// Nodes in their namespace. Each of them ends by a dial to its own address, which exists only inside.
struct Nodes<'c>(&'c NetnsLinks, Vec<NodeListener>);

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut self.1);
        self.0.nodes.inside(move || drop(nodes));
    }
}

/// The status that a client gets that names this host. Every node that is dialled accepts.
fn status(Nodes(links, nodes): &Nodes<'_>, host: &str) -> u16 {
    let request = Request::upgrade(&format!("/streammanager/?id=s&host={host}&app=live"));
    let mut client =
        links.clients.inside(|| ClientBuilder::to((NetnsLinks::GATEWAY, 8443).into()).connect_tls());
    client.send_request(&request);
    while !client.receives_within(Duration::from_millis(20)) {
        nodes.iter().filter_map(|node| node.try_accept()).for_each(|mut node| drop(node.accept_upgrade()));
    }
    client.read_response().status()
}

#[test]
fn addresses_that_change_without_a_reload_are_judged_too() {
    let test = "addresses that change without a reload";
    if !can_mount(test) {
        return;
    }
    let Some(links) = NetnsLinks::create(test) else { return };
    links.nodes.ip("address add 10.77.2.8/32 dev lo");
    links.nodes.ip("address add 10.77.2.9/32 dev lo");
    let workspace = Workspace::claim();
    let hosts = workspace.file("hosts");
    let says = |node: &str, manager: Ipv4Addr| {
        std::fs::write(&hosts, format!("{node} {NAME}\n{manager} manager.test\n")).unwrap();
    };
    says("10.77.2.8", NetnsLinks::NODE);
    let mut config = Config::new(&workspace);
    config.set("gateway.listen", vec![format!("{}:8443", NetnsLinks::GATEWAY)]);
    config.set("stream_manager.url", "http://manager.test:5080");
    config.set("origins.names", vec![NAME]);
    config.set("origins.networks", vec!["10.77.2.0/24"]);
    let command = with_hosts(&hosts);
    let (gateway, _workspace) = links.gateway.inside(move || {
        let gateway = Gateway::spawn_by(command, &workspace, &config).wait_until_ready();
        (gateway, workspace)
    });
    let nodes = [OLD, NEW].map(|ip| links.nodes.inside(move || NodeListener::listen((ip, 5080).into())));
    let nodes = Nodes(&links, nodes.into());
    let ask = |host: &str| status(&nodes, host);
    // both addresses are ordinary nodes, and the name leads to one of them
    assert_eq!([ask(NAME), ask("10.77.2.8"), ask("10.77.2.9")], [101; 3]);
    assert_eq!(ask("10.77.2.2"), 403, "the stream manager has this address");
    says("169.254.169.254", NEW);
    // without a reload
    let end = Instant::now() + Duration::from_secs(60);
    while [ask(NAME), ask("10.77.2.9")] != [403; 2] {
        assert!(Instant::now() < end, "the gateway does not resolve the names again");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(ask("10.77.2.8"), 101, "the manager's old network neighbour is still an ordinary node");
    gateway.assert_no_panic();
}
