//! One WebSocket of a node after its 101: passes the client's messages to `media`, sends the messages of `media`, and
//! pings. It does not act on a message itself.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use crate::config::NodeFault;
use crate::media::{Command, PeerId};
use crate::messages::{self, Request};
use crate::record::{CloseSeen, NodeRecord};

/// The payload of a node's pings.
const PING: &str = "PING!";

pub(crate) struct Session<'a> {
    pub(crate) peer: PeerId,
    pub(crate) scope: String,
    pub(crate) media: &'a UnboundedSender<Command>,
    pub(crate) record: &'a NodeRecord,
    /// The ping interval. None: never ping.
    pub(crate) ping: Option<Duration>,
    pub(crate) fault: Option<NodeFault>,
    /// The first message was sent together with the 101.
    pub(crate) connected_sent: bool,
    pub(crate) frames: usize,
    pub(crate) last_message: Option<String>,
}

/// Whether a session continues after a frame.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl Session<'_> {
    /// Runs until either side closes the WebSocket. The peer's media continues after a hand-off.
    pub(crate) async fn run(mut self, mut ws: WebSocketStream<TcpStream>) {
        let (outbox, from_media) = mpsc::unbounded_channel();
        let scope = self.scope.clone();
        let _ = self.media.send(Command::Opened { peer: self.peer, scope, outbox });
        self.record.open.up();
        let close = self.relay(&mut ws, from_media).await;
        let (code, reason) = match close {
            Ok(Some(frame)) => (Some(frame.code.into()), frame.reason.to_string()),
            Ok(None) => (Some(1005), String::new()),
            Err(_) => (None, String::new()),
        };
        self.record.closes.push(CloseSeen { code, reason, last_message: self.last_message.take() });
        self.record.open.down();
        let _ = self.media.send(Command::Closed { peer: self.peer });
    }

    /// Returns the client's Close frame, or an error when the connection ended without one.
    async fn relay(
        &mut self,
        ws: &mut WebSocketStream<TcpStream>,
        mut from_media: UnboundedReceiver<String>,
    ) -> Result<Option<CloseFrame>, Error> {
        if !self.connected_sent {
            self.send(ws, messages::connected()).await?;
        }
        let period = self.ping.unwrap_or(Duration::from_secs(3600));
        let mut pings = tokio::time::interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = ws.next() => match message.ok_or(Error::ConnectionClosed)?? {
                    Message::Close(frame) => {
                        // The library has queued the Close answer: reading on sends it and waits for the client's FIN.
                        while ws.next().await.is_some_and(|more| more.is_ok()) {}
                        return Ok(frame);
                    }
                    message => if self.received(ws, message).await? == Next::End {
                        return Err(Error::ConnectionClosed);
                    },
                },
                text = from_media.recv() => match text {
                    Some(text) => self.send(ws, text).await?,
                    // The WebRTC session ended while the WebSocket was open.
                    None => ws.close(Some(close_frame(1000, "session ended"))).await?,
                },
                _ = pings.tick(), if self.ping.is_some() => ws.send(Message::Ping(PING.into())).await?,
            }
        }
    }

    async fn received(
        &mut self,
        ws: &mut WebSocketStream<TcpStream>,
        message: Message,
    ) -> Result<Next, Error> {
        self.frames += 1;
        match message {
            Message::Text(text) => {
                self.record.messages_in.up();
                self.record.messages.push(text.to_string());
                if let Some(request) = Request::parse(&text) {
                    let _ = self.media.send(Command::Request { peer: self.peer, request });
                }
                self.last_message = Some(text.to_string());
            }
            Message::Binary(bytes) => {
                // Signalling is text only; a binary message is echoed for tests.
                self.record.messages_in.up();
                self.record.messages_out.up();
                ws.send(Message::Binary(bytes)).await?;
            }
            Message::Pong(_) => self.record.pongs.up(),
            _ => {}
        }
        match self.fault {
            Some(NodeFault::Vanish { after }) if self.frames >= after => Ok(Next::End),
            Some(NodeFault::Close { after, code }) if self.frames == after => {
                ws.close(Some(close_frame(code, "fault of the sandbox node"))).await?;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        }
    }

    async fn send(&self, ws: &mut WebSocketStream<TcpStream>, text: String) -> Result<(), Error> {
        self.record.messages_out.up();
        ws.send(Message::Text(text.into())).await
    }
}

fn close_frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: reason.into() }
}
