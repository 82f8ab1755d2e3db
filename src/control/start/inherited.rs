//! Descriptors that the process inherits: from systemd, with sockets in `LISTEN_FDS`; or from the gateway that it succeeds, with
//! sockets and a control pipe in [`FD_ENV`].
//!
//! It does not know which socket is for what: the owners of listeners find theirs by address.

use crate::control::start::control_pipe::{ControlPipe, DrainingPredecessor};
use crate::control::start::note::{self, FD_ENV, FdEntry, Format, Note};
use crate::control::start::program::Program;
use crate::control::systemd;
use rustix::io::FdFlags;
use socket2::Socket;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A listening socket that the process inherits.
#[derive(Debug)]
pub struct InheritedSocket {
    pub socket: Socket,
    /// A gateway opened it, as opposed to a socket unit, which systemd keeps anyway.
    pub own: bool,
}

/// Everything that the process inherits.
#[derive(Debug, Default)]
pub struct Inherited {
    pub sockets: Vec<InheritedSocket>,
    /// systemd certainly keeps some of the sockets too.
    pub kept: bool,
    /// systemd keeps the sockets that gateways opened: some of them come from its store.
    pub keeps_own: bool,
    /// The listeners for operators of a predecessor.
    pub operator_sockets: Vec<Socket>,
    /// The gateway that waits until this process is ready.
    pub predecessor: Option<Predecessor>,
    /// Older gateways that still drained when this process was started.
    pub draining: Vec<DrainingPredecessor>,
}

impl Inherited {
    /// The ids of all earlier processes of this gateway that still run.
    pub fn predecessors(&self) -> Vec<u32> {
        let draining = self.draining.iter().map(|predecessor| predecessor.pid);
        draining.chain(self.predecessor.iter().map(|predecessor| predecessor.pid)).collect()
    }
}

/// The gateway that serves until this process takes over.
#[derive(Debug)]
pub struct Predecessor {
    pub pid: u32,
    pub pipe: ControlPipe,
    pub format: Format,
}

/// Takes over the inherited descriptors. Call it once, before anything else is opened. In the first process of a new binary it
/// starts the second one and does not return. It fails if the text of a hand-over is malformed or names a descriptor that is
/// not open.
pub fn take() -> io::Result<Inherited> {
    match std::env::var(FD_ENV) {
        Ok(note) => {
            forget_note();
            let malformed = || {
                io::Error::other(format!("{FD_ENV} has a format that this version does not read: {note:?}"))
            };
            let note = note::read(&note).ok_or_else(malformed)?;
            if note.step {
                double_fork(&note)?;
            }
            from_predecessor(note)
        }
        Err(_) => from_systemd(),
    }
}

fn from_systemd() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for (number, name) in sd_notify::listen_fds_with_names()? {
        let own = name == systemd::STORED;
        inherited.keeps_own |= own;
        let socket = InheritedSocket { socket: adopt(number)?.into(), own };
        inherited.sockets.push(socket);
        inherited.kept = true;
    }
    Ok(inherited)
}

fn from_predecessor(note: Note<'_>) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for FdEntry { kind, number, pid } in note.entries {
        let descriptor = adopt(number)?;
        match (kind, pid) {
            ("own" | "unit", _) => {
                inherited.sockets.push(InheritedSocket { socket: descriptor.into(), own: kind == "own" });
                inherited.kept |= kind == "unit";
            }
            ("admin", _) => inherited.operator_sockets.push(descriptor.into()),
            ("report", Some(pid)) => {
                let pipe = ControlPipe::over(descriptor.into())?;
                inherited.predecessor = Some(Predecessor { pid, pipe, format: note.format });
            }
            ("past", Some(pid)) => {
                let pipe = ControlPipe::over(descriptor.into())?;
                inherited.draining.push(DrainingPredecessor { pid, pipe });
            }
            // a kind of a later version
            _ => drop(descriptor),
        }
    }
    Ok(inherited)
}

/// Removes the note from the environment, where it would mislead programs that this process starts, and from the memory that
/// `/proc/PID/environ` shows. Does nothing if the process has other threads already, as a program that embeds the gateway may.
#[allow(unsafe_code)]
fn forget_note() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let name = std::ffi::CString::new(FD_ENV).unwrap_or_default();
    if threads != 1 {
        return;
    }
    // SAFETY: this is the only thread, so no other one reads or changes the environment now, and getenv's pointer stays good
    // until the end of the block. It points into a string NAME=VALUE of one allocation, so the name and the sign stand right
    // before it. The variable is removed first, and std copies what it reads: nothing refers to these bytes afterwards. Test:
    // `upgrade::turn::the_note_leaves_the_environment` in tests/gateway.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if !value.is_null() {
            let (before, length) = (FD_ENV.len() + 1, libc::strlen(value));
            std::env::remove_var(FD_ENV);
            std::ptr::write_bytes(value.sub(before), 0, before + length);
        }
    }
}

/// Takes over a descriptor that was left open for this process, and lets it close at the next exec.
#[allow(unsafe_code)]
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only asks for and sets a flag, which the kernel refuses for a number that is not open; the borrow does not
    // outlive these two calls.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: the number is open, as the call above showed, and it was opened for us alone: LISTEN_PID names this process,
    // or our own starter wrote the note, in which no number stands twice. `take` runs once and before we open anything of
    // our own, so nothing else in here owns it. Tests: `upgrade::` in tests/gateway go through here with both.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&owned, flags | FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Starts the second process of a new binary and ends this first one, so that the second loses its parent and becomes a child
/// of systemd. systemd can wait only for children of its own: it would not notice the end of a main process that is a child
/// of the old gateway.
fn double_fork(note: &Note<'_>) -> io::Result<()> {
    let report = note.entries.iter().find(|entry| entry.kind == "report");
    let report = report.ok_or_else(|| io::Error::other(format!("{FD_ENV} has no entry report")))?;
    let second = note::write(note.format, false, &note.entries);
    let child = Program::as_started()?.command().env(FD_ENV, second).spawn()?;
    // the other descriptors stay open for the child only: this process ends here
    ControlPipe::over(adopt(report.number)?.into())?.send(&format!("pid {}", child.id()))?;
    std::process::exit(0);
}

/// A copy of a descriptor, and its number, that stays open in the programs that this process starts. Only the supervisor's thread
/// starts any, so no program gets a copy that is meant for another.
pub fn lend(descriptor: impl AsFd) -> io::Result<(RawFd, OwnedFd)> {
    let copy = rustix::io::dup(descriptor)?;
    Ok((copy.as_raw_fd(), copy))
}
