//! Moves the bytes of a relay, in both directions in one task, so that an idle session is one small future.
//!
//! A direction is not read again until its last write is done, and then it holds no buffer: a slow reader stops its peer, and
//! at most one piece of bytes is kept for it, a small one until it has proven that it reads
//! ([`fairness`](crate::worker::io::fairness)). [`Relay`] decides which bytes may pass, which frames the gateway sends itself,
//! and when the session is over. This file only moves bytes.

use crate::metrics::Route;
use crate::proto::millis::Millis;
use crate::proto::red5::role::Role;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, End, How, Relay, RelayRules, Tick};
use crate::shared::node_faults;
use crate::shared::node_metrics::NodeSession;
use crate::shared::record::Event;
use crate::worker::io::buffers;
use crate::worker::io::client::{Conn, Received};
use crate::worker::io::fairness::{ReadSize, STEPS_MAX};
use crate::worker::io::keepalive;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::socket::Sock;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::local::wake::Wake;
use crate::worker::relay::closes;
use crate::worker::relay::leg::{Leg, NodeEnd, Wants, poll};
use crate::worker::relay::milestones::Milestones;
use crate::worker::relay::splice::Splicer;
use crate::worker::session::context::Session;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A session whose handshakes are done on both legs: what a relay starts with.
pub(crate) struct RelayStart {
    pub node_sock: Sock,
    pub node: SocketAddr,
    /// How the session came about, and what its client does.
    pub kind: (Route, Role),
    /// Bytes that came together with the node's 101.
    pub from_node: Vec<u8>,
    /// The rules as configured when the session began, and whether extensions were agreed on end to end.
    pub rules: RelayRules,
    pub active: ActiveGuard,
    /// Counts the session at its node.
    pub at_node: NodeSession,
}

