//! A drain of many sessions under traffic, counted: every client receives a Close, no frame is truncated, and the Closes
//! are spread over the drain window.
//!
//! 1500 sessions by default; `TIDEGATE_DRAIN_LOAD=9000` sets another number, best with `--release`. The gateway runs as a
//! process of its own.
#![cfg(feature = "gateway")]
#![allow(unreachable_pub, reason = "this crate has no public API")]

mod clients;
#[path = "../../benches/load/mod.rs"]
mod load;

use clients::{Clients, Kind, Observation};
use load::Result;
use load::client::{self, Fleet};
use load::manager::Manager;
use load::node::{HALTING, Node};
use load::run::Room;
use load::target::{Target, free_address};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What depends on the number of sessions. The gateway closes its sessions over the window less `close_timeout`, and
/// spares sessions that are younger than a quarter of that, at most five seconds.
struct Plan {
    sessions: usize,
    young: usize,
    window: u64,
    close_timeout: u64,
}

impl Plan {
    fn new() -> Self {
        let sessions =
            std::env::var("TIDEGATE_DRAIN_LOAD").map_or(1500, |text| text.parse().expect("a number"));
        let (window, close_timeout) = if sessions > 3000 { (30, 5) } else { (10, 2) };
        Self { sessions, young: sessions / 20, window, close_timeout }
    }

    fn span(&self) -> Duration {
        Duration::from_secs(self.window - self.close_timeout)
    }

    fn negotiation(&self) -> Duration {
        (self.span() / 4).min(Duration::from_secs(5))
    }
}

/// The program under test and its log. It is killed when this is dropped.
struct Gateway {
    child: Child,
    room: Room,
    certificate: CertificateDer<'static>,
    address: SocketAddr,
    monitoring: SocketAddr,
}

impl Gateway {
    fn start(plan: &Plan, node: SocketAddr) -> Result<Self> {
        let room = Room(std::env::temp_dir().join(format!("tidegate-drain-load-{}", std::process::id())));
        fs::create_dir(&room.0)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let [chain, key, config] = ["chain.pem", "key.pem", "tidegate.toml"].map(|name| room.0.join(name));
        fs::write(&chain, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let (address, monitoring) = (free_address()?, free_address()?);
        let driver = std::env::var("TIDEGATE_TEST_DRIVER").unwrap_or_else(|_| "auto".to_owned());
        let (window, close_timeout) = (plan.window, plan.close_timeout);
        // a busy machine may need long to accept all clients; that is not under test here
        let text = format!(
            "gateway = {{ listen = [\"{address}\"], workers = 2, pin = false, driver = \"{driver}\", drain = \"{window}s\" }}\n\
             tls = {{ handshake_timeout = \"60s\", certificates = [{{ chain = {chain:?}, key = {key:?} }}] }}\n\
             stream_manager.url = \"http://{}\"\n\
             origins = {{ port = {}, networks = [\"{}\"], connect_timeout = \"20s\", upgrade_timeout = \"20s\" }}\n\
             websocket.close_timeout = \"{close_timeout}s\"\n\
             limits = {{ sessions_per_ip = \"off\", head_timeout = \"60s\" }}\nmonitoring.listen = \"{monitoring}\"\n\
             admin.listen = \"off\"\n",
            Manager::start(Duration::ZERO)?.address,
            node.port(),
            node.ip(),
        );
        fs::write(&config, text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(File::create(room.0.join("log"))?)
            .spawn()?;
        let mut gateway = Self { child, room, certificate: made.cert.der().clone(), address, monitoring };
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_err() {
            let ended = gateway.child.try_wait()?;
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the gateway does not listen:\n{}",
                gateway.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(gateway)
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.room.0.join("log")).unwrap_or_default()
    }

    /// Runs `tidegate sessions` on a thread of its own and returns the listed session ids.
    fn list(&self) -> JoinHandle<Vec<String>> {
        let monitoring = self.monitoring.to_string();
        std::thread::spawn(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            let listed = command
                .args(["sessions", "--json", "--admin", &monitoring])
                .output()
                .expect("the command starts");
            let mut listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
            let Value::Array(rows) = listed["sessions"].take() else {
                panic!("no list of sessions: {listed}")
            };
            rows.into_iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
        })
    }

    fn terminate(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.stderr());
        }
    }
}

/// Keeps the traffic going until `done` holds.
fn run_until(
    fleet: &mut Fleet,
    clients: &mut Clients,
    mut done: impl FnMut(&Fleet, &Clients) -> bool,
) -> Result<()> {
    while !done(fleet, clients) {
        clients.send_due(fleet)?;
        fleet.turn(clients, Duration::from_millis(5))?;
    }
    Ok(())
}

#[test]
fn every_session_is_closed_between_frames_and_within_the_window() {
    run(&Plan::new()).unwrap_or_else(|why| panic!("{why}"));
}

