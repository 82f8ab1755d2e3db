//! One upgrade after the other under a storm of connections, counted: nobody is refused, nobody is reset, and whoever has
//! to go is told so between two frames.

use crate::harness::node::Echo;
use crate::harness::takeover::{self, Reign};
use crate::harness::{Frame, Link, Reply, Request, Town, eventually};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Clients of each kind that run all the time.
const CLIENTS: usize = 4;

/// How many upgrades: `TIDEGATE_TEST_UPGRADES`, for those who have the time.
fn upgrades() -> usize {
    std::env::var("TIDEGATE_TEST_UPGRADES").map_or(5, |upgrades| upgrades.parse().expect("a number"))
}

#[derive(Default)]
struct Tally {
    questions: AtomicUsize,
    short_sessions: AtomicUsize,
    long_sessions: AtomicUsize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    told_to_go: AtomicUsize,
    over: AtomicBool,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.over.load(SeqCst)
    }

    /// One message there and back, whole and unchanged. False if the gateway said goodbye instead, in order.
    fn echo(&self, client: &mut Link, n: usize) -> bool {
        let size = n * 7919 % 20_000;
        let frame = Frame::binary((0..size).map(|at| (at + n) as u8).collect::<Vec<_>>());
        client.say(frame.clone());
        let mut heard = client.hear();
        while heard.opcode == Frame::PING {
            heard = client.hear();
        }
        if let Some((code, reason)) = heard.as_close() {
            assert!(code == Some(1001) && reason.starts_with("draining"), "{code:?} {reason}");
            client.part(1001);
            self.told_to_go.fetch_add(1, SeqCst);
            return false;
        }
        assert!(heard == frame, "message {n} of {size} bytes came back changed");
        self.messages.fetch_add(1, SeqCst);
        self.bytes.fetch_add(size, SeqCst);
        true
    }
}

/// A client that is let in; whatever goes wrong on the way in fails the test.
fn open(town: &Town) -> Link {
    let mut client = town.client();
    client.ask(&Request::upgrade(&town.socket_target(1)));
    assert_eq!(client.read_response().status(), 101);
    client
}

/// Comes, asks one question and goes.
fn ask(town: &Town, tally: &Tally) {
    while tally.goes_on() {
        let answer = town.get("/streammanager/api/4.0/event/live/stream1?action=broadcast");
        assert_eq!(answer.status(), 200);
        tally.questions.fetch_add(1, SeqCst);
    }
}

/// Comes, says a few things and goes.
fn visit(town: &Town, tally: &Tally) {
    while tally.goes_on() {
        let mut client = open(town);
        tally.short_sessions.fetch_add(1, SeqCst);
        if (0..3).all(|n| tally.echo(&mut client, n)) {
            client.say(Frame::close(1000, ""));
            while client.hear().opcode != Frame::CLOSE {}
            client.ended();
        }
    }
}

/// Stays until it is told to go, and comes back at once.
fn stay(town: &Town, tally: &Tally) {
    while tally.goes_on() {
        let mut client = open(town);
        tally.long_sessions.fetch_add(1, SeqCst);
        let mut n = 0;
        while tally.goes_on() && tally.echo(&mut client, n) {
            n += 1;
            // a publisher has a rhythm; that makes room for the others on this machine
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn upgrades_under_a_storm_of_connections_harm_nobody() {
    storm(|_, _| {});
}

#[test]
fn so_do_upgrades_that_change_the_number_of_workers() {
    storm(|reign, n| reign.configure(|config| config.set("gateway.workers", [4, 1, 3, 2][n % 4])));
}

/// Upgrades while clients of all kinds come and go; `prepare` is called before each.
fn storm(prepare: impl Fn(&Reign, usize)) {
    let mut reign = Reign::begin(|config, _| {
        config.set("gateway.drain", "2s");
        config.set("limits.sessions_per_ip", "off");
        config.set("answers.broadcast_ttl", "50ms");
    });
    let _node = Echo::listen(reign.town.place.node(1));
    reign.town.manager.answer("/stream1", Reply::json(200, "{}"));
    let (tally, began) = (Tally::default(), Instant::now());
    let mut processes = vec![reign.town.gateway.pid()];
    std::thread::scope(|scope| {
        let (town, tally) = (&reign.town, &tally);
        for client in [ask, visit, stay].into_iter().cycle().take(3 * CLIENTS) {
            scope.spawn(move || client(town, tally));
        }
        // also when this fails: the others would go on for ever
        let _end = End(&tally.over);
        for n in 0..upgrades() {
            prepare(&reign, n);
            let before = tally.messages.load(SeqCst);
            eventually("a storm", || tally.messages.load(SeqCst) > before + 20 * CLIENTS);
            processes.push(reign.upgrade());
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let [questions, short, long, messages, bytes, told] = [
        &tally.questions,
        &tally.short_sessions,
        &tally.long_sessions,
        &tally.messages,
        &tally.bytes,
        &tally.told_to_go,
    ]
    .map(|count| count.load(SeqCst));
    eprintln!(
        "{} upgrades in {seconds:.1} s: {} connections ({questions} questions, {short} short and {long} long sessions), \
         {messages} messages of {bytes} bytes echoed, {told} sessions told to go; 0 refused, 0 reset, 0 lost",
        upgrades(),
        questions + short + long,
    );
    assert!(told >= upgrades(), "somebody was there each time");
    let last = processes.pop().unwrap();
    assert_eq!(reign.town.gateway.retired().code(), Some(0));
    for pid in &processes[1..] {
        assert_eq!(reign.exit_of(*pid), Some(0));
    }
    assert_eq!(reign.town.gateway.metric("tidegate_panics_total", &[]), 0.0);
    takeover::signal(last, Signal::TERM);
    assert_eq!(reign.exit_of(last), Some(0));
    assert!(!reign.town.gateway.stderr().contains("the drain is over"), "nobody was cut");
}

struct End<'t>(&'t AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
