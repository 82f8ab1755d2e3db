//! What a process was given by whoever started it: systemd, with sockets in `LISTEN_FDS`; or the gateway whose place it
//! takes, with sockets and a line to talk on in `TIDEGATE_HANDOVER`.
//!
//! It knows nothing of what the sockets are for: they are told apart by their addresses, by whoever needs one.

use crate::control::start::program::Program;
use crate::control::systemd;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::net::RecvFlags;
use socket2::Socket;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The note of a gateway to the one that takes its place: the number of the form, then words. Each names a descriptor
/// that stays open over the exec: `own=7`, a listening socket that a gateway opened; `unit=8`, one of a socket unit;
/// `admin=5`, the admin listener; `report=9:4711`, the line to the process before, with its id; `past=10:4242`, the line
/// that ends with an even older one, which still drains. `step` tells the first process of a new binary to start the second one. Other words may be
/// added: whoever does not know one closes what it names.
pub const FD_ENV: &str = "TIDEGATE_HANDOVER";
const FORM: &str = "1";

/// A longer line would be no word of ours.
const LINE_MAX: usize = 64 << 10;

/// Bytes taken at once.
const ROOM: usize = 16 << 10;

/// How long the other side may take to read a line.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening socket that was there before us.
#[derive(Debug)]
pub struct Given {
    pub socket: Socket,
    /// Opened by a gateway, and not by a socket unit, which keeps it anyway.
    pub own: bool,
}

/// Everything that came with the start.
#[derive(Debug, Default)]
pub struct Inherited {
    pub sockets: Vec<Given>,
    /// Some of them are certainly kept by systemd too.
    pub kept: bool,
    pub admin: Option<Socket>,
    /// The gateway that waits for us to be ready, and its process id.
    pub predecessor: Option<(u32, ControlPipe)>,
    /// Older ones that still drained when we were started.
    pub past: Vec<DrainingPredecessor>,
}

/// An older gateway that drains. Its end of the line is closed when it is gone, however it goes.
#[derive(Debug)]
pub struct DrainingPredecessor {
    pub pid: u32,
    line: OwnedFd,
}

impl DrainingPredecessor {
    /// The one at the other end of this line.
    pub fn new(pid: u32, line: ControlPipe) -> Self {
        Self { pid, line: line.0.into() }
    }

    /// Whether it is still there.
    pub fn is_alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.line, PollFlags::empty())];
        let looked = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        looked.is_ok() && !polled[0].revents().contains(PollFlags::HUP)
    }
}

impl AsFd for DrainingPredecessor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

/// What was heard on a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    ControlPipe(String),
    NothingYet,
    /// The other side is gone, or talks nonsense.
    End,
}

/// A line between two gateways: words one way, words the other.
#[derive(Debug)]
pub struct ControlPipe(UnixStream, Vec<u8>);

impl ControlPipe {
    /// Both ends of a new one.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self::over(one)?, Self::over(other)?))
    }

    fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream, Vec::new()))
    }

    /// Says one line.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(format!("{}\n", text.replace('\n', " ")).as_bytes())
    }

    /// What has come, without waiting.
    pub fn hear(&mut self) -> Message {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                return Message::ControlPipe(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut room = [0; ROOM];
            match rustix::net::recv(&self.0, &mut room, RecvFlags::DONTWAIT) {
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                    return Message::NothingYet;
                }
                Ok((taken @ 1.., _)) if self.1.len() <= LINE_MAX => self.1.extend_from_slice(&room[..taken]),
                _ => return Message::End,
            }
        }
    }
}

impl AsFd for ControlPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A word of a note: what the descriptor is, its number, and a process id that belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct FdEntry<'n> {
    pub kind: &'n str,
    pub number: RawFd,
    pub pid: Option<u32>,
}

/// Writes a note. The first process that reads it will be a stepping stone.
pub fn write(words: &[FdEntry<'_>]) -> String {
    let mut note = format!("{FORM} step");
    for FdEntry { kind, number, pid } in words {
        let _ = match pid {
            Some(pid) => write!(note, " {kind}={number}:{pid}"),
            None => write!(note, " {kind}={number}"),
        };
    }
    note
}

/// Reads a note: whether it goes to a stepping stone, and its words.
fn read(note: &str) -> Option<(bool, Vec<FdEntry<'_>>)> {
    let mut words = note.split(' ');
    if words.next() != Some(FORM) {
        return None;
    }
    let (mut step, mut read) = (false, Vec::new());
    for word in words {
        if word == "step" {
            step = true;
            continue;
        }
        let (kind, value) = word.split_once('=')?;
        let (number, pid) = match value.split_once(':') {
            Some((number, pid)) => (number, Some(pid.parse().ok()?)),
            None => (value, None),
        };
        let number = number.parse().ok().filter(|number| *number > 2)?;
        if read.iter().any(|word: &FdEntry<'_>| word.number == number) {
            return None;
        }
        read.push(FdEntry { kind, number, pid });
    }
    Some((step, read))
}

/// Takes what this process was given. Call it once, before anything else is opened. A stepping stone does not come back.
pub fn take() -> io::Result<Inherited> {
    match std::env::var(FD_ENV) {
        Ok(note) => {
            let bad =
                || io::Error::other(format!("{FD_ENV} is not of the form that this version reads: {note:?}"));
            let (step, words) = read(&note).ok_or_else(bad)?;
            if step {
                double_fork(&words)?;
            }
            from_note(words)
        }
        Err(_) => from_systemd(),
    }
}

fn from_systemd() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for (number, name) in sd_notify::listen_fds_with_names()? {
        let given = Given { socket: adopt(number)?.into(), own: name == systemd::STORED };
        inherited.sockets.push(given);
        inherited.kept = true;
    }
    Ok(inherited)
}

