//! Which process listens where: `/proc/net/tcp` and `tcp6` name sockets, and the folders `/proc/PID/fd` name their owners.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A TCP socket in the state LISTEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// The number of its inode, by which its owner is found.
    inode: u64,
}

/// Every TCP socket that listens in this network namespace.
pub(crate) fn listening() -> Vec<Listening> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    [read("tcp"), read("tcp6")]
        .iter()
        .flat_map(|table| table.lines().filter_map(line).collect::<Vec<_>>())
        .collect()
}

/// One line of the kernel's table (proc_net_tcp(5)); `None` for the head and for sockets that do not listen.
fn line(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    // the remote address is skipped
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let address = SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?);
    (state == LISTEN).then_some(Listening { address, inode })
}

/// An address as the kernel prints it: words of 32 bits in the order of this machine.
fn ip(hex: &str) -> Option<IpAddr> {
    const WORD: usize = 8;
    if !hex.len().is_multiple_of(WORD) {
        return None;
    }
    let words: Option<Vec<_>> = hex
        .as_bytes()
        .chunks(WORD)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    match words?.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Whether a socket on `held` keeps another program from listening on `wanted`: the same port, and the same address or an
/// address that stands for all. `[::]` stands for IPv4 too, unless its owner says otherwise, which the kernel does not show.
pub(crate) fn is_in_the_way(wanted: SocketAddr, held: SocketAddr) -> bool {
    let same_family = wanted.is_ipv4() == held.is_ipv4();
    let covers = match (wanted.ip(), held.ip()) {
        (wanted, held) if wanted == held => true,
        (_, held) if held.is_unspecified() => same_family || held.is_ipv6(),
        // the gateway's own sockets of IPv6 are for IPv6 alone
        (wanted, _) => wanted.is_unspecified() && same_family,
    };
    wanted.port() == held.port() && covers
}

/// A process that has a socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    /// The name of its program, as `ps -o comm` shows it.
    pub(crate) name: String,
    /// It is a gateway that was started with the configuration in question.
    pub(crate) is_this_gateway: bool,
}

/// The processes that have the sockets of these inodes, as far as this user may see them.
pub(crate) fn owners(sockets: &[&Listening], config: &Path) -> BTreeMap<u64, BTreeSet<Owner>> {
    let wanted: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut found: BTreeMap<u64, BTreeSet<Owner>> = BTreeMap::new();
    if wanted.is_empty() {
        return found;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let inodes: BTreeSet<u64> =
            files.filter_map(|file| socket_inode(&fs::read_link(file.path()).ok()?)).collect();
        for inode in inodes.intersection(&wanted) {
            found.entry(*inode).or_default().insert(owner(pid, config));
        }
    }
    found
}

/// The owners of one socket.
pub(crate) fn of<'o>(
    owners: &'o BTreeMap<u64, BTreeSet<Owner>>,
    socket: &Listening,
) -> impl Iterator<Item = &'o Owner> + use<'o> {
    owners.get(&socket.inode).into_iter().flatten()
}

/// The number in a link such as `socket:[4711]`.
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn owner(pid: u32, config: &Path) -> Owner {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
    let words = read("cmdline");
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let same = |path: PathBuf| match (folder.join(path).canonicalize(), config.canonicalize()) {
        (Ok(its), Ok(ours)) => its == ours,
        _ => false,
    };
    let is_this_gateway = name == "tidegate" && configuration_of(&words).is_some_and(same);
    Owner { pid, name, is_this_gateway }
}

/// The path of the configuration that `tidegate run` was started with, from the words of its command line, which end with a zero
/// byte each; `None` for any other command.
fn configuration_of(words: &[u8]) -> Option<PathBuf> {
    let mut words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).skip(1);
    words.next().filter(|word| word == "run")?;
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(|path| path.into_owned().into());
        }
        if let Some(path) = word.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    Some("/etc/tidegate/tidegate.toml".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[cfg(target_endian = "little")]
    #[test]
    fn only_listening_sockets_of_the_kernels_table_count() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(line(head), None);
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4711 1 0 100 0 0 10 0";
        let listening =
            |address: &str, inode| Listening { address: address.parse().expect("an address"), inode };
        assert_eq!(line(v4), Some(listening("127.0.0.1:8080", 4711)));
        assert_eq!(line(&v4.replace(" 0A ", " 01 ")), None, "an established connection");
        let v6 = "   1: 0000000000000000FFFF00000100007F:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 12 1";
        assert_eq!(line(v6), Some(listening("[::ffff:127.0.0.1]:443", 12)));
        assert_eq!(line("   1: 01:0 02:0 0A 0:0 00:0 0 0 0 12"), None);
    }

    #[test]
    fn an_address_is_taken_by_itself_and_by_one_that_stands_for_all() {
        let in_the_way = |wanted: &str, held: &str| {
            is_in_the_way(wanted.parse().expect("an address"), held.parse().expect("an address"))
        };
        assert!(in_the_way("127.0.0.1:443", "127.0.0.1:443") && in_the_way("127.0.0.1:443", "0.0.0.0:443"));
        assert!(in_the_way("0.0.0.0:443", "127.0.0.1:443") && in_the_way("0.0.0.0:443", "[::]:443"));
        assert!(in_the_way("[::]:443", "[::1]:443"));
        assert!(
            !in_the_way("127.0.0.1:443", "127.0.0.2:443") && !in_the_way("127.0.0.1:443", "127.0.0.1:444")
        );
        assert!(!in_the_way("[::]:443", "0.0.0.0:443"), "the gateway's [::] is for IPv6 alone");
    }

    #[test]
    fn the_owner_of_a_socket_is_found_by_its_inode() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let all = listening();
        let socket = all.iter().find(|socket| socket.address == address).expect("it listens");
        let owners = owners(&[socket], Path::new("/nonexistent"));
        let owner = of(&owners, socket).find(|owner| owner.pid == std::process::id()).expect("this process");
        assert!(!owner.is_this_gateway && !owner.name.is_empty(), "{owner:?}");
        assert_eq!(socket_inode(Path::new("pipe:[3]")), None);
    }

    #[test]
    fn the_configuration_of_a_running_gateway_stands_in_its_command_line() {
        let of = |text: &str| configuration_of(text.replace(' ', "\0").as_bytes());
        assert_eq!(of("/usr/bin/tidegate run --config a.toml "), Some("a.toml".into()));
        assert_eq!(of("tidegate run --config=/b.toml"), Some("/b.toml".into()));
        assert_eq!(of("tidegate run"), Some("/etc/tidegate/tidegate.toml".into()));
        assert_eq!(of("tidegate check --config run"), None);
    }
}
