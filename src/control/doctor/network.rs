//! Settings of the kernel's network that bound how many clients and nodes the gateway can have.

use crate::config::Config;
use crate::control::doctor::finding::Finding;
use crate::control::doctor::{ports, process};
use crate::control::start::listeners::BACKLOG;

/// How long the kernel keeps the port of a connection that this machine ended first (TIME_WAIT), in seconds.
const TIME_WAIT: u64 = 60;

/// Ports towards one node that are enough for any gateway: nearly all there are.
const PORTS_ENOUGH: u64 = 60_000;

/// The settings, `None` where the kernel does not have one.
#[derive(Debug, Default, Clone)]
pub(crate) struct NetworkFacts {
    somaxconn: Option<u64>,
    max_syn_backlog: Option<u64>,
    syncookies: Option<u64>,
    /// First and last port for connections to nodes.
    port_range: Option<(u64, u64)>,
    /// Ports of that range that only a listener may have.
    reserved: Vec<(u64, u64)>,
    tw_reuse: Option<u64>,
    /// Present only if connection tracking is loaded: the most connections that it tracks, and how many it does.
    conntrack: Option<(u64, u64)>,
}

impl NetworkFacts {
    pub(crate) fn read() -> Self {
        let ipv4 = |name: &str| process::read_number(&format!("/proc/sys/net/ipv4/{name}"));
        let text =
            |name: &str| process::read(format!("/proc/sys/net/ipv4/{name}").as_ref()).unwrap_or_default();
        let netfilter = |name: &str| process::read_number(&format!("/proc/sys/net/netfilter/{name}"));
        Self {
            somaxconn: process::read_number("/proc/sys/net/core/somaxconn"),
            max_syn_backlog: ipv4("tcp_max_syn_backlog"),
            syncookies: ipv4("tcp_syncookies"),
            port_range: port_range(&text("ip_local_port_range")),
            reserved: reserved_ports(&text("ip_local_reserved_ports")),
            tw_reuse: ipv4("tcp_tw_reuse"),
            conntrack: netfilter("nf_conntrack_max").zip(netfilter("nf_conntrack_count")),
        }
    }
}

/// `net.ipv4.ip_local_port_range`: two numbers.
fn port_range(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?)).filter(|(first, last)| first <= last)
}

/// `net.ipv4.ip_local_reserved_ports`: a list such as `80,9180-9190`.
fn reserved_ports(text: &str) -> Vec<(u64, u64)> {
    let entry = |entry: &str| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    };
    text.trim().split(',').filter_map(entry).collect()
}

/// Judges the settings for a gateway with this configuration.
pub(crate) fn judge(facts: &NetworkFacts, config: &Config) -> Vec<Finding> {
    let sessions = config.limits.sessions.map(|sessions| sessions as u64);
    let findings = [
        accept_queue(facts),
        half_open(facts),
        ports_to_nodes(facts, sessions),
        rest_of_ports(facts),
        listening_ports(facts, config),
        conntrack(facts, sessions),
    ];
    findings.into_iter().flatten().collect()
}

/// A line that sets a sysctl now, and where it stays after the next boot.
fn set(key: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {key}=\"{value}\", and the same in a file of /etc/sysctl.d")
}

fn accept_queue(facts: &NetworkFacts) -> Option<Finding> {
    let (check, most, backlog) = ("accept queue", facts.somaxconn?, BACKLOG.unsigned_abs());
    let found = format!("net.core.somaxconn = {most}");
    Some(match most < backlog.into() {
        true => Finding::warning(
            check,
            format!("{found}: each listener asks for a queue of {backlog}, and a full one drops clients"),
            set("net.core.somaxconn", backlog),
        ),
        false => Finding::ok(check, found),
    })
}

/// With SYN cookies a full queue of half-open connections turns no client away.
fn half_open(facts: &NetworkFacts) -> Option<Finding> {
    let (check, most, backlog) = ("SYN queue", facts.max_syn_backlog?, BACKLOG.unsigned_abs());
    let cookies = facts.syncookies.unwrap_or(0);
    let found = format!("net.ipv4.tcp_max_syn_backlog = {most}, net.ipv4.tcp_syncookies = {cookies}");
    Some(match cookies == 0 && most < backlog.into() {
        true => Finding::warning(
            check,
            format!("{found}: a flood of SYN packets keeps clients out"),
            "sysctl -w net.ipv4.tcp_syncookies=1, and the same in a file of /etc/sysctl.d",
        ),
        false => Finding::ok(check, found),
    })
}

