//! The socket of a listener for operators: bound to a TCP address or a socket file, and closed at a given moment.

use crate::config::AdminListen;
use crate::control::admin::connections::{BoundedIo, Connections};
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use futures_util::future::{Either, select};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// Which of the two listeners for operators it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[monitoring]`: it only shows.
    Monitoring,
    /// `[admin]`: it also changes something.
    Admin,
}

/// Where a listener for operators is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// The path of a socket file.
    Unix(PathBuf),
}

/// The folder of the admin socket if systemd names no other one.
const RUNTIME_FOLDER: &str = "/run/tidegate";

impl ListenAddress {
    /// The address that `admin.listen` means; `None` if it is off. `auto` is a socket file in the first folder of
    /// `$RUNTIME_DIRECTORY`, or in `/run/tidegate`.
    pub fn of_admin(listen: &AdminListen) -> Option<Self> {
        match listen {
            AdminListen::Off => None,
            AdminListen::Tcp(address) => Some(Self::Tcp(*address)),
            AdminListen::Unix(path) => Some(Self::Unix(path.clone())),
            AdminListen::Auto => {
                let folders = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
                let folder = folders.split(':').next().filter(|folder| folder.starts_with('/'));
                Some(Self::Unix(Path::new(folder.unwrap_or(RUNTIME_FOLDER)).join("admin.sock")))
            }
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound listener for operators that does not accept connections yet.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds a listener for operators. The error is a whole sentence with the next step.
pub fn bind(kind: Kind, address: &ListenAddress) -> Result<Bound, String> {
    let bound = match address {
        ListenAddress::Tcp(address) => bind_tcp(*address).map(Bound::Tcp),
        ListenAddress::Unix(path) => bind_unix(path).map(Bound::Unix),
    };
    bound.map_err(|error| {
        let next = next_step(kind, address, &error);
        format!("can't open the {} listener {address} ({error}); {next}", kind.word())
    })
}

impl Kind {
    /// The table of the configuration, without brackets.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Monitoring => "monitoring",
            Self::Admin => "admin",
        }
    }
}

/// What to do about a listener that can't be had.
fn next_step(kind: Kind, address: &ListenAddress, error: &io::Error) -> String {
    let or_another = format!("choose another one in [{}].listen", kind.word());
    match (error.kind(), address) {
        (io::ErrorKind::PermissionDenied, ListenAddress::Unix(_)) => {
            format!("let tidegate's user write to its folder, or {or_another}")
        }
        (io::ErrorKind::NotFound, ListenAddress::Unix(_)) => format!(
            "make its folder (RuntimeDirectory=tidegate in the unit, or `install -d -m 0750 FOLDER`), or {or_another}"
        ),
        (io::ErrorKind::PermissionDenied, _) => {
            format!("a rule of this system forbids it (a low port, SELinux, the unit): {or_another}")
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            format!("this machine does not have that address: {or_another}")
        }
        _ => or_another,
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

/// The address of a client of a TCP listener, which each of its requests carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, ClosableListener<tokio::net::TcpListener>>> for Client {
    fn connect_info(stream: IncomingStream<'_, ClosableListener<tokio::net::TcpListener>>) -> Self {
        Self(*stream.remote_addr())
    }
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
