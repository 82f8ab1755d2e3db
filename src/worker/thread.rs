//! A worker's thread: pinned, on a ring or on epoll, started and joined.

use crate::config::Driver;
use crate::shared::gateway::Gateway;
use crate::worker::io::runtime::{self, DriverChoice, Runtime};
use crate::worker::local::state::Worker;
use crate::worker::main_loop::{self, Command};
use futures_channel::mpsc;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one worker is started with. `gateway`, which all workers share, is a parameter of [`start`].
#[derive(Debug)]
pub struct WorkerSpec {
    /// Its number, from 0.
    pub index: usize,
    /// The core to stay on; `None` leaves the choice to the kernel.
    pub core: Option<usize>,
    /// The driver that the configuration asks for.
    pub driver: Driver,
    /// Listening sockets to accept from.
    pub listeners: Vec<std::net::TcpListener>,
    /// Listening sockets of addresses that are not served any more: accepted from until their queues are empty, then closed.
    pub draining_listeners: Vec<std::net::TcpListener>,
}

/// Sends commands to one worker, from any thread.
#[derive(Debug, Clone)]
pub struct Mailbox(mpsc::UnboundedSender<Command>);

impl Mailbox {
    /// Sends a command. It wakes the worker, also while all its sessions are idle; to a worker that has ended it does nothing.
    pub fn send(&self, command: Command) {
        // a failed send means that the worker has ended: then the command is void
        let _ = self.0.unbounded_send(command);
    }
}

/// A running worker, as the control side sees it.
pub struct Handle {
    mailbox: Mailbox,
    thread: std::thread::JoinHandle<()>,
    open_listeners: Arc<AtomicUsize>,
    /// The driver that it runs on.
    pub driver: DriverChoice,
}

impl Handle {
    /// Sends a command, as [`Mailbox::send`] does.
    pub fn send(&self, command: Command) {
        self.mailbox.send(command);
    }

    /// A mailbox of this worker, for another thread.
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Whether it accepts from a listener now.
    pub fn is_accepting(&self) -> bool {
        self.open_listeners.load(Ordering::Acquire) > 0
    }

    /// Whether its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of its thread; `Err` if it panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// Starts a worker and waits until it runs. It accepts when [`Command::Accept`] tells it to. The error says what could not
/// be had: a thread, its core, a ring or epoll.
pub fn start(spec: WorkerSpec, gateway: Arc<Gateway>) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded();
    let open_listeners = Arc::<AtomicUsize>::default();
    let counted = open_listeners.clone();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let name = format!("tidegate-{}", spec.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || match prepare(&spec) {
        Ok((runtime, driver)) => runtime.block_on(async {
            let worker = Rc::new(Worker::new(gateway, spec.index, counted));
            drop(ready.send(Ok(driver)));
            main_loop::run(worker, spec.index, spec.listeners, spec.draining_listeners, inbox).await;
        }),
        Err(error) => drop(ready.send(Err(error))),
    })?;
    let driver =
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it ran")))?;
    Ok(Handle { mailbox: Mailbox(commands), thread, open_listeners, driver })
}

/// Pins the thread and builds the runtime on it.
fn prepare(spec: &WorkerSpec) -> io::Result<(Runtime, DriverChoice)> {
    spec.core.map(runtime::pin_to_core).transpose()?;
    Runtime::build(spec.driver)
}
