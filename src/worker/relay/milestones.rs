//! The first messages of a relay, for its record: their sender, what they are about, and how long they are. No payload is kept.

use crate::metrics::Route;
use crate::proto::red5::role::Role;
use crate::proto::red5::signal::{self, PREFIX_MAX, Signal};
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::peek;
use crate::shared::record::Event;
use crate::worker::session::context::Session;
use std::time::Instant;

/// Messages of each side that are looked at. The signalling of a session has fewer, but for candidates, which come in numbers.
const MESSAGES_MAX: u8 = 12;

/// Opcode of a text frame (RFC 6455, 5.2), which every signalling message is.
const TEXT: u8 = 1;

/// What is still to be seen of the first messages of a relay.
#[derive(Debug)]
pub(crate) struct Milestones {
    kind: (Route, Role),
    /// When the client got its 101.
    opened: Instant,
    /// Messages of the client and of the node that were seen.
    seen: [u8; 2],
    /// The node has sent its first description of media.
    described: bool,
}

impl Milestones {
    /// A relay of this kind that begins now.
    pub(crate) fn begin(kind: (Route, Role)) -> Self {
        Self { kind, opened: Instant::now(), seen: [0; 2], described: false }
    }

    /// Whether there is nothing left to look at.
    pub(crate) fn is_over(&self) -> bool {
        self.seen.iter().all(|seen| *seen >= MESSAGES_MAX)
    }

    /// Looks at `bytes` that `from` sent. They begin with a frame.
    pub(crate) fn look(&mut self, session: &Session, from: Side, bytes: &[u8]) {
        for frame in peek::frames(from, bytes) {
            let seen = &mut self.seen[from as usize];
            if *seen >= MESSAGES_MAX {
                return;
            }
            if *seen == 0 {
                session.note(&Event::FirstFrame { from, size: frame.size });
                if from == Side::Node {
                    let (route, role) = self.kind;
                    let first_frame = &session.worker.metrics.first_frame[route as usize][role as usize];
                    first_frame.observe(self.opened.elapsed());
                }
            }
            *seen += 1;
            if frame.opcode == TEXT {
                let mut text = [0; PREFIX_MAX];
                self.signal(session, from, frame.unmask(&mut text), frame.size);
            }
        }
    }

    fn signal(&mut self, session: &Session, from: Side, text: &[u8], size: u64) {
        let signal = Signal::of(text);
        session.note(&Event::Signalled { from, signal, size });
        if from == Side::Client
            && let Some(stream) = signal::requested_stream(text)
        {
            session.note(&Event::WantedStream { stream });
        }
        if from == Side::Node && signal == Signal::NodeDescription && !self.described {
            self.described = true;
            session.note_description(self.kind);
        }
    }
}
