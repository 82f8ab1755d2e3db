//! Bytes of one side on their way to the other: scanned, counted, with the gateway's own frames put in at frame boundaries.

use crate::proto::millis::Millis;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::Relay;
use crate::worker::relay::milestones::Milestones;
use crate::worker::session::context::Session;

/// What splicing bytes needs of a relay, apart from its sockets.
pub(crate) struct Splicer<'p> {
    pub session: &'p Session,
    pub relay: &'p mut Relay,
    pub frames: &'p mut [u64; 2],
    pub bytes: &'p mut [u64; 2],
    /// What is still to be seen of the first messages.
    pub milestones: &'p mut Option<Box<Milestones>>,
    pub now: Millis,
}

impl Splicer<'_> {
    /// Scans `bytes` that came from the side `from` and gives what goes to the other side. Usually that is one slice of
    /// `bytes`, without a copy. When something has to go before, between or behind, all of it is appended to `gather`
    /// instead and the result is `None`. `more` says that another piece of the same receive follows.
    pub(crate) fn splice<'b>(
        &mut self,
        from: Side,
        bytes: &'b [u8],
        gather: &mut Vec<u8>,
        more: bool,
    ) -> Option<&'b [u8]> {
        if let Some(milestones) = self.milestones
            && self.relay.begins_frame(from)
        {
            milestones.look(self.session, from, bytes);
            if milestones.is_over() {
                *self.milestones = None;
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let scan = self.relay.scan(from, rest, self.now);
            let held = scan.held.as_slice();
            let forward = &rest[scan.forward.clone()];
            self.frames[from as usize] += u64::from(scan.frames);
            self.bytes[from as usize] += (held.len() + forward.len()) as u64;
            let whole = scan.used == bytes.len() && held.is_empty();
            rest = &rest[scan.used..];
            let to = from.other();
            let insert = self.relay.wants_insert(to);
            if whole && gather.is_empty() && !more && !insert {
                return Some(forward);
            }
            gather.extend_from_slice(held);
            gather.extend_from_slice(forward);
            if insert {
                self.relay.insert(to, &self.session.id.text(), self.session.mask(), self.now, gather);
            }
        }
        None
    }
}
