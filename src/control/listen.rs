//! Ports: every worker has its own listener on every address, inherited from systemd or bound here.
//!
//! The kernel spreads new connections over the listeners of one address (SO_REUSEPORT).

use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

const BACKLOG: i32 = 4096;

/// A port that can't be had, with the likely cause and the next step.
#[derive(Debug)]
pub struct Refused {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: stop it (ss -ltnp shows it) or choose another port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: start it by its systemd unit, or choose a higher port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address: look at `ip address` and correct gateway.listen"
            }
            _ => "look at gateway.listen in the configuration",
        };
        write!(f, "can't listen on {} ({}); {next}", self.address, self.error)
    }
}

/// Listeners for each worker, outer index by worker.
pub type PerWorker = Vec<Vec<TcpListener>>;

/// Takes what was inherited, binds what is missing. Inherited sockets of one address go to the workers in turn, the
/// first to worker 0; none is left without an acceptor, because the kernel would still send it its share.
pub fn open(
    addresses: &[SocketAddr],
    workers: usize,
    inherited: Vec<TcpListener>,
) -> Result<PerWorker, Refused> {
    let mut per_worker: PerWorker = (0..workers).map(|_| Vec::new()).collect();
    let mut inherited: Vec<_> =
        inherited.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket))).collect();
    for address in addresses {
        let (own, rest): (Vec<_>, Vec<_>) = inherited.into_iter().partition(|(local, _)| local == address);
        inherited = rest;
        let taken = own.len();
        for (place, (_, socket)) in own.into_iter().enumerate() {
            let refused = |error| Refused { address: *address, error };
            socket.set_nonblocking(true).map_err(refused)?;
            per_worker[place % workers].push(socket);
        }
        if taken == 0 {
            probe(*address).map_err(|error| Refused { address: *address, error })?;
        }
        bind_missing(*address, taken, &mut per_worker)?;
    }
    for (local, _) in inherited {
        tracing::warn!("closed an inherited socket on {local}: gateway.listen does not name this address");
    }
    Ok(per_worker)
}

/// Binds one address for every worker from `taken` on. Port 0 is chosen by the kernel for the first one.
///
/// An inherited socket is often not shared with us: systemd opens it as root, and the kernel lets only sockets of one
/// user stand beside each other. Then the workers take turns at the one queue; its load is spread less evenly.
fn bind_missing(mut address: SocketAddr, taken: usize, per_worker: &mut PerWorker) -> Result<(), Refused> {
    let wanted = address;
    let refused = |error| Refused { address: wanted, error };
    for worker in taken..per_worker.len() {
        let listener = match bind(address) {
            Err(error) if taken > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                let inherited = per_worker[worker % taken].last().ok_or(error);
                inherited.and_then(TcpListener::try_clone).map_err(refused)?
            }
            bound => bound.map_err(refused)?,
        };
        address.set_port(listener.local_addr().map_err(refused)?.port());
        per_worker[worker].push(listener);
    }
    Ok(())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A second gateway of the same user could share our ports without anybody noticing. A bind without SO_REUSEPORT tells.
fn probe(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn any() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn every_worker_listens_on_the_one_port_the_kernel_chose() {
        let listeners = open(&[any()], 3, Vec::new()).expect("a free port");
        let ports: Vec<_> = listeners.iter().map(|own| own[0].local_addr().expect("bound").port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_by_a_socket_that_would_share() {
        let first = open(&[any()], 1, Vec::new()).expect("a free port");
        let address = first[0][0].local_addr().expect("bound");
        let refused = open(&[address], 1, Vec::new()).expect_err("it is taken");
        assert!(refused.to_string().contains("another program listens there"), "{refused}");
    }

    #[test]
    fn inherited_sockets_go_to_the_workers_in_turn_and_missing_ones_are_bound() {
        let inherited = bind(any()).expect("a free port");
        let address = inherited.local_addr().expect("bound");
        let listeners = open(&[address], 2, vec![inherited]).expect("shared");
        assert_eq!(listeners.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);

        let more: Vec<_> = (0..3).map(|_| bind(address).expect("shared")).collect();
        let listeners = open(&[address], 2, more).expect("shared");
        assert_eq!(listeners.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn an_inherited_socket_that_is_not_shared_serves_all_workers() {
        let alone = TcpListener::bind(any()).expect("a free port");
        let address = alone.local_addr().expect("bound");
        let listeners = open(&[address], 3, vec![alone]).expect("one queue for all");
        for own in &listeners {
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            assert_eq!((own.len(), own[0].local_addr().expect("bound")), (1, address));
            assert!(own[0].accept().is_ok(), "every worker reaches the queue");
        }
    }
}
