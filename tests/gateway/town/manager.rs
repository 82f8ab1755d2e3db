//! The stream manager: keeps what it was asked, and answers each target as the test says, well or badly.

use super::link::{Link, Side, Wire};
use super::message::Head;
use super::{Gate, certs, eventually};
use rustls::{ServerConnection, StreamOwned};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One answer, down to its bytes.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    content_type: String,
    fields: String,
    body: Vec<u8>,
    shape: Shape,
    gate: Option<Gate>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Length,
    Chunked,
    /// The head promises more than comes before the end.
    Torn,
    /// Nothing at all, and the end.
    Gone,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let content_type = "application/json".to_owned();
        Self {
            status,
            content_type,
            fields: String::new(),
            body: body.into(),
            shape: Shape::Length,
            gate: None,
        }
    }

    /// The usual answer: this stream lives on that node.
    pub fn node(ip: IpAddr) -> Self {
        let body =
            format!(r#"{{"name":"stream1","scope":"/live","serverAddress":"{ip}","region":"us-east-1"}}"#);
        Self::json(200, body)
    }

    /// Says no as a stream manager does.
    pub fn missing(status: u16) -> Self {
        Self::json(status, r#"{"errorMessage":"no such stream","timestamp":1700000000000}"#)
    }

    pub fn content_type(self, content_type: &str) -> Self {
        Self { content_type: content_type.to_owned(), ..self }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        write!(self.fields, "{name}: {value}\r\n").unwrap();
        self
    }

    pub fn chunked(self) -> Self {
        Self { shape: Shape::Chunked, ..self }
    }

    /// Dies in the middle of the body.
    pub fn torn(self) -> Self {
        Self { shape: Shape::Torn, ..self }
    }

    /// Hangs up instead of answering.
    pub fn gone() -> Self {
        Self { shape: Shape::Gone, ..Self::json(200, "") }
    }

    /// Comes only once the gate opens.
    pub fn held(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, content_type, fields, body, .. } = self;
        let framing = match self.shape {
            Shape::Gone => return Vec::new(),
            Shape::Chunked => "Transfer-Encoding: chunked".to_owned(),
            Shape::Length => format!("Content-Length: {}", body.len()),
            Shape::Torn => format!("Content-Length: {}", body.len() + 50),
        };
        let head =
            format!("HTTP/1.1 {status} Said\r\nContent-Type: {content_type}\r\n{framing}\r\n{fields}\r\n");
        let mut bytes = head.into_bytes();
        if self.shape != Shape::Chunked {
            bytes.extend_from_slice(body);
            return bytes;
        }
        for chunk in body.chunks(7) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

#[derive(Default)]
struct State {
    /// Part of a target, and what it gets; the latest entry that fits wins.
    replies: Mutex<Vec<(String, Reply)>>,
    questions: Mutex<Vec<Head>>,
    connections: AtomicUsize,
    gone: AtomicBool,
}

pub struct Manager {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    pub fn start(address: SocketAddr) -> Self {
        Self::serve(address, |tcp| Box::new(tcp))
    }

    /// A stream manager on https, with the certificate of this identity.
    pub fn start_tls(address: SocketAddr, identity: &certs::Identity) -> Self {
        let config = identity.server_config();
        Self::serve(address, move |tcp| {
            Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp))
        })
    }

    fn serve(address: SocketAddr, wire: impl Fn(TcpStream) -> Box<dyn Wire> + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let state = Arc::new(State::default());
        let thread = std::thread::spawn({
            let state = state.clone();
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if state.gone.load(Ordering::SeqCst) {
                        return;
                    }
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    let (link, state) = (Link::new(wire(tcp), Side::Node), state.clone());
                    std::thread::spawn(move || state.converse(link));
                }
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// From now on targets with this part get that answer.
    pub fn answer(&self, part: &str, reply: Reply) {
        self.state.replies.lock().unwrap().push((part.to_owned(), reply));
    }

    pub fn questions(&self) -> Vec<Head> {
        self.state.questions.lock().unwrap().clone()
    }

    /// How many questions came up to now.
    pub fn count(&self) -> usize {
        self.state.questions.lock().unwrap().len()
    }

    /// How many connections were opened to ask them.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub fn wait_for_questions(&self, n: usize) {
        eventually("a question to the stream manager", || self.count() >= n);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

impl State {
    /// One kept-alive connection, until either side has enough.
    fn converse(&self, mut link: Link) {
        while link.hears_something_within(3 * super::DEADLINE) {
            let Some(head) = link.next_head() else { return };
            let reply = self.reply_to(&head);
            self.questions.lock().unwrap().push(head);
            if let Some(gate) = &reply.gate {
                gate.pass();
            }
            let sent = link.try_send(&reply.bytes());
            if sent.is_err() || matches!(reply.shape, Shape::Torn | Shape::Gone) {
                return;
            }
        }
    }

    fn reply_to(&self, head: &Head) -> Reply {
        let replies = self.replies.lock().unwrap();
        let found = replies.iter().rev().find(|(part, _)| head.target().contains(part.as_str()));
        found.map_or_else(|| Reply::missing(404), |(_, reply)| reply.clone())
    }
}
