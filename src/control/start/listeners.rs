//! Ports: every worker has its own listener on every address, inherited or bound here.
//!
//! The kernel spreads new connections over the listeners of one address (SO_REUSEPORT), and each has a queue of its own: a
//! listener that closes resets what waits in it. So none that somebody may have connected to is closed before it is empty,
//! and what is bound here listens only when it will be accepted from.

use crate::control::start::inherited::InheritedSocket;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

const BACKLOG: i32 = 4096;

/// A port that can't be had, with the likely cause and the next step.
#[derive(Debug)]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl fmt::Display for BindError {
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

/// All listeners of a start.
#[derive(Debug, Default)]
pub struct Opened {
    /// Those that are bound here don't listen yet: see [`Ports::listen`].
    pub per_worker: PerWorker,
    /// Inherited ones of addresses that are not served any more. Who waits in their queues has still to be let in.
    pub draining_listeners: Vec<TcpListener>,
    pub ports: Ports,
}

/// The control side's own hold on every listener: to make it listen, and to give it to somebody else.
#[derive(Debug, Default)]
pub struct Ports(Vec<Port>);

#[derive(Debug)]
struct Port {
    held: TcpListener,
    address: SocketAddr,
    own: bool,
    is_new: bool,
}

impl Ports {
    /// Begins to listen where it was only bound before: from here on the kernel sends clients there.
    pub fn listen(&self) -> Result<(), BindError> {
        for port in self.0.iter().filter(|port| port.is_new) {
            rustix::net::listen(&port.held, BACKLOG)
                .map_err(|error| BindError { address: port.address, error: error.into() })?;
        }
        Ok(())
    }

    /// Every socket, and whether a gateway opened it.
    pub fn sockets(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.0.iter().map(|port| (port.held.as_fd(), port.own))
    }
}

impl Opened {
    /// The addresses that are listened on, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        // every worker has a listener on every address
        let one_worker = self.per_worker.iter().take(1).flatten();
        let mut addresses: Vec<_> = one_worker.filter_map(|listener| listener.local_addr().ok()).collect();
        // one worker may have inherited several of one address
        addresses.dedup();
        addresses
    }

    fn give(&mut self, worker: usize, socket: TcpListener, port: Port) {
        self.per_worker[worker].push(socket);
        self.ports.0.push(port);
    }
}

/// Takes what was inherited, binds what is missing. Inherited sockets of one address go to the workers in turn, the
/// first to worker 0; none is left without an acceptor, because the kernel would still send it its share.
pub fn open(
    addresses: &[SocketAddr],
    workers: usize,
    inherited: Vec<InheritedSocket>,
) -> Result<Opened, BindError> {
    let mut opened = Opened { per_worker: (0..workers).map(|_| Vec::new()).collect(), ..Opened::default() };
    let mut inherited: Vec<_> = inherited.into_iter().filter_map(listening).collect();
    for wanted in addresses {
        let (own, rest): (Vec<_>, Vec<_>) =
            inherited.into_iter().partition(|(local, _)| is_meant(*wanted, *local));
        inherited = rest;
        let taken = own.len();
        let mut address = *wanted;
        for (place, (local, given)) in own.into_iter().enumerate() {
            address = local;
            let refused = |error| BindError { address, error };
            let socket: TcpListener = given.socket.into();
            socket.set_nonblocking(true).map_err(refused)?;
            let held = socket.try_clone().map_err(refused)?;
            opened.give(place % workers, socket, Port { held, address, own: given.own, is_new: false });
        }
        if taken == 0 {
            probe(address).map_err(|error| BindError { address, error })?;
        }
        bind_missing(address, taken, &mut opened)?;
    }
    for (local, given) in inherited {
        tracing::warn!("gateway.listen does not name {local} any more: closing it when its queue is empty");
        opened.draining_listeners.push(given.socket.into());
    }
    Ok(opened)
}

/// The address that a TCP socket listens on. Anything else is of no use here, and closed.
fn listening(given: InheritedSocket) -> Option<(SocketAddr, InheritedSocket)> {
    let address = given.socket.local_addr().ok().and_then(|address| address.as_socket());
    match address {
        Some(address) if given.socket.is_listener().unwrap_or(false) => Some((address, given)),
        _ => {
            tracing::warn!(
                "closed an inherited descriptor that is no listening TCP socket: {:?}",
                given.socket
            );
            None
        }
    }
}

/// Whether a socket is the one that an address in the configuration means; port 0 is whichever the kernel chose then.
pub(crate) fn is_meant(wanted: SocketAddr, local: SocketAddr) -> bool {
    wanted == local || (wanted.port() == 0 && wanted.ip() == local.ip())
}

