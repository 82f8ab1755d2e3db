//! The address under which everything of one client is counted.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that are counted as one client. The owner of such a network chooses the other bits, so one client
/// could use any number of single addresses.
const V6_PREFIX: u32 = 64;

/// The address under which a client is counted: IPv4 as it is, IPv6 as its /64.
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - V6_PREFIX))).into()
        }
        v4 => v4,
    }
}
