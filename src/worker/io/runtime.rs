//! All that a worker uses of its runtime besides sockets: how it is built, tasks, and timers.
//!
//! Together with [`socket`](crate::worker::io::socket) this is the gateway's whole use of monoio. Another runtime would be
//! a change of these two files. What the published version lacks, and how the gateway works around it, stands in
//! `docs/decisions.md`.

use crate::config::Driver;
use std::io;
use std::time::Instant;

pub(crate) use monoio::spawn;
pub(crate) use monoio::time::{sleep, timeout};

/// Waits until `deadline`. May be dropped at any time.
pub(crate) fn sleep_until(deadline: Instant) -> monoio::time::Sleep {
    monoio::time::sleep_until(deadline.into())
}

/// Runs `work` until `deadline` at the latest; `Err` when the time is up, and then `work` is dropped.
pub(crate) fn timeout_at<F: Future>(deadline: Instant, work: F) -> monoio::time::Timeout<F> {
    monoio::time::timeout_at(deadline.into(), work)
}

/// A runtime on the thread that built it.
pub(crate) enum Runtime {
    Ring(monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>),
    Epoll(monoio::Runtime<monoio::time::TimeDriver<monoio::LegacyDriver>>),
}

/// The kernel interface that a worker got, and why it is not the ring.
#[derive(Debug, Clone)]
pub struct DriverChoice {
    /// `io_uring` or `epoll`.
    pub name: &'static str,
    /// Why the ring could not be had, with the next step; `None` if it was had or not asked for.
    pub reason: Option<String>,
}

/// Entries of the submission queue. One wake of a busy worker submits fewer.
pub(crate) const RING_ENTRIES: u32 = 4096;

impl Runtime {
    /// Builds the runtime that the configuration asks for: the ring, epoll, or (`auto`) epoll where there is no ring. Has to
    /// be called on the thread that runs it, because a ring with SINGLE_ISSUER belongs to the thread that made it.
    pub(crate) fn build(driver: Driver) -> io::Result<(Self, DriverChoice)> {
        if driver == Driver::Epoll {
            return Self::epoll(None);
        }
        match build_ring() {
            Ok(runtime) => Ok((Self::Ring(runtime), DriverChoice { name: "io_uring", reason: None })),
            Err(error) if driver == Driver::IoUring => Err(io::Error::new(
                error.kind(),
                format!("io_uring can't be had: {error}; {}", ring_advice(&error)),
            )),
            Err(error) => {
                Self::epoll(Some(format!("io_uring can't be had: {error}; {}", ring_advice(&error))))
            }
        }
    }

    fn epoll(reason: Option<String>) -> io::Result<(Self, DriverChoice)> {
        let runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        Ok((Self::Epoll(runtime), DriverChoice { name: "epoll", reason }))
    }

    /// Runs `main` to its end, and with it every task that it spawns.
    pub(crate) fn block_on<T>(self, main: impl Future<Output = T>) -> T {
        match self {
            Self::Ring(mut runtime) => runtime.block_on(main),
            Self::Epoll(mut runtime) => runtime.block_on(main),
        }
    }
}

/// Keeps the calling thread on one core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    monoio::utils::bind_to_cpu_set([core])
        .map_err(|error| io::Error::other(format!("can't stay on core {core}: {error}")))
}

/// Tries the flags that suit one thread first, then a plain ring (kernels before 6.1).
fn build_ring() -> io::Result<monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>> {
    let build = |ring: io_uring::Builder| {
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .uring_builder(ring)
            .enable_timer()
            .build()
    };
    build(deferred_ring()).or_else(|_| build(io_uring::IoUring::builder()))
}

/// A ring with the flags that suit one thread (since Linux 6.1).
pub(crate) fn deferred_ring() -> io_uring::Builder {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    ring
}

fn ring_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "kernel.io_uring_disabled or a seccomp filter forbids it; allow io_uring_setup, or set driver = \"epoll\""
        }
        Some(libc::ENOMEM) => "the limit of locked memory is too small; raise LimitMEMLOCK",
        Some(libc::ENOSYS) => "this kernel has none; 6.1 or later is recommended",
        _ => "set driver = \"epoll\" to do without it",
    }
}

/// Runs `main` on whatever driver there is here: for unit tests.
#[cfg(test)]
pub(crate) fn block_on_any<T>(main: impl Future<Output = T>) -> T {
    let (runtime, _) = Runtime::build(Driver::Auto).expect("a ring or epoll");
    runtime.block_on(main)
}
