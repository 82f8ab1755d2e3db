//! The listeners for operators, `[monitoring]` and `[admin]`, as the main thread controls them: taken, opened, handed over to a
//! successor, ended.

use crate::config::{AdminListen, Config};
use crate::control::admin::lifecycle::{self, AdminExit, AdminHandle, Origin, Shown, SocketFile, Taken};
use crate::control::admin::listener::{self, Kind, ListenAddress};
use crate::control::admin::recorder::Recorder;
use crate::control::process::state::ProcessState;
use crate::control::start::inherited::InheritedSocket;
use socket2::Socket;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long the answers of these listeners may take at the end of the process, all together.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The sockets of the listeners, which answer nothing yet.
#[derive(Debug, Default)]
pub struct OperatorSockets {
    taken: Vec<Taken>,
    /// Socket files of a predecessor's listeners that the configuration does not name any more.
    abandoned: Vec<PathBuf>,
}

impl OperatorSockets {
    /// Takes the listeners of the configuration from inherited sockets, and binds those that are missing. `handed_over` are
    /// those of a predecessor. A listener that can't be had is an error, a whole sentence with the next step; but `admin.listen =
    /// "auto"` is only logged then, and the gateway serves without it.
    pub fn open(
        config: &Config,
        mut handed_over: Vec<Socket>,
        sockets: &mut Vec<InheritedSocket>,
    ) -> Result<Self, String> {
        let monitoring =
            config.monitoring.listen.map(|address| (Kind::Monitoring, ListenAddress::Tcp(address)));
        let admin = ListenAddress::of_admin(&config.admin.listen).map(|address| (Kind::Admin, address));
        let mut taken = Vec::new();
        for (kind, address) in monitoring.into_iter().chain(admin) {
            let inherited = lifecycle::take(&address, &mut handed_over, sockets).ok().flatten();
            let bound = match inherited {
                Some(inherited) => Ok(inherited),
                None => listener::bind(kind, &address).map(|bound| (bound, Origin::Bound)),
            };
            match bound {
                Ok((bound, origin)) => taken.push(Taken { kind, address, bound, origin }),
                Err(why) if kind == Kind::Admin && config.admin.listen == AdminListen::Auto => {
                    tracing::warn!(
                        "serving without an admin listener, so that no command can change something: {why}"
                    );
                }
                Err(why) => return Err(why),
            }
        }
        let path = |socket: &Socket| Some(socket.local_addr().ok()?.as_pathname()?.to_owned());
        Ok(Self { taken, abandoned: handed_over.iter().filter_map(path).collect() })
    }

    /// Prepares to serve them on the control thread's runtime. Fails if a socket can't be copied.
    pub fn prepare(self, state: &Arc<ProcessState>, control: &Handle) -> io::Result<OperatorListeners> {
        let recorder = Arc::<Recorder>::default();
        if !self.taken.is_empty() {
            control.spawn(Arc::clone(&recorder).run(Arc::clone(state)));
        }
        let shown = Shown { state: Arc::clone(state), recorder };
        let handles = self.taken.into_iter().map(|taken| lifecycle::prepare(taken, shown.clone(), control));
        let handles = handles.collect::<io::Result<Vec<_>>>()?;
        let mut listeners = OperatorListeners { handles, files: Vec::new(), abandoned: self.abandoned };
        listeners.own_socket_files(Origin::Bound);
        Ok(listeners)
    }
}

/// The listeners for operators of this process.
#[derive(Debug, Default)]
pub struct OperatorListeners {
    handles: Vec<AdminHandle>,
    /// Removed at the end of this process.
    files: Vec<SocketFile>,
    /// Removed once this process is in charge.
    abandoned: Vec<PathBuf>,
}

impl OperatorListeners {
    /// From now on this process removes the socket files of the listeners that come from `origin` at its end.
    fn own_socket_files(&mut self, origin: Origin) {
        let of_origin = self.handles.iter().filter(|handle| handle.origin == origin);
        self.files.extend(of_origin.filter_map(|handle| match &handle.address {
            ListenAddress::Unix(path) => Some(SocketFile::at(path.clone())),
            ListenAddress::Tcp(_) => None,
        }));
    }

    /// Lets the listeners begin to answer, if they have not: this process is in charge.
    pub fn open(&mut self) {
        self.own_socket_files(Origin::Predecessor);
        self.abandoned.drain(..).for_each(|path| drop(SocketFile::at(path)));
        for start in self.handles.iter_mut().filter_map(|handle| handle.start.take()) {
            // the control thread lasts as long as the process
            let _ = start.send(());
        }
    }

    /// Every listening socket, for a successor, and whether it is one of a socket unit.
    pub fn sockets(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.handles.iter().map(|handle| (handle.socket.as_fd(), handle.origin == Origin::Unit))
    }

    /// Leaves the listeners to the successor and opens others beside them, so that the drain can be watched. Connections that were
    /// accepted before are still answered; each receiver fails when the last one of a listener is closed.
    pub fn hand_over(&mut self) -> Vec<Receiver<()>> {
        self.files.drain(..).for_each(SocketFile::keep);
        let mut left = Vec::new();
        for handle in self.handles.drain(..) {
            let beside = lifecycle::bind_beside(&handle.address);
            let beside = beside.inspect_err(|error| {
                tracing::warn!("no listener beside {} during the drain: {error}", handle.address)
            });
            let (bound, file) = beside.ok().unzip();
            self.files.extend(file.flatten());
            if handle.exit.send(AdminExit::HandedOver(bound)).is_ok() {
                left.push(handle.finished);
            }
        }
        left
    }

    /// At the end of the process: ends the listeners after their last answers, for 1 s at most. The client that requested a drain
    /// reads that it began even if there was nothing to drain.
    pub fn end(&mut self) {
        // first: the next process may bind the paths as soon as this one does not serve them
        self.files.clear();
        let deadline = Instant::now() + END_TIMEOUT;
        let mut ended = Vec::new();
        for AdminHandle { start, exit, finished, .. } in self.handles.drain(..) {
            // a listener that has not begun to answer ends by this
            drop(start);
            if exit.send(AdminExit::End).is_ok() {
                ended.push(finished);
            }
        }
        for finished in ended {
            let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}
