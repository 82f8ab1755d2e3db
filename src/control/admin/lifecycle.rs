//! The life of one listener for operators: found among inherited sockets, served, handed over to a successor, and replaced by
//! another listener while this process drains.
//!
//! It does not know what the pages and the API do.

use crate::control::admin::connections::Connections;
use crate::control::admin::guard::Guard;
use crate::control::admin::listener::{
    Bound, Client, ClosableListener, Closed, Kind, ListenAddress, bind_tcp, bind_unix,
};
use crate::control::admin::pages::router;
use crate::control::admin::recorder::Recorder;
use crate::control::process::state::ProcessState;
use crate::control::start::inherited::InheritedSocket;
use crate::control::start::listeners::is_meant;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// How long a connection that was accepted before the hand-over may take to send its request.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// A listener for operators, ready to be served.
#[derive(Debug)]
pub struct Taken {
    pub kind: Kind,
    /// As the configuration has it.
    pub address: ListenAddress,
    pub bound: Bound,
    pub origin: Origin,
}

/// What the listeners show.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) state: Arc<ProcessState>,
    pub(crate) recorder: Arc<Recorder>,
}

/// How the main thread controls a listener for operators, which is served on the control thread.
#[derive(Debug)]
pub struct AdminHandle {
    /// As the configuration has it.
    pub address: ListenAddress,
    /// A copy of the listening socket, for a successor.
    pub socket: OwnedFd,
    pub origin: Origin,
    /// Begins to answer requests; `None` once it has begun.
    pub start: Option<oneshot::Sender<()>>,
    /// Ends serving at this listener.
    pub exit: oneshot::Sender<AdminExit>,
    /// Disconnected when the last connection of this listener is closed.
    pub finished: Receiver<()>,
}

/// Why a process stops serving a listener for operators.
#[derive(Debug)]
pub enum AdminExit {
    /// A successor serves it now. This process goes on at the given listener, if there is one, until it ends.
    HandedOver(Option<Bound>),
    /// The process ends. Requests that have arrived are still answered.
    End,
}

/// Where a listener for operators comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This process bound it.
    Bound,
    /// The predecessor serves it until it hands over.
    Predecessor,
    /// A socket unit of systemd, which keeps its socket file too.
    Unit,
}

/// A socket file that belongs to this process; dropping it removes the file, unless another file has its path meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: Option<(u64, u64)>,
}

impl SocketFile {
    /// The socket file that is at `path` now.
    pub fn at(path: PathBuf) -> Self {
        let id = Self::id(&path);
        Self { path, id }
    }

    /// Device and inode.
    fn id(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }

