//! One end of a connection, plain or TLS: bytes out, bytes in, and how it ended.
//!
//! Reads never hang: the socket carries the deadline. Bytes that were read ahead stay in the inbox for the next reader.

use super::DEADLINE;
use super::frame::{Fault, Frame};
use super::http_message::{Head, ReceivedRequest, Response};
use rustls::{ClientConnection, ConnectionCommon, SideData, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::DerefMut;
use std::time::Duration;

/// The side that the test plays. It decides which frames must be masked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Node,
}

/// The TLS stream of a client.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What a connection needs from its transport.
pub trait Transport: Read + Write + Send {
    fn tcp(&self) -> &TcpStream;
    /// Sends a close_notify if this is TLS.
    fn send_close_notify(&mut self) {}
    /// Renews the sending keys if this is TLS.
    fn renew_keys(&mut self) {}
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl<C, S> Transport for StreamOwned<C, TcpStream>
where
    C: DerefMut<Target = ConnectionCommon<S>> + Send + 'static,
    S: SideData + 'static,
{
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
    fn send_close_notify(&mut self) {
        self.conn.send_close_notify();
        self.conn.write_tls(&mut self.sock).ok();
    }
    fn renew_keys(&mut self) {
        self.conn.refresh_traffic_keys().expect("TLS 1.3");
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

/// How the other side ended the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// FIN, and over TLS a close_notify before it.
    Clean,
    /// Reset, or TLS without a close_notify.
    Abrupt,
}

pub struct Connection {
    transport: Box<dyn Transport>,
    side: Side,
    inbox: Vec<u8>,
}

impl Connection {
    pub fn new(transport: Box<dyn Transport>, side: Side) -> Self {
        let tcp = transport.tcp();
        tcp.set_nodelay(true).ok();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        // a writer that the gateway holds back on purpose may wait for a whole test
        tcp.set_write_timeout(Some(6 * DEADLINE)).unwrap();
        Self { transport, side, inbox: Vec::new() }
    }

    pub fn tcp(&self) -> &TcpStream {
        self.transport.tcp()
    }

    /// The transport itself, for tests below HTTP.
    pub fn into_transport(self) -> Box<dyn Transport> {
        assert!(self.inbox.is_empty(), "unread bytes are in the inbox");
        self.transport
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("send");
    }

    /// Like `send`, for a peer that may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transport.write_all(bytes)?;
        self.transport.flush()
    }

    /// Reads once into the inbox. Returns the number of bytes; 0 is the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut room = [0; 64 << 10];
        let n = self.transport.read(&mut room)?;
        self.inbox.extend_from_slice(&room[..n]);
        Ok(n)
    }

    #[track_caller]
    fn more(&mut self, what: &str) {
        match self.fill() {
            Ok(0) => panic!(
                "the other side ended while the test waited for {what}; inbox: {}",
                printable(&self.inbox)
            ),
            Ok(_) => {}
            Err(e) => panic!("{e} while the test waited for {what}; inbox: {}", printable(&self.inbox)),
        }
    }

    /// Exactly the next `n` bytes.
    #[track_caller]
    pub fn read_bytes(&mut self, n: usize) -> Vec<u8> {
        while self.inbox.len() < n {
            self.more("bytes");
        }
        self.inbox.drain(..n).collect()
    }

    #[track_caller]
    pub fn read_head(&mut self) -> Head {
        loop {
            if let Some(end) = self.inbox.windows(4).position(|w| w == b"\r\n\r\n") {
                return Head::parse(&self.read_bytes(end + 4));
            }
            self.more("a head");
        }
    }

    /// The next head; `None` if the other side ended first.
    pub fn next_head(&mut self) -> Option<Head> {
        while !self.inbox.windows(4).any(|w| w == b"\r\n\r\n") {
            if !self.fill().is_ok_and(|n| n > 0) {
                return None;
            }
        }
        Some(self.read_head())
    }

