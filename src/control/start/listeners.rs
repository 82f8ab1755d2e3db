//! The listeners: every worker has its own listener on every address, inherited or bound here.
//!
//! The kernel spreads new connections over the listeners of one address (SO_REUSEPORT, socket(7)), and each listener has a queue
//! of its own. A listener that closes resets the connections in its queue. So a listener that clients may have connected to is
//! closed only when its queue is empty, and a listener that is bound here listens only when a worker is about to accept from it.

use crate::control::start::host;
use crate::control::start::inherited::InheritedSocket;
use crate::worker::ReopenedListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

/// Connections that a queue holds; the kernel lowers it to `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// An address that can't be listened on. Its text has the likely cause and the next step.
#[derive(Debug)]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = next_step(self.address, &self.error, host::first_unprivileged_port());
        write!(f, "can't listen on {} ({}); {next}", self.address, self.error)
    }
}

/// What to do about an address that can't be listened on. A port from `unprivileged` on is open to every user, so that another
/// rule of the system forbids it.
fn next_step(address: SocketAddr, error: &io::Error, unprivileged: u16) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it (ss -ltnp shows it) or choose another port"
        }
        io::ErrorKind::PermissionDenied if (1..unprivileged).contains(&address.port()) => {
            "ports this low need CAP_NET_BIND_SERVICE: start it by its systemd unit, or choose a higher port"
        }
        io::ErrorKind::PermissionDenied => {
            "a rule of this system forbids it, not the number of the port: look at SELinux (ausearch -m avc, semanage port), \
             AppArmor, and SocketBindDeny= of the unit"
        }
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() => {
            "this machine does not have that IPv6 address, or IPv6 is switched off (net.ipv6.conf.all.disable_ipv6): look at \
             `ip -6 address` and correct gateway.listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: look at `ip address` and correct gateway.listen"
        }
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            "this kernel has no IPv6: write IPv4 addresses in gateway.listen, or enable it (boot parameter ipv6.disable)"
        }
        _ => "look at gateway.listen in the configuration",
    }
}

/// The listeners of each worker; the outer index is the worker.
pub type PerWorker = Vec<Vec<TcpListener>>;

/// All listeners that a start opens or inherits.
#[derive(Debug, Default)]
pub struct Opened {
    /// Those that were bound here do not listen yet: see [`Ports::listen`].
    pub per_worker: PerWorker,
    /// Inherited listeners of addresses that are not served any more. Connections in their queues are still accepted.
    pub draining_listeners: Vec<TcpListener>,
    pub ports: Ports,
}

/// The control side's own copy of every listener: to let it listen, and to pass it to systemd or to a successor.
#[derive(Debug, Default)]
pub struct Ports(Vec<Port>);

#[derive(Debug)]
struct Port {
    listener: TcpListener,
    address: SocketAddr,
    /// The workers that accept from it.
    workers: Vec<usize>,
    /// A gateway opened it, as opposed to a socket unit.
    own: bool,
    /// It was bound by this process, and does not listen before [`Ports::listen`].
    is_new: bool,
}

impl Ports {
    /// Lets the listeners listen that were bound here: from now on the kernel sends connections to them. Fails if another
    /// program listens on one of the addresses.
    pub fn listen(&self) -> Result<(), BindError> {
        for port in self.0.iter().filter(|port| port.is_new) {
            rustix::net::listen(&port.listener, BACKLOG)
                .map_err(|error| BindError { address: port.address, error: error.into() })?;
        }
        Ok(())
    }

    /// Copies of the listeners for workers that stopped accepting because of a drain, by worker. `keeps_own` is whether systemd
    /// keeps the sockets that gateways opened, so that they still listen. Those that do not have to listen again. Fails if another
    /// program listens on such an address by now.
    pub fn reopen(&self, workers: usize, keeps_own: bool) -> Result<Vec<Vec<ReopenedListener>>, BindError> {
        let has_stopped = |port: &Port| port.own && !keeps_own;
        // a socket of ours that still listens there keeps other programs out
        let still_listens = |address| self.0.iter().any(|port| port.address == address && !has_stopped(port));
        let stopped = self.0.iter().filter(|port| has_stopped(port) && !still_listens(port.address));
        for port in stopped {
            probe(port.address).map_err(|error| BindError { address: port.address, error })?;
        }
        let mut per_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for port in &self.0 {
            for worker in &port.workers {
                let refused = |error| BindError { address: port.address, error };
                let listener = port.listener.try_clone().map_err(refused)?;
                let backlog = has_stopped(port).then_some(BACKLOG);
                per_worker[*worker].push(ReopenedListener { listener, address: port.address, backlog });
            }
        }
        Ok(per_worker)
    }

    /// Stops listening on the sockets that gateways opened: clients are refused from now on.
    pub fn stop_own(&self) {
        for port in self.0.iter().filter(|port| port.own) {
            // it fails if the socket does not listen any more
            let _ = rustix::net::shutdown(&port.listener, rustix::net::Shutdown::Read);
        }
    }