fn from_note(words: Vec<FdEntry<'_>>) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for FdEntry { kind, number, pid } in words {
        let descriptor = adopt(number)?;
        match (kind, pid) {
            ("own" | "unit", _) => {
                inherited.sockets.push(Given { socket: descriptor.into(), own: kind == "own" });
                inherited.kept |= kind == "unit";
            }
            ("admin", _) => inherited.admin = Some(descriptor.into()),
            ("report", Some(pid)) => {
                inherited.predecessor = Some((pid, ControlPipe::over(descriptor.into())?))
            }
            ("past", Some(pid)) => inherited.past.push(DrainingPredecessor { pid, line: descriptor }),
            // of a later version: closed
            _ => drop(descriptor),
        }
    }
    Ok(inherited)
}

/// Takes over a descriptor that was left open for us; from here on it ends with us.
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

/// The first process of a new binary only starts the second one, which then loses its parent: systemd can wait only for
/// children of its own, and would not notice the end of a main process that is a child of the old gateway.
fn double_fork(words: &[FdEntry<'_>]) -> io::Result<()> {
    let report =
        words.iter().find(|word| word.kind == "report").ok_or_else(|| io::Error::other("no report"))?;
    let note = write(words).replacen(" step", "", 1);
    let child = Program::as_started()?.command().env(FD_ENV, note).spawn()?;
    // all others stay open for the child only: this process ends here
    ControlPipe::over(adopt(report.number)?.into())?.say(&format!("pid {}", child.id()))?;
    std::process::exit(0);
}

/// A copy of a descriptor that stays open in programs that we start. Nobody but the supervisor starts any.
pub fn lend(descriptor: impl AsFd) -> io::Result<(RawFd, OwnedFd)> {
    let copy = rustix::io::dup(descriptor)?;
    Ok((copy.as_raw_fd(), copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let words = || {
            vec![
                FdEntry { kind: "own", number: 7, pid: None },
                FdEntry { kind: "report", number: 9, pid: Some(4711) },
            ]
        };
        let note = write(&words());
        assert_eq!(note, "1 step own=7 report=9:4711", "other versions read it");
        assert_eq!(read(&note), Some((true, words())));
        assert_eq!(read("1 own=7 report=9:4711"), Some((false, words())));
    }

    #[test]
    fn a_word_of_a_later_version_is_no_harm_and_nonsense_is_refused() {
        let later = FdEntry { kind: "lantern", number: 12, pid: None };
        assert_eq!(read("1 lantern=12"), Some((false, vec![later])));
        for note in
            ["", "2 own=7", "1 own", "1 own=", "1 own=-1", "1 own=2", "1 own=7 unit=7", "1 own=7:x", "1  "]
        {
            assert_eq!(read(note), None, "{note:?}");
        }
    }

    #[test]
    fn a_line_carries_lines_in_any_pieces_and_tells_its_end() {
        let (mut one, mut other) = ControlPipe::pair().unwrap();
        assert_eq!(other.hear(), Message::NothingYet);
        one.0.write_all(b"re").unwrap();
        assert_eq!(other.hear(), Message::NothingYet);
        one.0.write_all(b"ady\ngo\n").unwrap();
        assert_eq!(other.hear(), Message::ControlPipe("ready".to_owned()));
        assert_eq!(other.hear(), Message::ControlPipe("go".to_owned()));
        other.say("two\nlines").unwrap();
        assert_eq!(one.hear(), Message::ControlPipe("two lines".to_owned()));
        let past = DrainingPredecessor::new(1, other);
        assert!(past.is_alive());
        one.0.write_all(b"last words").unwrap();
        drop(one);
        assert!(!past.is_alive());
    }

    #[test]
    fn a_line_without_an_end_is_no_line() {
        let (mut one, mut other) = ControlPipe::pair().unwrap();
        one.0.write_all(&[b'x'; 3 * LINE_MAX]).unwrap();
        assert_eq!(other.hear(), Message::End);
    }
}
