//! Faults of the environment: a stream manager that is down, a full disk, a clock that jumps, an unresponsive worker, a
//! kernel that refuses io_uring. Open sessions go on, and the operator learns what happened.

use crate::harness::{
    Config, Connection, Frame, Gate, Gateway, HttpPeer, Reply, TestBed, Workspace, eventually, skipped,
};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use seccompiler::{SeccompAction, SeccompFilter};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

const BROADCAST: &str = "/streammanager/api/4.0/event/live/stream1?action=broadcast";

/// Sends a frame each way.
#[track_caller]
fn talk((client, node): &mut (Connection, Connection)) {
    client.send_frame(Frame::text("still there?"));
    assert_eq!(node.read_frame(), Frame::text("still there?"));
    node.send_frame(Frame::text("yes"));
    assert_eq!(client.read_frame(), Frame::text("yes"));
}

#[test]
fn while_the_manager_is_down_stored_answers_are_served_and_questions_fail_at_once() {
    let mut bed = TestBed::with(|config, _| {
        config.set("answers.broadcast_ttl", "60s");
        // a refused connection must not take this long
        config.set("stream_manager.timeout", "60s");
    });
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    let body = bed.get(BROADCAST).text();
    let mut inside = bed.relay(&listener);
    // the manager moves away, and nothing listens at its address
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    for _ in 0..5 {
        let answer = bed.get(BROADCAST);
        assert_eq!((answer.status(), answer.text()), (200, body.clone()), "stored answers stay valid");
        bed.get(&BROADCAST.replace("stream1", "other")).assert_refusal(502, "manager_failed");
    }
    talk(&mut inside);
    talk(&mut bed.relay(&listener));
    assert_eq!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "hit")]), 5.0);
}

#[test]
fn while_the_manager_is_silent_few_clients_wait_for_it() {
    const PLAYERS: usize = 40;
    let bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let gate = Gate::default();
    bed.manager.answer("", Reply::json(404, "{}").held(&gate));
    for n in 0..PLAYERS {
        let target = format!("/streammanager/api/4.0/event/live/silent{n}?action=subscribe");
        bed.get(&target).assert_refusal(504, "manager_timeout");
    }
    let asked = bed.manager.count();
    assert!((5..PLAYERS / 2).contains(&asked), "{asked} questions: five in a row, and then one a second");
    eventually("the silence is logged", || bed.gateway.stderr().contains("is gone: it does not answer"));
    gate.open();
    // the first answer is enough
    eventually("the manager is asked again", || bed.get(BROADCAST).status() == 404);
    assert_eq!(bed.get(&BROADCAST.replace("stream1", "other")).status(), 404);
    eventually("its end is logged", || bed.gateway.stderr().contains("answers again"));
}

#[test]
fn a_full_disk_costs_lines_of_the_access_log_and_nothing_else() {
    let bed = TestBed::with(|config, _| config.set("log.access", "/dev/full"));
    let listener = bed.node(1);
    for _ in 0..20 {
        assert_eq!(bed.get("/nowhere").status(), 404);
        talk(&mut bed.relay(&listener));
    }
    eventually("the log reports the failure", || {
        bed.gateway.stderr().contains("the access log can't be written")
    });
    let reports = bed.gateway.stderr().matches("the access log can't be written").count();
    assert_eq!(reports, 1, "reported once, not for each line");
    assert_eq!(bed.gateway.metric("tidegate_panics_total", &[]), 0.0);
}

#[test]
fn clocks_that_jump_change_nothing_for_sessions_and_answers() {
    let libraries =
        ["x86_64", "aarch64"].map(|cpu| format!("/usr/lib/{cpu}-linux-gnu/faketime/libfaketimeMT.so.1"));
    let Some(library) = libraries.iter().find(|library| Path::new(library).exists()) else {
        return skipped("clocks that jump", "libfaketime is not installed (package faketime)");
    };
    let mut clock = None;
    let bed = TestBed::with(|config, workspace| {
        let file = workspace.file("clock");
        std::fs::write(&file, "+0").unwrap();
        config.set_env("LD_PRELOAD", library);
        config.set_env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap());
        config.set_env("FAKETIME_NO_CACHE", "1");
        // only the wall clock jumps, not the monotonic one
        config.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        config.set("answers.broadcast_ttl", "60s");
        config.set("websocket.ping_interval", "20s");
        clock = Some(file);
    });
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    let year = || {
        let answer = bed.get(BROADCAST);
        let date = answer.field("date").expect("a date").to_owned();
        date.split(' ').nth(3).and_then(|year| year.parse::<i32>().ok()).expect("a year")
    };
    let now = year();
    let mut inside = bed.relay(&listener);
    for (jump, years) in [("+3650d", 10), ("-3650d", -10), ("+0", 0)] {
        std::fs::write(clock.as_ref().unwrap(), jump).unwrap();
        assert!((year() - now - years).abs() <= 1, "the gateway sees the jump");
        talk(&mut inside);
        talk(&mut bed.relay(&listener));
    }
    assert_eq!(bed.manager.count(), 1, "the answer became neither older nor younger");
    assert_eq!(bed.gateway.metric("tidegate_ends_total", &[("by", "gateway")]), 0.0);
}

