//! The ports that the gateway listens on: free, held by this gateway, or held by another process; whether it may have them; and
//! the folder of its admin socket.

use crate::config::{AdminListen, Config};
use crate::control::doctor::finding::Finding;
use crate::control::doctor::process::{self, Process};
use crate::control::doctor::sockets::{self, Owner};
use crate::control::start::host;
use rustix::fs::{Access, AtFlags, CWD};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// CAP_NET_BIND_SERVICE (capabilities(7)).
const NET_BIND_SERVICE: u32 = 10;

/// An address of the configuration with the key that names it, and the processes that hold it.
#[derive(Debug)]
pub(crate) struct Port {
    key: &'static str,
    address: SocketAddr,
    /// This machine has the address.
    is_here: bool,
    /// Something listens there.
    is_held: bool,
    /// Its owners, as far as this user may see them.
    owners: BTreeSet<Owner>,
}

/// Every TCP address that a gateway with this configuration listens on, with the key that names it. One with port 0 takes any
/// port, so that it is never in the way of another one.
pub(crate) fn listeners(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let mut all: Vec<_> = config.gateway.listen.iter().map(|address| ("gateway.listen", *address)).collect();
    all.extend(config.monitoring.listen.map(|address| ("monitoring.listen", address)));
    if let AdminListen::Tcp(address) = config.admin.listen {
        all.push(("admin.listen", address));
    }
    all.retain(|(_, address)| address.port() != 0);
    all
}

/// Looks up which processes hold the addresses of the gateway whose configuration file is at `path`.
pub(crate) fn read(config: &Config, path: &Path) -> Vec<Port> {
    let wanted = listeners(config);
    let all = sockets::listening();
    let holding = |wanted| all.iter().filter(move |socket| sockets::is_in_the_way(wanted, socket.address));
    let sockets: Vec<_> = wanted.iter().flat_map(|(_, address)| holding(*address)).collect();
    let owners = sockets::owners(&sockets, path);
    let port = |(key, address): (&'static str, SocketAddr)| Port {
        key,
        address,
        is_here: is_here(address.ip()),
        is_held: holding(address).next().is_some(),
        owners: holding(address).flat_map(|socket| sockets::of(&owners, socket)).cloned().collect(),
    };
    wanted.into_iter().map(port).collect()
}

/// Whether a socket can have this address on this machine. Takes any port for a moment, and listens on none.
fn is_here(address: IpAddr) -> bool {
    let any = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, Some(Protocol::TCP));
    let bound = socket.and_then(|socket| socket.bind(&any.into()));
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// The process id of the gateway that runs with this configuration. Of two, the one that started later: it serves.
pub(crate) fn running_gateway(ports: &[Port]) -> Option<u32> {
    let gateways = ports.iter().flat_map(|port| &port.owners).filter(|owner| owner.is_this_gateway);
    gateways.map(|owner| owner.pid).max()
}

/// What decides about low ports.
#[derive(Debug)]
pub(crate) struct Privilege {
    /// The lowest port that every user may listen on.
    first_unprivileged: u16,
    /// This process may listen on lower ones.
    is_held: bool,
}

impl Privilege {
    pub(crate) fn read(process: &Process) -> Self {
        let status = process.read("status").unwrap_or_default();
        Self {
            first_unprivileged: host::first_unprivileged_port(),
            is_held: process::has_capability(&status, NET_BIND_SERVICE),
        }
    }
}

/// Judges each port.
pub(crate) fn judge(ports: &[Port], privilege: &Privilege) -> Vec<Finding> {
    ports.iter().map(|port| judge_one(port, privilege)).collect()
}

