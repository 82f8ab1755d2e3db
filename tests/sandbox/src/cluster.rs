//! Starting and ending a whole cluster, and the handles by which tests look into it and turn its knobs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};

use crate::answers::Answers;
use crate::config::{ClusterConfig, ManagerKnobs, NodeKnobs};
use crate::directory::{Directory, Live};
use crate::http::Head;
use crate::manager::Manager;
use crate::media::Media;
use crate::node::{Node, listen};
use crate::record::{CloseSeen, Count, Log, NodeCounts, NodeRecord, Question, WhipSeen};

/// How often a port that turned out to be taken elsewhere is exchanged for another.
const PORT_TRIES: usize = 20;

/// How long the end of a cluster may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running cluster. It ends with its last owner: sockets closed, threads joined.
pub struct Cluster {
    runtime: Option<Runtime>,
    manager: Arc<Manager>,
    manager_address: SocketAddr,
    nodes: Vec<Arc<Node>>,
    directory: Arc<Directory>,
}

impl Cluster {
    /// Starts everything; when this returns, manager and nodes listen.
    ///
    /// # Errors
    /// An address or port can't be had.
    pub fn start(config: ClusterConfig) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("sandbox").enable_all().build()?;
        let entered = runtime.enter();
        let directory = Arc::new(Directory::default());
        let listeners = node_listeners(&config)?;
        let mut nodes = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            nodes.push(start_node(index, listener, &config, &directory)?);
        }
        let listener = listen((config.manager, config.manager_port).into(), 1024)?;
        let manager_address = listener.local_addr()?;
        let manager = Arc::new(Manager {
            answers: Answers::new(config.nodes, config.groups),
            directory: Arc::clone(&directory),
            knobs: Mutex::default(),
            questions: Log::default(),
            asked: Count::default(),
            connections: Count::default(),
            pages: config.pages,
            nodes: nodes.clone(),
        });
        tokio::spawn(Arc::clone(&manager).serve(listener));
        drop(entered);
        Ok(Self { runtime: Some(runtime), manager, manager_address, nodes, directory })
    }

    /// `http://ADDRESS:PORT` of the stream manager.
    #[must_use]
    pub fn manager_url(&self) -> String {
        format!("http://{}", self.manager_address)
    }

    /// Where the stream manager listens.
    #[must_use]
    pub fn manager_address(&self) -> SocketAddr {
        self.manager_address
    }

    /// The one signalling port of all nodes.
    #[must_use]
    pub fn nodes_port(&self) -> u16 {
        self.nodes.first().map_or(0, |node| node.address.port())
    }

    /// Addresses of all nodes.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        self.nodes.iter().map(|node| node.address.ip()).collect()
    }

    /// The stream manager.
    #[must_use]
    pub fn manager(&self) -> ManagerHandle<'_> {
        ManagerHandle(&self.manager)
    }

    /// One node, in the order of the configuration.
    ///
    /// # Panics
    /// There is no node of that index.
    #[must_use]
    pub fn node(&self, index: usize) -> NodeHandle<'_> {
        NodeHandle(&self.nodes[index])
    }

    /// Every live stream.
    #[must_use]
    pub fn streams(&self) -> Vec<Live> {
        self.directory.list()
    }

    /// Enters a stream that nobody publishes, so that the manager names its node.
    ///
    /// # Panics
    /// There is no node of that index.
    pub fn pretend_live(&self, scope: &str, name: &str, node: usize) {
        assert!(node < self.nodes.len(), "there is no node {node}");
        self.directory.publish(scope, name, node);
    }

    /// Ends everything, as dropping does.
    pub fn stop(self) {}
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(STOP_TIMEOUT);
        }
    }
}

/// One listener per node, all on one port.
fn node_listeners(config: &ClusterConfig) -> io::Result<Vec<TcpListener>> {
    let mut failed = io::Error::other("a cluster needs nodes");
    for _ in 0..PORT_TRIES {
        let mut port = config.nodes_port;
        let mut listeners = Vec::new();
        for &address in &config.nodes {
            match listen((address, port).into(), 1024) {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                Err(why) => failed = why,
            }
        }
        if !listeners.is_empty() && listeners.len() == config.nodes.len() {
            return Ok(listeners);
        }
        if config.nodes_port != 0 {
            break;
        }
    }
    Err(failed)
}

fn start_node(
    index: usize,
    listener: TcpListener,
    config: &ClusterConfig,
    directory: &Arc<Directory>,
) -> io::Result<Arc<Node>> {
    let address = listener.local_addr()?;
    let socket = std::net::UdpSocket::bind((address.ip(), 0))?;
    socket.set_nonblocking(true)?;
    let record = Arc::new(NodeRecord::default());
    let (media, commands) = mpsc::unbounded_channel();
    let forwarder =
        Media::new(index, UdpSocket::from_std(socket)?, Arc::clone(directory), Arc::clone(&record))?;
    tokio::spawn(forwarder.run(commands));
    let node = Arc::new(Node {
        address,
        apps: config.apps.clone(),
        ping_interval: config.ping_interval,
        knobs: Mutex::default(),
        turned: Notify::new(),
        cut: Notify::new(),
        record,
        media,
        next_peer: AtomicU64::new(1),
    });
    tokio::spawn(Arc::clone(&node).serve(listener));
    Ok(node)
}

/// The stream manager of a running cluster.
#[derive(Clone, Copy)]
pub struct ManagerHandle<'a>(&'a Manager);

impl ManagerHandle<'_> {
    /// Changes how it answers, from the next question on.
    pub fn knobs(&self, turn: impl FnOnce(&mut ManagerKnobs)) {
        turn(&mut self.0.knobs.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How many questions it got.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.get()
    }

    /// How many connections it took.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.connections.get()
    }

    /// The latest questions, oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.0.questions.all()
    }
}

/// One node of a running cluster.
#[derive(Clone, Copy)]
pub struct NodeHandle<'a>(&'a Arc<Node>);

impl NodeHandle<'_> {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Changes how it treats connections, from the next one on. `Refuse` and `HangConnect` take a moment: wait for the
    /// effect with a deadline.
    pub fn knobs(&self, turn: impl FnOnce(&mut NodeKnobs)) {
        self.0.turn(turn);
    }

    /// Kills it: connections, sessions and streams end at once, and connects are refused until [`up`](Self::up).
    pub fn down(&self) {
        self.0.down();
    }

    /// Brings it back, without any of its sessions.
    pub fn up(&self) {
        self.0.up();
    }

    /// Its counters now.
    #[must_use]
    pub fn counts(&self) -> NodeCounts {
        self.0.record.counts()
    }

    /// The latest request heads, oldest first.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.0.record.heads.all()
    }

    /// The latest text messages of all its clients, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.0.record.messages.all()
    }

    /// The latest WHIP and WHEP requests, oldest first.
    #[must_use]
    pub fn whip(&self) -> Vec<WhipSeen> {
        self.0.record.whip.all()
    }

    /// How the latest signalling connections ended, oldest first.
    #[must_use]
    pub fn closes(&self) -> Vec<CloseSeen> {
        self.0.record.closes.all()
    }
}