fn run(plan: &Plan) -> Result<()> {
    clients::make_room(plan.sessions)?;
    let node = Node::start(None, 0)?;
    let mut gateway = Gateway::start(plan, node.address)?;
    let target = Target {
        name: "tidegate".to_owned(),
        command: Vec::new(),
        address: gateway.address,
        tls: true,
        socket_path: format!("/streammanager/?id={HALTING}&host={}&app=live", node.address.ip()),
        answer_path: None,
    };
    let tls = client::tls(&gateway.certificate, true)?;
    let mut fleet = Fleet::new(&target, &tls, Some(&target.socket_path))?;
    let mut clients = Clients::new(Duration::from_secs(plan.close_timeout) / 2);

    let old = plan.sessions - plan.young;
    fleet.gather(&mut clients, old, |clients| clients.observations.len() == old)?;
    let warm = Instant::now() + plan.negotiation() + Duration::from_secs(1);
    run_until(&mut fleet, &mut clients, |_, _| Instant::now() > warm)?;
    clients.kind_of_next = |_| Kind::Young;
    fleet.gather(&mut clients, plan.young, |clients| clients.observations.len() == plan.sessions)?;

    let (asked, listing) = (Instant::now(), gateway.list());
    run_until(&mut fleet, &mut clients, |_, _| listing.is_finished())?;
    let listed: BTreeSet<_> = listing.join().expect("a list").into_iter().collect();
    println!("{} sessions listed in {:.1?}", listed.len(), asked.elapsed());
    assert_eq!((fleet.faults, &fleet.first_fault), (0, &None), "faults of clients before the drain");
    assert_eq!(listed.len(), plan.sessions, "every session is listed once");

    let began = Instant::now();
    clients.drained = true;
    gateway.terminate()?;
    run_until(&mut fleet, &mut clients, |fleet, _| fleet.open == 0)?;
    let status = gateway.child.wait()?;
    let took = began.elapsed();

    assert_eq!((fleet.faults, &fleet.first_fault), (0, &None), "clients");
    assert_eq!(clients.closed_count(), plan.sessions, "every client receives a Close");
    let seen = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
    assert_eq!(seen(&node.counts.closed), plan.sessions as u64, "every node receives a Close");
    assert_eq!((seen(&node.counts.torn), seen(&node.counts.faults)), (0, 0), "nodes");
    assert_eq!(status.code(), Some(0));
    let log = gateway.stderr();
    assert!(log.contains(&format!("told={} cut=0", plan.sessions)), "{log}");
    check_times(plan, &clients.observations, began, took);
    Ok(())
}

/// Checks the times at which the clients received their Closes.
fn check_times(plan: &Plan, observations: &[Observation], began: Instant, took: Duration) {
    for (_, code, reason) in observations.iter().flat_map(|observation| &observation.close) {
        assert!(*code == 1001 && reason.starts_with("draining "), "{code} {reason:?}");
    }
    let at =
        |observation: &Observation| observation.close.as_ref().map_or(Duration::MAX, |(at, ..)| *at - began);
    let close_times = |is: &dyn Fn(&Observation) -> bool| {
        let mut times: Vec<_> = observations.iter().filter(|observation| is(observation)).map(at).collect();
        times.sort_unstable();
        times
    };
    let all = close_times(&|_| true);
    let middle = all[all.len() / 20 * 19] - all[all.len() / 20];
    let seconds = (0..=plan.window).map(|second| all.iter().filter(|at| at.as_secs() == second).count());
    let busiest = seconds.max().unwrap_or_default();
    let even = all.len() as f64 / plan.span().as_secs_f64();
    let [quiet, busy] =
        [Kind::Quiet, Kind::Busy].map(|kind| close_times(&|observation| observation.kind == kind));
    let before = quiet.iter().filter(|at| **at < busy[busy.len() / 2]).count();
    let young = observations.iter().filter(|observation| observation.kind == Kind::Young);
    let youngest =
        young.map(|observation| began + at(observation) - observation.opened).min().unwrap_or_default();
    let interrupted = observations.iter().filter(|observation| observation.interrupted).count();
    println!(
        "{} sessions, window {} s: closed from {:.1?} to {:.1?}, ended after {took:.1?}; nine tenths of them within {middle:.1?}; \
         {busiest} in the busiest second, {even:.0} if evenly spread; {before} of {} quiet ones before half of the busy ones; \
         the youngest was {youngest:.1?} old; {interrupted} received their Close inside a message of theirs",
        all.len(),
        plan.window,
        all[0],
        all[all.len() - 1],
        quiet.len(),
    );
    assert!(middle > plan.span() * 6 / 10, "the Closes are spread over most of the window");
    // the time of receipt depends on this process too, which waits on a busy machine
    assert!((busiest as f64) < even * 3.0, "the Closes are spread evenly");
    assert!(before * 20 > quiet.len() * 19, "quiet sessions are closed first");
    // the clock of the test starts when the 101 is read
    assert!(
        youngest + Duration::from_millis(750) > plan.negotiation(),
        "no session is closed while it negotiates"
    );
    assert!(interrupted * 10 > busy.len() * 8, "there was traffic");
    assert!(took < Duration::from_secs(plan.window), "no session was cut");
}
