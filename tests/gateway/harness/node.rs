//! Nodes that speak WebSocket: they accept what the gateway dials, and answer as the test says.

use super::connection::{Connection, Side};
use super::http_message::Head;
use super::{DEADLINE, eventually};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A node that listens. Each dial is accepted at once and waits in a queue for the test.
pub struct NodeListener {
    address: SocketAddr,
    dials: Arc<AtomicUsize>,
    queue: Receiver<TcpStream>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NodeListener {
    pub fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let address = listener.local_addr().unwrap();
        let (dials, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender, queue) = channel();
        let thread = std::thread::spawn({
            let (dials, stop) = (dials.clone(), stop.clone());
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) || sender.send(tcp).is_err() {
                        return;
                    }
                    dials.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { address, dials, queue, stop, thread: Some(thread) }
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next connection to this node.
    #[track_caller]
    pub fn accept(&self) -> Connection {
        let tcp = self.queue.recv_timeout(DEADLINE).expect("the gateway dials the node");
        Connection::new(Box::new(tcp), Side::Node)
    }

    /// The next connection if there is one within 20 ms; for tests that wait at several nodes.
    pub fn try_accept(&self) -> Option<Connection> {
        let tcp = self.queue.recv_timeout(Duration::from_millis(20)).ok()?;
        Some(Connection::new(Box::new(tcp), Side::Node))
    }

    /// Number of dials so far. The queue of a listener is served in order, so a dial of the test's own that came through
    /// proves that every earlier dial was counted.
    #[track_caller]
    pub fn dials(&self) -> usize {
        let before = self.dials.load(Ordering::SeqCst);
        drop(TcpStream::connect(self.address).unwrap());
        eventually("the test's own dial", || self.dials.load(Ordering::SeqCst) > before);
        let counted = self.dials.fetch_sub(1, Ordering::SeqCst) - 1;
        // the test's own dial is the last one in the queue
        let mut waiting: Vec<_> = self.queue.try_iter().collect();
        waiting.pop();
        assert!(waiting.is_empty(), "{} dials that the test did not accept", waiting.len());
        counted
    }
}

impl Drop for NodeListener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

/// A node that accepts every session and sends every frame back, until it is dropped.
pub struct EchoNode {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoNode {
    pub fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    std::thread::spawn(move || Self::serve(Connection::new(Box::new(tcp), Side::Node)));
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    fn serve(mut node: Connection) {
        node.accept_upgrade();
        loop {
            let frame = node.read_frame();
            let last = frame.opcode == super::Frame::CLOSE;
            node.send_frame(frame);
            if last {
                return;
            }
        }
    }
}

impl Drop for EchoNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

/// A listener whose backlog is full: a dial to it gets no answer at all.
pub struct FullBacklog {
    _listener: socket2::Socket,
    _queue: Vec<TcpStream>,
}

impl FullBacklog {
    pub fn listen(address: SocketAddr) -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut queue = Vec::new();
        while let Ok(tcp) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(tcp);
            assert!(queue.len() < 100, "the backlog does not fill");
        }
        Self { _listener: listener, _queue: queue }
    }
}

/// The right response to an upgrade, as a head without its empty line.
pub fn upgrade_response(head: &Head) -> String {
    let key = head.field("sec-websocket-key").expect("a key");
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    )
}

impl Connection {
    /// Reads the upgrade and answers 101; returns the head that it read.
    #[track_caller]
    pub fn accept_upgrade(&mut self) -> Head {
        self.accept_upgrade_with("")
    }

    /// Like `accept_upgrade`, with further fields (each with its line end) in the 101.
    #[track_caller]
    pub fn accept_upgrade_with(&mut self, fields: &str) -> Head {
        let head = self.read_head();
        self.answer_upgrade(&head, fields);
        head
    }

    /// Answers 101 to an upgrade that was read before.
    #[track_caller]
    pub fn answer_upgrade(&mut self, head: &Head, fields: &str) {
        self.send(format!("{}{fields}\r\n", upgrade_response(head)).as_bytes());
    }
}
