//! A gateway, and a watch on every address that it could dial: on loopback, where the tests may listen, and in network
//! namespaces, where every address is a listener and the kernel counts each attempt.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::{
    ClientBuilder, Config, Connection, DEADLINE, Gateway, HttpPeer, Request, Response, Workspace,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ports of internal machines that are worth a try.
const PORTS: [u16; 5] = [22, 80, 443, 5080, 8080];

/// Listeners wherever the gateway could be sent. They record each dialled address and close the connection.
pub struct Watch {
    listeners: Arc<Vec<TcpListener>>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(listeners: Vec<TcpListener>) -> Self {
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let (listeners, dialled) = (Arc::new(listeners), Arc::<Mutex<Vec<_>>>::default());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (listeners, dialled, stop) = (listeners.clone(), dialled.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut waits: Vec<_> =
                        listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
                    let time = Timespec::try_from(Duration::from_millis(100)).unwrap();
                    poll(&mut waits, Some(&time)).unwrap();
                    accept(&listeners, &dialled);
                }
            }
        });
        Self { listeners, dialled, stop, thread: Some(thread) }
    }

    /// The addresses dialled since the last call. Connections wait in a queue, so none is missed.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        accept(&self.listeners, &self.dialled);
        std::mem::take(&mut *self.dialled.lock().unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

fn accept(listeners: &[TcpListener], dialled: &Mutex<Vec<SocketAddr>>) {
    // held over both steps: an accepted connection is recorded before another thread looks
    let mut dialled = dialled.lock().unwrap();
    for listener in listeners {
        while let Ok((tcp, _)) = listener.accept() {
            let at = tcp.local_addr().unwrap();
            dialled.push(SocketAddr::new(at.ip().to_canonical(), at.port()));
        }
    }
}

/// A gateway that may dial one node, and many addresses that it must not dial.
pub struct World {
    pub gateway: Arc<Gateway>,
    manager: Option<HttpPeer>,
    pub watch: Watch,
    /// The node that may be dialled.
    pub node: SocketAddr,
    /// Addresses that are denied besides the general ones: the gateway itself, its stream manager, its neighbours.
    pub denied: Vec<IpAddr>,
    address: SocketAddr,
    /// Where this world is made of network namespaces.
    namespaces: Option<Namespaces>,
    _workspace: Workspace,
}

struct Namespaces {
    links: NetnsLinks,
    /// Connections opened and datagrams sent by the gateway before the test, as its kernel counts.
    before: (u64, u64),
}

impl World {
    /// Every world that is available here, with a changed configuration.
    pub fn all(test: &str, change: impl Fn(&mut Config)) -> Vec<Self> {
        [Some(Self::on_loopback(&change)), Self::in_namespaces(test, &change)].into_iter().flatten().collect()
    }

    /// The world that sees most.
    pub fn best(test: &str, change: impl Fn(&mut Config)) -> Self {
        Self::in_namespaces(test, &change).unwrap_or_else(|| Self::on_loopback(&change))
    }

    fn on_loopback(change: &impl Fn(&mut Config)) -> Self {
        let workspace = Workspace::claim();
        // a port that is free on the addresses that all tests share
        let shared = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = shared.local_addr().unwrap().port();
        let node = SocketAddr::new(workspace.node(1).ip(), port);
        let mut denied: Vec<IpAddr> = vec![
            workspace.gateway().ip(),
            workspace.manager().ip(),
            workspace.node(20).ip(),
            workspace.client_ip(1).into(),
        ];
        let mut listeners: Vec<_> = denied
            .iter()
            .chain([&node.ip()])
            .map(|ip| TcpListener::bind((*ip, port)).expect("free"))
            .collect();
        for ip in &denied[1..] {
            let ports = PORTS.iter().filter(|port| workspace.manager() != SocketAddr::new(*ip, **port));
            listeners.extend(ports.map(|port| TcpListener::bind((*ip, *port)).expect("free")));
        }
        listeners.push(shared);
        listeners.push(TcpListener::bind((Ipv6Addr::LOCALHOST, port)).expect("a free port on IPv6 too"));
        denied.push(Ipv4Addr::LOCALHOST.into());
        let mut config = Config::new(&workspace);
        config.set("origins.port", i64::from(port));
        config.set("origins.networks", vec![node.ip().to_string()]);
        change(&mut config);
        let manager = Some(HttpPeer::start(workspace.manager()));
        let gateway = Arc::new(Gateway::start(&workspace, &config));
        let (watch, address) = (Watch::start(listeners), workspace.gateway());
        Self { gateway, manager, watch, node, denied, address, namespaces: None, _workspace: workspace }
    }

    /// All addresses are behind one link of the gateway: each dial to another machine reaches a listener that records it.
    fn in_namespaces(test: &str, change: &impl Fn(&mut Config)) -> Option<Self> {
        let links = NetnsLinks::create(test)?;
        for words in [
            "-6 address add fd77:2::1/64 dev eth2 nodad",
            "route add default via 10.77.2.2",
            "-6 route add default via fd77:2::2",
        ] {
            links.gateway.ip(words);
        }
        for words in [
            "-6 address add fd77:2::2/64 dev eth0 nodad",
            "address add 10.77.2.3/32 dev lo",
            "route add local default dev lo table main",
            "-6 route add local default dev lo table main",
        ] {
            links.nodes.ip(words);
        }
        let (workspace, node) = (Workspace::claim(), SocketAddr::from((NetnsLinks::NODE, 5080)));
        let manager = SocketAddr::from(([10, 77, 2, 3], 8088));
        let mut config = Config::new(&workspace);
        config.set("gateway.listen", vec![format!("{}:8443", NetnsLinks::GATEWAY)]);
        config.set("stream_manager.url", format!("http://{manager}"));
        config.set("origins.networks", vec![node.ip().to_string()]);
        change(&mut config);
        let (manager, watch) = links.nodes.inside(move || {
            (Some(HttpPeer::start(manager)), Watch::start(PORTS.map(listen_everywhere).into()))
        });
        let (gateway, workspace) =
            links.gateway.inside(move || (Gateway::start(&workspace, &config), workspace));
        let denied = ["10.77.1.1", "10.77.2.1", "10.77.2.3", "127.0.0.1", "fd77:2::1"];
        let denied = denied.map(|ip| ip.parse().unwrap()).into();
        let (address, gateway) = (SocketAddr::from((NetnsLinks::GATEWAY, 8443)), Arc::new(gateway));
        assert_watch_sees_all(&links, &watch);
        let before = links.gateway.inside(attempts);
        let namespaces = Some(Namespaces { links, before });
        Some(Self { gateway, manager, watch, node, denied, address, namespaces, _workspace: workspace })
    }

    pub fn manager(&self) -> &HttpPeer {
        self.manager.as_ref().expect("the manager lives as long as the world")
    }

    pub fn client(&self) -> Connection {
        let client = ClientBuilder::to(self.address);
        match &self.namespaces {
            Some(Namespaces { links, .. }) => links.clients.inside(move || client.connect_tls()),
            None => client.connect_tls(),
        }
    }

    /// Sends a request on a connection that is kept as long as possible.
    pub fn exchange(&self, client: &mut Option<Connection>, request: &Request) -> Response {
        let mut connection = client.take().unwrap_or_else(|| self.client());
        connection.send_request(request);
        let response = connection.read_response();
        let ends = response.field("connection").is_some_and(|options| options.contains("close"));
        *client = (!ends && response.status() != 101).then_some(connection);
        response
    }

    /// Checks that only the node was dialled, this many times; and where the kernel counts, that nothing else was
    /// attempted: no other connection, and no question to a resolver.
    #[track_caller]
    pub fn assert_only_the_node_was_dialled(&self, times: usize) {
        let dialled = self.watch.dialled();
        assert!(dialled.iter().all(|at| *at == self.node), "dialled {dialled:?}, only {} may be", self.node);
        assert_eq!(dialled.len(), times, "dials of the node");
        if let Some(Namespaces { links, before }) = &self.namespaces {
            let (opened, datagrams) = links.gateway.inside(attempts);
            let known = (times + self.manager().connections()) as u64;
            assert_eq!(opened - before.0, known, "connections that the gateway tried to open");
            assert_eq!(datagrams, before.1, "datagrams that the gateway sent");
        }
        self.gateway.assert_no_panic();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // it ends by a dial to its own address, which exists only inside the namespace
        let manager = self.manager.take();
        if let Some(Namespaces { links, .. }) = &self.namespaces {
            links.nodes.inside(move || drop(manager));
        }
    }
}

/// A listener on every address that this namespace treats as local, which is every address.
fn listen_everywhere(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

/// Checks that dials from the gateway's namespace to any address are recorded.
#[track_caller]
fn assert_watch_sees_all(links: &NetnsLinks, watch: &Watch) {
    for ip in
        ["169.254.169.254", "203.0.113.7", "100.100.100.200", "10.77.2.3", "fd00:ec2::254", "2001:db8::5"]
    {
        let address = SocketAddr::new(ip.parse().unwrap(), 80);
        links.gateway.inside(move || {
            TcpStream::connect_timeout(&address, DEADLINE).expect("every address is a listener")
        });
        assert_eq!(watch.dialled(), [address]);
    }
}

/// Connections opened and datagrams sent from this namespace so far, whether they were answered or not.
fn attempts() -> (u64, u64) {
    let table = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let value = |protocol: &str, name: &str| {
        let mut rows = table.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
        let column = rows.next().unwrap().split(' ').position(|title| title == name).unwrap();
        rows.next().unwrap().split(' ').nth(column).unwrap().parse::<u64>().unwrap()
    };
    let ipv6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let ipv6 =
        ipv6.lines().find_map(|line| line.strip_prefix("Udp6OutDatagrams")).unwrap().trim().parse::<u64>();
    (value("Tcp", "ActiveOpens"), value("Udp", "OutDatagrams") + ipv6.unwrap())
}
