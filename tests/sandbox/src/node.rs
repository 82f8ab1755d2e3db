//! A node's listener: accepts connections, records request heads, upgrades to WebSocket (or fails as its knobs say) and
//! starts the signalling.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::config::{Framing, NodeFault, NodeKnobs, WhipKnobs};
use crate::http::{self, Head};
use crate::media::Command;
use crate::messages;
use crate::record::{NodeRecord, WhipSeen};
use crate::signalling::Session;
use crate::whip::{self, Exchange, Reply, Route};

/// How long a client may take to send a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// State that all connections of a node share.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) apps: Vec<String>,
    pub(crate) ping_interval: Duration,
    pub(crate) knobs: Mutex<NodeKnobs>,
    /// Notified when a knob changed: the listener may have to close or to open again.
    pub(crate) knobs_changed: Notify,
    /// Notified when the node goes down: all connections end at once.
    pub(crate) killed: Notify,
    pub(crate) record: Arc<NodeRecord>,
    pub(crate) media: UnboundedSender<Command>,
    pub(crate) next_peer: AtomicU64,
}

impl Node {
    pub(crate) fn knobs(&self) -> NodeKnobs {
        self.knobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change_knobs(&self, change: impl FnOnce(&mut NodeKnobs)) {
        change(&mut self.knobs.lock().unwrap_or_else(PoisonError::into_inner));
        self.knobs_changed.notify_one();
    }

    /// Closes the listener and ends all connections, sessions and streams.
    pub(crate) fn down(&self) {
        self.change_knobs(|knobs| knobs.fault = Some(NodeFault::Refuse));
        self.killed.notify_waiters();
        // The send fails only when the cluster is ending.
        let _ = self.media.send(Command::Down);
    }

    pub(crate) fn up(&self) {
        self.change_knobs(|knobs| knobs.fault = None);
    }

    /// Serves until the cluster ends. The listener is open only while the knobs allow it.
    pub(crate) async fn serve(self: Arc<Self>, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let knobs_changed = self.knobs_changed.notified();
            match self.knobs().fault {
                Some(NodeFault::Refuse) => {
                    listener = None;
                    knobs_changed.await;
                }
                Some(NodeFault::HangConnect) => {
                    drop(listener.take());
                    let full = full_queue(self.address).await;
                    knobs_changed.await;
                    drop(full);
                }
                _ => match listener.take().map_or_else(|| listen(self.address, 1024), Ok) {
                    Ok(open) => {
                        tokio::select! {
                            () = knobs_changed => {}
                            accepted = open.accept() => self.accepted(accepted),
                        }
                        listener = Some(open);
                    }
                    // The port of a listener that was just closed may be free a moment later.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
            }
        }
    }

    fn accepted(self: &Arc<Self>, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let Ok((stream, from)) = accepted else { return };
        self.record.dials.up();
        let node = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                ended = node.connection(stream, from) => ended,
                () = node.killed.notified() => Ok(()),
            }
        });
    }

    /// Serves requests one after the other, until one of them is an upgrade or the connection ends.
    async fn connection(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut rest = Vec::new();
        loop {
            let head = timeout(HEAD_TIMEOUT, http::read_head(&mut stream, &mut rest, from)).await??;
            let Some(head) = head else { return Ok(()) };
            self.record.heads.push(head.clone());
            let knobs = self.knobs();
            match &knobs.fault {
                Some(NodeFault::HangUpgrade) => return hang(stream).await,
                Some(NodeFault::CloseAtUpgrade) => return Ok(()),
                _ => {}
            }
            let Some(route) = Route::of(head.path()) else {
                return self.upgrade(stream, rest, &head, knobs).await;
            };
            if !self.whip(&mut stream, &mut rest, head, &route, knobs).await? {
                return Ok(());
            }
        }
    }

    /// Serves one WHIP or WHEP request. True when the connection can take another request.
    async fn whip(
        &self,
        stream: &mut TcpStream,
        rest: &mut Vec<u8>,
        head: Head,
        route: &Route,
        knobs: NodeKnobs,
    ) -> io::Result<bool> {
        let body = http::read_body(stream, rest, &head, whip::BODY_MAX).await?;
        let whip = &knobs.whip;
        let affected = whip.only.as_ref().is_none_or(|method| *method == head.method);
        if affected {
            tokio::time::sleep(whip.delay).await;
        }
        let forced = match knobs.fault {
            Some(NodeFault::Answer(status)) => Some(status),
            _ => whip.status.filter(|_| affected),
        };
        let reply = match (&body, forced) {
            (Err(status), _) => Reply::of(*status),
            (Ok(_), Some(status)) => Reply::of(status),
            (Ok(body), None) => self.exchange(route, &head, body, whip).await,
        };
        let reply = if whip.no_cors { reply } else { reply.with_cors() };
        let framing = if affected { whip.framing } else { Framing::Length };
        // When the body was not read to its end, the start of the next request is unknown: the connection closes.
        let keep =
            body.is_ok() && head.keeps_alive() && matches!(framing, Framing::Length | Framing::Chunked);
        let unread = body.is_err();
        let (status, body) = (reply.status, body.unwrap_or_default());
        self.record.whip.push(WhipSeen { head, body, status });
        stream.write_all(&http::framed(&reply, framing, keep)).await?;
        if unread {
            // Closing with unread bytes would reset the connection, and the client might lose the answer.
            stream.shutdown().await?;
            let _ = timeout(Duration::from_secs(1), tokio::io::copy(stream, &mut tokio::io::sink())).await;
        }
        Ok(keep)
    }

    async fn exchange(&self, route: &Route, head: &Head, body: &[u8], knobs: &WhipKnobs) -> Reply {
        if !self.has_app(&route.scope) {
            return Reply::of(404);
        }
        let peer = self.next_peer.fetch_add(1, Ordering::Relaxed);
        let authority = self.address.to_string();
        let exchange = Exchange { route, head, knobs, media: &self.media, peer, authority: &authority };
        exchange.answer(body).await
    }

    async fn upgrade(
        &self,
        mut stream: TcpStream,
        rest: Vec<u8>,
        head: &Head,
        knobs: NodeKnobs,
    ) -> io::Result<()> {
        if let Some(NodeFault::Answer(status)) = knobs.fault {
            return refuse(stream, status).await;
        }
        let (scope, key) = match self.check_handshake(head) {
            Ok(checked) => checked,
            Err(status) => return refuse(stream, status).await,
        };
        let mut reply = switching(&key, knobs.fault.as_ref()).into_bytes();
        if knobs.coalesce {
            reply.extend(text_frame(&messages::connected()));
        }
        stream.write_all(&reply).await?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let ws = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await;
        let session = Session {
            peer: self.next_peer.fetch_add(1, Ordering::Relaxed),
            scope,
            media: &self.media,
            record: &self.record,
            ping: (!knobs.no_pings).then_some(self.ping_interval),
            fault: knobs.fault,
            connected_sent: knobs.coalesce,
            frames: 0,
            last_message: None,
        };
        session.run(ws).await;
        Ok(())
    }

    /// Whether the first segment of a scope is an application of this node.
    fn has_app(&self, scope: &str) -> bool {
        self.apps.iter().any(|app| scope.split('/').next() == Some(app))
    }

    /// Checks an upgrade request. Returns its scope and `Sec-WebSocket-Key`, or the status with which a node refuses it.
    fn check_handshake(&self, head: &Head) -> Result<(String, String), u16> {
        let scope = head.path().trim_matches('/').to_owned();
        if !self.has_app(&scope) {
            return Err(404);
        }
        let upgrade = head.header("upgrade").is_some_and(|v| v.eq_ignore_ascii_case("websocket"));
        let key = head.header("sec-websocket-key").filter(|key| key.len() == 24);
        match (upgrade, head.header("sec-websocket-version"), key) {
            (true, Some("13"), Some(key)) => Ok((scope, key.to_owned())),
            (true, Some("13"), None) | (false, ..) => Err(400),
            (true, ..) => Err(426),
        }
    }
}

