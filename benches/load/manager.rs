//! A stream manager that gives all questions the same answer after a delay, and counts them. It has one blocking thread for
//! each connection, which is enough for few questions.

use super::Result;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The answer for every stream.
pub const ANSWER: &str = r#"{"name":"stream1","scope":"live","serverAddress":"127.0.0.1","region":"bench"}"#;

/// Length of the listen queue: more than a gateway opens at the same time.
const BACKLOG: i32 = 4096;

/// A running stream manager. It runs until this process ends.
#[derive(Clone)]
pub struct Manager {
    pub address: SocketAddr,
    delay: Duration,
    asked: Arc<AtomicU64>,
    first: Arc<Mutex<Option<Instant>>>,
}

impl Manager {
    /// Starts a stream manager that waits for `delay` before each answer.
    pub fn start(delay: Duration) -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(BACKLOG)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        let manager = Self { address, delay, asked: Arc::default(), first: Arc::default() };
        let serving = manager.clone();
        std::thread::Builder::new().name("manager".into()).spawn(move || {
            for socket in listener.incoming().flatten() {
                let serving = serving.clone();
                // the thread ends when the gateway closes its connection
                std::thread::spawn(move || drop(serving.serve(socket)));
            }
        })?;
        Ok(manager)
    }

    /// Resets the counter of questions and the time of the first one.
    pub fn forget(&self) {
        self.asked.store(0, Relaxed);
        *self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// Number of questions since the start or the last [`forget`](Self::forget).
    pub fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    /// When the first of these questions was answered.
    pub fn answered_first(&self) -> Option<Instant> {
        self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).map(|asked| asked + self.delay)
    }

    fn serve(&self, mut socket: TcpStream) -> Result<()> {
        socket.set_nodelay(true)?;
        let mut lines = BufReader::new(socket.try_clone()?);
        let mut line = String::new();
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line != "\r\n" {
                continue;
            }
            let now = Instant::now();
            self.asked.fetch_add(1, Relaxed);
            self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(now);
            std::thread::sleep(self.delay);
            let length = ANSWER.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            socket.write_all(format!("{head}{ANSWER}").as_bytes())?;
        }
    }
}
