//! Admission: which nodes may be dialled, and the permit without which no node is.
//!
//! The nodes that the stream manager named are stored elsewhere; this file decides, by the configuration, whether such a
//! node may be dialled (P9). Addresses are compared as numbers, never as text. Nothing here resolves a name or opens a
//! socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::proto::refusal::Refusal;

/// A network in CIDR notation, such as `10.0.0.0/8`; a single address has a prefix of full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address, with no bits set behind the prefix.
    pub address: IpAddr,
    /// Length of the prefix in bits: at most 32 for IPv4, 128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Whether the address lies in this network. An IPv4 address is never inside an IPv6 network, mapped or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }

    /// Whether this network is one single address.
    pub fn is_single(&self) -> bool {
        self.prefix == full_length(self.address)
    }
}

/// Length in bits of an address of this kind.
const fn full_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text is not accepted as a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// What stands before the slash is no address in canonical form.
    Address,
    /// What stands behind the slash is no number, or greater than the length of the address.
    Prefix,
    /// The address has bits set behind the prefix. Address or prefix may be the mistake, so neither is guessed.
    HostBits,
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an address in canonical form",
            Self::Prefix => "the prefix length is no number or longer than the address",
            Self::HostBits => "the address has bits set behind the prefix length",
        })
    }
}

impl std::error::Error for NetworkFault {}

impl FromStr for Network {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Self, NetworkFault> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkFault::Address)?;
        let full = full_length(address);
        let prefix = match prefix {
            None => full,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkFault::Prefix)?
            }
            Some(_) => return Err(NetworkFault::Prefix),
        };
        if prefix > full {
            return Err(NetworkFault::Prefix);
        }
        let host_bits = match address {
            IpAddr::V4(address) => address.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
            IpAddr::V6(address) => address.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
        };
        if host_bits { Err(NetworkFault::HostBits) } else { Ok(Self { address, prefix }) }
    }
}

/// What the configuration `[origins]` says about the nodes that may be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRules {
    /// Addresses that are admitted without having been learned.
    pub networks: Vec<Network>,
    /// Whether learned nodes, those that the stream manager named, are admitted.
    pub learned: bool,
    /// Whether a node has to be learned **and** inside `networks`; only with `learned`.
    pub strict: bool,
    /// Addresses of the gateway itself and of the stream manager. They are denied unless listed as single addresses.
    pub own: Vec<IpAddr>,
    /// The only port that is ever dialled on a node.
    pub port: u16,
}

impl AdmissionRules {
    /// Whether an address is of a denied class, and the configuration does not lift that.
    fn denies(&self, address: IpAddr) -> bool {
        match Class::of(address) {
            Class::Denied => true,
            Class::Loopback => !self.lists(address),
            Class::Ordinary => self.own.contains(&address) && !self.lists(address),
        }
    }

    /// Whether `networks` has this very address as a single one. That lifts the denial of loopback addresses and of the
    /// gateway's own.
    pub fn lists(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.is_single() && network.address == address)
    }
}

/// The permit to dial one node. Only [`admit`] and [`admit_configured`] make one, and a dial takes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Admitted(SocketAddr);

impl Admitted {
    /// Address and port to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Admits an address that a client or the stream manager named (P9). `is_learned`: whether the stream manager named it.
/// Fails with [`Refusal::OriginNotAdmitted`]. Denied classes win over what was learned and over every network.
pub fn admit(rules: &AdmissionRules, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
    let inside = rules.networks.iter().any(|network| network.contains(address));
    let known = match (rules.learned, rules.strict) {
        (false, _) => inside,
        (true, false) => inside || is_learned,
        (true, true) => inside && is_learned,
    };
    if known { admit_configured(rules, address) } else { Err(Refusal::OriginNotAdmitted) }
}

/// Admits an address of a name in `origins.names`: it need not be learned or inside a network. Fails with
/// [`Refusal::OriginNotAdmitted`] if it is of a denied class.
pub fn admit_configured(rules: &AdmissionRules, address: IpAddr) -> Result<Admitted, Refusal> {
    if rules.denies(address) {
        return Err(Refusal::OriginNotAdmitted);
    }
    Ok(Admitted(SocketAddr::new(address, rules.port)))
}

/// Whether an address that the stream manager named becomes a learned node. Denied classes never do.
pub fn may_learn(rules: &AdmissionRules, address: IpAddr) -> bool {
    rules.learned && !rules.denies(address)
}

/// The class of an address, as far as admission depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Admitted by the rules.
    Ordinary,
    /// Denied unless listed as a single address: for tests, the demo, clusters on one machine.
    Loopback,
    /// Denied whatever is configured.
    Denied,
}

/// Metadata services outside of the link-local ranges. To its cloud, a request from there comes from the machine itself.
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
                // the unspecified address, and those with an IPv4 address inside: compatible, mapped, translated
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
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let own = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        AdmissionRules { networks, learned: true, strict: false, own, port: 5080 }
    }

    fn admits(rules: &AdmissionRules, address: &str, is_learned: bool) -> bool {
        admit(rules, address.parse().unwrap(), is_learned).is_ok()
    }

    #[test]
    fn a_node_is_learned_or_listed() {
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
    fn only_a_single_address_lifts_loopback_and_the_gateways_own() {
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
    fn a_network_is_read_as_it_is_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "10.0.0.5", "2001:db8::/32", "::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.5/32".parse::<Network>().unwrap().to_string(), "10.0.0.5");
        for (text, fault) in [
            ("10.0.0.0/33", NetworkFault::Prefix),
            ("10.0.0.0/", NetworkFault::Prefix),
            ("10.0.0.0/+8", NetworkFault::Prefix),
            ("10.0.0.0/256", NetworkFault::Prefix),
            ("10.0.0.1/8", NetworkFault::HostBits),
            ("10.0.0.1/0", NetworkFault::HostBits),
            ("2001:db8::1/32", NetworkFault::HostBits),
            ("10.0.0", NetworkFault::Address),
            ("010.0.0.0/8", NetworkFault::Address),
            ("node1", NetworkFault::Address),
        ] {
            assert_eq!(text.parse::<Network>(), Err(fault), "{text}");
        }
    }
}
