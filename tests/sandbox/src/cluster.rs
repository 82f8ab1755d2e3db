//! Starts and ends a whole cluster, and gives tests handles that read its records and change its knobs.

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
use crate::directory::{Directory, LiveStream};
use crate::http::Head;
use crate::manager::Manager;
use crate::media::Media;
use crate::node::{Node, listen};
use crate::record::{CloseSeen, Count, Log, NodeCounts, NodeRecord, Question, WhipSeen};

/// How many free ports are tried until one is free on the addresses of all nodes.
const PORT_ATTEMPTS_MAX: usize = 20;

/// How long the cluster's tasks may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running cluster. Dropping it closes its sockets and joins its threads.
pub struct Cluster {
    runtime: Option<Runtime>,
    manager: Arc<Manager>,
    manager_address: SocketAddr,
    nodes: Vec<Arc<Node>>,
    directory: Arc<Directory>,
}

impl Cluster {
    /// Starts the stream manager and the nodes. All of them listen when this returns.
    ///
    /// # Errors
    /// An address or port is not available, or `config` has no nodes.
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

    /// Address and port of the stream manager.
    #[must_use]
    pub fn manager_address(&self) -> SocketAddr {
        self.manager_address
    }

    /// The signalling port, which all nodes share.
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

    /// All live streams.
    #[must_use]
    pub fn streams(&self) -> Vec<LiveStream> {
        self.directory.list()
    }

    /// Adds a stream without a publisher to the directory, so that the stream manager names `node` for it.
    ///
    /// # Panics
    /// There is no node of that index.
    pub fn pretend_live(&self, scope: &str, name: &str, node: usize) {
        assert!(node < self.nodes.len(), "there is no node {node}");
        self.directory.publish(scope, name, node);
    }

    /// Ends the cluster, as dropping it does.
    pub fn stop(self) {}
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(STOP_TIMEOUT);
        }
    }
}

/// Opens one listener for each node, all on the same port.
fn node_listeners(config: &ClusterConfig) -> io::Result<Vec<TcpListener>> {
    let mut failed = io::Error::other("expected at least one node, found none");
    for _ in 0..PORT_ATTEMPTS_MAX {
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
        knobs_changed: Notify::new(),
        killed: Notify::new(),
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
    /// Changes how the stream manager answers, from the next question on.
    pub fn knobs(&self, change: impl FnOnce(&mut ManagerKnobs)) {
        change(&mut self.0.knobs.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Number of questions received.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.get()
    }

    /// Number of connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.connections.get()
    }

    /// The latest questions, at most 4096, oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.0.questions.all()
    }
}

/// One node of a running cluster.
#[derive(Clone, Copy)]
pub struct NodeHandle<'a>(&'a Arc<Node>);

impl NodeHandle<'_> {
    /// Address and port of the node.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Changes how the node treats connections, from the next one on. `Refuse` and `HangConnect` do not take effect at
    /// once: wait for the effect with a deadline.
    pub fn knobs(&self, change: impl FnOnce(&mut NodeKnobs)) {
        self.0.change_knobs(change);
    }

    /// Kills the node: its connections, sessions and streams end at once, and connects are refused until
    /// [`up`](Self::up).
    pub fn down(&self) {
        self.0.down();
    }

    /// Brings the node back, without its former sessions.
    pub fn up(&self) {
        self.0.up();
    }

    /// The current values of its counters.
    #[must_use]
    pub fn counts(&self) -> NodeCounts {
        self.0.record.counts()
    }

    /// The latest request heads, at most 4096, oldest first.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.0.record.heads.all()
    }

    /// The latest text messages of all its clients, at most 4096, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.0.record.messages.all()
    }

    /// The latest WHIP and WHEP requests, at most 4096, oldest first.
    #[must_use]
    pub fn whip(&self) -> Vec<WhipSeen> {
        self.0.record.whip.all()
    }

    /// How the latest signalling connections ended, at most 4096, oldest first.
    #[must_use]
    pub fn closes(&self) -> Vec<CloseSeen> {
        self.0.record.closes.all()
    }
}