    /// Every socket, and whether a gateway opened it (as opposed to a socket unit).
    pub fn sockets(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.0.iter().map(|port| (port.listener.as_fd(), port.own))
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

    fn add(&mut self, worker: usize, socket: TcpListener, port: Port) {
        self.per_worker[worker].push(socket);
        self.ports.0.push(port);
    }
}

/// Opens the listeners on `addresses` for every worker: inherited sockets first, the missing ones are bound. Inherited sockets
/// of one address go to the workers in turn, the first to worker 0. None is left without a worker, because the kernel would
/// still send connections to it. The error names the address that can't be bound.
pub fn open(
    addresses: &[SocketAddr],
    workers: usize,
    inherited: Vec<InheritedSocket>,
) -> Result<Opened, BindError> {
    let mut opened = Opened { per_worker: (0..workers).map(|_| Vec::new()).collect(), ..Opened::default() };
    let mut inherited: Vec<_> = inherited.into_iter().filter_map(listening_socket).collect();
    for wanted in addresses {
        let (own, rest): (Vec<_>, Vec<_>) =
            inherited.into_iter().partition(|(local, _)| is_meant(*wanted, *local));
        inherited = rest;
        let taken = own.len();
        let mut address = *wanted;
        for (index, (local, inherited)) in own.into_iter().enumerate() {
            address = local;
            let refused = |error| BindError { address, error };
            let socket: TcpListener = inherited.socket.into();
            socket.set_nonblocking(true).map_err(refused)?;
            let listener = socket.try_clone().map_err(refused)?;
            let (own, worker) = (inherited.own, index % workers);
            opened.add(worker, socket, Port { listener, address, workers: vec![worker], own, is_new: false });
        }
        if taken == 0 {
            probe(address).map_err(|error| BindError { address, error })?;
        }
        bind_missing(address, taken, &mut opened)?;
    }
    for (local, inherited) in inherited {
        tracing::warn!("gateway.listen does not name {local} any more, closing it when its queue is empty");
        opened.draining_listeners.push(inherited.socket.into());
    }
    Ok(opened)
}

/// The address that an inherited TCP socket listens on. Any other descriptor is closed.
fn listening_socket(inherited: InheritedSocket) -> Option<(SocketAddr, InheritedSocket)> {
    let address = inherited.socket.local_addr().ok().and_then(|address| address.as_socket());
    match address {
        Some(address) if inherited.socket.is_listener().unwrap_or(false) => Some((address, inherited)),
        _ => {
            tracing::warn!(
                "inherited descriptor closed, it is not a listening TCP socket: {:?}",
                inherited.socket
            );
            None
        }
    }
}

/// Whether the address `wanted` of the configuration means a socket bound to `local`; port 0 means any port of that IP address.
pub(crate) fn is_meant(wanted: SocketAddr, local: SocketAddr) -> bool {
    wanted == local || (wanted.port() == 0 && wanted.ip() == local.ip())
}

/// Binds one address for every worker from `taken` on. For port 0 the kernel chooses a port at the first bind, and the others get
/// the same.
///
/// An inherited socket often can't share its address: systemd opens it as root, and the kernel shares an address only between
/// sockets of one user. Then several workers accept from the one queue, and load is spread less evenly.
fn bind_missing(mut address: SocketAddr, taken: usize, opened: &mut Opened) -> Result<(), BindError> {
    let wanted = address;
    let refused = |error| BindError { address: wanted, error };
    for worker in taken..opened.per_worker.len() {
        match bind(address) {
            Err(error) if taken > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                let of_other =
                    |port: &&mut Port| port.address == address && port.workers.contains(&(worker % taken));
                let shared = opened.ports.0.iter_mut().rfind(of_other).ok_or(error).map_err(refused)?;
                shared.workers.push(worker);
                let again = shared.listener.try_clone().map_err(refused)?;
                opened.per_worker[worker].push(again);
            }
            bound => {
                let socket = bound.map_err(refused)?;
                address.set_port(socket.local_addr().map_err(refused)?.port());
                let listener = socket.try_clone().map_err(refused)?;
                let workers = vec![worker];
                opened.add(worker, socket, Port { listener, address, workers, own: true, is_new: true });
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

/// Fails if another process listens on the address. Without it a second gateway of the same user could share the port unnoticed,
/// because only a bind without SO_REUSEPORT fails.
fn probe(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

/// Binds the address without listening on it: the kernel must send no connections to a socket that no worker accepts from yet.
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

    /// A listening socket as a predecessor leaves it.
    fn inherited_socket(address: SocketAddr) -> InheritedSocket {
        let socket: Socket = bind(address).expect("a free port").into();
        socket.listen(8).expect("bound");
        InheritedSocket { socket, own: true }
    }

    fn address(inherited: &InheritedSocket) -> SocketAddr {
        inherited.socket.local_addr().expect("bound").as_socket().expect("TCP")
    }

    fn counts(opened: &Opened) -> Vec<usize> {
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
    fn a_connection_is_refused_before_the_ports_listen() {
        let opened = open(&[any()], 2, Vec::new()).expect("a free port");
        let address = opened.per_worker[0][0].local_addr().expect("bound");
        assert!(std::net::TcpStream::connect(address).is_err());
        opened.ports.listen().expect("the port is free");
        assert!(std::net::TcpStream::connect(address).is_ok());
    }

    #[test]
    fn the_kernel_sends_no_connection_to_a_listener_before_it_listens() {
        let inherited = inherited_socket(any());
        let address = address(&inherited);
        let opened = open(&[address], 4, vec![inherited]).expect("shared");
        let _clients: Vec<_> =
            (0..8).map(|_| std::net::TcpStream::connect(address).expect("it listens")).collect();
        let first = &opened.per_worker[0][0];
        assert!((0..8).all(|_| first.accept().is_ok()), "all went to the one that listens");
        opened.ports.listen().expect("bound");
        let mut without_connection: Vec<_> = opened.per_worker[1..].iter().collect();
        for _ in 0..1000 {
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            without_connection.retain(|own| own[0].accept().is_err());
            // so that its queue is never full
            let _ = first.accept();
        }
        assert!(without_connection.is_empty(), "from here on the kernel spreads them");
    }

    #[test]
    fn a_forbidden_port_blames_its_number_only_if_that_is_why() {
        let forbidden = io::Error::from_raw_os_error(libc::EACCES);
        let next = |port| next_step((Ipv4Addr::LOCALHOST, port).into(), &forbidden, 1024);
        assert!(next(443).contains("CAP_NET_BIND_SERVICE"), "{}", next(443));
        assert!(next(1023).contains("CAP_NET_BIND_SERVICE"));
        for port in [0, 1024, 8443] {
            assert!(next(port).contains("SELinux") && !next(port).contains("CAP_NET"), "{port}");
        }
    }

    #[test]
    fn an_ipv6_address_that_can_not_be_had_is_refused_with_the_word_ipv6() {
        for code in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL] {
            let error = BindError {
                address: (std::net::Ipv6Addr::LOCALHOST, 443).into(),
                error: io::Error::from_raw_os_error(code),
            };
            let next = error.to_string();
            assert!(next.split_once(';').is_some_and(|(_, next)| next.contains("IPv6")), "{next}");
        }
    }

    #[test]
    fn a_taken_port_is_refused_although_its_socket_would_share() {
        let first = open(&[any()], 1, Vec::new()).expect("a free port");
        first.ports.listen().expect("the port is free");
        let address = first.per_worker[0][0].local_addr().expect("bound");
        let refused = open(&[address], 1, Vec::new()).expect_err("it is taken");
        assert!(refused.to_string().contains("another program listens there"), "{refused}");
    }

    #[test]
    fn inherited_sockets_go_to_the_workers_in_turn_and_missing_ones_are_bound() {
        let inherited = inherited_socket(any());
        let address = address(&inherited);
        let opened = open(&[address], 2, vec![inherited]).expect("shared");
        assert_eq!(counts(&opened), [1, 1]);
        assert_eq!(opened.ports.0.iter().map(|port| port.is_new).collect::<Vec<_>>(), [false, true]);

        let more = (0..3).map(|_| inherited_socket(address)).collect();
        let opened = open(&[address], 2, more).expect("shared");
        assert_eq!((counts(&opened), opened.ports.sockets().count()), (vec![2, 1], 3));
    }

    #[test]
    fn port_0_means_the_inherited_port_that_the_kernel_chose() {
        let inherited = inherited_socket(any());
        let address = address(&inherited);
        let opened = open(&[any()], 2, vec![inherited]).expect("shared");
        assert!(opened.per_worker.iter().all(|own| own[0].local_addr().expect("bound") == address));
    }

    #[test]
    fn inherited_sockets_of_other_addresses_are_drained() {
        let inherited = inherited_socket(any());
        let opened =
            open(&[(Ipv4Addr::new(127, 0, 0, 2), 0).into()], 1, vec![inherited]).expect("a free port");
        assert_eq!((opened.draining_listeners.len(), opened.ports.sockets().count()), (1, 1));
    }

    #[test]
    fn inherited_sockets_that_do_not_listen_are_closed() {
        let bound = InheritedSocket { socket: bind(any()).expect("a free port").into(), own: true };
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("two");
        let unix = InheritedSocket { socket: Socket::from(std::os::fd::OwnedFd::from(one)), own: false };
        let opened = open(&[any()], 1, vec![bound, unix]).expect("a free port");
        assert_eq!((counts(&opened), opened.draining_listeners.len()), (vec![1], 0));
    }

    #[test]
    fn an_inherited_socket_that_can_not_be_shared_serves_all_workers() {
        let alone = TcpListener::bind(any()).expect("a free port");
        let address = alone.local_addr().expect("bound");
        let inherited = InheritedSocket { socket: alone.into(), own: false };
        let opened = open(&[address], 3, vec![inherited]).expect("one queue for all");
        for own in &opened.per_worker {
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            assert_eq!((own.len(), own[0].local_addr().expect("bound")), (1, address));
            assert!(own[0].accept().is_ok(), "every worker reaches the queue");
        }
        assert_eq!(opened.ports.sockets().count(), 1, "one socket, from which all workers accept");
    }
}