fn judge_one(port: &Port, privilege: &Privilege) -> Finding {
    let (check, Port { key, address, .. }) = ("port", port);
    if !port.is_here {
        let list = if address.is_ipv6() { "ip -6 address" } else { "ip address" };
        return Finding::problem(
            check,
            format!("{address} ({key}): this machine does not have that address"),
            format!("look at `{list}` and correct {key}"),
        );
    }
    if !port.is_held {
        if address.port() >= privilege.first_unprivileged || privilege.is_held {
            return Finding::ok(check, format!("{address} ({key}) is free"));
        }
        let found = format!(
            "{address} ({key}) is free, but ports below {} need a privilege",
            privilege.first_unprivileged
        );
        let remedy = "start it by its systemd unit, which gives CAP_NET_BIND_SERVICE, or `setcap cap_net_bind_service=+ep` its \
                      binary, or choose a higher port";
        return Finding::warning(check, found, remedy);
    }
    if port.owners.iter().any(|owner| owner.is_this_gateway) {
        return Finding::ok(check, format!("{address} ({key}) is held by the running gateway"));
    }
    let systemd = |owner: &Owner| owner.pid == 1 && owner.name == "systemd";
    if !port.owners.is_empty() && port.owners.iter().all(systemd) {
        return Finding::ok(check, format!("{address} ({key}) is held by systemd, for a socket unit"));
    }
    match port.owners.iter().find(|owner| !systemd(owner)) {
        Some(owner) => Finding::problem(
            check,
            format!("{address} ({key}) is held by {} (process {})", owner.name, owner.pid),
            format!("stop that process (`ps -fp {}` shows it), or choose another port in {key}", owner.pid),
        ),
        None => Finding::warning(
            check,
            format!("{address} ({key}) is held by a process that this user may not see"),
            format!("run `tidegate doctor` as root, or `ss -ltnp sport = :{}`", address.port()),
        ),
    }
}

/// What there is at the path of the admin socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminSocket {
    /// A process answers there.
    Answers,
    /// This user may not connect.
    Denied,
    /// Nothing answers, and its folder may be written.
    Free,
    /// There is no such folder.
    NoFolder,
    /// Its folder may not be written by this user.
    NotWritable,
}

/// Looks at the path of the admin socket.
pub(crate) fn admin_socket(path: &Path) -> AdminSocket {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    match UnixStream::connect(path).map_err(|error| error.kind()) {
        Ok(_) => AdminSocket::Answers,
        Err(io::ErrorKind::PermissionDenied) => AdminSocket::Denied,
        Err(_) if !folder.is_dir() => AdminSocket::NoFolder,
        Err(_) => {
            match rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
                Ok(()) => AdminSocket::Free,
                Err(_) => AdminSocket::NotWritable,
            }
        }
    }
}