fn ports_to_nodes(facts: &NetworkFacts, sessions: Option<u64>) -> Option<Finding> {
    let (check, (first, last)) = ("ports to nodes", facts.port_range?);
    let count = last - first + 1;
    let found =
        format!("net.ipv4.ip_local_port_range = {first} {last}: at most {count} sessions at one node");
    Some(match count < sessions.unwrap_or(u64::MAX).min(PORTS_ENOUGH) {
        true => Finding::warning(
            check,
            found,
            format!("{}, or lower limits.sessions", set("net.ipv4.ip_local_port_range", "1024 65535")),
        ),
        false => Finding::ok(check, found),
    })
}

fn rest_of_ports(facts: &NetworkFacts) -> Option<Finding> {
    let (check, reuse, (first, last)) = ("TIME_WAIT", facts.tw_reuse?, facts.port_range?);
    let found = format!("net.ipv4.tcp_tw_reuse = {reuse}");
    if reuse == 1 {
        return Some(Finding::ok(check, found));
    }
    let rate = (last - first + 1) / TIME_WAIT;
    let found = format!(
        "{found}: a port rests for {TIME_WAIT} s after a session that the gateway ended, so one node can \
                         get {rate} of those a second"
    );
    Some(match last - first + 1 < PORTS_ENOUGH {
        true => Finding::warning(check, found, set("net.ipv4.tcp_tw_reuse", 1)),
        false => Finding::ok(check, found),
    })
}

/// A connection to a node may take the port of a listener that is about to start, which then fails.
fn listening_ports(facts: &NetworkFacts, config: &Config) -> Option<Finding> {
    let (check, (first, last)) = ("reserved ports", facts.port_range?);
    let mut ports: Vec<u64> =
        ports::listeners(config).iter().map(|(_, address)| address.port().into()).collect();
    let is_at_risk = |port: &u64| {
        (first..=last).contains(port) && !facts.reserved.iter().any(|(from, to)| (from..=to).contains(&port))
    };
    ports.retain(is_at_risk);
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        return Some(Finding::ok(check, "no connection to a node can take the port of a listener"));
    }
    let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let found = format!(
        "{list}: a connection to a node may have this port when the gateway starts, so that the start fails"
    );
    Some(Finding::warning(check, found, set("net.ipv4.ip_local_reserved_ports", list)))
}