/// Stops one thread of the program until this is dropped. The other threads go on.
struct StoppedThread(Pid);

impl StoppedThread {
    fn hold(thread: i32) -> nix::Result<Self> {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty())?;
        ptrace::interrupt(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        Ok(Self(thread))
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).ok();
    }
}

/// All messages to systemd so far.
fn messages_to(systemd: &UnixDatagram) -> Vec<String> {
    let mut message = [0; 4096];
    let messages =
        std::iter::from_fn(|| systemd.recv(&mut message).ok().map(|size| message[..size].to_vec()));
    messages.map(|message| String::from_utf8(message).unwrap()).collect()
}

#[test]
fn an_unresponsive_worker_is_noticed_and_the_others_go_on() {
    let mut systemd = None;
    let bed = TestBed::with(|config, workspace| {
        let path = workspace.file("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        systemd = Some(socket);
        config.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
        config.set_env("WATCHDOG_USEC", "2000000");
    });
    let systemd = systemd.unwrap();
    let notified = || messages_to(&systemd).iter().any(|message| message.contains("WATCHDOG=1"));
    let reports = || bed.gateway.stderr().matches("worker unresponsive").count();
    let listener = bed.node(1);
    // enough sessions that each worker has some
    let mut sessions: Vec<_> = (0..24).map(|_| bed.relay(&listener)).collect();
    eventually("the watchdog is notified", notified);
    assert_eq!(bed.gateway.admin_get("/livez").status(), 200);

    let held = match StoppedThread::hold(bed.gateway.thread_id("tidegate-1")) {
        Ok(held) => held,
        Err(e) => return skipped("an unresponsive worker", &format!("threads can't be stopped here ({e})")),
    };
    let before = reports();
    eventually("the worker is noticed", || reports() > before);
    messages_to(&systemd);
    eventually("the worker is noticed again", || reports() > before + 1);
    assert!(!notified(), "the watchdog is withheld, so that systemd restarts the service");
    assert_eq!(bed.gateway.admin_get("/livez").status(), 503);
    let mut served = 0;
    for (client, node) in &mut sessions {
        client.send_frame(Frame::text("are you there?"));
        served += usize::from(node.receives_within(Duration::from_millis(100)));
    }
    assert!(served > 0 && served < sessions.len(), "{served} sessions of the other worker go on");

    drop(held);
    for (_, node) in &mut sessions {
        assert_eq!(node.read_frame(), Frame::text("are you there?"), "nothing was lost");
    }
    eventually("the watchdog is notified again", notified);
    eventually("the gateway is alive again", || bed.gateway.admin_get("/livez").status() == 200);
}

/// Runs `work` on a thread where the kernel refuses io_uring. Processes that it starts inherit the filter.
fn without_io_uring<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let refuse = std::thread::spawn(|| {
        let arch = std::env::consts::ARCH.try_into().expect("a filter for this CPU");
        let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
        let program: seccompiler::BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).expect("a filter");
        assert!(io_uring::IoUring::new(8).is_err(), "the filter works");
        work()
    });
    refuse.join().expect("the thread does not panic")
}

#[test]
fn if_seccomp_refuses_io_uring_the_gateway_serves_on_epoll_and_logs_why() {
    let mut bed = without_io_uring(|| TestBed::with(|config, _| config.set("gateway.driver", "auto")));
    assert_eq!(bed.gateway.metric("tidegate_info", &[("driver", "epoll")]), 1.0);
    // the log is written by a thread of its own
    eventually("the reason in the log", || {
        let log = bed.gateway.stderr();
        log.contains("io_uring can't be had") && log.contains("seccomp")
    });
    let listener = bed.node(1);
    talk(&mut bed.relay(&listener));
    bed.gateway.terminate();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_start_that_requires_io_uring_fails_and_says_what_refuses_it() {
    let (code, log) = without_io_uring(|| {
        let workspace = Workspace::claim();
        let mut config = Config::new(&workspace);
        config.set("gateway.driver", "io_uring");
        let mut gateway = Gateway::spawn(&workspace, &config);
        (gateway.wait_for_exit().code(), gateway.stderr())
    });
    assert_eq!(code, Some(71), "{log}");
    assert!(log.contains("seccomp") && log.contains("driver = \"epoll\""), "{log}");
}
