//! A service manager for tests: receives what a service sends, stores its sockets, and passes them on at the next start.

use super::{Config, DEADLINE, Gateway, Workspace, eventually};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::set_socket_passcred,
};
use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

pub struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
    /// Every message, and the process that sent it.
    pub messages: Vec<String>,
    pub senders: Vec<u32>,
    /// The sockets that are stored under the name that a gateway uses.
    pub stored: Vec<OwnedFd>,
}

/// The name under which a gateway stores its sockets.
const NAME: &str = "tidegate";

impl ServiceManager {
    pub fn listen(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        set_socket_passcred(&socket, true).unwrap();
        Self { socket, path, messages: Vec::new(), senders: Vec::new(), stored: Vec::new() }
    }

    /// Fills the queue with messages that mean nothing: the next message of a gateway waits until some are taken.
    pub fn fill_queue(&self) {
        // one sender may only have so many bytes under way
        loop {
            let sender = UnixDatagram::unbound().unwrap();
            sender.set_nonblocking(true).unwrap();
            let mut sent = 0;
            while sender.send_to(b"X_FILL=1", &self.path).is_ok() {
                sent += 1;
            }
            if sent == 0 {
                return;
            }
        }
    }

    /// The service with every stored socket.
    pub fn service(&self) -> Activation {
        self.service_after(":")
    }

    /// The same after a line of shell in the process that becomes the service.
    pub fn service_after(&self, line: &str) -> Activation {
        let names = vec![NAME; self.stored.len()];
        let activation = Activation::new(&self.stored, &names, line);
        activation.env("NOTIFY_SOCKET", &self.path).env("FDSTORE", "16")
    }

    /// Takes one message if there is one. Returns whether there was.
    fn take(&mut self) -> bool {
        let mut bytes = [0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let Ok(received) = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
        else {
            return false;
        };
        let text = String::from_utf8(bytes[..received.bytes].to_vec()).expect("text");
        let ours = text.lines().any(|line| line == format!("FDNAME={NAME}"));
        if ours && text.contains("FDSTOREREMOVE=1") {
            self.stored.clear();
        }
        let mut sender = 0;
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(sockets) => {
                    assert!(ours && text.contains("FDSTORE=1"), "{text}");
                    self.stored.extend(sockets);
                }
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    sender = credentials.pid.as_raw_pid().cast_unsigned();
                }
                _ => {}
            }
        }
        self.messages.push(text);
        self.senders.push(sender);
        true
    }

    /// Takes all messages that have arrived.
    pub fn take_all(&mut self) {
        while self.take() {}
    }

    /// Forgets all messages so far.
    pub fn forget(&mut self) {
        self.take_all();
        self.messages.clear();
        self.senders.clear();
    }

    /// Receives messages until `done` holds.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            while self.take() {}
            if done(self) {
                return;
            }
            assert!(std::time::Instant::now() < end, "timed out: {what}; messages: {:?}", self.messages);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for a message with this line and returns its index.
    #[track_caller]
    pub fn wait_for(&mut self, line: &str) -> usize {
        let find =
            |manager: &Self| manager.messages.iter().position(|text| text.lines().any(|one| one == line));
        eventually(line, || {
            while self.take() {}
            find(self).is_some()
        });
        find(self).unwrap()
    }
}

/// The program as systemd starts it, with these sockets and after a line of shell.
pub struct Activation {
    command: Command,
    /// Copies with numbers that no other redirection uses. The service closes them once it has the sockets where it
    /// expects them.
    copies: Vec<OwnedFd>,
}

impl Activation {
    pub fn new(sockets: &[OwnedFd], names: &[&str], line: &str) -> Self {
        let copy = |socket| {
            let copy = rustix::io::fcntl_dupfd_cloexec(socket, 500).unwrap();
            rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
            copy
        };
        let copies: Vec<_> = sockets.iter().map(copy).collect();
        let takes = copies.iter().enumerate().map(|(n, copy)| {
            let copy = copy.as_raw_fd();
            format!("exec {}<&{copy} {copy}<&-; ", n + 3)
        });
        let takes: String = takes.collect();
        let script = format!("{takes}{line}; export LISTEN_PID=$$; exec \"$0\" \"$@\"");
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
        if !sockets.is_empty() {
            command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        Self { command, copies }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the service and waits until it is ready.
    #[track_caller]
    pub fn start(self, workspace: &Workspace, config: &Config) -> Gateway {
        let gateway = Gateway::spawn_by(self.command, workspace, config);
        drop(self.copies);
        gateway.wait_until_ready()
    }
}