/// Judges the admin socket. `is_running` is whether a gateway runs with this configuration.
pub(crate) fn judge_admin(path: &Path, found: AdminSocket, is_running: bool) -> Finding {
    let check = "admin socket";
    let folder = path.parent().unwrap_or_else(|| Path::new("/")).display();
    let path = path.display();
    match found {
        AdminSocket::Answers if is_running => Finding::ok(check, format!("{path} answers")),
        AdminSocket::Answers => Finding::problem(
            check,
            format!("{path} is served by another process"),
            format!(
                "stop that process (`ss -lxp src {path}` shows it), or choose another path in admin.listen"
            ),
        ),
        AdminSocket::Denied => Finding::warning(
            check,
            format!("{path} is closed to this user"),
            "run the commands that ask the gateway as root, or as a user that may write to the socket",
        ),
        AdminSocket::Free if is_running => Finding::warning(
            check,
            format!("nothing answers at {path}, although the gateway runs"),
            "look for `admin` in the gateway's log, and restart it if admin.listen has changed since its start",
        ),
        AdminSocket::Free => Finding::ok(check, format!("{folder} can be written")),
        AdminSocket::NoFolder => Finding::warning(
            check,
            format!("{folder} does not exist"),
            format!(
                "start the gateway by its unit, whose RuntimeDirectory= makes /run/tidegate, or `mkdir {folder}`"
            ),
        ),
        AdminSocket::NotWritable => Finding::warning(
            check,
            format!("{folder} can't be written by this user"),
            format!("start the gateway by its unit, or `chown tidegate {folder}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    const ROOT: Privilege = Privilege { first_unprivileged: 1024, is_held: true };
    const PLAIN: Privilege = Privilege { first_unprivileged: 1024, is_held: false };

    fn port(address: &str, owners: Option<&[(u32, &str, bool)]>) -> Port {
        let owner = |(pid, name, ours): &(u32, &str, bool)| Owner {
            pid: *pid,
            name: (*name).to_owned(),
            is_this_gateway: *ours,
        };
        Port {
            key: "gateway.listen",
            address: address.parse().expect("an address"),
            is_here: true,
            is_held: owners.is_some(),
            owners: owners.into_iter().flatten().map(owner).collect(),
        }
    }

    #[test]
    fn a_free_port_needs_a_privilege_only_if_it_is_low() {
        let level = |address, privilege| judge_one(&port(address, None), privilege).level;
        assert_eq!(level("0.0.0.0:443", &ROOT), Level::Ok);
        assert_eq!(level("0.0.0.0:8443", &PLAIN), Level::Ok);
        assert_eq!(level("0.0.0.0:80", &Privilege { first_unprivileged: 80, is_held: false }), Level::Ok);
        let low = judge_one(&port("0.0.0.0:443", None), &PLAIN);
        assert_eq!(low.level, Level::Warning);
        assert!(low.remedy.is_some_and(|remedy| remedy.contains("CAP_NET_BIND_SERVICE")));
    }

    #[test]
    fn an_address_of_another_machine_is_a_problem() {
        assert!(is_here([127, 0, 0, 1].into()));
        let takes_any = process::read_number("/proc/sys/net/ipv4/ip_nonlocal_bind") == Some(1);
        // TEST-NET-1 (RFC 5737)
        assert_eq!(is_here([192, 0, 2, 1].into()), takes_any);
        let away = Port { is_here: false, ..port("192.0.2.1:443", None) };
        let finding = judge_one(&away, &ROOT);
        assert_eq!(finding.level, Level::Problem);
        assert_eq!(finding.remedy.as_deref(), Some("look at `ip address` and correct gateway.listen"));
    }

    #[test]
    fn a_held_port_is_a_problem_unless_this_gateway_or_systemd_holds_it() {
        let judge = |owners| judge_one(&port("0.0.0.0:443", Some(owners)), &PLAIN);
        let ours = [(9, "tidegate", false), (10, "tidegate", true)];
        assert_eq!(judge(&ours).level, Level::Ok);
        assert_eq!(running_gateway(&[port("0.0.0.0:443", Some(&ours))]), Some(10));
        assert_eq!(judge(&[(1, "systemd", false)]).level, Level::Ok);
        let foreign = judge(&[(1, "systemd", false), (77, "nginx", false)]);
        assert_eq!(foreign.level, Level::Problem);
        assert!(foreign.found.ends_with("is held by nginx (process 77)"), "{foreign:?}");
        assert!(foreign.remedy.is_some_and(|remedy| remedy.contains("`ps -fp 77`")));
        assert_eq!(
            judge(&[(9, "tidegate", false)]).level,
            Level::Problem,
            "a gateway of another configuration"
        );
        let hidden = judge(&[]);
        assert_eq!(hidden.level, Level::Warning);
        assert!(hidden.remedy.is_some_and(|remedy| remedy.contains("ss -ltnp")));
    }

    #[test]
    fn the_admin_socket_needs_a_folder_that_can_be_written() {
        let folder = std::env::temp_dir().join(format!("tidegate-doctor-admin-{}", std::process::id()));
        let path = folder.join("admin.sock");
        assert_eq!(admin_socket(&path), AdminSocket::NoFolder);
        std::fs::create_dir(&folder).expect("a folder");
        assert_eq!(admin_socket(&path), AdminSocket::Free);
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert_eq!(admin_socket(&path), AdminSocket::Answers);
        drop(listener);
        assert_eq!(
            admin_socket(&path),
            AdminSocket::Free,
            "a socket file that no process serves is replaced"
        );
        std::fs::remove_dir_all(&folder).expect("removed");
        for (found, is_running, level) in [
            (AdminSocket::Answers, true, Level::Ok),
            (AdminSocket::Answers, false, Level::Problem),
            (AdminSocket::Free, false, Level::Ok),
            (AdminSocket::Free, true, Level::Warning),
            (AdminSocket::Denied, true, Level::Warning),
            (AdminSocket::NoFolder, false, Level::Warning),
            (AdminSocket::NotWritable, false, Level::Warning),
        ] {
            assert_eq!(judge_admin(&path, found, is_running).level, level, "{found:?}");
        }
    }
}