/// Writes the 101, with the error that `fault` asks for.
fn switching(key: &str, fault: Option<&NodeFault>) -> String {
    let accept = match fault {
        Some(NodeFault::WrongAccept) => derive_accept_key(b"another handshake's key"),
        _ => derive_accept_key(key.as_bytes()),
    };
    let extra = match fault {
        Some(NodeFault::Header(line)) => format!("{line}\r\n"),
        _ => String::new(),
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
    )
}

/// Writes an unmasked text frame of less than 64 KiB.
fn text_frame(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("the node's messages are shorter than 64 KiB");
    let mut frame = vec![0x81];
    match u8::try_from(len) {
        Ok(short) if short < 126 => frame.push(short),
        _ => frame.extend([&[126], &len.to_be_bytes()[..]].concat()),
    }
    frame.extend(text.as_bytes());
    frame
}

async fn refuse(mut stream: TcpStream, status: u16) -> io::Result<()> {
    let body = format!("<html><body>{status}</body></html>");
    stream.write_all(&http::response(status, "text/html", body.as_bytes(), false)).await
}

/// Keeps a connection open without answering, until the client closes it.
async fn hang(mut stream: TcpStream) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(|_| ())
}

/// Opens a listener, also when the address was in use a moment ago (`SO_REUSEADDR`).
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Opens a listener and fills its accept queue: the kernel drops further SYNs, so connects hang.
async fn full_queue(address: SocketAddr) -> Option<(TcpListener, Vec<TcpStream>)> {
    let listener = listen(address, 1).ok()?;
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    Some((listener, fillers))
}
