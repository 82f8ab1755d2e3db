//! A worker's thread: pinned, on a ring or on epoll, started and joined.

use crate::config::Driver;
use crate::shared::gateway::Gateway;
use crate::worker::main_loop::{self, Command};
use futures_channel::mpsc;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one worker is started with.
#[derive(Debug)]
pub struct WorkerSpec {
    /// Counts from 0; its counters stand at this index in `Gateway::metrics`.
    pub index: usize,
    /// The core to pin its thread to; `None` leaves the choice to the kernel.
    pub core: Option<usize>,
    /// The driver that `gateway.driver` asks for.
    pub driver: Driver,
    /// Bound and non-blocking, at least one for each address. The worker accepts from them after [`Command::Accept`].
    pub listeners: Vec<std::net::TcpListener>,
    /// Listeners of addresses that are not served any more: each is closed as soon as its queue is empty.
    pub draining_listeners: Vec<std::net::TcpListener>,
}

/// The way to tell a worker something.
#[derive(Debug, Clone)]
pub struct Mailbox(mpsc::UnboundedSender<Command>);

impl Mailbox {
    /// Tells it; the worker hears it at once, also while all its sessions are idle.
    pub fn send(&self, command: Command) {
        // a worker that ended needs no command
        let _ = self.0.unbounded_send(command);
    }
}

/// A running worker, as the control side sees it.
pub struct Handle {
    mailbox: Mailbox,
    thread: std::thread::JoinHandle<()>,
    open_listeners: Arc<AtomicUsize>,
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
    pub fn send(&self, command: Command) {
        self.mailbox.send(command);
    }

    /// A way to tell it something from elsewhere.
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Whether it may still take a connection.
    pub fn is_accepting(&self) -> bool {
        self.open_listeners.load(Ordering::Acquire) > 0
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

/// Starts a worker and waits until it could accept: it does so when it is told. An error says what could not be had.
pub fn start(spec: WorkerSpec, gateway: Arc<Gateway>) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded();
    let open_listeners = Arc::<AtomicUsize>::default();
    let counted = open_listeners.clone();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let name = format!("tidegate-{}", spec.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || match prepare(&spec) {
        Ok((runtime, driver)) => {
            run(runtime, spec, gateway, inbox, counted, || drop(ready.send(Ok(driver))));
        }
        Err(e) => drop(ready.send(Err(e))),
    })?;
    let driver =
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it ran")))?;
    Ok(Handle { mailbox: Mailbox(commands), thread, open_listeners, driver })
}

enum Runtime {
    Ring(monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>),
    Epoll(monoio::Runtime<monoio::time::TimeDriver<monoio::LegacyDriver>>),
}

/// Entries of the submission queue; one wake of a busy core submits fewer.
const RING_ENTRIES: u32 = 4096;

/// Pins the thread and builds the runtime on it: a ring with SINGLE_ISSUER belongs to the thread that made it.
fn prepare(spec: &WorkerSpec) -> io::Result<(Runtime, DriverChoice)> {
    if let Some(core) = spec.core {
        monoio::utils::bind_to_cpu_set([core])
            .map_err(|e| io::Error::other(format!("can't stay on core {core}: {e}")))?;
    }
    let epoll = |reason: Option<String>| {
        let runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        Ok((Runtime::Epoll(runtime), DriverChoice { name: "epoll", reason }))
    };
    if spec.driver == Driver::Epoll {
        return epoll(None);
    }
    match build_ring() {
        Ok(runtime) => Ok((Runtime::Ring(runtime), DriverChoice { name: "io_uring", reason: None })),
        Err(e) if spec.driver == Driver::IoUring => {
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
    spec: WorkerSpec,
    gateway: Arc<Gateway>,
    inbox: mpsc::UnboundedReceiver<Command>,
    open_listeners: Arc<AtomicUsize>,
    ready: impl FnOnce(),
) {
    let main = main_loop::serve(spec, gateway, inbox, open_listeners, ready);
    match runtime {
        Runtime::Ring(mut runtime) => runtime.block_on(main),
        Runtime::Epoll(mut runtime) => runtime.block_on(main),
    }
}