/// Relays frames in both directions until both legs are closed.
pub(crate) async fn relay(session: &Session, conn: &mut Conn, ready: Box<RelayStart>) {
    // boxed: a future keeps its arguments for as long as it lives
    let RelayStart { node_sock, node, kind, from_node, rules, active, at_node } = *ready;
    session.wake_handle.info.begin_relay(node, session.worker.now());
    let (client_sock, node_sock) = (conn.sock.clone(), Rc::new(node_sock));
    keepalive::configure(node_sock.descriptor(), &session.revision().config.websocket);
    let mut pump = Pump::new(session, conn, node_sock.clone(), rules, kind);
    pump.begin(from_node);
    let (mut client_in, mut client_out) = (pin!(None), pin!(None));
    let (mut node_in, mut node_out) = (pin!(None), pin!(None));
    let mut steps = 0;
    while !pump.step() {
        steps += 1;
        std::future::poll_fn(|cx| {
            if steps >= STEPS_MAX {
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
            pump.client.readable |=
                poll(client_in.as_mut(), want.client_in, || read(&client_sock), cx, &mut woke);
            pump.node.readable |= poll(node_in.as_mut(), want.node_in, || read(&node_sock), cx, &mut woke);
            pump.client.writable |=
                poll(client_out.as_mut(), want.client_out, || write(&client_sock), cx, &mut woke);
            pump.node.writable |= poll(node_out.as_mut(), want.node_out, || write(&node_sock), cx, &mut woke);
            if !woke {
                steps = 0;
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
    pump.report(&active);
    drop(at_node);
}

/// A running relay: its state machine, both sockets, and what they are ready for.
struct Pump<'s> {
    session: &'s Session,
    rules: RelayRules,
    relay: Relay,
    conn: &'s mut Conn,
    node_sock: Rc<Sock>,
    /// Frames on their way to the node.
    node_outbox: Outbox,
    node_read_size: ReadSize,
    client: Leg,
    node: Leg,
    /// The worker woke the session: a deadline has passed, or the session is told to end.
    ticked: bool,
    /// The gateway's close_notify has been written.
    notified: bool,
    cut: bool,
    lent: i64,
    frames: [u64; 2],
    bytes: [u64; 2],
    /// How much of both is in the metrics already.
    counted: ([u64; 2], [u64; 2]),
    /// The wait for the node to end its connection.
    node_end: NodeEnd,
    milestones: Option<Box<Milestones>>,
}

impl<'s> Pump<'s> {
    fn new(
        session: &'s Session,
        conn: &'s mut Conn,
        node_sock: Rc<Sock>,
        rules: RelayRules,
        kind: (Route, Role),
    ) -> Self {
        Self {
            relay: Relay::new(&rules, session.worker.now()),
            session,
            rules,
            conn,
            node_sock,
            node_outbox: Outbox::default(),
            node_read_size: ReadSize::default(),
            client: Leg::default(),
            node: Leg::default(),
            ticked: session.wake_handle.end_reason().is_some(),
            notified: false,
            cut: false,
            lent: 0,
            frames: [0; 2],
            bytes: [0; 2],
            counted: ([0; 2], [0; 2]),
            node_end: NodeEnd::default(),
            milestones: Some(Box::new(Milestones::begin(kind))),
        }
    }

    /// Passes the bytes that came together with the heads.
    fn begin(&mut self, from_node: Vec<u8>) {
        let from_client = self.conn.take_inbox();
        let now = self.session.worker.now();
        buffers::with(|scratch| {
            let plain = self.splicer(now).splice(Side::Node, &from_node, &mut scratch.gather, false);
            let sent = self.conn.send_with(plain.unwrap_or(&scratch.gather), &mut scratch.output, false);
            scratch.gather.clear();
            let plain = self.splicer(now).splice(Side::Client, &from_client, &mut scratch.gather, false);
            let passed = self.node_outbox.send(&self.node_sock, plain.unwrap_or(&scratch.gather));
            self.note_failed_writes(now, sent.is_err(), passed.is_err());
        });
    }

    fn splicer(&mut self, now: Millis) -> Splicer<'_> {
        Splicer {
            session: self.session,
            relay: &mut self.relay,
            frames: &mut self.frames,
            bytes: &mut self.bytes,
            milestones: &mut self.milestones,
            now,
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            client_in: !self.relay.is_eof(Side::Client)
                && !self.client.readable
                && self.node_outbox.is_empty(),
            node_in: !self.relay.is_eof(Side::Node) && !self.node.readable && self.conn.out.is_empty(),
            client_out: !self.conn.out.is_empty() && !self.relay.is_unwritable(Side::Client),
            node_out: !self.node_outbox.is_empty() && !self.relay.is_unwritable(Side::Node),
        }
    }

    /// Does everything that can be done without a wait. True when the session is over.
    fn step(&mut self) -> bool {
        let now = self.session.worker.now();
        if std::mem::take(&mut self.client.writable) {
            self.flush_client(now);
        }
        if std::mem::take(&mut self.node.writable) && self.node_outbox.flush(&self.node_sock).is_err() {
            self.write_failed(Side::Node, now);
        }
        if self.client.readable && self.node_outbox.is_empty() && !self.relay.is_eof(Side::Client) {
            self.client.readable = false;
            self.read_client(now);
        }
        if self.node.readable && self.conn.out.is_empty() && !self.relay.is_eof(Side::Node) {
            self.node.readable = false;
            self.read_node(now);
        }
        if std::mem::take(&mut self.ticked) {
            self.tick(now);
        }
        self.insert(Side::Client, now);
        self.insert(Side::Node, now);
        self.finish_client(now);
        self.finish_node(now);
        self.note_stalls(now);
        self.account();
        let due = self.relay.next_due(&self.rules).min(self.node_end.due());
        let stalls = self.client.backlog.due().min(self.node.backlog.due());
        self.session.wake_handle.set_due(due.min(stalls));
        self.is_over()
    }

    /// Notes when a leg begins and ends to keep bytes. One that kept them for long is sent small pieces again.
    fn note_stalls(&mut self, now: Millis) {
        let (client, node) = (self.conn.out.len(), self.node_outbox.len());
        if closes::note_stall(self.session, &mut self.client.backlog, (Side::Client, client), now) {
            self.node_read_size.stalled();
        }
        if closes::note_stall(self.session, &mut self.node.backlog, (Side::Node, node), now) {
            self.conn.read_size().stalled();
        }
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
            let Self { session, relay, frames, bytes, milestones, conn, node_outbox, node_sock, .. } = self;
            let (budget, had) = (&session.worker.budget, bytes[Side::Client as usize]);
            let mut passed = Ok(());
            let kept = session.worker.metrics.buffers_lent_bytes.get();
            let received = conn.receive(budget.piece(kept), scratch, |plain, more, gather| {
                let mut splicer = Splicer { session, relay, frames, bytes, milestones, now };
                if let Some(whole) = splicer.splice(Side::Client, plain, gather, more)
                    && passed.is_ok()
                {
                    passed = node_outbox.send(node_sock, whole);
                }
            });
            let taken = usize::try_from(bytes[Side::Client as usize] - had).unwrap_or(usize::MAX);
            budget.spend(taken);
            if passed.is_ok() && !scratch.gather.is_empty() {
                passed = node_outbox.send(node_sock, &scratch.gather);
            }
            if node_outbox.is_empty() {
                conn.read_size().passed(taken);
            }
            (received, passed)
        });
        match received {
            Received::Some | Received::Nothing => {}
            Received::End => self.relay.eof(Side::Client, now),
            Received::Broken => self.lose(Side::Client, now),
            Received::Fault(fault) => {
                tracing::debug!(session = &*self.session.id.text(), %fault, "client broke TLS");
                self.lose(Side::Client, now);
            }
        }
        self.note_failed_writes(now, false, passed.is_err());
    }

    fn read_node(&mut self, now: Millis) {
        let (taken, sent) = buffers::with(|scratch| {
            let budget = &self.session.worker.budget;
            let kept = self.session.worker.metrics.buffers_lent_bytes.get();
            let piece = self.node_read_size.of(budget.piece(kept));
            let taken = match self.node_sock.recv(&mut scratch.input[..piece]) {
                Ok(taken) => taken,
                Err(e) => return (Err(e), Ok(())),
            };
            budget.spend(taken);
            let began = self.node_read_size.begin(taken);
            let bytes = &scratch.input[..taken];
            let plain = self.splicer(now).splice(Side::Node, bytes, &mut scratch.gather, false);
            // a Close that ends this leg goes out in one packet with the gateway's close_notify and FIN
            let last = self.relay.may_finish(Side::Client);
            let sent = self.conn.send_with(plain.unwrap_or(&scratch.gather), &mut scratch.output, last);
            self.node_read_size.end(began);
            if self.conn.out.is_empty() {
                self.node_read_size.passed(taken);
            }
            (Ok(taken), sent)
        });
        match taken {
            Ok(0) => self.node_ended(None, now),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => self.node_ended(Some(&e), now),
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
            // a relay has no slot that others may take over
            Some(Wake::Due | Wake::Evict) | None => {}
        }
        let listening = self.node_outbox.is_empty();
        // a side that is not read at present does not show its end, so the kernel is asked
        if !listening && !self.relay.is_eof(Side::Client) && self.conn.sock.is_broken() {
            self.lose(Side::Client, now);
        }
        if !self.conn.out.is_empty() && !self.relay.is_eof(Side::Node) && self.node_sock.is_broken() {
            self.node_ended(Some(&ErrorKind::ConnectionReset.into()), now);
        }
        self.cut |= self.relay.tick(&self.rules, now, listening) == Tick::Cut;
    }

    /// Sends the gateway's own frame to one side, if there is one and the lane is at a frame boundary.
    fn insert(&mut self, to: Side, now: Millis) {
        if !self.relay.wants_insert(to) {
            return;
        }
        let mut frame = Vec::new();
        self.relay.insert(to, &self.session.id.text(), self.session.mask(), now, &mut frame);
        let sent = match to {
            Side::Client => self.conn.send(&frame),
            Side::Node => self.node_outbox.send(&self.node_sock, &frame),
        };
        if sent.is_err() {
            self.write_failed(to, now);
        }
    }

    /// Sends close_notify and FIN to the client, once nothing more goes to it.
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

    /// Sends FIN to the node, once nothing more goes to it and the node had its time to end the connection first.
    fn finish_node(&mut self, now: Millis) {
        if self.node.finished || !self.relay.may_finish(Side::Node) || !self.node_outbox.is_empty() {
            return;
        }
        let is_expected = self.relay.has_closed(Side::Node) && !self.relay.is_eof(Side::Node);
        if !is_expected || self.node_end.is_overdue(now, self.rules.close_timeout) {
            self.node_sock.finish();
            self.node.finished = true;
            self.node_end = NodeEnd::default();
        }
    }

    fn note_failed_writes(&mut self, now: Millis, client: bool, node: bool) {
        let failed = [(Side::Client, client), (Side::Node, node)];
        for (side, _) in failed.into_iter().filter(|(_, failed)| *failed) {
            self.write_failed(side, now);
        }
    }

    /// Notes that a leg can't be written to any more, and drops the bytes that wait for it. Bytes that its peer has sent are
    /// still read: a node that refuses a publisher sends the reason, closes, and resets what the client sends meanwhile.
    fn write_failed(&mut self, side: Side, now: Millis) {
        self.relay.write_failed(side, now);
        let (leg, outbox) = match side {
            Side::Client => (&mut self.client, &mut self.conn.out),
            Side::Node => (&mut self.node, &mut self.node_outbox),
        };
        closes::note_untaken(self.session, &mut leg.backlog, (side, std::mem::take(outbox).len()));
    }

    /// Notes that a leg is broken in both directions.
    fn lose(&mut self, side: Side, now: Millis) {
        self.relay.lost(side, now);
        self.write_failed(side, now);
    }

    /// Notes that the node's connection ended, by this error or without one, and that the session ended thereby.
    fn node_ended(&mut self, error: Option<&std::io::Error>, now: Millis) {
        let had_end = self.relay.end().is_some();
        match error {
            None => self.relay.eof(Side::Node, now),
            Some(_) => self.lose(Side::Node, now),
        }
        let is_cause = !had_end && self.relay.end().is_some_and(|end| end.by == By::Node);
        if is_cause && let Some(relayed) = self.session.wake_handle.info.relayed.get() {
            self.session.worker.gateway.node_faults.ended(relayed.node, node_faults::ending(error));
        }
    }

    fn is_over(&self) -> bool {
        // a stream that ended inside a frame must not look complete, so the client gets no close_notify
        let truncated = self.relay.is_truncated() && self.conn.out.is_empty();
        let done = self.relay.is_over() && self.client.finished && self.node.finished;
        self.cut || truncated || done
    }

    /// Adds what passed since the last step to the metrics, so that they show long sessions too.
    fn account(&mut self) {
        let metrics = &self.session.worker.metrics;
        for from in Side::ALL.map(|from| from as usize) {
            metrics.frames[from].add(self.frames[from] - self.counted.0[from]);
            metrics.bytes[from].add(self.bytes[from] - self.counted.1[from]);
        }
        self.counted = (self.frames, self.bytes);
        let (moved, closing) = (self.relay.data_moved(), self.relay.end().is_some());
        self.session.wake_handle.info.update(self.frames, self.bytes, moved, closing);
        let lent = i64::try_from(self.conn.out.len() + self.node_outbox.len()).unwrap_or(i64::MAX);
        if lent != self.lent {
            metrics.buffers_lent_bytes.add(lent - self.lent);
            self.lent = lent;
        }
    }

    /// Counts and logs the end of the session.
    fn report(&mut self, _active: &ActiveGuard) {
        self.session.worker.metrics.buffers_lent_bytes.add(-self.lent);
        if self.cut {
            self.relay.cut(!self.conn.out.is_empty());
        }
        let End { by, how } = self.relay.end().unwrap_or(End { by: By::Gateway, how: How::Close });
        self.session.worker.metrics.ends[by as usize][how as usize].add(1);
        closes::note(self.session, &self.relay);
        closes::note_untaken(self.session, &mut self.client.backlog, (Side::Client, self.conn.out.len()));
        closes::note_untaken(self.session, &mut self.node.backlog, (Side::Node, self.node_outbox.len()));
        let (frames, bytes, pings) = (self.frames, self.bytes, self.relay.pings());
        closes::end(self.session, &Event::Ended { by, how, frames, bytes, pings });
    }
}
