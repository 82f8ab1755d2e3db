//! Bounds on connections to the admin listener: how many there may be, and how long one may be open without an answer on its
//! way.
//!
//! Such a connection needs a descriptor. Without bounds a client that opens many, or a page that was left open, could take
//! every descriptor that clients and nodes need.

use crate::control::process::admin_cuts::AdminCuts;
use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Most connections to the admin listener. One more ends the one that has waited longest: scrapers, pages and commands need a
/// handful, and those that are served wait only for a moment.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may be open without a byte of an answer: for an idle one, for one whose request does not arrive, and
/// for one whose client does not read. Scrapers ask every 15 to 60 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);

/// The open connections of one listener, and their bounds. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: Arc<Mutex<Vec<Arc<Connection>>>>,
    cuts: Arc<AdminCuts>,
    most: usize,
    timeout: Duration,
}

/// What is known of one open connection.
#[derive(Debug)]
struct Connection {
    /// When it was accepted, or when bytes of an answer were last sent.
    answered: Mutex<Instant>,
    /// It has to make room.
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

/// The socket of a bounded connection.
pub(crate) struct BoundedIo<I> {
    io: I,
    connection: Arc<Connection>,
    connections: Connections,
    deadline: Pin<Box<Sleep>>,
}

impl Connections {
    /// No connection yet. Those that are ended are counted in `cuts`.
    pub(crate) fn new(cuts: Arc<AdminCuts>) -> Self {
        Self { open: Arc::default(), cuts, most: CONNECTIONS_MAX, timeout: ANSWER_TIMEOUT }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        // a panic can't leave the list half changed
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an accepted connection. If there are too many then, the one that has waited longest for an answer is ended.
    pub(crate) fn add<I>(&self, io: I) -> BoundedIo<I> {
        let now = Instant::now();
        let connection = Arc::new(Connection {
            answered: Mutex::new(now),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut open = self.open();
        if open.len() >= self.most {
            let longest = open.iter().enumerate().min_by_key(|(_, other)| other.answered());
            if let Some((index, _)) = longest {
                let longest = open.swap_remove(index);
                longest.is_cut.store(true, Relaxed);
                longest.waker.wake();
                self.cuts.limit.add(1);
            }
        }
        open.push(Arc::clone(&connection));
        drop(open);
        let deadline = Box::pin(tokio::time::sleep_until(now + self.timeout));
        BoundedIo { io, connection, connections: self.clone(), deadline }
    }
}

impl Connection {
    fn answered(&self) -> Instant {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I> BoundedIo<I> {
    /// Called when the socket is not ready: fails if the connection has to end, and sees that it is woken when it has to.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.connection.waker.register(cx.waker());
        if self.connection.is_cut.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let deadline = self.connection.answered() + self.connections.timeout;
        if self.deadline.deadline() != deadline {
            self.deadline.as_mut().reset(deadline);
        }
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if !self.connection.is_cut.swap(true, Relaxed) {
            self.connections.cuts.timeout.add(1);
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl<I> Drop for BoundedIo<I> {
    fn drop(&mut self) {
        self.connections.open().retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for BoundedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_pending() {
            self.check(cx)?;
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for BoundedIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        if wrote.is_pending() {
            self.check(cx)?;
        }
        let wrote = ready!(wrote)?;
        *self.connection.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Poll::Ready(Ok(wrote))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use tokio::io::AsyncReadExt;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn connections(most: usize, timeout: u64) -> Connections {
        let timeout = Duration::from_millis(timeout);
        Connections { open: Arc::default(), cuts: Arc::default(), most, timeout }
    }

    /// A connection as the listener accepts it, and its client. Call it inside a runtime.
    fn pair(connections: &Connections) -> (BoundedIo<tokio::net::UnixStream>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("a socket");
        let near = tokio::net::UnixStream::from_std(near).expect("a socket");
        (connections.add(near), far)
    }

    #[test]
    fn a_connection_without_an_answer_ends_however_much_it_sends() {
        block_on(async {
            let connections = connections(8, 100);
            let (mut near, mut far) = pair(&connections);
            let sender = std::thread::spawn(move || {
                while far.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let began = Instant::now();
            let error = loop {
                if let Err(error) = near.read_u8().await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_millis(100));
            drop(near);
            sender.join().expect("no panic");
            assert_eq!((connections.cuts.counted().timeout, connections.open().len()), (1, 0));
        });
    }

    #[test]
    fn a_client_that_does_not_read_is_ended_and_one_that_reads_slowly_is_not() {
        use tokio::io::AsyncWriteExt;
        block_on(async {
            let connections = connections(8, 150);
            let answer = vec![0; 8 << 20];
            let (mut near, far) = pair(&connections);
            let error = near.write_all(&answer).await.expect_err("it does not read");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(far);
            let (mut near, mut far) = pair(&connections);
            let reader = std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while far.read(&mut buffer).is_ok_and(|read| read > 0) {
                    std::thread::sleep(Duration::from_millis(15));
                }
            });
            near.write_all(&answer).await.expect("it reads");
            drop(near);
            reader.join().expect("no panic");
        });
    }

    #[test]
    fn one_too_many_ends_the_connection_that_waited_longest() {
        use tokio::io::AsyncWriteExt;
        block_on(async {
            let connections = connections(3, 60_000);
            let mut pairs: Vec<_> = (0..3).map(|_| pair(&connections)).collect();
            // the first one gets an answer, so the second one has waited longest
            tokio::time::sleep(Duration::from_millis(2)).await;
            pairs[0].0.write_all(b"answer").await.expect("it is open");
            let newest = pair(&connections);
            let error = pairs[1].0.read_u8().await.expect_err("it made room");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            let open = connections.open().len();
            assert_eq!((connections.cuts.counted().limit, open), (1, 3));
            drop((pairs, newest));
            assert!(connections.open().is_empty());
        });
    }
}
