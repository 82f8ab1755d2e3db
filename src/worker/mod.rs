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
mod budget;
pub mod card;
pub mod ceiling;
#[doc(hidden)]
pub mod check;
mod conn;
mod descriptors;
mod drain;
mod event;
mod flow;
mod forward;
pub mod gateway;
mod http;
mod listener;
mod liveness;
mod lookup;
pub mod memory;
mod net;
mod node;
mod origin;
mod placement;
pub mod places;
mod proxied;
mod reply;
pub mod revision;
mod scratch;
mod session;
mod sessions;
mod tls;
mod watch;
mod websocket;
mod whip;

use crate::config::Driver;
use crate::metrics::WorkerMetrics;
use crate::proto::relay::{Millis, millis};
use card::Row;
use futures_channel::mpsc;
use futures_util::StreamExt;
use gateway::Gateway;
use revision::{Held, Revision};
use sessions::Sessions;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a worker is told from outside.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin to accept.
    Accept,
    /// Stop accepting and leave the queues to somebody else, who has the same sockets; sessions go on.
    Leave,
    /// Take over a newer revision, and say with the own index that it was done.
    Revise(Arc<Revision>, std::sync::mpsc::Sender<usize>),
    /// Stop accepting, and close what is open in an orderly way.
    Drain,
    /// Cut what is left, and end.
    Stop,
    /// List at most `limit` sessions, by id, that follow `after`.
    List { after: Option<u64>, limit: usize, reply: mpsc::UnboundedSender<Vec<Row>> },
    /// End one session well; says whether it was there.
    Kick { id: u64, reply: mpsc::UnboundedSender<bool> },
}

/// What a worker needs to start.
pub struct Setup {
    pub index: usize,
    /// The core to stay on.
    pub core: Option<usize>,
    pub driver: Driver,
    pub listeners: Vec<std::net::TcpListener>,
    /// Listeners that are closed as soon as everybody who waits there is let in.
    pub leftovers: Vec<std::net::TcpListener>,
    pub gateway: Arc<Gateway>,
}

/// The way to tell a worker something.
#[derive(Debug, Clone)]
pub struct Line(mpsc::UnboundedSender<Command>);

impl Line {
    /// Tells it; the worker hears it at once, also while all its sessions are idle.
    pub fn tell(&self, command: Command) {
        // a worker that ended needs no command
        let _ = self.0.unbounded_send(command);
    }
}

/// A running worker, as the control side sees it.
pub struct Handle {
    line: Line,
    thread: std::thread::JoinHandle<()>,
    doors: Arc<AtomicUsize>,
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
    /// Tells the worker something.
    pub fn tell(&self, command: Command) {
        self.line.tell(command);
    }

    /// A way to tell it something from elsewhere.
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// Whether it may still take a connection.
    pub fn is_accepting(&self) -> bool {
        self.doors.load(Ordering::Acquire) > 0
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
    newest: RefCell<Held>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) sessions: Sessions,
    pub(crate) flights: lookup::Flights,
    pub(crate) draining: bell::Bell,
    budget: Rc<budget::Budget>,
    /// Rung when it shall stop accepting, for whatever reason.
    pub(crate) closing: bell::Bell,
    /// How many listeners it accepts from; read from outside.
    pub(crate) doors: Arc<AtomicUsize>,
    epoch: Instant,
    random: Cell<u64>,
}

impl Worker {
    /// The newest revision that this worker was told of.
    pub(crate) fn newest(&self) -> Held {
        self.newest.borrow().clone()
    }

    /// Milliseconds since this worker started.
    pub(crate) fn now(&self) -> Millis {
        millis(self.epoch.elapsed())
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

/// Starts a worker and waits until it could accept: it does so when it is told. An error says what could not be had.
pub fn start(setup: Setup) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded();
    let doors = Arc::<AtomicUsize>::default();
    let counted = doors.clone();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let name = format!("tidegate-{}", setup.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || match prepare(&setup) {
        Ok((runtime, driver)) => {
            run(runtime, setup, inbox, counted, || drop(ready.send(Ok(driver))));
        }
        Err(e) => drop(ready.send(Err(e))),
    })?;
    let driver =
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it ran")))?;
    Ok(Handle { line: Line(commands), thread, doors, driver })
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
    doors: Arc<AtomicUsize>,
    ready: impl FnOnce(),
) {
    let main = serve(setup, inbox, doors, ready);
    match runtime {
        Runtime::Ring(mut runtime) => runtime.block_on(main),
        Runtime::Epoll(mut runtime) => runtime.block_on(main),
    }
}

/// The worker's whole life. `ready` is called when it runs.
async fn serve(
    setup: Setup,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    doors: Arc<AtomicUsize>,
    ready: impl FnOnce(),
) {
    let metrics = setup.gateway.metrics[setup.index].clone();
    let worker = Rc::new(Worker {
        metrics,
        sessions: Sessions::default(),
        flights: lookup::Flights::default(),
        draining: bell::Bell::default(),
        budget: Rc::default(),
        closing: bell::Bell::default(),
        doors,
        epoch: Instant::now(),
        random: Cell::new(RandomState::new().hash_one(setup.index) | 1),
        newest: RefCell::new(Rc::new(setup.gateway.newest())),
        gateway: setup.gateway,
    });
    let mut listeners = Some((setup.listeners, setup.leftovers));
    monoio::spawn(sweep(worker.clone()));
    monoio::spawn(budget::renew(worker.budget.clone()));
    monoio::spawn(budget::resume(worker.budget.clone()));
    ready();
    while let Some(command) = inbox.next().await {
        // a caller who does not wait any more needs no reply
        match command {
            Command::Accept => {
                let Some((listeners, leftovers)) = listeners.take() else { continue };
                if let Err(error) = listener::open(&worker, listeners, leftovers) {
                    // whoever sees to the workers notices the end of this one
                    return tracing::error!(%error, "a listener can't be waited for");
                }
            }
            Command::Leave => worker.closing.ring(),
            Command::Revise(revision, taken) => {
                worker.newest.replace(Rc::new(revision));
                // who asked may have stopped waiting
                let _ = taken.send(setup.index);
            }
            Command::Drain if worker.draining.has_rung() => {}
            Command::Drain => {
                worker.draining.ring();
                worker.closing.ring();
                monoio::spawn(drain::drain(worker.clone()));
            }
            Command::List { after, limit, reply } => {
                let _ = reply.unbounded_send(worker.sessions.page(after, limit, setup.index, worker.now()));
            }
            Command::Kick { id, reply } => {
                let _ = reply.unbounded_send(worker.sessions.wake(id, sessions::Event::Kick));
            }
            Command::Stop => return cut(&worker).await,
        }
    }
}

/// How long sessions may take to note that they were cut.
const CUT: Duration = Duration::from_millis(500);

/// Ends every relay at once, each counted and logged like any other end.
async fn cut(worker: &Worker) {
    let deadline = Instant::now() + CUT;
    while worker.sessions.cut() > 0 && Instant::now() < deadline {
        monoio::time::sleep(Duration::from_millis(1)).await;
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