    /// The next whole request; `None` if the other side ended first.
    pub fn next_request(&mut self) -> Option<ReceivedRequest> {
        let head = self.next_head()?;
        let body = if head.is_chunked() {
            self.try_read_chunks()?
        } else {
            let length = head.field("content-length").map_or(0, |length| length.parse().expect("a length"));
            self.try_read_bytes(length)?
        };
        Some(ReceivedRequest { head, body })
    }

    /// A whole answer; of a 101 only its head.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        let head = self.read_head();
        let body = if head.has_no_body() {
            Vec::new()
        } else if head.is_chunked() {
            self.read_chunks()
        } else if let Some(length) = head.field("content-length") {
            self.read_bytes(length.parse().expect("a length"))
        } else {
            self.read_body_to_end()
        };
        Response { head, body }
    }

    #[track_caller]
    fn read_chunks(&mut self) -> Vec<u8> {
        self.try_read_chunks().unwrap_or_else(|| panic!("incomplete body; inbox: {}", printable(&self.inbox)))
    }

    fn try_read_chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            while !self.inbox.windows(2).any(|w| w == b"\r\n") {
                self.fill().ok().filter(|n| *n > 0)?;
            }
            let line = self.inbox.windows(2).position(|w| w == b"\r\n").unwrap();
            let size = self.read_bytes(line + 2);
            let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).expect("size");
            let chunk = self.try_read_bytes(size + 2)?;
            assert!(chunk.ends_with(b"\r\n"), "{}", printable(&chunk));
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Exactly the next `n` bytes; `None` if the other side ended first.
    fn try_read_bytes(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.inbox.len() < n {
            self.fill().ok().filter(|n| *n > 0)?;
        }
        Some(self.inbox.drain(..n).collect())
    }

    fn read_body_to_end(&mut self) -> Vec<u8> {
        while self.fill().is_ok_and(|n| n > 0) {}
        std::mem::take(&mut self.inbox)
    }

    /// Sends a frame as this side has to: masked by clients, unmasked by nodes.
    #[track_caller]
    pub fn send_frame(&mut self, frame: Frame) {
        let bytes = self.encode(&frame);
        self.send(&bytes);
    }

    /// The bytes that `send_frame` would send.
    pub fn encode(&self, frame: &Frame) -> Vec<u8> {
        match self.side {
            Side::Client => frame.masked([0x37, 0xfa, 0x21, 0x3d]),
            Side::Node => frame.bare(),
        }
    }

    /// The next frame. It must be masked if the test plays the node, and unmasked if it plays the client.
    #[track_caller]
    pub fn read_frame(&mut self) -> Frame {
        loop {
            match Frame::read(&self.inbox, self.side == Side::Node) {
                Ok((frame, used)) => {
                    self.inbox.drain(..used);
                    return frame;
                }
                Err(Fault::Short) => self.more("a frame"),
                Err(Fault::Wrong(why)) => panic!("{why}: {}", printable(&self.inbox)),
            }
        }
    }

    /// The next frame; `None` if the other side ended first.
    pub fn try_read_frame(&mut self) -> Option<Frame> {
        loop {
            match Frame::read(&self.inbox, self.side == Side::Node) {
                Ok((frame, used)) => {
                    self.inbox.drain(..used);
                    return Some(frame);
                }
                Err(Fault::Short) => self.fill().ok().filter(|n| *n > 0).map(drop)?,
                Err(Fault::Wrong(why)) => panic!("{why}: {}", printable(&self.inbox)),
            }
        }
    }

    /// The next frame that is not a Ping. Pings are answered.
    #[track_caller]
    pub fn read_frame_answering_pings(&mut self) -> Frame {
        loop {
            let frame = self.read_frame();
            if frame.opcode != Frame::PING {
                return frame;
            }
            self.send_frame(Frame::new(Frame::PONG, frame.payload));
        }
    }

    /// The next frame; or how the other side ended, and the bytes of an unfinished frame.
    #[track_caller]
    pub fn read_frame_or_end(&mut self) -> Result<Frame, (End, Vec<u8>)> {
        loop {
            match Frame::read(&self.inbox, self.side == Side::Node) {
                Ok((frame, used)) => {
                    self.inbox.drain(..used);
                    return Ok(frame);
                }
                Err(Fault::Wrong(why)) => panic!("{why}: {}", printable(&self.inbox)),
                Err(Fault::Short) => {}
            }
            let end = match self.fill() {
                Ok(0) => End::Clean,
                Ok(_) => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!(
                        "neither a frame nor an end within the deadline; inbox: {}",
                        printable(&self.inbox)
                    )
                }
                Err(_) => End::Abrupt,
            };
            return Err((end, std::mem::take(&mut self.inbox)));
        }
    }

    /// The next frame, which must be a Close: its code (`None` if it is empty) and reason.
    #[track_caller]
    pub fn read_close(&mut self) -> (Option<u16>, String) {
        let frame = self.read_frame();
        frame.as_close().unwrap_or_else(|| panic!("expected Close, heard {frame:?}"))
    }

    /// Expects the gateway's own Close with this code, after any number of Pings. Returns its reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let mut frame = self.read_frame();
        while frame.opcode == Frame::PING {
            frame = self.read_frame();
        }
        let (found, reason) = frame.as_close().unwrap_or_else(|| panic!("expected Close, heard {frame:?}"));
        assert_eq!(found, Some(code), "reason {reason:?}");
        reason
    }

    /// Answers the gateway's Close; then the connection must end cleanly.
    #[track_caller]
    pub fn answer_close(&mut self, code: u16) {
        let answer = self.encode(&Frame::close(code, ""));
        self.try_send(&answer).ok();
        assert_eq!(self.expect_end(), End::Clean);
    }

    /// Expects the end of the connection and no bytes before it.
    #[track_caller]
    pub fn expect_end(&mut self) -> End {
        let (rest, end) = self.read_to_end();
        assert!(rest.is_empty(), "unexpected bytes before the end: {}", printable(&rest));
        end
    }

    /// All bytes until the end, and how it ended.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            let end = match self.fill() {
                Ok(0) => End::Clean,
                Ok(_) => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no end within the deadline; inbox: {}", printable(&self.inbox))
                }
                Err(_) => End::Abrupt,
            };
            return (std::mem::take(&mut self.inbox), end);
        }
    }

    /// Waits up to `time` for bytes or the end, and keeps the bytes for the next reader.
    pub fn receives_within(&mut self, time: Duration) -> bool {
        if !self.inbox.is_empty() {
            return true;
        }
        self.tcp().set_read_timeout(Some(time)).unwrap();
        let heard = self.fill();
        self.tcp().set_read_timeout(Some(DEADLINE)).unwrap();
        heard.is_ok()
    }

    /// Ends the sending direction: FIN, after a close_notify over TLS. The other direction stays open.
    pub fn shutdown_write(&mut self) {
        self.transport.send_close_notify();
        self.tcp().shutdown(Shutdown::Write).ok();
    }

    /// Sends a KeyUpdate before the next bytes. The other side has to renew its keys too.
    pub fn renew_keys(&mut self) {
        self.transport.renew_keys();
    }

    /// Resets the connection (RST) without a close_notify or a Close.
    pub fn reset(self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Sends a frame each way between a client and its node; fails unless both arrive whole.
#[track_caller]
pub fn talk(client: &mut Connection, node: &mut Connection) {
    client.send_frame(Frame::text("to the node"));
    assert_eq!(node.read_frame(), Frame::text("to the node"));
    node.send_frame(Frame::text("to the client"));
    assert_eq!(client.read_frame(), Frame::text("to the client"));
}

/// The bytes in a printable form, at most 300 of them.
pub fn printable(bytes: &[u8]) -> String {
    format!("{} bytes \"{}\"", bytes.len(), bytes[..bytes.len().min(300)].escape_ascii())
}
