//! Everything at once for a while: random messages both ways, pings, closes, clients and nodes that break off, reloads,
//! and a drain at the end of each round. Every frame that arrives is compared with the one that was sent.
//!
//! Both sides of a session derive the same script from its number, so each knows what the other one will send. They take
//! turns: each sends its part, then reads the other's. `TIDEGATE_TEST_SOAK` sets the duration in seconds, and
//! `TIDEGATE_TEST_SEED` repeats a run; the test prints its seed.

use crate::harness::connection::{End, Side};
use crate::harness::{Connection, Frame, Request, TestBed};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 16;
const ROUND: Duration = Duration::from_secs(5);
const DRAIN_CODE: u16 = 1012;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Reproducible random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count as usize).collect()
    }
}

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Ending {
    /// A Close after the last frames.
    Close,
    /// The connection ends inside or after the last frames, with or without a reset.
    Break { reset: bool },
    /// Not before the gateway drains.
    UntilDrain,
}

/// What happens in a session.
struct Script {
    seed: u64,
    turns: u64,
    ending: Ending,
    by: Side,
}

impl Script {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let turns = random.below(8);
        let by = if random.below(2) == 0 { Side::Client } else { Side::Node };
        let ending = match random.below(32) {
            // most clients of a round reach one of these in the end
            0 => Ending::UntilDrain,
            1..=8 => Ending::Break { reset: true },
            9..=12 => Ending::Break { reset: false },
            _ => Ending::Close,
        };
        Self { seed, turns, ending, by }
    }

    fn random(&self, side: Side, turn: u64) -> Random {
        Random(Random(self.seed ^ turn << 32 ^ ((side == Side::Node) as u64) << 63).next())
    }

    /// The frames of a side in a turn: messages whole and in fragments, with pings and pongs between the fragments.
    fn frames_of(&self, side: Side, turn: u64) -> Vec<Frame> {
        let mut random = self.random(side, turn);
        let mut frames = Vec::new();
        for _ in 0..=random.below(3) {
            let size = match random.below(8) {
                0 => random.below(50_000),
                1 => [0, 125, 126, 127, 65_535, 65_536][random.below(6) as usize],
                _ => random.below(1500),
            };
            let pieces = if size > 4 { 1 + random.below(3) } else { 1 };
            for piece in 0..pieces {
                let opcode = if piece == 0 { Frame::BINARY } else { Frame::CONTINUATION };
                let share = if piece + 1 == pieces { size - size / pieces * piece } else { size / pieces };
                let frame = Frame::new(opcode, random.bytes(share));
                frames.push(if piece + 1 == pieces { frame } else { frame.unfinished() });
                if random.below(4) == 0 {
                    let opcode = if random.below(2) == 0 { Frame::PING } else { Frame::PONG };
                    let size = random.below(126);
                    frames.push(Frame::new(opcode, random.bytes(size)));
                }
            }
        }
        frames
    }
}

/// How a session went for one side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Arrived,
    Closed,
    Broke,
    Lost,
    Drained,
}

/// What all sessions of a round share.
#[derive(Default)]
struct Round {
    draining: AtomicBool,
    /// Frames and bytes that arrived and were compared.
    frames: AtomicU64,
    bytes: AtomicU64,
    outcomes: Mutex<BTreeMap<(bool, Outcome), u64>>,
}

/// One side of a session.
struct Actor<'r> {
    round: &'r Round,
    script: Script,
    me: Side,
    connection: Connection,
}

