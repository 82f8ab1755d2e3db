//! The socket of the admin listener: bound to a TCP address or a socket file, and closed at a given moment.

use crate::config::AdminListen;
use crate::control::admin::connections::{BoundedIo, Connections};
use futures_util::future::{Either, select};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use tokio::sync::oneshot;

/// A bound admin listener that does not accept connections yet.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds the admin listener of `admin.listen`; `None` if that is off. The error is a whole sentence with the next step.
pub fn bind(listen: &AdminListen) -> Result<Option<Bound>, String> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::Tcp(address) => {
            bind_tcp(*address).map(|listener| Some(Bound::Tcp(listener))).map_err(|error| {
                let next = next_step(listen, &error);
                format!("can't open the admin listener {address} ({error}); {next}")
            })
        }
        AdminListen::Unix(path) => {
            bind_unix(path).map(|listener| Some(Bound::Unix(listener))).map_err(|error| {
                let (path, next) = (path.display(), next_step(listen, &error));
                format!("can't open the admin listener unix:{path} ({error}); {next}")
            })
        }
    }
}

/// What to do about an admin listener that can't be had.
fn next_step(listen: &AdminListen, error: &io::Error) -> &'static str {
    match (error.kind(), listen) {
        (io::ErrorKind::PermissionDenied, AdminListen::Unix(_)) => {
            "let tidegate's user write to its folder, or choose another one in [admin].listen"
        }
        (io::ErrorKind::NotFound, AdminListen::Unix(_)) => {
            "make its folder, or choose another one in [admin].listen"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "a rule of this system forbids it (a low port, SELinux, the unit): choose another one in [admin].listen"
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            "this machine does not have that address: choose another one in [admin].listen"
        }
        _ => "choose another one in [admin].listen",
    }
}

/// Binds a non-blocking TCP listener; port 0 lets the kernel choose one. Fails as bind does.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds a non-blocking listener at a socket file that its owner and group may use (mode 0660). It replaces a socket file that no
/// process serves; it fails if a process serves it, or if the path is another kind of file.
pub(crate) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let exists = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if exists {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        std::fs::remove_file(path)?;
    }
    // a umask instead of a later chmod: at no moment may other users connect
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Bound {
    /// The listening socket; a successor gets a copy of it.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Completes when its sender is dropped.
pub(crate) type Closed = oneshot::Receiver<()>;

/// A listener that can be closed while connections that it accepted go on.
pub(crate) struct ClosableListener<L> {
    /// `None` once it is closed.
    listener: Option<L>,
    close: Closed,
    connections: Connections,
}

impl<L> ClosableListener<L> {
    /// Accepts from `listener` until `close` completes; then the socket is closed. What it accepts is bounded by `connections`.
    pub(crate) const fn new(listener: L, close: Closed, connections: Connections) -> Self {
        Self { listener: Some(listener), close, connections }
    }
}

impl<L: axum::serve::Listener> axum::serve::Listener for ClosableListener<L> {
    type Io = BoundedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, L::Addr) {
        if let Some(listener) = &mut self.listener {
            let accepted = std::pin::pin!(listener.accept());
            if let Either::Left(((io, address), _)) = select(accepted, &mut self.close).await {
                return (self.connections.add(io), address);
            }
        }
        self.listener = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), L::local_addr)
    }
}
