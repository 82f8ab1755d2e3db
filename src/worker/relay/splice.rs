//! Bytes of one side on their way to the other: scanned, counted, and with our own frames put in where they fit.

use crate::proto::millis::Millis;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::Relay;
use crate::worker::session::context::Session;

/// What passing bytes needs, without the sockets.
pub(crate) struct Splicer<'p> {
    pub session: &'p Session,
    pub relay: &'p mut Relay,
    pub frames: &'p mut [u64; 2],
    pub bytes: &'p mut [u64; 2],
    pub now: Millis,
}

impl Splicer<'_> {
    /// Scans `bytes` of `from` and says what goes to the other side: one slice of them, which is the usual case and costs
    /// no copy, or, when something has to stand before, between or behind, `None` and all of it appended to `gather`.
    pub(crate) fn splice<'b>(
        &mut self,
        from: Side,
        bytes: &'b [u8],
        gather: &mut Vec<u8>,
        more: bool,
    ) -> Option<&'b [u8]> {
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