impl Actor<'_> {
    fn other(&self) -> Side {
        if self.me == Side::Client { Side::Node } else { Side::Client }
    }

    fn run(mut self) -> Outcome {
        for turn in 0.. {
            let last = turn == self.script.turns && self.script.ending != Ending::UntilDrain;
            let mine = last && self.script.by == self.me;
            let mut sent: Vec<u8> = self
                .script
                .frames_of(self.me, turn)
                .iter()
                .flat_map(|frame| self.connection.encode(frame))
                .collect();
            match self.script.ending {
                Ending::Break { reset } if mine => return self.break_off(&sent, reset),
                Ending::Close if mine => sent.extend(self.connection.encode(&Frame::close(4000, "enough"))),
                _ => {}
            }
            // if sending fails, reading gives the reason
            let _ = self.connection.try_send(&sent);
            let frames = self.script.frames_of(self.other(), turn);
            // a reset may destroy unread frames, also those of the turn before
            let near = turn + 1 >= self.script.turns;
            for frame in &frames {
                match self.expect(frame, near) {
                    Outcome::Arrived => {}
                    outcome => return outcome,
                }
            }
            if last && self.script.ending == Ending::Close {
                let close = if mine { Frame::close(4001, "indeed") } else { Frame::close(4000, "enough") };
                return self.close(&close, mine);
            }
            if last {
                // the other side broke off after its last frame
                let nothing = Frame::new(Frame::CLOSE, "never sent");
                return self.expect(&nothing, near);
            }
        }
        unreachable!("a turn ends the session")
    }

    fn break_off(mut self, sent: &[u8], reset: bool) -> Outcome {
        let cut = self.script.random(self.me, u64::MAX >> 32).below(sent.len() as u64 + 1) as usize;
        let _ = self.connection.try_send(&sent[..cut]);
        if reset {
            self.connection.reset();
        }
        Outcome::Broke
    }

    /// Expects a Close, either the first one or its answer, and then the end.
    fn close(mut self, close: &Frame, mine: bool) -> Outcome {
        if let Outcome::Drained = self.expect(close, true) {
            return Outcome::Drained;
        }
        if !mine {
            let answer = self.connection.encode(&Frame::close(4001, "indeed"));
            let _ = self.connection.try_send(&answer);
        }
        let (rest, _) = self.connection.read_to_end();
        assert!(rest.is_empty(), "nothing follows a Close");
        Outcome::Closed
    }

    /// Expects this frame, or an event that is allowed at this point.
    fn expect(&mut self, frame: &Frame, last: bool) -> Outcome {
        let seed = self.script.seed;
        let may_break =
            last && self.script.by != self.me && matches!(self.script.ending, Ending::Break { .. });
        loop {
            match self.connection.read_frame_or_end() {
                Ok(heard) if heard == *frame => {
                    self.round.frames.fetch_add(1, SeqCst);
                    self.round.bytes.fetch_add(frame.payload.len() as u64, SeqCst);
                    return Outcome::Arrived;
                }
                Ok(ping) if self.me == Side::Client && ping == Frame::ping("tidegate") => {
                    let pong = self.connection.encode(&Frame::pong("tidegate"));
                    let _ = self.connection.try_send(&pong);
                }
                Ok(heard) => {
                    let (code, reason) = heard.as_close().unwrap_or_else(|| {
                        panic!("session {seed}: {:?} read {heard:?} instead of {frame:?}", self.me)
                    });
                    let drained = code == Some(DRAIN_CODE) && reason.starts_with("draining");
                    let lost = may_break && matches!(code, Some(1001 | 1014)) && reason.contains(" lost ");
                    assert!(
                        lost || drained && self.round.draining.load(SeqCst),
                        "session {seed}: {:?} was closed with {code:?} {reason:?} instead of {frame:?}",
                        self.me
                    );
                    let answer = self.connection.encode(&heard);
                    let _ = self.connection.try_send(&answer);
                    self.connection.read_to_end();
                    return if drained { Outcome::Drained } else { Outcome::Lost };
                }
                Err((end, begun)) => {
                    let whole =
                        if self.me == Side::Client { frame.bare() } else { masked_as_clients_do(frame) };
                    assert!(whole.starts_with(&begun), "session {seed}: the bytes belong to another frame");
                    assert!(
                        may_break,
                        "session {seed} ({:?} by {:?} after {} turns, draining {:?}): {:?} lost the connection, {end:?}, instead of {frame:?}",
                        self.script.ending, self.script.by, self.script.turns, self.round.draining, self.me
                    );
                    assert!(
                        self.me == Side::Node || end == End::Abrupt || begun.is_empty(),
                        "session {seed}: a cut frame must not look like a clean end"
                    );
                    return Outcome::Lost;
                }
            }
        }
    }
}

/// The bytes that `Connection::encode` makes on the client's side.
fn masked_as_clients_do(frame: &Frame) -> Vec<u8> {
    frame.masked([0x37, 0xfa, 0x21, 0x3d])
}

/// A node whose sessions follow the scripts that their ids name.
struct Node {
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    address: SocketAddr,
    listener: JoinHandle<()>,
}

