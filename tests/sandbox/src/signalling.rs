//! One WebSocket of a node after its 101: text in, requests to `media`; media's words out; pings. It judges no message.

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

/// What every ping of a node carries.
const PING: &str = "PING!";

pub(crate) struct Session<'a> {
    pub(crate) peer: PeerId,
    pub(crate) scope: String,
    pub(crate) media: &'a UnboundedSender<Command>,
    pub(crate) record: &'a NodeRecord,
    /// None: never ping.
    pub(crate) ping: Option<Duration>,
    pub(crate) fault: Option<NodeFault>,
    /// The first message went out with the 101 already.
    pub(crate) greeted: bool,
    pub(crate) frames: usize,
    pub(crate) last_message: Option<String>,
}

/// Whether a session goes on after a frame.
#[derive(PartialEq, Eq)]
enum Next {
    More,
    Over,
}

impl Session<'_> {
    /// Runs until either side ends the socket. The peer's media may go on when it was handed off.
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
        let _ = self.media.send(Command::Gone { peer: self.peer });
    }

    /// The client's Close frame at the end, or an error when there was none.
    async fn relay(
        &mut self,
        ws: &mut WebSocketStream<TcpStream>,
        mut from_media: UnboundedReceiver<String>,
    ) -> Result<Option<CloseFrame>, Error> {
        if !self.greeted {
            self.send(ws, messages::connected()).await?;
        }
        let period = self.ping.unwrap_or(Duration::from_secs(3600));
        let mut pings = tokio::time::interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = ws.next() => match message.ok_or(Error::ConnectionClosed)?? {
                    Message::Close(frame) => {
                        // The library has queued the answer; asking for more sends it and waits for the client's FIN.
                        while ws.next().await.is_some_and(|more| more.is_ok()) {}
                        return Ok(frame);
                    }
                    message => if self.received(ws, message).await? == Next::Over {
                        return Err(Error::ConnectionClosed);
                    },
                },
                text = from_media.recv() => match text {
                    Some(text) => self.send(ws, text).await?,
                    // The session died under an open socket.
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
                    let _ = self.media.send(Command::Asked { peer: self.peer, request });
                }
                self.last_message = Some(text.to_string());
            }
            Message::Binary(bytes) => {
                // Signalling is text only; benches and relay tests want an echo.
                self.record.messages_in.up();
                self.record.messages_out.up();
                ws.send(Message::Binary(bytes)).await?;
            }
            Message::Pong(_) => self.record.pongs.up(),
            _ => {}
        }
        match self.fault {
            Some(NodeFault::Vanish { after }) if self.frames >= after => Ok(Next::Over),
            Some(NodeFault::Close { after, code }) if self.frames == after => {
                ws.close(Some(close_frame(code, "as told"))).await?;
                Ok(Next::More)
            }
            _ => Ok(Next::More),
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
