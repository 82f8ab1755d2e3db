//! Known origins, and the permit without which nothing is dialled.

use std::net::IpAddr;

/// An address prefix such as `10.0.0.0/8`; a single address has the full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}
