//! A test bed under attack: regular clients go on meanwhile. Their waits and the gateway's memory are measured.
//!
//! Attacks have a quick size and a full one (`TIDEGATE_TEST_FLOOD=1`), which prints a row of figures for each attack
//! (`--nocapture`). The memory that one attacker may cost has a bound per attack; the waits of regular clients have one
//! bound for all attacks.

use super::node::EchoNode;
use super::{ClientBuilder, Config, Connection, DEADLINE, Frame, Request, TestBed, eventually};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Upper bound of the 99th percentile of regular clients' waits: unoptimised program, two busy cores.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Growth of memory that no attacker is charged for: the buffers of two workers are used in full for the first time, and
/// allocators take memory in steps of megabytes.
const BASE_GROWTH_MAX: u64 = 16 << 20;

/// Number of lines that an attack of any size may leave in the log.
const LOG_LINES_MAX: usize = 8;

/// The size of an attack in this run: `usual`, or `full` with `TIDEGATE_TEST_FLOOD`.
pub fn size(usual: usize, full: usize) -> usize {
    if std::env::var_os("TIDEGATE_TEST_FLOOD").is_some() { full } else { usual }
}

/// Duration of a flood that has no number of attackers or requests.
pub fn flood_duration() -> Duration {
    Duration::from_millis(size(700, 10_000) as u64)
}

/// A flood lasts at least for this many sessions of regular clients, so that their waits are measured.
const SESSIONS_MIN: usize = 3;

/// KiB for an attacker that makes the gateway move as much as it can: buffers of received and unsent bytes, in the steps
/// that allocators take. Many attackers cost less each; the tests of peers that never read hold the gateway to that.
pub const BUSY_KIB: u64 = 4096;

/// An attack, and what it may cost.
pub struct Attack {
    pub name: &'static str,
    pub attackers: usize,
    /// Bound of the gateway's memory in KiB for each attacker.
    pub kib_each: u64,
    /// What happens to the attackers, and the metric that counts it. The test checks both.
    pub outcome: &'static str,
}

/// Measured waits of regular clients.
#[derive(Default)]
struct Waits {
    /// Time for a message there and back.
    echoes: Vec<Duration>,
    /// Time for a whole session: TCP, TLS, request, the node's answer, a message there and back, the end.
    sessions: Vec<Duration>,
}

/// The wait in milliseconds that `of_hundred` per cent of the waits do not exceed.
fn percentile(waits: &[Duration], of_hundred: usize) -> f64 {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * of_hundred / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
}

