//! The oracle of the PROXY protocol: a second reader, written from the specification, has to agree about all bytes.

use crate::oracles::cut::cut_anywhere;
use crate::proto::proxy_protocol::{Announced, HeaderFault, Versions, read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Asserts that a header is read as the reference reads it, wherever it is cut. The first byte of the input chooses the
/// accepted versions; the rest is what a load balancer sends.
pub fn proxy_protocol(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let versions = [Versions::V1, Versions::V2, Versions::Any][usize::from(choice % 3)];
    cut_anywhere(bytes, |bytes, _| read(bytes, versions));
    let ours = read(bytes, versions);
    match reference(bytes, versions) {
        Some((size, expected)) => {
            assert_eq!(ours, Ok(Some((expected, size))), "{bytes:?}");
            assert_eq!(read(&bytes[..size], versions), ours, "what follows a header changes nothing in it");
        }
        None => {
            assert!(!matches!(ours, Ok(Some(_))), "{ours:?} where the reference finds nothing: {bytes:?}")
        }
    }
    if bytes.len() >= 4096 {
        assert_ne!(ours, Ok(None), "it never ends");
    }
    assert!(ours != Err(HeaderFault::Missing) || reference(bytes, versions).is_none());
}

/// The size of a whole header that keeps every rule, and the client that it announces.
fn reference(bytes: &[u8], versions: Versions) -> Option<(usize, Announced)> {
    let v1 = || {
        let end = bytes.windows(2).take(106).position(|two| two == b"\r\n")?;
        Some((end + 2, line(std::str::from_utf8(&bytes[..end]).ok()?)?))
    };
    match versions {
        Versions::V1 => v1(),
        Versions::V2 => binary(bytes),
        Versions::Any => v1().or_else(|| binary(bytes)),
    }
}

/// A line of version 1, without its end.
fn line(line: &str) -> Option<Announced> {
    if line.contains(['\r', '\n']) {
        return None;
    }
    let words: Vec<&str> = line.split(' ').collect();
    if words.len() >= 2 && words[..2] == ["PROXY", "UNKNOWN"] {
        return Some(Announced::NoClient);
    }
    let ["PROXY", family, source, destination, from, to] = words[..] else { return None };
    let port = |text: &str| {
        let number: u16 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    };
    let (from, _) = (port(from)?, port(to)?);
    let address = match family {
        "TCP4" => source.parse::<Ipv4Addr>().ok().zip(destination.parse::<Ipv4Addr>().ok())?.0.into(),
        "TCP6" => v4_if_mapped(source.parse().ok().zip(destination.parse::<Ipv6Addr>().ok())?.0),
        _ => return None,
    };
    Some(Announced::Client(SocketAddr::new(address, from)))
}

fn v4_if_mapped(address: Ipv6Addr) -> std::net::IpAddr {
    match address.to_ipv4_mapped() {
        Some(v4) => v4.into(),
        None => address.into(),
    }
}

/// A header of version 2 at the front of some bytes.
fn binary(bytes: &[u8]) -> Option<(usize, Announced)> {
    let rest = bytes.strip_prefix(&[13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10])?;
    let [command, family, high, low, rest @ ..] = rest else { return None };
    let length = usize::from(*high) * 256 + usize::from(*low);
    let rest = rest.get(..length)?;
    let min = [0, 12, 36, 216].get(usize::from(family >> 4))?;
    if length > 4080 || rest.len() < *min || !matches!(command, 0x20 | 0x21) || family & 15 > 2 {
        return None;
    }
    let announced = match (command, family) {
        (0x20, _) => Announced::NoClient,
        (_, family) if family & 15 == 2 => return None,
        (_, 0x11) => {
            let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            Announced::Client(SocketAddr::new(address.into(), u16::from_be_bytes([rest[8], rest[9]])))
        }
        (_, 0x21) => {
            let address = v4_if_mapped(Ipv6Addr::from(*rest.first_chunk::<16>()?));
            Announced::Client(SocketAddr::new(address, u16::from_be_bytes([rest[32], rest[33]])))
        }
        _ => Announced::NoClient,
    };
    Some((16 + length, announced))
}
