//! A gateway under test: a command line whose program listens on an address, run on given cores.

use super::Result;
use super::process::{self, Memory};
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a gateway may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the start of a gateway is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How to start a gateway and how to reach it.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub command: Vec<OsString>,
    pub address: SocketAddr,
    /// Whether clients speak TLS with it.
    pub tls: bool,
    /// Request target of a WebSocket; `{script}` in it stands for the script of the node.
    pub socket_path: String,
    /// Request target of an answer that the gateway stores.
    pub answer_path: Option<String>,
}

/// A running gateway. Dropping it kills the process and its children.
pub struct Running {
    pub target: Target,
    pub pid: u32,
    child: Child,
}

impl Target {
    /// Starts the gateway on `core` and waits until it listens. Afterwards this thread is pinned to `own_core`.
    pub fn start(&self, core: usize, own_core: usize) -> Result<Running> {
        self.start_on(&[core], own_core)
    }

    /// As [`Target::start`], but on several cores.
    pub fn start_on(&self, cores: &[usize], own_core: usize) -> Result<Running> {
        let [program, arguments @ ..] = &self.command[..] else {
            return Err("expected a command, found none".into());
        };
        self.wait_until_free()?;
        // a child process inherits the cores of the thread that starts it
        process::stay_on(cores)?;
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
        process::pin(own_core)?;
        let child = child?;
        let mut running = Running { target: self.clone(), pid: child.id(), child };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                return Err(format!("{} exited before it listened: {status}", self.name).into());
            }
            if Instant::now() > deadline {
                let (name, address) = (&self.name, self.address);
                return Err(format!("{name} does not listen on {address} after {START_TIMEOUT:?}").into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(running)
    }

    /// Waits until there is no listener on the address: the kernel closes the ring of an ended process, and with it its
    /// listener, only some time later.
    fn wait_until_free(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_ok() {
            if Instant::now() > deadline {
                return Err(format!("another process listens on {}", self.address).into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Running {
    /// CPU time that the gateway and its children have used so far.
    pub fn cpu(&self) -> Result<Duration> {
        process::family(self.pid).into_iter().map(process::cpu).sum()
    }

    /// Memory of the gateway and its children that is resident now.
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
        // both fail when the process has ended already, which is no fault
        let _ = self.child.kill();
        let _ = self.child.wait();
        process::end(&children[1..]);
    }
}

/// An address on loopback with a free port.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
