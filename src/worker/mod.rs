//! One core: a thread, a ring, its own listeners, and all sessions that it accepted. The only code that awaits.
//!
//! Nothing crosses cores but commands going in, counters coming out, and answers of the stream manager. Rules of the ring
//! (why: `docs/architecture.md`): only readiness is raced; idle holds nothing; no call blocks; every session's future is
//! wrapped, so that a panic ends one session and not the core.

mod access;
mod affinity;
pub mod answers;
mod bell;
#[doc(hidden)]
pub mod bench;
pub mod ceiling;
mod conn;
mod event;
mod flow;
mod forward;
pub mod gateway;
mod http;
mod listener;
mod lookup;
mod net;
mod node;
mod origin;
mod placement;
mod reply;
mod scratch;
mod session;
mod sessions;
mod tls;
mod watch;
mod websocket;
mod whip;

use crate::config::Driver;
use crate::metrics::WorkerMetrics;
use crate::proto::relay::Millis;
use futures_channel::mpsc;
use futures_util::StreamExt;
use gateway::Gateway;
use sessions::Sessions;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker is told from outside.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Stop accepting, close what is open in an orderly way, and end.
    Drain,
    /// Drop what is left, and end.
    Stop,
}

/// What a worker needs to start.
pub struct Setup {
    pub index: usize,
    /// The core to stay on.
    pub core: Option<usize>,
    pub driver: Driver,
    pub listeners: Vec<std::net::TcpListener>,
    pub gateway: Arc<Gateway>,
}

/// A running worker, as the control side sees it.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    thread: std::thread::JoinHandle<()>,
    /// The kernel interface it really waits on, and the reason if it is not the ring.
    pub driver: DriverChoice,
}

/// Which driver a worker got, and why not the ring.
#[derive(Debug, Clone)]
pub struct DriverChoice {
    pub name: &'static str,
    pub reason: Option<String>,
}

impl Handle {
    /// Tells the worker something; it hears it at once, also while all its sessions are idle.
    pub fn tell(&self, command: Command) {
        // a worker that ended needs no command
        let _ = self.commands.unbounded_send(command);
    }

    /// Whether its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end; `Err` if it panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// One core's own state, shared by its sessions.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) sessions: Sessions,
    pub(crate) flights: lookup::Flights,
    pub(crate) draining: bell::Bell,
    epoch: Instant,
    random: Cell<u64>,
}

impl Worker {
    /// Milliseconds since this worker started.
    pub(crate) fn now(&self) -> Millis {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Numbers that need not be secret: session ids, masks of our own frames (xorshift64*).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Starts a worker and waits until it listens. An error says what could not be had.
pub fn start(setup: Setup) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let name = format!("tidegate-{}", setup.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || match prepare(&setup) {
        Ok((runtime, driver)) => {
            run(runtime, setup, inbox, |listening| drop(ready.send(listening.map(|()| driver))));
        }
        Err(e) => drop(ready.send(Err(e))),
    })?;
    let driver =
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it listened")))?;
    Ok(Handle { commands, thread, driver })
}

enum Runtime {
    Ring(monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>),
    Epoll(monoio::Runtime<monoio::time::TimeDriver<monoio::LegacyDriver>>),
}

/// Entries of the submission queue; one wake of a busy core submits fewer.
const RING_ENTRIES: u32 = 4096;

/// Pins the thread and builds the runtime on it: a ring with SINGLE_ISSUER belongs to the thread that made it.
fn prepare(setup: &Setup) -> io::Result<(Runtime, DriverChoice)> {
    if let Some(core) = setup.core {
        monoio::utils::bind_to_cpu_set([core])
            .map_err(|e| io::Error::other(format!("can't stay on core {core}: {e}")))?;
    }
    let epoll = |reason: Option<String>| {
        let runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        Ok((Runtime::Epoll(runtime), DriverChoice { name: "epoll", reason }))
    };
    if setup.driver == Driver::Epoll {
        return epoll(None);
    }
    match build_ring() {
        Ok(runtime) => Ok((Runtime::Ring(runtime), DriverChoice { name: "io_uring", reason: None })),
        Err(e) if setup.driver == Driver::IoUring => {
            Err(io::Error::new(e.kind(), format!("io_uring can't be had: {e}; {}", ring_advice(&e))))
        }
        Err(e) => epoll(Some(format!("io_uring can't be had: {e}; {}", ring_advice(&e)))),
    }
}

/// First with the flags that suit one thread, then plain (kernels before 6.1).
fn build_ring() -> io::Result<monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>> {
    let build = |ring: io_uring::Builder| {
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .uring_builder(ring)
            .enable_timer()
            .build()
    };
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    build(ring).or_else(|_| build(io_uring::IoUring::builder()))
}

fn ring_advice(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "kernel.io_uring_disabled or a seccomp filter forbids it; allow io_uring_setup, or set driver = \"epoll\""
        }
        Some(libc::ENOMEM) => "the limit of locked memory is too small; raise LimitMEMLOCK",
        Some(libc::ENOSYS) => "this kernel has none; 6.1 or later is recommended",
        _ => "set driver = \"epoll\" to do without it",
    }
}

