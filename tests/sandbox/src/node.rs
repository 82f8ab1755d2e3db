//! A node's listener: takes connections, writes down heads, upgrades them (or fails as told) and starts their signalling.

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

/// How long a client may take for its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything a node's connections share.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) apps: Vec<String>,
    pub(crate) ping_interval: Duration,
    pub(crate) knobs: Mutex<NodeKnobs>,
    /// Rung when a knob was turned: the listener may have to go or come back.
    pub(crate) turned: Notify,
    /// Rung when the node dies: every connection ends at once.
    pub(crate) cut: Notify,
    pub(crate) record: Arc<NodeRecord>,
    pub(crate) media: UnboundedSender<Command>,
    pub(crate) next_peer: AtomicU64,
}

impl Node {
    pub(crate) fn knobs(&self) -> NodeKnobs {
        self.knobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn turn(&self, turn: impl FnOnce(&mut NodeKnobs)) {
        turn(&mut self.knobs.lock().unwrap_or_else(PoisonError::into_inner));
        self.turned.notify_one();
    }

    /// Ends every connection, session and stream, and listens no more.
    pub(crate) fn down(&self) {
        self.turn(|knobs| knobs.fault = Some(NodeFault::Refuse));
        self.cut.notify_waiters();
        // Media that is gone means a cluster that ends.
        let _ = self.media.send(Command::Down);
    }

    pub(crate) fn up(&self) {
        self.turn(|knobs| knobs.fault = None);
    }

    /// Serves for ever; the listener exists only while the knobs allow it.
    pub(crate) async fn serve(self: Arc<Self>, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let turned = self.turned.notified();
            match self.knobs().fault {
                Some(NodeFault::Refuse) => {
                    listener = None;
                    turned.await;
                }
                Some(NodeFault::HangConnect) => {
                    drop(listener.take());
                    let full = full_queue(self.address).await;
                    turned.await;
                    drop(full);
                }
                _ => match listener.take().map_or_else(|| listen(self.address, 1024), Ok) {
                    Ok(open) => {
                        tokio::select! {
                            () = turned => {}
                            taken = open.accept() => self.taken(taken),
                        }
                        listener = Some(open);
                    }
                    // The port of a listener that just went may need a moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
            }
        }
    }

    fn taken(self: &Arc<Self>, taken: io::Result<(TcpStream, SocketAddr)>) {
        let Ok((stream, from)) = taken else { return };
        self.record.dials.up();
        let node = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                ended = node.connection(stream, from) => ended,
                () = node.cut.notified() => Ok(()),
            }
        });
    }

    /// Requests one after the other, until one of them is an upgrade or the connection ends.
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

    /// One WHIP or WHEP request; says whether the connection can have another.
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
        let meant = whip.only.as_ref().is_none_or(|method| *method == head.method);
        if meant {
            tokio::time::sleep(whip.delay).await;
        }
        let told = match knobs.fault {
            Some(NodeFault::Answer(status)) => Some(status),
            _ => whip.status.filter(|_| meant),
        };
        let reply = match (&body, told) {
            (Err(status), _) => Reply::of(*status),
            (Ok(_), Some(status)) => Reply::of(status),
            (Ok(body), None) => self.exchange(route, &head, body, whip).await,
        };
        let reply = if whip.no_cors { reply } else { reply.with_cors() };
        let framing = if meant { whip.framing } else { Framing::Length };
        // A body that was not read to its end leaves nothing to go on with.
        let keep =
            body.is_ok() && head.keeps_alive() && matches!(framing, Framing::Length | Framing::Chunked);
        let unread = body.is_err();
        let (status, body) = (reply.status, body.unwrap_or_default());
        self.record.whip.push(WhipSeen { head, body, status });
        stream.write_all(&http::framed(&reply, framing, keep)).await?;
        if unread {
            // Closing with bytes unread would reset the connection, and the answer with it.
            stream.shutdown().await?;
            let _ = timeout(Duration::from_secs(1), tokio::io::copy(stream, &mut tokio::io::sink())).await;
        }
        Ok(keep)
    }

    async fn exchange(&self, route: &Route, head: &Head, body: &[u8], knobs: &WhipKnobs) -> Reply {
        if !self.knows(&route.scope) {
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
        let (scope, key) = match self.judge(head) {
            Ok(good) => good,
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
            greeted: knobs.coalesce,
            frames: 0,
            last_message: None,
        };
        session.run(ws).await;
        Ok(())
    }

    /// Whether the first segment of a scope is an application here.
    fn knows(&self, scope: &str) -> bool {
        self.apps.iter().any(|app| scope.split('/').next() == Some(app))
    }

    /// The scope and the key of a good handshake, or the status a node answers with.
    fn judge(&self, head: &Head) -> Result<(String, String), u16> {
        let scope = head.path().trim_matches('/').to_owned();
        if !self.knows(&scope) {
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

/// The 101, with whatever the fault wants wrong with it.
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

/// An unmasked text frame of less than 64 KiB.
fn text_frame(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("our own messages are short");
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

/// Holds a connection until the client leaves it.
async fn hang(mut stream: TcpStream) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(|_| ())
}

/// A listener whose address may have been in use a moment ago.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// A listener whose queue is full: the kernel drops every further SYN, so connects hang.
async fn full_queue(address: SocketAddr) -> Option<(TcpListener, Vec<TcpStream>)> {
    let listener = listen(address, 1).ok()?;
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    Some((listener, fillers))
}