fn conntrack(facts: &NetworkFacts, sessions: Option<u64>) -> Option<Finding> {
    let (check, (most, tracked)) = ("conntrack", facts.conntrack?);
    let found = format!("net.netfilter.nf_conntrack_max = {most}, {tracked} tracked now");
    // a full table drops packets of new connections
    if tracked >= most / 10 * 9 {
        let remedy = set("net.netfilter.nf_conntrack_max", most.max(1) * 2);
        return Some(Finding::problem(check, format!("{found}: nearly full"), remedy));
    }
    let needed = sessions.unwrap_or(0).saturating_mul(2);
    Some(match most < needed {
        true => Finding::warning(
            check,
            format!("{found}; limits.sessions need {needed}, two for each session"),
            format!(
                "{}, or exempt the gateway's ports (nft: notrack)",
                set("net.netfilter.nf_conntrack_max", needed)
            ),
        ),
        false => Finding::ok(check, found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    fn config(keys: &str) -> Config {
        let text = format!(
            "{keys}\nstream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        crate::config::read(&text).expect("a good configuration")
    }

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!([port_range(""), port_range("9 x"), port_range("9 8")], [None, None, None]);
        assert_eq!(reserved_ports("80,9180-9190\n"), [(80, 80), (9180, 9190)]);
        assert_eq!(reserved_ports("\n"), []);
        assert!(NetworkFacts::read().somaxconn.is_some());
    }

    #[track_caller]
    fn assert_one(finding: Option<Finding>, level: Level, remedy: &str) {
        let finding = finding.expect("a finding");
        assert_eq!(finding.level, level, "{finding:?}");
        assert_eq!(finding.remedy.unwrap_or_default(), remedy);
    }

    const STAYS: &str = ", and the same in a file of /etc/sysctl.d";

    #[test]
    fn a_short_accept_queue_is_a_warning() {
        let facts = |somaxconn| NetworkFacts { somaxconn: Some(somaxconn), ..NetworkFacts::default() };
        assert_one(accept_queue(&facts(4096)), Level::Ok, "");
        assert_one(
            accept_queue(&facts(128)),
            Level::Warning,
            &format!("sysctl -w net.core.somaxconn=\"4096\"{STAYS}"),
        );
        assert_eq!(accept_queue(&NetworkFacts::default()), None);
    }

    #[test]
    fn a_short_queue_of_half_open_connections_matters_without_cookies() {
        let facts = |most, cookies| NetworkFacts {
            max_syn_backlog: Some(most),
            syncookies: Some(cookies),
            ..NetworkFacts::default()
        };
        assert_one(half_open(&facts(128, 1)), Level::Ok, "");
        assert_one(half_open(&facts(4096, 0)), Level::Ok, "");
        assert_one(
            half_open(&facts(128, 0)),
            Level::Warning,
            &format!("sysctl -w net.ipv4.tcp_syncookies=1{STAYS}"),
        );
    }

    #[test]
    fn few_ports_towards_nodes_are_a_warning_and_the_remedy_helps() {
        let facts = |first, last| NetworkFacts {
            port_range: Some((first, last)),
            tw_reuse: Some(2),
            ..NetworkFacts::default()
        };
        let (narrow, wide) = (facts(32_768, 60_999), facts(1024, 65_535));
        let finding = ports_to_nodes(&narrow, Some(100_000)).expect("a finding");
        assert!(finding.found.ends_with("at most 28232 sessions at one node"), "{finding:?}");
        assert_eq!(finding.level, Level::Warning);
        assert_eq!(ports_to_nodes(&narrow, None).expect("a finding").level, Level::Warning);
        assert_one(ports_to_nodes(&narrow, Some(20_000)), Level::Ok, "");
        assert_one(ports_to_nodes(&wide, Some(100_000)), Level::Ok, "");
        assert_one(
            rest_of_ports(&narrow),
            Level::Warning,
            &format!("sysctl -w net.ipv4.tcp_tw_reuse=\"1\"{STAYS}"),
        );
        assert_one(rest_of_ports(&wide), Level::Ok, "");
        assert_one(rest_of_ports(&NetworkFacts { tw_reuse: Some(1), ..narrow }), Level::Ok, "");
    }

    #[test]
    fn the_ports_of_listeners_are_reserved_if_they_lie_in_the_range() {
        let facts = NetworkFacts { port_range: Some((1024, 65_535)), ..NetworkFacts::default() };
        let config = config("gateway.listen = [\"127.0.0.1:443\", \"127.0.0.1:8443\"]");
        let remedy = format!("sysctl -w net.ipv4.ip_local_reserved_ports=\"8443,9180\"{STAYS}");
        assert_one(listening_ports(&facts, &config), Level::Warning, &remedy);
        let reserved = NetworkFacts { reserved: vec![(8443, 8443), (9000, 9999)], ..facts };
        assert_one(listening_ports(&reserved, &config), Level::Ok, "");
    }

    #[test]
    fn connection_tracking_has_room_for_both_connections_of_a_session() {
        let facts =
            |most, tracked| NetworkFacts { conntrack: Some((most, tracked)), ..NetworkFacts::default() };
        assert_one(conntrack(&facts(200_000, 5), Some(100_000)), Level::Ok, "");
        let low = conntrack(&facts(65_536, 5), Some(100_000)).expect("a finding");
        assert_eq!(low.level, Level::Warning);
        assert!(low.remedy.is_some_and(|remedy| remedy.contains("nf_conntrack_max=\"200000\"")));
        assert_eq!(conntrack(&facts(1000, 950), Some(1)).map(|finding| finding.level), Some(Level::Problem));
        assert_eq!(conntrack(&NetworkFacts::default(), None), None, "it is not loaded");
    }
}
