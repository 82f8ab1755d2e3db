//! A predecessor for tests: it owns the listeners, starts the program as its successor, and says what a test wants on the control
//! pipe.

use super::{Config, DEADLINE, Gateway, Workspace, eventually};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

/// A successor of this process, and this process's end of the control pipe.
pub struct FakePredecessor {
    pub successor: Gateway,
    pub pipe: Option<BufReader<UnixStream>>,
    /// The control pipe of a still older process that drains.
    pub older: UnixStream,
    pub workspace: Workspace,
    sockets: Vec<OwnedFd>,
}

impl FakePredecessor {
    /// Starts the program as a successor by a note of this format. Two listeners go over.
    pub fn start(format: u32, change: impl FnOnce(&mut Config, &Workspace)) -> Self {
        let workspace = Workspace::claim();
        let mut config = Config::new(&workspace);
        change(&mut config, &workspace);
        let sockets: Vec<_> = (0..2).map(|_| listener(workspace.gateway())).collect();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut lent = Vec::new();
        let mut note = format!("{format}");
        for socket in &sockets {
            let copy = lend(socket);
            note.push_str(&format!(" own={}", copy.as_raw_fd()));
            lent.push(copy);
        }
        let (older, its_end) = UnixStream::pair().unwrap();
        older.set_read_timeout(Some(DEADLINE)).unwrap();
        let copy = lend(&its_end);
        note.push_str(&format!(" past={}:{}", copy.as_raw_fd(), std::process::id()));
        lent.push(copy);
        let copy = lend(&theirs);
        note.push_str(&format!(" report={}:{}", copy.as_raw_fd(), std::process::id()));
        lent.push(copy);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env("TIDEGATE_HANDOVER", note);
        let successor = Gateway::spawn_by(command, &workspace, &config);
        drop(lent);
        Self { successor, pipe: Some(BufReader::new(ours)), older, workspace, sockets }
    }

    /// Sends one line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let pipe = self.pipe.as_mut().expect("not closed");
        pipe.get_mut().write_all(format!("{line}\n").as_bytes()).expect("the successor reads");
    }

    /// Reads lines up to one that begins with this word.
    #[track_caller]
    pub fn hear(&mut self, word: &str) -> String {
        let pipe = self.pipe.as_mut().expect("not closed");
        loop {
            let mut line = String::new();
            let read = pipe.read_line(&mut line).expect("a line in time");
            assert!(read > 0, "the pipe was closed before {word:?}:\n{}", self.successor.stderr());
            if line.starts_with(word) {
                return line;
            }
        }
    }

    /// Ends this predecessor: its end of the pipe and its sockets close.
    pub fn end(&mut self) {
        self.pipe = None;
        self.sockets.clear();
    }

    /// The exit code of the successor, which ends by itself. Its log is complete after this.
    #[track_caller]
    pub fn code(&mut self) -> Option<i32> {
        self.successor.wait_for_exit().code()
    }

    /// Waits until the successor is in charge: its admin listener answers.
    #[track_caller]
    pub fn is_in_charge(&self) {
        let status = || self.successor.ready();
        eventually("the successor is in charge", || status() == Some(200));
    }
}

/// A copy that the next program inherits. Its number is one that nothing else uses.
fn lend(descriptor: &impl AsFd) -> OwnedFd {
    let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, 500).unwrap();
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
    copy
}

/// A listener that shares its port, as a gateway's do.
pub fn listener(address: SocketAddr) -> OwnedFd {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}