impl Node {
    fn listen(address: SocketAddr, round: Arc<Round>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let threads = Arc::new(Mutex::new(Vec::new()));
        let listener = std::thread::spawn({
            let threads = threads.clone();
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    let round = round.clone();
                    let mut connection = Connection::new(Box::new(tcp), Side::Node);
                    let Some(head) = connection.next_head() else {
                        if round.draining.load(SeqCst) { return } else { continue }
                    };
                    let serve = move || {
                        let (_, id) = head.target().split_once("id=").expect("an id");
                        let script = Script::new(id.parse().expect("a number"));
                        connection.answer_upgrade(&head, "");
                        let outcome = Actor { round: &round, script, me: Side::Node, connection }.run();
                        *round.outcomes.lock().unwrap().entry((true, outcome)).or_default() += 1;
                    };
                    threads.lock().unwrap().push(std::thread::spawn(serve));
                }
            }
        });
        Self { threads, address, listener }
    }

    /// Ends the node, and fails if one of its sessions failed.
    fn end(self) {
        drop(TcpStream::connect(self.address));
        self.listener.join().unwrap();
        for thread in std::mem::take(&mut *self.threads.lock().unwrap()) {
            thread.join().expect("a session at the node does not fail");
        }
    }
}

/// Runs one client after the other, until the round drains.
fn run_clients(bed: &TestBed, round: &Round, mut random: Random) {
    while !round.draining.load(SeqCst) {
        let seed = random.next();
        let target = format!("/streammanager/?id={seed}&host={}&app=live", bed.ip(1));
        let opened = || -> Option<Connection> {
            let mut connection = bed.client_builder().try_connect_tls()?;
            connection.try_send(&Request::upgrade(&target).bytes()).ok()?;
            connection.next_head().filter(|head| head.line.contains(" 101 ")).map(|_| connection)
        };
        let Some(connection) = opened() else {
            assert!(round.draining.load(SeqCst), "session {seed}: no client is refused before the drain");
            return;
        };
        let outcome = Actor { round, script: Script::new(seed), me: Side::Client, connection }.run();
        *round.outcomes.lock().unwrap().entry((false, outcome)).or_default() += 1;
    }
}

fn run_round(seed: u64) -> Round {
    let mut bed = TestBed::with(|config, _| {
        config.set_drains("20s");
        config.set("gateway.drain_close_code", i64::from(DRAIN_CODE));
        config.set("websocket.message_max", "off");
        config.set("websocket.close_timeout", "10s");
        // short, so that pings fall between other frames all the time
        config.set("websocket.ping_interval", "50ms");
    });
    let round = Arc::new(Round::default());
    let node = Node::listen(bed.workspace.node(1), round.clone());
    let mut random = Random(seed);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (bed, round, random) = (&bed, &round, Random(random.next()));
            scope.spawn(move || run_clients(bed, round, random));
        }
        let end = Instant::now() + ROUND;
        while Instant::now() < end {
            std::thread::sleep(ROUND / 10);
            // a reload may succeed or be refused, but no client may notice it
            bed.gateway.send_sighup();
        }
        bed.gateway.assert_no_panic();
        round.draining.store(true, SeqCst);
        bed.gateway.terminate();
    });
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    node.end();
    bed.gateway.assert_no_panic();
    Arc::into_inner(round).expect("all threads have ended")
}

#[test]
fn no_frame_is_lost_or_changed_whatever_happens_at_once() {
    let seed = variable("TIDEGATE_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 16);
    let time = Duration::from_secs(variable("TIDEGATE_TEST_SOAK").unwrap_or(15));
    println!("TIDEGATE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut all: BTreeMap<(bool, Outcome), u64> = BTreeMap::new();
    let (mut frames, mut bytes) = (0, 0);
    let began = Instant::now();
    while began.elapsed() < time {
        let round = run_round(random.next());
        frames += round.frames.into_inner();
        bytes += round.bytes.into_inner();
        for (outcome, count) in round.outcomes.into_inner().unwrap() {
            *all.entry(outcome).or_default() += count;
        }
    }
    println!("{frames} frames with {bytes} bytes compared; (at the node, outcome): {all:?}");
    for side in [false, true] {
        for outcome in [Outcome::Closed, Outcome::Broke, Outcome::Lost, Outcome::Drained] {
            assert!(all.contains_key(&(side, outcome)), "{outcome:?} never occurred: {all:?}");
        }
    }
}
