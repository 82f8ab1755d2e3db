//! A node or a stream manager that records every byte it receives, whitespace included, and accepts everything.

use crate::harness::eventually;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub struct Recorder {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Listens, and answers questions to the stream manager with this node.
    pub fn listen(address: SocketAddr, node: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let (received, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (received, stop) = (received.clone(), stop.clone());
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let received = received.clone();
                    std::thread::spawn(move || converse(tcp, node, &received));
                }
            }
        });
        Self { address, received, stop, thread: Some(thread) }
    }

    /// The bytes received since the last call: exactly one message.
    #[track_caller]
    pub fn take(&self) -> Vec<u8> {
        eventually("a message", || !self.received.lock().unwrap().is_empty());
        let mut received = std::mem::take(&mut *self.received.lock().unwrap());
        assert_eq!(received.len(), 1, "one message");
        received.remove(0)
    }

    /// Whether nothing was received since the last call of `take`.
    pub fn is_silent(&self) -> bool {
        self.received.lock().unwrap().is_empty()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

/// Serves one connection: records each message and answers it.
fn converse(mut tcp: TcpStream, node: SocketAddr, received: &Mutex<Vec<Vec<u8>>>) {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        if let Some(end) = end(&bytes) {
            let message: Vec<u8> = bytes.drain(..end).collect();
            let answer = answer(&message, node);
            received.lock().unwrap().push(message);
            if tcp.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        match tcp.read(&mut room) {
            Ok(0) | Err(_) => return,
            Ok(taken) => bytes.extend_from_slice(&room[..taken]),
        }
    }
}

/// The value of a field that the gateway writes in one form.
fn field<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = field(std::str::from_utf8(&bytes[..head]).ok()?, "Content-Length");
    let end = head + length.map_or(0, |length| length.parse().expect("a length"));
    (bytes.len() >= end).then_some(end)
}

fn answer(message: &[u8], node: SocketAddr) -> String {
    let message = std::str::from_utf8(message).unwrap();
    if let Some(key) = field(message, "Sec-WebSocket-Key") {
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        return format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
    }
    if message.starts_with("GET ") {
        let body = format!(r#"{{"name":"stream1","scope":"/live","serverAddress":"{}"}}"#, node.ip());
        let length = body.len();
        return format!(
            "HTTP/1.1 200 Yes\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }
    "HTTP/1.1 201 Yes\r\nLocation: /live/whip/resource/s\r\nContent-Length: 0\r\n\r\n".to_owned()
}
