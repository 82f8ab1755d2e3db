//! Addresses for one test: a /24 of loopback that no other test uses, so that ports can be fixed and tests run side by
//! side.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A /24 in 127.0.0.0/8 and a folder, both reserved until this is dropped.
pub struct Workspace {
    subnet: [u8; 3],
    folder: PathBuf,
    /// Held so that no other test takes the subnet.
    _guard: TcpListener,
}

impl Workspace {
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
            let (block, index) = (n / 250 % 200, n % 250);
            let subnet = [127, 20 + block as u8, 1 + index as u8];
            let guard = SocketAddr::from(([subnet[0], subnet[1], subnet[2], 254], 1));
            if let Ok(guard) = TcpListener::bind(guard) {
                let folder = std::env::temp_dir().join(format!("tidegate-test-{}-{n}", std::process::id()));
                std::fs::create_dir_all(&folder).unwrap();
                return Self { subnet, folder, _guard: guard };
            }
        }
    }

    pub fn ip(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, host)
    }

    fn host(&self, host: u8, port: u16) -> SocketAddr {
        (self.ip(host), port).into()
    }

    pub fn gateway(&self) -> SocketAddr {
        self.host(1, 8443)
    }

    /// Another address of the gateway, for tests that configure it.
    pub fn second_gateway(&self) -> SocketAddr {
        self.host(3, 8443)
    }

    pub fn monitoring(&self) -> SocketAddr {
        self.host(1, 9180)
    }

    /// The socket file of the admin listener.
    pub fn admin_socket(&self) -> PathBuf {
        self.file("admin.sock")
    }

    pub fn manager(&self) -> SocketAddr {
        self.host(2, 5080)
    }

    /// The collector of spans.
    pub fn collector(&self) -> SocketAddr {
        self.host(2, 4318)
    }

    /// Nodes 1 to 9 are admitted by the default configuration, the others are not.
    pub fn node(&self, n: u8) -> SocketAddr {
        self.host(10 + n, 5080)
    }

    /// The address of the n-th distinct client.
    pub fn client_ip(&self, n: u8) -> Ipv4Addr {
        self.ip(100 + n)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