    /// Leaves the file: another process serves it now.
    pub fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && Self::id(&self.path) == self.id {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Finds the listener at `address` among inherited sockets: `handed_over` are those of a predecessor, `sockets` are all others;
/// the one that is found is removed from them. `None` if none of them listens there. Fails if the socket can't be made
/// non-blocking.
pub fn take(
    address: &ListenAddress,
    handed_over: &mut Vec<Socket>,
    sockets: &mut Vec<InheritedSocket>,
) -> io::Result<Option<(Bound, Origin)>> {
    let (socket, origin) = if let Some(index) = handed_over.iter().position(|socket| is_at(address, socket)) {
        (handed_over.swap_remove(index), Origin::Predecessor)
    } else if let Some(index) = sockets.iter().position(|inherited| is_at(address, &inherited.socket)) {
        (sockets.swap_remove(index).socket, Origin::Unit)
    } else {
        return Ok(None);
    };
    socket.set_nonblocking(true)?;
    let bound = match address {
        ListenAddress::Unix(_) => Bound::Unix(socket.into()),
        ListenAddress::Tcp(_) => Bound::Tcp(socket.into()),
    };
    Ok(Some((bound, origin)))
}

/// Binds a listener for a process that handed its own over: at the same address with a port that the kernel chooses, or as a
/// socket file with the same name and this process's id appended. Fails as bind does.
pub fn bind_beside(address: &ListenAddress) -> io::Result<(Bound, Option<SocketFile>)> {
    match address {
        ListenAddress::Tcp(address) => Ok((Bound::Tcp(bind_tcp(SocketAddr::new(address.ip(), 0))?), None)),
        ListenAddress::Unix(path) => {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{}", std::process::id()));
            let path = PathBuf::from(name);
            let bound = Bound::Unix(bind_unix(&path)?);
            Ok((bound, Some(SocketFile::at(path))))
        }
    }
}

/// Whether a socket listens at an address.
fn is_at(address: &ListenAddress, socket: &Socket) -> bool {
    let Ok(local) = socket.local_addr() else { return false };
    let same = match address {
        ListenAddress::Tcp(address) => local.as_socket().is_some_and(|local| is_meant(*address, local)),
        ListenAddress::Unix(path) => local.as_pathname() == Some(path),
    };
    same && socket.is_listener().unwrap_or(false)
}

/// Prepares to serve a listener on the control thread's runtime. It answers from the moment at which the handle's `start` is
/// sent. Fails if the socket can't be copied.
pub(crate) fn prepare(taken: Taken, shown: Shown, control: &Handle) -> io::Result<AdminHandle> {
    let Taken { kind, address, bound, origin } = taken;
    let socket = bound.descriptor().try_clone_to_owned()?;
    let (start, started) = oneshot::channel();
    let (exit, exited) = oneshot::channel();
    let (finish, finished) = sync_channel(0);
    control.spawn(async move {
        if started.await.is_ok() {
            serve_until_exit(kind, bound, shown, exited, finish).await;
        }
    });
    Ok(AdminHandle { address, socket, origin, start: Some(start), exit, finished })
}

/// Serves until `exited` arrives. After a hand-over it serves the other listener for as long as the process lives. `finish` is
/// dropped when the last connection of the first listener is closed.
async fn serve_until_exit(
    kind: Kind,
    bound: Bound,
    shown: Shown,
    exited: oneshot::Receiver<AdminExit>,
    finish: SyncSender<()>,
) {
    let ((close, closed), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let first = serve(kind, bound, shown.clone(), closed, ended);
    tokio::spawn(async move {
        if let Err(error) = first.await {
            tracing::error!("the {} listener failed: {error}", kind.word());
        }
        drop(finish);
    });
    let other = match exited.await {
        Ok(AdminExit::HandedOver(other)) => other,
        Ok(AdminExit::End) => return,
        Err(_) => return std::future::pending().await,
    };
    drop::<oneshot::Sender<()>>(close);
    tokio::spawn(async move {
        // a connection that was accepted may not have sent its request yet
        tokio::time::sleep(LAST_REQUEST_TIMEOUT).await;
        drop::<oneshot::Sender<()>>(end);
    });
    if let Some(other) = other {
        // dropping a sender closes or ends the listener, so both live as long as it
        let (_close, closed) = oneshot::channel();
        let (_end, ended) = oneshot::channel();
        if let Err(error) = serve(kind, other, shown, closed, ended).await {
            tracing::error!("the {} listener failed: {error}", kind.word());
        }
    }
}

/// Serves the pages and the API at `bound`. When `close` completes, no connection is accepted any more; when `end` completes,
/// requests that have arrived are still answered, and then it returns. Fails if the socket can't be used. Call it on the control
/// thread's runtime.
pub(crate) async fn serve(
    kind: Kind,
    bound: Bound,
    shown: Shown,
    close: Closed,
    end: Closed,
) -> io::Result<()> {
    let Shown { state, recorder } = shown;
    let (end_streams, ending) = watch::channel(());
    let end = async {
        drop(end.await);
        // a stream would never be answered to its end
        drop(end_streams);
    };
    let connections = Connections::new(Arc::clone(&state.admin_cuts));
    match bound {
        Bound::Tcp(listener) => {
            let address = listener.local_addr()?;
            tracing::info!("{} listener on http://{address}/", kind.word());
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let listener = ClosableListener::new(listener, close, connections);
            let router = router(Guard::new(state, kind, Some(address)), recorder, ending)
                .into_make_service_with_connect_info::<Client>();
            axum::serve(listener, router).with_graceful_shutdown(end).await
        }
        Bound::Unix(listener) => {
            if let Some(path) = listener.local_addr()?.as_pathname() {
                tracing::info!("{} listener on unix:{}", kind.word(), path.display());
            }
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let listener = ClosableListener::new(listener, close, connections);
            let router = router(Guard::new(state, kind, None), recorder, ending);
            axum::serve(listener, router).with_graceful_shutdown(end).await
        }
    }
}
