//! The pumps of a relay: both directions in one task, so that an idle session is one small future.
//!
//! A direction is not read again until its last write is done, and then no buffer is held: one slow reader stops its peer
//! with at most one core buffer of bytes kept for it. Which bytes may pass, what we say ourselves and when it is over is
//! decided by [`Relay`]; this file only moves.

use crate::proto::millis::Millis;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, End, How, Relay, RelayRules, Tick};
use crate::worker::io::buffers;
use crate::worker::io::client::{Conn, Received};
use crate::worker::io::fairness::ReadSize;
use crate::worker::io::keepalive;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::socket::Sock;
use crate::worker::local::info::Names;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::local::wake::Wake;
use crate::worker::relay::splice::Splicer;
use crate::worker::session::access_log;
use crate::worker::session::access_log::Carried;
use crate::worker::session::context::Session;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// A session whose handshakes are done on both legs.
pub(crate) struct RelayStart {
    pub origin: Sock,
    pub node: SocketAddr,
    /// App and stream, for people.
    pub names: Names,
    /// Bytes that came with the client's head.
    pub from_client: Vec<u8>,
    /// Bytes that came with the node's 101.
    pub from_origin: Vec<u8>,
    /// As configured when the session began, and whether extensions were agreed on end to end.
    pub rules: RelayRules,
    pub active: ActiveGuard,
}

/// Steps without a wait, then others have their turn. The ring makes each wait a turn of its own; epoll knows at once that
/// there is more, and who sends without end would have the worker for itself.
const STEPS: u32 = 4;