/// Regular clients: one long session, and short sessions one after the other, until this is dropped.
struct RegularClients {
    waits: Arc<Mutex<Waits>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RegularClients {
    fn start(builder: ClientBuilder, target: String) -> Self {
        let (waits, stop) = (Arc::new(Mutex::new(Waits::default())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (waits, stop) = (waits.clone(), stop.clone());
            move || {
                let mut long_client = open_session(&builder, &target);
                while !stop.load(SeqCst) {
                    let echo = timed(|| echo(&mut long_client));
                    let session = timed(|| {
                        let mut short_client = open_session(&builder, &target);
                        self::echo(&mut short_client);
                        close(&mut short_client);
                    });
                    let mut waits = waits.lock().unwrap();
                    waits.echoes.push(echo);
                    waits.sessions.push(session);
                    drop(waits);
                    // regular clients must not be a load themselves
                    std::thread::sleep(Duration::from_millis(3));
                }
                close(&mut long_client);
            }
        });
        Self { waits, stop, thread: Some(thread) }
    }

    /// Waits until this many short sessions were served, and returns and clears the measured waits.
    #[track_caller]
    fn wait_and_take(&self, sessions: usize) -> Waits {
        eventually("regular clients are served", || {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "a regular client was not served");
            self.waits.lock().unwrap().sessions.len() >= sessions
        });
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

impl Drop for RegularClients {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

#[track_caller]
fn open_session(builder: &ClientBuilder, target: &str) -> Connection {
    let mut client = builder.connect_tls();
    client.send_request(&Request::upgrade(target));
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
    client
}

#[track_caller]
fn echo(client: &mut Connection) {
    client.send_frame(Frame::text("still there?"));
    assert_eq!(client.read_frame_answering_pings(), Frame::text("still there?"));
}

#[track_caller]
fn close(client: &mut Connection) {
    client.send_frame(Frame::close(1000, ""));
    assert_eq!(client.read_frame_answering_pings(), Frame::close(1000, ""));
}

/// A test bed with regular clients whose waits are measured.
pub struct FloodBed {
    regular: RegularClients,
    pub bed: TestBed,
    baseline: Waits,
    _echo: EchoNode,
}

impl FloodBed {
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        let bed = TestBed::with(|config, _| change(config));
        let echo = EchoNode::listen(bed.workspace.node(1));
        let regular = RegularClients::start(
            bed.client_builder().from(bed.workspace.client_ip(1)),
            bed.websocket_target(1),
        );
        // the first sessions also pay for what each worker allocates once
        regular.wait_and_take(10);
        let baseline = regular.wait_and_take(20);
        Self { regular, bed, baseline, _echo: echo }
    }

    /// A client builder for attackers, with another address than the regular clients.
    pub fn attacker(&self) -> ClientBuilder {
        self.bed.client_builder().from(self.bed.workspace.client_ip(2))
    }

    /// Whether a flood that began at `began` goes on: until its duration is over and regular clients were served a few
    /// times.
    pub fn is_running(&self, began: Instant) -> bool {
        let lasted = began.elapsed();
        let seen = || self.regular.waits.lock().unwrap().sessions.len() >= SESSIONS_MIN;
        lasted < flood_duration() || lasted < flood_duration() + DEADLINE / 2 && !seen()
    }

    /// A session of an attacker with the second node.
    #[track_caller]
    pub fn relay(&self, builder: &ClientBuilder) -> Connection {
        open_session(builder, &self.bed.websocket_target(2))
    }

    /// Runs the attack. Fails if regular clients wait too long, or if memory or the log grow beyond their bounds.
    #[track_caller]
    pub fn run<T>(&self, attack: &Attack, attackers: impl FnOnce() -> T) -> T {
        let (before, lines) = (self.bed.gateway.memory(), self.bed.gateway.stderr().lines().count());
        let (peak, over) = (AtomicU64::new(before), AtomicBool::new(false));
        self.regular.wait_and_take(0);
        let began = Instant::now();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    peak.fetch_max(self.bed.gateway.memory(), SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attackers));
            over.store(true, SeqCst);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let took = began.elapsed();
        let waits = self.regular.wait_and_take(1);
        let grown = peak.into_inner().saturating_sub(before);
        self.report(attack, &waits, grown, took);
        let wait_max = WAIT_MAX.as_secs_f64() * 1e3;
        for (what, waits) in [("a message", &waits.echoes), ("a session", &waits.sessions)] {
            let wait = percentile(waits, 99);
            assert!(wait < wait_max, "{}: {what} of a regular client took {wait:.0} ms", attack.name);
        }
        let bound = attack.attackers as u64 * (attack.kib_each << 10) + BASE_GROWTH_MAX;
        assert!(grown <= bound, "{}: memory grew by {grown} bytes, the bound is {bound}", attack.name);
        let log = self.bed.gateway.stderr();
        let more = log.lines().count() - lines;
        assert!(more <= LOG_LINES_MAX, "{}: {more} log lines:\n{log}", attack.name);
        self.bed.gateway.assert_no_panic();
        outcome
    }

    fn report(&self, attack: &Attack, waits: &Waits, grown: u64, took: Duration) {
        let Attack { name, attackers, outcome, .. } = attack;
        let figures = |waits: &Waits| {
            let [a, b] = [50, 99].map(|of| percentile(&waits.echoes, of));
            let [c, d] = [50, 99].map(|of| percentile(&waits.sessions, of));
            format!("{a:.1} / {b:.1} | {c:.1} / {d:.1}")
        };
        let each = grown as f64 / 1024.0 / *attackers as f64;
        println!(
            "| {name} | {attackers} | {:.1} s | {} | {} | {each:.1} | {outcome} |",
            took.as_secs_f64(),
            figures(&self.baseline),
            figures(waits)
        );
    }
}

/// Waits until the gateway has ended all connections, and returns how long that took.
#[track_caller]
pub fn wait_until_ended(connections: &[TcpStream]) -> Duration {
    let began = Instant::now();
    let mut open: Vec<_> = connections.iter().collect();
    open.iter().for_each(|tcp| tcp.set_nonblocking(true).unwrap());
    eventually("the gateway ends the connections", || {
        open.retain(|tcp| !has_ended(tcp));
        open.is_empty()
    });
    began.elapsed()
}

/// Whether the gateway ended this non-blocking connection. Bytes that it still sent are dropped.
pub fn has_ended(mut tcp: &TcpStream) -> bool {
    let mut rest = [0; 16 << 10];
    loop {
        match tcp.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// A node that accepts every session and runs `serve` with it, until this is dropped.
pub struct ScriptedNode {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedNode {
    pub fn listen(address: SocketAddr, serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let (stop, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                for tcp in listener.incoming().map_while(Result::ok) {
                    if stop.load(SeqCst) {
                        return;
                    }
                    let serve = serve.clone();
                    std::thread::spawn(move || {
                        let mut node = Connection::new(Box::new(tcp), super::connection::Side::Node);
                        if let Some(head) = node.next_head() {
                            node.answer_upgrade(&head, "");
                            serve(node);
                        }
                    });
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// A node that reads everything and sends nothing.
    pub fn silent(address: SocketAddr) -> Self {
        Self::listen(address, |node| drop(discard_input(node.tcp())))
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

/// Reads to the end and discards the bytes.
pub fn discard_input(mut tcp: &TcpStream) -> std::io::Result<u64> {
    std::io::copy(&mut tcp, &mut std::io::sink())
}

/// Sends as long as `is_running` holds, or until sending fails. Returns the amount sent, and whether sending failed.
pub fn send_while(
    is_running: impl Fn() -> bool,
    mut send: impl FnMut() -> std::io::Result<usize>,
) -> (u64, bool) {
    let mut sent = 0;
    while is_running() {
        match send() {
            Ok(more) => sent += more as u64,
            Err(_) => return (sent, true),
        }
    }
    (sent, false)
}
