//! A peer that speaks HTTP, either the stream manager or a node for WHIP: records the requests, and answers each one as
//! the test says.

use super::connection::{Connection, Side, Transport};
use super::http_message::{Head, ReceivedRequest};
use super::{Reply, certs, eventually};
use rustls::{ServerConnection, StreamOwned};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Part of a request line, and the answers to requests with it: one after the other, the last one repeatedly.
type Script = (String, VecDeque<Reply>);

#[derive(Default)]
struct State {
    /// The latest entry that matches wins.
    scripts: Mutex<Vec<Script>>,
    asked: Mutex<Vec<ReceivedRequest>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

pub struct HttpPeer {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl HttpPeer {
    pub fn start(address: SocketAddr) -> Self {
        Self::serve(address, |tcp| Box::new(tcp))
    }

    /// A peer with TLS and the certificate of this identity.
    pub fn start_tls(address: SocketAddr, identity: &certs::Identity) -> Self {
        let config = identity.server_config();
        Self::serve(address, move |tcp| {
            Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp))
        })
    }

    fn serve(
        address: SocketAddr,
        transport: impl Fn(TcpStream) -> Box<dyn Transport> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let state = Arc::new(State::default());
        let thread = std::thread::spawn({
            let state = state.clone();
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if state.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    let (connection, state) = (Connection::new(transport(tcp), Side::Node), state.clone());
                    std::thread::spawn(move || state.converse(connection));
                }
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// From now on requests with `part` in their request line get this answer.
    pub fn answer(&self, part: &str, reply: Reply) {
        self.answer_in_turn(part, [reply]);
    }

    /// The same with one answer after the other; the last one is repeated.
    pub fn answer_in_turn(&self, part: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.scripts.lock().unwrap().push((part.to_owned(), replies.into_iter().collect()));
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The heads of all requests so far.
    pub fn received_heads(&self) -> Vec<Head> {
        self.received().into_iter().map(|asked| asked.head).collect()
    }

    /// All request lines so far, without the HTTP version.
    pub fn lines(&self) -> Vec<String> {
        let line = |head: Head| head.line.trim_end_matches(" HTTP/1.1").to_owned();
        self.received_heads().into_iter().map(line).collect()
    }

    /// The latest request.
    #[track_caller]
    pub fn last(&self) -> ReceivedRequest {
        self.received().pop().expect("a request was received")
    }

    /// Number of requests so far.
    pub fn count(&self) -> usize {
        self.state.asked.lock().unwrap().len()
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Number of dials so far. A listener's queue is served in order, so a dial of the test's own that came through
    /// proves that every earlier dial was counted.
    #[track_caller]
    pub fn dials(&self) -> usize {
        let before = self.connections();
        drop(TcpStream::connect(self.address).unwrap());
        eventually("the test's own dial", || self.connections() > before);
        self.state.connections.fetch_sub(1, Ordering::SeqCst) - 1
    }

    #[track_caller]
    pub fn wait_for_requests(&self, n: usize) {
        eventually("a question", || self.count() >= n);
    }
}

impl Drop for HttpPeer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

impl State {
    /// Serves one connection until either side ends it.
    fn converse(&self, mut connection: Connection) {
        while connection.receives_within(3 * super::DEADLINE) {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let Some(asked) = connection.next_request() else { return };
            let reply = self.reply_to(&asked.head);
            self.asked.lock().unwrap().push(asked);
            if let Some(gate) = reply.gate() {
                gate.pass();
            }
            if connection.try_send(&reply.bytes()).is_err() || reply.ends() {
                return;
            }
        }
    }

    fn reply_to(&self, head: &Head) -> Reply {
        let mut scripts = self.scripts.lock().unwrap();
        let found = scripts.iter_mut().rev().find(|(part, _)| head.line.contains(part.as_str()));
        let Some((_, replies)) = found else { return Reply::manager_error(404) };
        match replies.len() {
            0 => Reply::manager_error(404),
            1 => replies[0].clone(),
            _ => replies.pop_front().expect("there is a reply"),
        }
    }
}