/// Forwards frames both ways until both legs are closed.
pub(crate) async fn relay(session: &Session, conn: &mut Conn, ready: Box<RelayStart>) {
    // boxed: what a future was given stays in it for as long as it lives
    let RelayStart { origin, node, names, from_client, from_origin, rules, active } = *ready;
    session.wake_handle.info.relays(node, names, session.worker.now());
    let (client, origin) = (conn.sock.clone(), Rc::new(origin));
    keepalive::configure(origin.descriptor(), &session.revision().config.websocket);
    let mut pump = Pump::new(session, conn, origin.clone(), rules);
    pump.begin(from_client, from_origin);
    let (mut client_in, mut client_out) = (pin!(None), pin!(None));
    let (mut origin_in, mut origin_out) = (pin!(None), pin!(None));
    let mut steps = 0;
    while !pump.step() {
        steps += 1;
        std::future::poll_fn(|cx| {
            if steps >= STEPS {
                steps = 0;
                session.worker.budget.yield_turn(cx);
                return Poll::Pending;
            }
            let mut woke = session.wake_handle.listen(cx);
            pump.ticked |= woke;
            let want = pump.wants();
            let (read, write) = (
                |sock: &Rc<Sock>| sock.clone().until_readable(),
                |sock: &Rc<Sock>| sock.clone().until_writable(),
            );
            pump.client.readable |= poll(client_in.as_mut(), want.client_in, || read(&client), cx, &mut woke);
            pump.origin.readable |= poll(origin_in.as_mut(), want.origin_in, || read(&origin), cx, &mut woke);
            pump.client.writable |=
                poll(client_out.as_mut(), want.client_out, || write(&client), cx, &mut woke);
            pump.origin.writable |=
                poll(origin_out.as_mut(), want.origin_out, || write(&origin), cx, &mut woke);
            if !woke {
                steps = 0;
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
    pump.report(&active);
}

/// Polls a readiness wait that lives on over many wakes: it is armed when it is wanted and not armed yet.
fn poll<F: Future<Output = ()>>(
    mut slot: Pin<&mut Option<F>>,
    want: bool,
    arm: impl FnOnce() -> F,
    cx: &mut Context<'_>,
    woke: &mut bool,
) -> bool {
    if want && slot.is_none() {
        slot.set(Some(arm()));
    }
    let ready = slot.as_mut().as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready());
    if ready {
        slot.set(None);
        *woke = true;
    }
    ready
}

/// What one leg's socket is known to be good for, and whether its writing end is closed.
#[derive(Debug, Default)]
struct Leg {
    readable: bool,
    writable: bool,
    finished: bool,
}

struct Wants {
    client_in: bool,
    origin_in: bool,
    client_out: bool,
    origin_out: bool,
}

struct Pump<'s> {
    session: &'s Session,
    rules: RelayRules,
    relay: Relay,
    conn: &'s mut Conn,
    origin_sock: Rc<Sock>,
    /// Frames on their way to the node.
    origin_outbox: Outbox,
    origin_read_size: ReadSize,
    client: Leg,
    origin: Leg,
    /// The worker rang: a deadline, or a drain.
    ticked: bool,
    /// Our close_notify is on its way.
    notified: bool,
    cut: bool,
    lent: i64,
    frames: [u64; 2],
    bytes: [u64; 2],
    /// Of these, what the metrics know already.
    counted: ([u64; 2], [u64; 2]),
}

impl<'s> Pump<'s> {
    fn new(session: &'s Session, conn: &'s mut Conn, origin_sock: Rc<Sock>, rules: RelayRules) -> Self {
        Self {
            relay: Relay::new(&rules, session.worker.now()),
            session,
            rules,
            conn,
            origin_sock,
            origin_outbox: Outbox::default(),
            origin_read_size: ReadSize::default(),
            client: Leg::default(),
            origin: Leg::default(),
            ticked: session.wake_handle.end_reason().is_some(),
            notified: false,
            cut: false,
            lent: 0,
            frames: [0; 2],
            bytes: [0; 2],
            counted: ([0; 2], [0; 2]),
        }
    }

    /// Bytes that came together with the heads go first.
    fn begin(&mut self, from_client: Vec<u8>, from_origin: Vec<u8>) {
        let now = self.session.worker.now();
        buffers::with(|scratch| {
            let plain = self.splicer(now).splice(Side::Node, &from_origin, &mut scratch.gather, false);
            let sent = self.conn.send_with(plain.unwrap_or(&scratch.gather), &mut scratch.output, false);
            scratch.gather.clear();
            let plain = self.splicer(now).splice(Side::Client, &from_client, &mut scratch.gather, false);
            let passed = self.origin_outbox.send(&self.origin_sock, plain.unwrap_or(&scratch.gather));
            self.note_failed_writes(now, sent.is_err(), passed.is_err());
        });
    }

    fn splicer(&mut self, now: Millis) -> Splicer<'_> {
        Splicer {
            session: self.session,
            relay: &mut self.relay,
            frames: &mut self.frames,
            bytes: &mut self.bytes,
            now,
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            client_in: !self.relay.is_eof(Side::Client)
                && !self.client.readable
                && self.origin_outbox.is_empty(),
            origin_in: !self.relay.is_eof(Side::Node) && !self.origin.readable && self.conn.out.is_empty(),
            client_out: !self.conn.out.is_empty() && !self.relay.is_unwritable(Side::Client),
            origin_out: !self.origin_outbox.is_empty() && !self.relay.is_unwritable(Side::Node),
        }
    }

    /// Does everything that can be done now. True when the session is over.
    fn step(&mut self) -> bool {
        let now = self.session.worker.now();
        if std::mem::take(&mut self.client.writable) {
            self.flush_client(now);
        }
        if std::mem::take(&mut self.origin.writable) && self.origin_outbox.flush(&self.origin_sock).is_err() {
            self.write_failed(Side::Node, now);
        }
        if self.client.readable && self.origin_outbox.is_empty() && !self.relay.is_eof(Side::Client) {
            self.client.readable = false;
            self.read_client(now);
        }
        if self.origin.readable && self.conn.out.is_empty() && !self.relay.is_eof(Side::Node) {
            self.origin.readable = false;
            self.read_origin(now);
        }
        if std::mem::take(&mut self.ticked) {
            self.tick(now);
        }
        self.insert(Side::Client, now);
        self.insert(Side::Node, now);
        self.finish_client(now);
        self.finish_origin();
        self.account();
        self.session.wake_handle.set_due(self.relay.next_due(&self.rules));
        self.is_over()
    }

    fn flush_client(&mut self, now: Millis) {
        let waited = self.conn.out.len();
        if self.conn.out.flush(&self.conn.sock).is_err() {
            self.write_failed(Side::Client, now);
        } else if self.conn.out.len() < waited {
            self.relay.client_took(now);
        }
    }

    fn read_client(&mut self, now: Millis) {
        let (received, passed) = buffers::with(|scratch| {
            let Self { session, relay, frames, bytes, conn, origin_outbox, origin_sock, .. } = self;
            let (budget, had) = (&session.worker.budget, bytes[Side::Client as usize]);
            let mut passed = Ok(());
            let received = conn.receive(budget.piece(), scratch, |plain, more, gather| {
                let mut splicer = Splicer { session, relay, frames, bytes, now };
                if let Some(whole) = splicer.splice(Side::Client, plain, gather, more)
                    && passed.is_ok()
                {
                    passed = origin_outbox.send(origin_sock, whole);
                }
            });
            budget.spend(usize::try_from(bytes[Side::Client as usize] - had).unwrap_or(usize::MAX));
            if passed.is_ok() && !scratch.gather.is_empty() {
                passed = origin_outbox.send(origin_sock, &scratch.gather);
            }
            (received, passed)
        });
        match received {
            Received::Some | Received::Nothing => {}
            Received::End => self.relay.eof(Side::Client, now),
            Received::Broken => self.lose(Side::Client, now),
            Received::Fault(fault) => {
                tracing::debug!(session = self.session.id, %fault, "TLS broken by the client");
                self.lose(Side::Client, now);
            }
        }
        self.note_failed_writes(now, false, passed.is_err());
    }

    fn read_origin(&mut self, now: Millis) {
        let (taken, sent) = buffers::with(|scratch| {
            let budget = &self.session.worker.budget;
            let piece = self.origin_read_size.of(budget.piece());
            let taken = match self.origin_sock.recv(&mut scratch.input[..piece]) {
                Ok(taken) => taken,
                Err(e) => return (Err(e), Ok(())),
            };
            budget.spend(taken);
            let began = self.origin_read_size.begin(taken);
            let bytes = &scratch.input[..taken];
            let plain = self.splicer(now).splice(Side::Node, bytes, &mut scratch.gather, false);
            // a Close that ends this leg leaves in one packet with our close_notify and FIN
            let last = self.relay.may_finish(Side::Client);
            let sent = self.conn.send_with(plain.unwrap_or(&scratch.gather), &mut scratch.output, last);
            self.origin_read_size.end(began);
            (Ok(taken), sent)
        });
        match taken {
            Ok(0) => self.relay.eof(Side::Node, now),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.lose(Side::Node, now),
        }
        self.note_failed_writes(now, sent.is_err(), false);
    }

    fn tick(&mut self, now: Millis) {
        match self.session.wake_handle.end_reason() {
            Some(Wake::Drain) => {
                self.relay.drain(self.session.revision().config.gateway.drain_close_code);
            }
            Some(Wake::Kick) => self.relay.kick(now),
            Some(Wake::Abort) => self.cut = true,
            Some(Wake::Due) | None => {}
        }
        let listening = self.origin_outbox.is_empty();
        // a side that is held back is not read, so its end has to be looked for
        if !listening && !self.relay.is_eof(Side::Client) && self.conn.sock.is_broken() {
            self.lose(Side::Client, now);
        }
        if !self.conn.out.is_empty() && !self.relay.is_eof(Side::Node) && self.origin_sock.is_broken() {
            self.lose(Side::Node, now);
        }
        self.cut |= self.relay.tick(&self.rules, now, listening) == Tick::Cut;
    }

    /// Says what the gateway has to say itself, if the lane is at a frame boundary.
    fn insert(&mut self, to: Side, now: Millis) {
        if !self.relay.wants_insert(to) {
            return;
        }
        let mut frame = Vec::new();
        self.relay.insert(to, &self.session.id, self.session.mask(), now, &mut frame);
        let sent = match to {
            Side::Client => self.conn.send(&frame),
            Side::Node => self.origin_outbox.send(&self.origin_sock, &frame),
        };
        if sent.is_err() {
            self.write_failed(to, now);
        }
    }

    /// close_notify and FIN, once nothing more goes to the client.
    fn finish_client(&mut self, now: Millis) {
        if self.client.finished || !self.relay.may_finish(Side::Client) {
            return;
        }
        if self.relay.is_unwritable(Side::Client) {
            self.client.finished = true;
            return;
        }
        if !std::mem::replace(&mut self.notified, true) && self.conn.close().is_err() {
            self.write_failed(Side::Client, now);
        }
        if self.conn.out.is_empty() {
            self.conn.sock.finish();
            self.client.finished = true;
        }
    }

    /// FIN, once nothing more goes to the node.
    fn finish_origin(&mut self) {
        if !self.origin.finished && self.relay.may_finish(Side::Node) && self.origin_outbox.is_empty() {
            self.origin_sock.finish();
            self.origin.finished = true;
        }
    }

    fn note_failed_writes(&mut self, now: Millis, client: bool, origin: bool) {
        if client {
            self.write_failed(Side::Client, now);
        }
        if origin {
            self.write_failed(Side::Node, now);
        }
    }

    /// Nothing can be written to a leg any more: what waits for it will never go. What it said before it broke off is
    /// still read: a node that refuses a publisher says why, closes, and resets what the client sends meanwhile.
    fn write_failed(&mut self, side: Side, now: Millis) {
        self.relay.write_failed(side, now);
        match side {
            Side::Client => self.conn.out = Outbox::default(),
            Side::Node => self.origin_outbox = Outbox::default(),
        }
    }

    /// A leg is broken both ways.
    fn lose(&mut self, side: Side, now: Millis) {
        self.relay.lost(side, now);
        self.write_failed(side, now);
    }

    fn is_over(&self) -> bool {
        // a stream that was cut inside a frame must not look as if it had ended well: no close_notify
        let torn = self.relay.is_truncated() && self.conn.out.is_empty();
        let done = self.relay.is_over() && self.client.finished && self.origin.finished;
        self.cut || torn || done
    }

    /// Counts what passed since the last step, so that monitoring sees long sessions too.
    fn account(&mut self) {
        let metrics = &self.session.worker.metrics;
        for from in Side::ALL.map(|from| from as usize) {
            metrics.frames[from].add(self.frames[from] - self.counted.0[from]);
            metrics.bytes[from].add(self.bytes[from] - self.counted.1[from]);
        }
        self.counted = (self.frames, self.bytes);
        let (moved, closing) = (self.relay.data_moved(), self.relay.end().is_some());
        self.session.wake_handle.info.carries(self.frames, self.bytes, moved, closing);
        let lent = i64::try_from(self.conn.out.len() + self.origin_outbox.len()).unwrap_or(i64::MAX);
        if lent != self.lent {
            metrics.buffers_lent_bytes.add(lent - self.lent);
            self.lent = lent;
        }
    }

    /// Counts and logs the session's end.
    fn report(&mut self, _active: &ActiveGuard) {
        let metrics = &self.session.worker.metrics;
        metrics.buffers_lent_bytes.add(-self.lent);
        if self.cut {
            self.relay.cut(!self.conn.out.is_empty());
        }
        let End { by, how } = self.relay.end().unwrap_or(End { by: By::Gateway, how: How::Close });
        metrics.ends[by as usize][how as usize].add(1);
        access_log::write_end(self.session, by, how, &Carried { frames: self.frames, bytes: self.bytes });
    }
}
