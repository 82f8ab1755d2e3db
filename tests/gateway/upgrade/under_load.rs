//! Upgrades one after the other while many clients connect, counted: no client is refused, no connection is reset, and
//! sessions are closed between two frames.

use crate::harness::node::EchoNode;
use crate::harness::takeover::{self, Takeover};
use crate::harness::{Connection, Frame, Reply, Request, TestBed, eventually};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Clients of each kind that run all the time.
const CLIENTS_PER_KIND: usize = 4;

/// The number of upgrades; `TIDEGATE_TEST_UPGRADES` sets it for long runs.
fn upgrades() -> usize {
    std::env::var("TIDEGATE_TEST_UPGRADES").map_or(5, |upgrades| upgrades.parse().expect("a number"))
}

#[derive(Default)]
struct Counts {
    questions: AtomicUsize,
    short_sessions: AtomicUsize,
    long_sessions: AtomicUsize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    told_to_go: AtomicUsize,
    over: AtomicBool,
}

impl Counts {
    fn is_running(&self) -> bool {
        !self.over.load(SeqCst)
    }

    /// Sends one message and expects it back unchanged. Returns false if the gateway closed the session in order instead.
    fn echo(&self, client: &mut Connection, n: usize) -> bool {
        let size = n * 7919 % 20_000;
        let frame = Frame::binary((0..size).map(|at| (at + n) as u8).collect::<Vec<_>>());
        client.send_frame(frame.clone());
        let mut heard = client.read_frame();
        while heard.opcode == Frame::PING {
            heard = client.read_frame();
        }
        if let Some((code, reason)) = heard.as_close() {
            assert!(code == Some(1001) && reason.starts_with("draining"), "{code:?} {reason}");
            client.answer_close(1001);
            self.told_to_go.fetch_add(1, SeqCst);
            return false;
        }
        assert!(heard == frame, "message {n} of {size} bytes came back changed");
        self.messages.fetch_add(1, SeqCst);
        self.bytes.fetch_add(size, SeqCst);
        true
    }
}

/// Opens a session; any failure fails the test.
fn open_session(bed: &TestBed) -> Connection {
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    assert_eq!(client.read_response().status(), 101);
    client
}

/// Opens connections one after the other, with one question each.
fn ask_questions(bed: &TestBed, counts: &Counts) {
    while counts.is_running() {
        let answer = bed.get("/streammanager/api/4.0/event/live/stream1?action=broadcast");
        assert_eq!(answer.status(), 200);
        counts.questions.fetch_add(1, SeqCst);
    }
}

/// Opens short sessions one after the other, with a few messages each.
fn run_short_sessions(bed: &TestBed, counts: &Counts) {
    while counts.is_running() {
        let mut client = open_session(bed);
        counts.short_sessions.fetch_add(1, SeqCst);
        if (0..3).all(|n| counts.echo(&mut client, n)) {
            client.send_frame(Frame::close(1000, ""));
            while client.read_frame().opcode != Frame::CLOSE {}
            client.expect_end();
        }
    }
}

/// Holds a session until the gateway closes it, and opens the next one at once.
fn run_long_sessions(bed: &TestBed, counts: &Counts) {
    while counts.is_running() {
        let mut client = open_session(bed);
        counts.long_sessions.fetch_add(1, SeqCst);
        let mut n = 0;
        while counts.is_running() && counts.echo(&mut client, n) {
            n += 1;
            // a publisher sends at intervals too; the pause leaves the machine to the other clients
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn upgrades_under_load_disturb_no_client() {
    upgrade_under_load(|_, _| {});
}

#[test]
fn upgrades_that_change_the_number_of_workers_disturb_no_client() {
    upgrade_under_load(|takeover, n| {
        takeover.configure(|config| config.set("gateway.workers", [4, 1, 3, 2][n % 4]))
    });
}

/// Upgrades while clients of all kinds run; `prepare` is called before each upgrade.
fn upgrade_under_load(prepare: impl Fn(&Takeover, usize)) {
    let mut takeover = Takeover::start(|config, _| {
        config.set_drains("2s");
        config.set("limits.sessions_per_ip", "off");
        config.set("answers.broadcast_ttl", "50ms");
    });
    let _node = EchoNode::listen(takeover.bed.workspace.node(1));
    takeover.bed.manager.answer("/stream1", Reply::json(200, "{}"));
    let (counts, began) = (Counts::default(), Instant::now());
    let mut processes = vec![takeover.bed.gateway.pid()];
    std::thread::scope(|scope| {
        let (bed, counts) = (&takeover.bed, &counts);
        for client in [ask_questions, run_short_sessions, run_long_sessions]
            .into_iter()
            .cycle()
            .take(3 * CLIENTS_PER_KIND)
        {
            scope.spawn(move || client(bed, counts));
        }
        // also if this fails: otherwise the other threads would never end
        let _end = StopOnDrop(&counts.over);
        for n in 0..upgrades() {
            prepare(&takeover, n);
            let before = counts.messages.load(SeqCst);
            eventually("a storm", || counts.messages.load(SeqCst) > before + 20 * CLIENTS_PER_KIND);
            processes.push(takeover.upgrade());
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let [questions, short, long, messages, bytes, told] = [
        &counts.questions,
        &counts.short_sessions,
        &counts.long_sessions,
        &counts.messages,
        &counts.bytes,
        &counts.told_to_go,
    ]
    .map(|count| count.load(SeqCst));
    eprintln!(
        "{} upgrades in {seconds:.1} s: {} connections ({questions} questions, {short} short and {long} long sessions), \
         {messages} messages of {bytes} bytes echoed, {told} sessions closed for the drain; 0 refused, 0 reset, 0 lost",
        upgrades(),
        questions + short + long,
    );
    assert!(told >= upgrades(), "each drain closed a session");
    let last = processes.pop().unwrap();
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    for pid in &processes[1..] {
        assert_eq!(takeover.wait_for_exit_of(*pid), Some(0));
    }
    assert_eq!(takeover.bed.gateway.metric("tidegate_panics_total", &[]), 0.0);
    takeover::signal(last, Signal::TERM);
    assert_eq!(takeover.wait_for_exit_of(last), Some(0));
    assert!(!takeover.bed.gateway.stderr().contains("the drain is over"), "no session was cut");
}

struct StopOnDrop<'t>(&'t AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