/// Binds one address for every worker from `taken` on. Port 0 is chosen by the kernel for the first one.
///
/// An inherited socket is often not shared with us: systemd opens it as root, and the kernel lets only sockets of one
/// user stand beside each other. Then the workers take turns at the one queue; its load is spread less evenly.
fn bind_missing(mut address: SocketAddr, taken: usize, opened: &mut Opened) -> Result<(), BindError> {
    let wanted = address;
    let refused = |error| BindError { address: wanted, error };
    for worker in taken..opened.per_worker.len() {
        match bind(address) {
            Err(error) if taken > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                let inherited = opened.per_worker[worker % taken].last().ok_or(error);
                let again = inherited.and_then(TcpListener::try_clone).map_err(refused)?;
                opened.per_worker[worker].push(again);
            }
            bound => {
                let socket = bound.map_err(refused)?;
                address.set_port(socket.local_addr().map_err(refused)?.port());
                let held = socket.try_clone().map_err(refused)?;
                opened.give(worker, socket, Port { held, address, own: true, is_new: true });
            }
        }
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

/// Takes the port without listening there: a socket that is not accepted from yet must get no share of the clients.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn any() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// A socket of a gateway before us.
    fn given(address: SocketAddr) -> InheritedSocket {
        let socket: Socket = bind(address).expect("a free port").into();
        socket.listen(8).expect("bound");
        InheritedSocket { socket, own: true }
    }

    fn address(given: &InheritedSocket) -> SocketAddr {
        given.socket.local_addr().expect("bound").as_socket().expect("TCP")
    }

    fn numbers(opened: &Opened) -> Vec<usize> {
        opened.per_worker.iter().map(Vec::len).collect()
    }

    #[test]
    fn every_worker_listens_on_the_one_port_the_kernel_chose() {
        let opened = open(&[any()], 3, Vec::new()).expect("a free port");
        let ports: Vec<_> =
            opened.per_worker.iter().map(|own| own[0].local_addr().expect("bound").port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
        assert_eq!(opened.ports.sockets().count(), 3);
    }

    #[test]
    fn nobody_gets_in_before_we_listen() {
        let opened = open(&[any()], 2, Vec::new()).expect("a free port");
        let address = opened.per_worker[0][0].local_addr().expect("bound");
        assert!(std::net::TcpStream::connect(address).is_err());
        opened.ports.listen().expect("nobody else is there");
        assert!(std::net::TcpStream::connect(address).is_ok());
    }

    #[test]
    fn who_is_not_accepted_from_gets_nobody() {
        let inherited = given(any());
        let address = address(&inherited);
        let opened = open(&[address], 4, vec![inherited]).expect("shared");
        let _clients: Vec<_> =
            (0..8).map(|_| std::net::TcpStream::connect(address).expect("it listens")).collect();
        let first = &opened.per_worker[0][0];
        assert!((0..8).all(|_| first.accept().is_ok()), "all went where somebody listens");
        opened.ports.listen().expect("bound");
        let mut lonely: Vec<_> = opened.per_worker[1..].iter().collect();
        for _ in 0..1000 {
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            lonely.retain(|own| own[0].accept().is_err());
            // or its queue would be full
            let _ = first.accept();
        }
        assert!(lonely.is_empty(), "from here on the kernel shares them out");
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_by_a_socket_that_would_share() {
        let first = open(&[any()], 1, Vec::new()).expect("a free port");
        first.ports.listen().expect("nobody else is there");
        let address = first.per_worker[0][0].local_addr().expect("bound");
        let refused = open(&[address], 1, Vec::new()).expect_err("it is taken");
        assert!(refused.to_string().contains("another program listens there"), "{refused}");
    }

    #[test]
    fn inherited_sockets_go_to_the_workers_in_turn_and_missing_ones_are_bound() {
        let inherited = given(any());
        let address = address(&inherited);
        let opened = open(&[address], 2, vec![inherited]).expect("shared");
        assert_eq!(numbers(&opened), [1, 1]);
        assert_eq!(opened.ports.0.iter().map(|port| port.is_new).collect::<Vec<_>>(), [false, true]);

        let more = (0..3).map(|_| given(address)).collect();
        let opened = open(&[address], 2, more).expect("shared");
        assert_eq!((numbers(&opened), opened.ports.sockets().count()), (vec![2, 1], 3));
    }

    #[test]
    fn a_port_that_the_kernel_chose_before_is_meant_by_port_0() {
        let inherited = given(any());
        let address = address(&inherited);
        let opened = open(&[any()], 2, vec![inherited]).expect("shared");
        assert!(opened.per_worker.iter().all(|own| own[0].local_addr().expect("bound") == address));
    }

    #[test]
    fn sockets_of_other_addresses_are_left_over() {
        let inherited = given(any());
        let opened =
            open(&[(Ipv4Addr::new(127, 0, 0, 2), 0).into()], 1, vec![inherited]).expect("a free port");
        assert_eq!((opened.draining_listeners.len(), opened.ports.sockets().count()), (1, 1));
    }

    #[test]
    fn what_does_not_listen_is_no_port() {
        let bound = InheritedSocket { socket: bind(any()).expect("a free port").into(), own: true };
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("two");
        let unix = InheritedSocket { socket: Socket::from(std::os::fd::OwnedFd::from(one)), own: false };
        let opened = open(&[any()], 1, vec![bound, unix]).expect("a free port");
        assert_eq!((numbers(&opened), opened.draining_listeners.len()), (vec![1], 0));
    }

    #[test]
    fn an_inherited_socket_that_is_not_shared_serves_all_workers() {
        let alone = TcpListener::bind(any()).expect("a free port");
        let address = alone.local_addr().expect("bound");
        let inherited = InheritedSocket { socket: alone.into(), own: false };
        let opened = open(&[address], 3, vec![inherited]).expect("one queue for all");
        for own in &opened.per_worker {
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            assert_eq!((own.len(), own[0].local_addr().expect("bound")), (1, address));
            assert!(own[0].accept().is_ok(), "every worker reaches the queue");
        }
        assert_eq!(opened.ports.sockets().count(), 1, "one socket, whoever takes turns at it");
    }
}
