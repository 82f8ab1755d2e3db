//! Known origins, and the permit without which nothing is dialled.
//!
//! What the stream manager named is remembered elsewhere; here is decided what that, together with the configuration, is
//! worth. Addresses are compared as numbers, never as text. Nothing here resolves a name or opens a socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::refusal::Refusal;

/// An address prefix such as `10.0.0.0/8`; a single address has the full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Network {
    /// Whether the address lies inside. An IPv4 address is never inside an IPv6 prefix, mapped or not.
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

    /// Whether it holds one address only.
    pub fn is_single(&self) -> bool {
        self.prefix == full_length(self.address)
    }
}

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

/// Why a text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    Address,
    Prefix,
    /// Bits are set behind the prefix: either one may be the slip.
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

/// What an operator says about origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRules {
    /// Admitted without having been learned.
    pub networks: Vec<Network>,
    /// Admit what the stream manager named.
    pub learned: bool,
    /// Learned **and** inside `networks`.
    pub strict: bool,
    /// Our own and the stream manager's addresses.
    pub own: Vec<IpAddr>,
    /// The one port that is ever dialled on an origin.
    pub port: u16,
}

impl AdmissionRules {
    /// Whether an address is of a denied class, and nobody who may has lifted that.
    fn denies(&self, address: IpAddr) -> bool {
        let listed = || self.networks.iter().any(|network| network.is_single() && network.address == address);
        match Class::of(address) {
            Class::Never => true,
            Class::Loopback => !listed(),
            Class::Ordinary => self.own.contains(&address) && !listed(),
        }
    }
}

/// Permission to dial an origin. Only [`admit`] makes one, and a dial takes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Admitted(SocketAddr);

impl Admitted {
    /// Where to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Admits an address, or says that it may not be dialled. Denied classes win over everything learned and every prefix.
pub fn admit(rules: &AdmissionRules, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
    let inside = rules.networks.iter().any(|network| network.contains(address));
    let known = match (rules.learned, rules.strict) {
        (false, _) => inside,
        (true, false) => inside || is_learned,
        (true, true) => inside && is_learned,
    };
    if !known || rules.denies(address) {
        return Err(Refusal::OriginNotAdmitted);
    }
    Ok(Admitted(SocketAddr::new(address, rules.port)))
}

/// Whether an address that the stream manager named is worth remembering: denied classes are not even learned.
pub fn may_learn(rules: &AdmissionRules, address: IpAddr) -> bool {
    rules.learned && !rules.denies(address)
}

/// What kind of address this is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Ordinary,
    /// Denied unless listed as a single address: tests, the demo, one-machine set-ups.
    Loopback,
    /// Denied whatever is configured.
    Never,
}

/// Metadata services outside of the link-local ranges: whoever reaches them is the machine to its cloud.
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
    fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::Never;
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
            Self::Never
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
                // unspecified, and IPv4 inside: compatible, mapped, translated
                [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => true,
                // 6to4, Teredo, NAT64
                [0x2002, ..] | [0x2001, 0, ..] => true,
                [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => true,
                _ => false,
            };
        if denied { Self::Never } else { Self::Ordinary }
    }
}
