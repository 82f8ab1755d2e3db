//! The admin listener between two processes: taken over from one, passed on to the next, and where the old one shows itself
//! afterwards.
//!
//! It knows nothing of what is asked there.

use crate::config::AdminListen;
use crate::control::admin::listener::{Bound, ClosableListener, Closed, bind_tcp, bind_unix};
use crate::control::admin::pages::router;
use crate::control::process::state::ProcessState;
use crate::control::start::inherited::InheritedSocket;
use crate::control::start::listeners::is_meant;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a client that was let in may take to ask, once the listener is somebody else's.
const LAST_ASK: Duration = Duration::from_millis(500);

/// The control side's hold on the admin listener.
#[derive(Debug)]
pub struct AdminHandle {
    /// A copy, to pass on.
    pub socket: OwnedFd,
    /// Lets it begin.
    pub go: Option<oneshot::Sender<()>>,
    /// Ends its serving here.
    pub leave: oneshot::Sender<AdminExit>,
    /// Closed when the last answer at the first listener was given.
    pub gone: Receiver<()>,
}

/// What becomes of the admin pages of a process.
#[derive(Debug)]
pub enum AdminExit {
    /// The listener is somebody else's: they go on at this one, if there is one.
    Aside(Option<Bound>),
    /// What was asked is still answered.
    End,
}

/// A socket file of ours alone, removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Finds what the configuration says among what was inherited.
pub fn take(
    listen: &AdminListen,
    before: Option<Socket>,
    inherited: &mut Vec<InheritedSocket>,
) -> io::Result<Option<Bound>> {
    let before = before.filter(|socket| is_at(listen, socket));
    let given = || {
        let place = inherited.iter().position(|given| is_at(listen, &given.socket))?;
        Some(inherited.swap_remove(place).socket)
    };
    let Some(socket) = before.or_else(given) else { return Ok(None) };
    socket.set_nonblocking(true)?;
    Ok(Some(match listen {
        AdminListen::Unix(_) => Bound::Unix(socket.into()),
        _ => Bound::Tcp(socket.into()),
    }))
}

/// A listener beside the one that the configuration names, which is somebody else's now: the same address with a port that
/// the kernel chooses, or the same socket file with our process id behind its name.
pub fn bind_aside(listen: &AdminListen) -> io::Result<Option<(Bound, Option<SocketFile>)>> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::Tcp(address) => {
            Ok(Some((Bound::Tcp(bind_tcp(SocketAddr::new(address.ip(), 0))?), None)))
        }
        AdminListen::Unix(path) => {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{}", std::process::id()));
            let file = SocketFile(name.into());
            Ok(Some((Bound::Unix(bind_unix(&file.0)?), Some(file))))
        }
    }
}

/// Whether this socket listens where the configuration says.
fn is_at(listen: &AdminListen, socket: &Socket) -> bool {
    let Ok(local) = socket.local_addr() else { return false };
    let same = match listen {
        AdminListen::Off => false,
        AdminListen::Tcp(wanted) => local.as_socket().is_some_and(|local| is_meant(*wanted, local)),
        AdminListen::Unix(path) => local.as_pathname() == Some(path),
    };
    same && socket.is_listener().unwrap_or(false)
}

/// Prepares to serve on the control thread's runtime; it begins when the hold's `go` says so.
pub fn prepare(bound: Bound, shared: Arc<ProcessState>, control: &Handle) -> io::Result<AdminHandle> {
    let socket = bound.descriptor().try_clone_to_owned()?;
    let (go, may_go) = oneshot::channel();
    let (leave, left) = oneshot::channel();
    let (going, gone) = sync_channel(0);
    control.spawn(async move {
        if may_go.await.is_ok() {
            live(bound, shared, left, going).await;
        }
    });
    Ok(AdminHandle { socket, go: Some(go), leave, gone })
}

/// Serves until it is told to leave, then aside for as long as the process lives.
async fn live(
    bound: Bound,
    shared: Arc<ProcessState>,
    left: oneshot::Receiver<AdminExit>,
    going: SyncSender<()>,
) {
    let ((leave, leaving), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let first = serve(bound, shared.clone(), leaving, ended);
    tokio::spawn(async move {
        if let Err(error) = first.await {
            tracing::error!("the admin listener ended: {error}");
        }
        drop(going);
    });
    let aside = match left.await {
        Ok(AdminExit::Aside(aside)) => aside,
        Ok(AdminExit::End) => return,
        Err(_) => return std::future::pending().await,
    };
    drop::<oneshot::Sender<()>>(leave);
    tokio::spawn(async move {
        // who was let in has not asked yet, perhaps
        tokio::time::sleep(LAST_ASK).await;
        drop::<oneshot::Sender<()>>(end);
    });
    if let Some(aside) = aside {
        // dropped at once, they would say that the time has come
        let (_leave, leaving) = oneshot::channel();
        let (_end, ended) = oneshot::channel();
        if let Err(error) = serve(aside, shared, leaving, ended).await {
            tracing::error!("the admin listener ended: {error}");
        }
    }
}

/// Serves until `end`, and then until who asked before has the answer; takes no new connection from `leave` on. Call it on
/// the control thread's runtime.
pub(crate) async fn serve(
    bound: Bound,
    shared: Arc<ProcessState>,
    leave: Closed,
    end: Closed,
) -> io::Result<()> {
    let end = async { drop(end.await) };
    match bound {
        Bound::Tcp(listener) => {
            let address = listener.local_addr()?;
            tracing::info!("admin page on http://{address}/");
            let listener = ClosableListener(Some(tokio::net::TcpListener::from_std(listener)?), leave);
            axum::serve(listener, router(shared, Some(address))).with_graceful_shutdown(end).await
        }
        Bound::Unix(listener) => {
            let listener = ClosableListener(Some(tokio::net::UnixListener::from_std(listener)?), leave);
            axum::serve(listener, router(shared, None)).with_graceful_shutdown(end).await
        }
    }
}
