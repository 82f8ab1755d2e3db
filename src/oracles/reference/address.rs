//! The reference for addresses: their text, and the denied classes (P8, P9).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Reads an IPv4 or IPv6 address: no brackets, no port, no zone, no zeros in front.
pub(crate) fn any(text: &str) -> Option<IpAddr> {
    let octets: Option<Vec<u16>> = text.split('.').map(octet).collect();
    match octets.as_deref() {
        Some(&[a, b, c, d]) => Some(IpAddr::from([a as u8, b as u8, c as u8, d as u8])),
        _ => v6(text).map(IpAddr::V6),
    }
}

/// Reads an IPv6 address as in RFC 4291 2.2, without a zone.
pub(crate) fn v6(text: &str) -> Option<Ipv6Addr> {
    let (front, back) = match text.find("::") {
        Some(at) => (&text[..at], Some(&text[at + 2..])),
        None => (text, None),
    };
    let front = groups(front, back.is_none())?;
    let groups = match back {
        None => front,
        Some(back) => {
            let back = groups(back, true)?;
            // two colons stand for one group of zeros at least
            let zeros = 8_usize.checked_sub(front.len() + back.len()).filter(|zeros| *zeros > 0)?;
            [front, vec![0; zeros], back].concat()
        }
    };
    <[u16; 8]>::try_from(groups).ok().map(Ipv6Addr::from)
}

/// The groups between colons; the last one of an address may be an IPv4 address, which counts as two.
fn groups(text: &str, last: bool) -> Option<Vec<u16>> {
    let mut groups = Vec::new();
    if text.is_empty() {
        return Some(groups);
    }
    let parts: Vec<&str> = text.split(':').collect();
    for (index, part) in parts.iter().enumerate() {
        if last && index + 1 == parts.len() && part.contains('.') {
            let octets: Vec<u16> = part.split('.').map(octet).collect::<Option<_>>()?;
            let [a, b, c, d] = octets.try_into().ok()?;
            groups.extend([a * 256 + b, c * 256 + d]);
            continue;
        }
        if !(1..=4).contains(&part.len()) || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        groups.push(u16::from_str_radix(part, 16).ok()?);
    }
    Some(groups)
}

/// A decimal number up to 255 without zeros in front.
fn octet(text: &str) -> Option<u16> {
    let number: u8 = text.parse().ok()?;
    (number.to_string() == text).then_some(number.into())
}

/// The bits of an address.
pub(crate) fn bits(address: IpAddr) -> Vec<bool> {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
}

/// The bits of a prefix.
pub(crate) fn prefix(network: &IpNet) -> Vec<bool> {
    bits(network.addr())[..network.prefix_len().into()].to_vec()
}

/// Whether the address is in 127.0.0.0/8 or is ::1.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 127,
        IpAddr::V6(address) => address.octets() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    }
}

/// Whether the address is of a denied class; the classes are written as prefixes.
pub fn is_denied(address: IpAddr) -> bool {
    let v4 = [
        ("127.0.0.0", 8),
        ("0.0.0.0", 8),
        ("169.254.0.0", 16),
        ("224.0.0.0", 4),
        ("255.255.255.255", 32),
        ("100.100.100.200", 32),
        ("168.63.129.16", 32),
        ("192.0.0.192", 32),
    ];
    let v6 = [
        ("::", 96),
        ("::ffff:0:0", 96),
        ("::ffff:0:0:0", 96),
        ("fe80::", 10),
        ("ff00::", 8),
        ("2002::", 16),
        ("2001::", 32),
        ("64:ff9b::", 96),
        ("64:ff9b:1::", 48),
        ("fd00:ec2::254", 128),
        ("fd00:ec2::23", 128),
        ("fd20:ce::254", 128),
        ("fd00:c1::a9fe:a9fe", 128),
        ("fd00:42::42", 128),
    ];
    let within = |prefix: IpAddr, length: usize| bits(address)[..length] == bits(prefix)[..length];
    match address {
        IpAddr::V4(_) => v4.iter().any(|(text, length)| {
            let prefix: Ipv4Addr = text.parse().expect("written here");
            within(prefix.into(), *length)
        }),
        IpAddr::V6(_) => v6.iter().any(|(text, length)| {
            let prefix: Ipv6Addr = text.parse().expect("written here");
            within(prefix.into(), *length)
        }),
    }
}