fn run(
    runtime: Runtime,
    setup: Setup,
    inbox: mpsc::UnboundedReceiver<Command>,
    ready: impl FnOnce(io::Result<()>),
) {
    let main = serve(setup, inbox, ready);
    match runtime {
        Runtime::Ring(mut runtime) => runtime.block_on(main),
        Runtime::Epoll(mut runtime) => runtime.block_on(main),
    }
}

/// The worker's whole life. `ready` hears whether it listens.
async fn serve(
    setup: Setup,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    ready: impl FnOnce(io::Result<()>),
) {
    let metrics = setup.gateway.metrics[setup.index].clone();
    let worker = Rc::new(Worker {
        metrics,
        sessions: Sessions::default(),
        flights: lookup::Flights::default(),
        draining: bell::Bell::default(),
        epoch: Instant::now(),
        random: Cell::new(RandomState::new().hash_one(setup.index) | 1),
        gateway: setup.gateway,
    });
    let listeners: io::Result<Vec<_>> = setup.listeners.into_iter().map(net::Listener::new).collect();
    match listeners {
        Err(e) => return ready(Err(e)),
        Ok(listeners) => listeners
            .into_iter()
            .for_each(|listener| drop(monoio::spawn(listener::accept_all(worker.clone(), listener)))),
    }
    monoio::spawn(sweep(worker.clone()));
    ready(Ok(()));
    while let Some(command) = inbox.next().await {
        match command {
            Command::Drain => {
                worker.draining.ring();
                monoio::spawn(drain(worker.clone()));
            }
            Command::Stop => return,
        }
    }
}

/// Closes are spread over time: each costs us some ten microseconds, and the client that comes back costs the next
/// gateway ten times as much.
const DRAIN_BATCH: usize = 64;
const DRAIN_PAUSE: Duration = Duration::from_millis(5);

async fn drain(worker: Rc<Worker>) {
    for batch in worker.sessions.ids().chunks(DRAIN_BATCH) {
        for id in batch {
            worker.sessions.wake(*id, sessions::Event::Drain);
        }
        monoio::time::sleep(DRAIN_PAUSE).await;
    }
}

/// How often deadlines of sessions are looked at.
const SWEEP: Duration = Duration::from_millis(250);

/// One timer for the whole core instead of one for each read: wakes the sessions whose deadline has come.
async fn sweep(worker: Rc<Worker>) {
    loop {
        let slept = Instant::now();
        monoio::time::sleep(SWEEP).await;
        let late = slept.elapsed().saturating_sub(SWEEP);
        worker.metrics.loop_lag_micros.set(i64::try_from(late.as_micros()).unwrap_or(i64::MAX));
        worker.metrics.heartbeat.add(1);
        worker.sessions.wake_due(worker.now());
    }
}
