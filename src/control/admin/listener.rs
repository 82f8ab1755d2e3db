//! The socket of the admin listener: bound over TCP or as a socket file, and closed at a given moment.

use crate::config::AdminListen;
use futures_util::future::{Either, select};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use tokio::sync::oneshot;

/// A bound admin listener that nobody serves yet.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds what the configuration says; `None` if it says off. The error is a whole sentence.
pub fn bind(listen: &AdminListen) -> Result<Option<Bound>, String> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::Tcp(address) => {
            bind_tcp(*address).map(|listener| Some(Bound::Tcp(listener))).map_err(|error| {
                format!("can't open the admin listener {address} ({error}); choose another one in [admin].listen")
            })
        }
        AdminListen::Unix(path) => bind_unix(path).map(|listener| Some(Bound::Unix(listener))).map_err(|error| {
            let path = path.display();
            format!("can't open the admin listener unix:{path} ({error}); choose another one in [admin].listen")
        }),
    }
}

pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds a socket file for owner and group, in place of one that a dead process left.
pub(crate) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let left = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if left {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        std::fs::remove_file(path)?;
    }
    // by umask, so that it is never open to others, not even for a moment
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Bound {
    /// To copy it for a successor.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Comes when its sender is dropped.
pub(crate) type Closed = oneshot::Receiver<()>;

/// A listener that is closed at a moment, without a word to those who were let in.
pub(crate) struct ClosableListener<L>(pub(crate) Option<L>, pub(crate) Closed);

impl<L: axum::serve::Listener> axum::serve::Listener for ClosableListener<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (L::Io, L::Addr) {
        if let Some(listener) = &mut self.0 {
            let accepted = std::pin::pin!(listener.accept());
            if let Either::Left((accepted, _)) = select(accepted, &mut self.1).await {
                return accepted;
            }
        }
        self.0 = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.0.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), L::local_addr)
    }
}
