//! Starting the program of a successor with copies of the descriptors that it needs.

use crate::control::start::inherited;
use crate::control::start::note::{self, FD_ENV, FdEntry, Format};
use crate::control::start::program::Program;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::Child;

/// A descriptor for the successor: its kind in the note, the descriptor, and the process at the other end of a pipe.
pub(crate) type Lent<'d> = (&'static str, BorrowedFd<'d>, Option<u32>);

/// Starts `program` with copies of `descriptors` and the note about them. Fails if a copy or the program can't be made.
pub(crate) fn spawn(program: &Program, descriptors: &[Lent<'_>]) -> io::Result<Child> {
    // the copies stay open over the exec; this process closes its own when the program is started
    let lent = descriptors.iter().map(|(_, descriptor, _)| inherited::lend(descriptor));
    let lent = lent.collect::<io::Result<Vec<_>>>()?;
    let entries = descriptors.iter().zip(&lent);
    let entries: Vec<_> =
        entries.map(|((kind, _, pid), (number, _))| FdEntry { kind, number: *number, pid: *pid }).collect();
    let mut command = program.command();
    command.env(FD_ENV, note::write(Format::WithAck, true, &entries));
    for meant_for_this_process in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(meant_for_this_process);
    }
    if sd_notify::watchdog_enabled().is_some() {
        // without WATCHDOG_PID the successor takes WATCHDOG_USEC for itself: it will be the main process
        command.env_remove("WATCHDOG_PID");
    }
    command.spawn()
}
