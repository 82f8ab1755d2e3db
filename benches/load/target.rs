//! A gateway under test: a command line that listens at an address, run on one core.

use super::Result;
use super::process::{self, Memory};
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one may take to listen.
const START: Duration = Duration::from_secs(15);

/// How often somebody looks whether it does.
const LOOK: Duration = Duration::from_millis(5);

/// What has to be known of a gateway.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub command: Vec<OsString>,
    pub address: SocketAddr,
    /// Whether clients speak TLS with it.
    pub tls: bool,
    /// Target of a WebSocket; `{script}` in it stands for what the node shall do.
    pub socket_path: String,
    /// Target of an answer that it keeps.
    pub answer_path: Option<String>,
}

/// A gateway that runs; ended when it is dropped.
pub struct Running {
    pub target: Target,
    pub pid: u32,
    child: Child,
}

impl Target {
    /// Starts it on `core` and waits until it listens. This thread is on `own_core` before and after.
    pub fn start(&self, core: usize, own_core: usize) -> Result<Running> {
        self.start_on(&[core], own_core)
    }

    /// As [`Target::start`], on several cores.
    pub fn start_on(&self, cores: &[usize], own_core: usize) -> Result<Running> {
        let [program, arguments @ ..] = &self.command[..] else { return Err("an empty command".into()) };
        self.wait_for_silence()?;
        // a child begins on the cores of the thread that makes it
        process::stay_on(cores)?;
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
        process::pin(own_core)?;
        let child = child?;
        let mut running = Running { target: self.clone(), pid: child.id(), child };
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                return Err(format!("{} ended before it listened: {status}", self.name).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen at {}", self.name, self.address).into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(running)
    }

    /// Waits until nobody listens there: the kernel takes a ring down, and with it the listener of a process that is
    /// gone already, when it finds the time.
    fn wait_for_silence(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_ok() {
            if Instant::now() > deadline {
                return Err(format!("somebody else listens at {}", self.address).into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Running {
    /// CPU time that it and its children have used up to now.
    pub fn cpu(&self) -> Result<Duration> {
        process::family(self.pid).into_iter().map(process::cpu).sum()
    }

    /// Memory that it and its children have resident now.
    pub fn memory(&self) -> Result<Memory> {
        process::family(self.pid).into_iter().try_fold(Memory { rss: 0.0, pss: 0.0 }, |sum, pid| {
            let one = process::memory(pid)?;
            Ok(Memory { rss: sum.rss + one.rss, pss: sum.pss + one.pss })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let children = process::family(self.pid);
        // it may have ended by itself; then there is nothing to do
        let _ = self.child.kill();
        let _ = self.child.wait();
        process::end(&children[1..]);
    }
}

/// An address on loopback that nobody listens at.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
