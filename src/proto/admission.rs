//! Admission: the rule which nodes may be dialled, and the permit without which the gateway dials no address.
//!
//! Learned nodes are stored elsewhere; the caller says whether an address is one. Addresses are compared as numbers, never
//! as text. Nothing here resolves a name or opens a socket.

use crate::proto::refusal::Refusal;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a text is no network, for [`parse_network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// What stands before the `/` is no address in canonical form (RFC 6943, 3.1.1: no leading zeros, four parts).
    Address,
    /// The prefix length is not a number of digits only, or longer than this, the length of the address.
    Prefix(u8),
    /// The address has bits set behind its prefix, so that either of the two may be a mistake.
    HostBits(IpNet),
}

/// Reads a network such as `10.0.0.0/8` or `fd00::/8`; an address without a prefix length is a network of that address alone.
///
/// Stricter than the parser of `ipnet`, which reads `010.0.0.0/8` as `10.0.0.0/8` and keeps bits behind the prefix.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkFault> {
    let (address, digits) = match text.split_once('/') {
        Some((address, digits)) => (address, Some(digits)),
        None => (text, None),
    };
    let single = IpNet::from(address.parse::<IpAddr>().map_err(|_| NetworkFault::Address)?);
    let Some(digits) = digits else { return Ok(single) };
    // `u8` reads a plus sign too
    let length = digits.parse().ok().filter(|_| !digits.starts_with('+'));
    let network = length.and_then(|length| IpNet::new(single.addr(), length).ok());
    let network = network.ok_or_else(|| NetworkFault::Prefix(single.max_prefix_len()))?;
    if network.addr() == network.network() { Ok(network) } else { Err(NetworkFault::HostBits(network)) }
}

/// What the configuration says about nodes, and the addresses of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRules {
    /// Networks whose addresses are admitted without having been learned. A network of a single address also lifts the denial of that
    /// address if it is loopback or in `own`.
    pub networks: Vec<IpNet>,
    /// Whether learned nodes are admitted.
    pub learned: bool,
    /// Whether a node has to be learned **and** inside `networks`.
    pub strict: bool,
    /// The addresses of the gateway and of the stream manager.
    pub own: Vec<IpAddr>,
    /// The only port that is dialled on a node.
    pub port: u16,
}

impl AdmissionRules {
    /// Whether an address is of a denied class and the configuration does not lift that.
    fn denies(&self, address: IpAddr) -> bool {
        match Class::of(address) {
            Class::Denied => true,
            Class::Loopback => !self.lists(address),
            Class::Ordinary => self.own.contains(&address) && !self.lists(address),
        }
    }

    /// Whether `networks` has this very address as a network of its own, which lifts the denial of loopback and `own`.
    pub fn lists(&self, address: IpAddr) -> bool {
        self.networks.contains(&IpNet::from(address))
    }
}

/// The permit to dial a node. Only [`admit`], [`admit_named`] and [`admit_configured`] make one, and a dial takes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Admitted(SocketAddr);

impl Admitted {
    /// The address and port to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Admits the address of a node that is inside a network of the configuration, or learned, or both, as the rules say.
///
/// Fails with [`Refusal::OriginNotAdmitted`] otherwise, and for every address of a denied class, learned or listed.
pub fn admit(rules: &AdmissionRules, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
    let inside = rules.networks.iter().any(|network| network.contains(&address));
    let known = match (rules.learned, rules.strict) {
        (false, _) => inside,
        (true, false) => inside || is_learned,
        (true, true) => inside && is_learned,
    };
    if known { admit_configured(rules, address) } else { Err(Refusal::OriginNotAdmitted) }
}

/// Admits an address of a name that the configuration lists. It need not be learned or inside a network, but with `strict`
/// it has to be both, like every other address.
///
/// Fails with [`Refusal::OriginNotAdmitted`] otherwise, and for every address of a denied class.
pub fn admit_named(rules: &AdmissionRules, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
    if rules.strict { admit(rules, address, is_learned) } else { admit_configured(rules, address) }
}

/// Admits an address that need not be learned or listed, because it was admitted when a WHIP session began there.
///
/// Fails with [`Refusal::OriginNotAdmitted`] for every address of a denied class.
pub fn admit_configured(rules: &AdmissionRules, address: IpAddr) -> Result<Admitted, Refusal> {
    if rules.denies(address) {
        return Err(Refusal::OriginNotAdmitted);
    }
    Ok(Admitted(SocketAddr::new(address, rules.port)))
}

/// Whether an address that the stream manager named may be learned. Addresses of denied classes may not.
pub fn may_learn(rules: &AdmissionRules, address: IpAddr) -> bool {
    rules.learned && !rules.denies(address)
}

/// Which rule keeps an address from being dialled, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Its class is denied whatever is configured.
    Class,
    /// It is a loopback address, and not listed as a single address.
    Loopback,
    /// It is the gateway's own or the stream manager's, and not listed as a single address.
    Own,
    /// It is neither inside `networks` nor learned.
    Unknown,
    /// It is not inside `networks`, and learned nodes are not admitted.
    Unlisted,
    /// With `strict`: it is not inside `networks`.
    Outside,
    /// With `strict`: it is inside `networks` but not learned.
    Unlearned,
}

/// Why [`admit`] refuses an address; `None` if it admits it.
pub fn denial(rules: &AdmissionRules, address: IpAddr, is_learned: bool) -> Option<Denial> {
    match Class::of(address) {
        Class::Denied => return Some(Denial::Class),
        Class::Loopback if !rules.lists(address) => return Some(Denial::Loopback),
        Class::Ordinary if rules.denies(address) => return Some(Denial::Own),
        Class::Loopback | Class::Ordinary => {}
    }
    let inside = rules.networks.iter().any(|network| network.contains(&address));
    match (inside, rules.learned, rules.strict) {
        (true, true, true) if !is_learned => Some(Denial::Unlearned),
        (true, ..) => None,
        (false, false, _) => Some(Denial::Unlisted),
        (false, true, true) => Some(Denial::Outside),
        (false, true, false) => (!is_learned).then_some(Denial::Unknown),
    }
}

/// Networks all of whose addresses are denied; the loopback ones only where they are not listed one by one.
const DENIED_NETWORKS: [IpNet; 13] = {
    const fn v4(first: u8, second: u8, prefix: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), prefix))
    }
    const fn v6(address: [u16; 6], prefix: u8) -> IpNet {
        let [a, b, c, d, e, f] = address;
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, 0, 0), prefix))
    }
    [
        v4(0, 0, 8),
        v4(127, 0, 8),
        v4(169, 254, 16),
        v4(224, 0, 4),
        v6([0, 0, 0, 0, 0, 0], 96),
        v6([0, 0, 0, 0, 0, 0xffff], 96),
        v6([0, 0, 0, 0, 0xffff, 0], 96),
        v6([0x2002, 0, 0, 0, 0, 0], 16),
        v6([0x2001, 0, 0, 0, 0, 0], 32),
        v6([0x64, 0xff9b, 0, 0, 0, 0], 96),
        v6([0x64, 0xff9b, 1, 0, 0, 0], 48),
        v6([0xfe80, 0, 0, 0, 0, 0], 10),
        v6([0xff00, 0, 0, 0, 0, 0], 8),
    ]
};

/// Whether a network of the configuration admits nothing, because every address in it is of a denied class.
pub fn is_never_dialled(network: &IpNet) -> bool {
    if network.prefix_len() == network.max_prefix_len() {
        return Class::of(network.addr()) == Class::Denied;
    }
    DENIED_NETWORKS.iter().any(|denied| denied.contains(network))
}

/// The kinds of addresses that admission tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Admitted by the rules.
    Ordinary,
    /// Denied unless listed as a single address, which tests, the demo and clusters on one machine need.
    Loopback,
    /// Denied whatever is configured.
    Denied,
}

/// Metadata services outside of the link-local ranges. They give the credentials of the machine to every client that reaches
/// them.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS, credentials of containers
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

impl Class {
    /// The class of this address.
    fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::Denied;
        }
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        if address.is_loopback() {
            Self::Loopback
        } else if address.octets()[0] == 0
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
        {
            Self::Denied
        } else {
            Self::Ordinary
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() {
            return Self::Loopback;
        }
        let denied = address.is_unicast_link_local()
            || address.is_multicast()
            || match address.segments() {
                // unspecified, and those that hold an IPv4 address: compatible, mapped, translated
                [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => true,
                // 6to4, Teredo, NAT64
                [0x2002, ..] | [0x2001, 0, ..] => true,
                [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => true,
                _ => false,
            };
        if denied { Self::Denied } else { Self::Ordinary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(networks: &[&str]) -> AdmissionRules {
        let networks = networks.iter().map(|text| parse_network(text).unwrap()).collect();
        let own = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        AdmissionRules { networks, learned: true, strict: false, own, port: 5080 }
    }

    fn admits(rules: &AdmissionRules, address: &str, is_learned: bool) -> bool {
        admit(rules, address.parse().unwrap(), is_learned).is_ok()
    }

    #[test]
    fn a_node_is_admitted_when_it_is_learned_or_listed() {
        let open = rules(&["192.168.1.0/24", "2001:db8:1::/48"]);
        assert!(admits(&open, "10.0.0.5", true) && !admits(&open, "10.0.0.5", false));
        assert!(admits(&open, "192.168.1.255", false) && !admits(&open, "192.168.2.0", false));
        assert!(admits(&open, "2001:db8:1:2::3", false) && !admits(&open, "2001:db8:2::", false));
        let strict = AdmissionRules { strict: true, ..open.clone() };
        assert!(!admits(&strict, "10.0.0.5", true) && !admits(&strict, "192.168.1.1", false));
        assert!(admits(&strict, "192.168.1.1", true));
        let listed_only = AdmissionRules { learned: false, ..strict };
        assert!(!admits(&listed_only, "10.0.0.5", true) && admits(&listed_only, "192.168.1.1", false));
        assert!(!may_learn(&listed_only, "192.168.1.1".parse().unwrap()));
        let admitted = admit(&open, "192.168.1.1".parse().unwrap(), false).unwrap();
        assert_eq!(admitted.address().to_string(), "192.168.1.1:5080");
    }

    #[test]
    fn only_a_single_address_lifts_the_denial_of_loopback_and_own_addresses() {
        let wide = rules(&["127.0.0.0/8", "10.0.0.0/8", "::/0"]);
        for address in ["127.0.0.1", "::1", "10.0.0.1", "10.0.0.2"] {
            assert!(!admits(&wide, address, true), "{address}");
            assert!(!may_learn(&wide, address.parse().unwrap()), "{address}");
        }
        let single = rules(&["127.0.0.1", "127.0.0.2/32", "::1", "10.0.0.2"]);
        for address in ["127.0.0.1", "127.0.0.2", "::1", "10.0.0.2"] {
            assert!(admits(&single, address, false), "{address}");
            assert!(may_learn(&single, address.parse().unwrap()), "{address}");
        }
        assert!(!admits(&single, "127.0.0.3", true) && !admits(&single, "10.0.0.1", true));
        let strict = AdmissionRules { strict: true, ..single };
        assert!(admits(&strict, "127.0.0.1", true) && !admits(&strict, "127.0.0.1", false));
    }

    #[test]
    fn an_address_of_a_configured_name_is_held_to_strict_too() {
        let rules = rules(&["10.0.0.0/8"]);
        let named = |rules: &AdmissionRules, address: &str, is_learned| {
            admit_named(rules, address.parse().unwrap(), is_learned).is_ok()
        };
        assert!(named(&rules, "192.168.1.1", false) && !named(&rules, "169.254.169.254", true));
        let strict = AdmissionRules { strict: true, ..rules };
        assert!(named(&strict, "10.0.0.5", true));
        assert!(!named(&strict, "10.0.0.5", false) && !named(&strict, "192.168.1.1", true));
        assert!(!named(&strict, "169.254.169.254", true));
    }

    #[test]
    fn every_refused_address_has_the_rule_that_refuses_it() {
        let addresses = ["10.0.0.5", "192.168.1.1", "127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"];
        let mut seen = std::collections::HashSet::new();
        for networks in [&["192.168.1.0/24"][..], &["10.0.0.0/8", "127.0.0.1"]] {
            for (learned, strict) in [(true, false), (true, true), (false, false), (false, true)] {
                let rules = AdmissionRules { learned, strict, ..rules(networks) };
                for (address, is_learned) in addresses.iter().flat_map(|a| [(a, false), (a, true)]) {
                    let denial = denial(&rules, address.parse().unwrap(), is_learned);
                    assert_eq!(denial.is_none(), admits(&rules, address, is_learned), "{address} {rules:?}");
                    seen.extend(denial.map(|denial| format!("{denial:?}")));
                }
            }
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }

    #[test]
    fn no_configuration_lifts_a_denied_address() {
        let denied = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.23",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::10.0.0.5",
            "::ffff:10.0.0.5",
            "::ffff:127.0.0.1",
            "::ffff:0:10.0.0.5",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
        ];
        let rules = rules(&denied);
        for address in denied {
            assert!(!admits(&rules, address, true), "{address}");
            assert!(!may_learn(&rules, address.parse().unwrap()), "{address}");
        }
        for address in ["1.0.0.0", "100.100.100.201", "169.253.0.1", "2001:db8::5", "fd00::1", "2003::1"] {
            assert!(admits(&rules, address, true), "{address}");
        }
    }

    #[test]
    fn a_network_is_read_only_in_its_canonical_form() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.0.0.5", "10.0.0.5/32"),
            ("10.0.0.5/32", "10.0.0.5/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), network);
        }
        let host_bits = |text: &str| NetworkFault::HostBits(text.parse().unwrap());
        for (text, fault) in [
            ("10.0.0.0/33", NetworkFault::Prefix(32)),
            ("10.0.0.0/", NetworkFault::Prefix(32)),
            ("10.0.0.0/+8", NetworkFault::Prefix(32)),
            ("10.0.0.0/256", NetworkFault::Prefix(32)),
            ("fd00::/8/8", NetworkFault::Prefix(128)),
            ("10.0.0.1/8", host_bits("10.0.0.1/8")),
            ("10.0.0.1/0", host_bits("10.0.0.1/0")),
            ("2001:db8::1/32", host_bits("2001:db8::1/32")),
            ("10.0.0", NetworkFault::Address),
            ("010.0.0.0/8", NetworkFault::Address),
            ("node1", NetworkFault::Address),
        ] {
            assert_eq!(parse_network(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_network_of_denied_addresses_only_is_never_dialled() {
        let is_never = |text: &str| is_never_dialled(&parse_network(text).unwrap());
        let never = [
            "0.0.0.0/8",
            "127.0.0.0/8",
            "127.0.0.0/31",
            "169.254.0.0/16",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.0/4",
            "239.0.0.0/8",
            "255.255.255.255",
            "::",
            "::/96",
            "fe80::/10",
            "fe80::/64",
            "ff02::1",
            "2002::/16",
            "64:ff9b::/96",
            "fd00:ec2::254",
        ];
        for text in never {
            assert!(is_never(text), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "127.0.0.1",
            "::1",
            "10.0.0.0/8",
            "100.100.100.0/24",
            "126.0.0.0/7",
            "240.0.0.0/4",
            "::/0",
            "fd00::/8",
        ] {
            assert!(!is_never(text), "{text}");
        }
        for network in DENIED_NETWORKS {
            let middle = network.hosts().nth(1).unwrap();
            for address in [network.addr(), network.broadcast(), middle] {
                assert_ne!(Class::of(address), Class::Ordinary, "{address} of {network}");
            }
        }
    }
}
