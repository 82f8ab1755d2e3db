//! The PROXY protocol: the header by which a load balancer announces a client at the beginning of a connection.
//!
//! This file decides where a header begins and ends, with a limit and in the same way whatever pieces it comes in; the crate
//! `ppp` reads a whole header. Source: "The PROXY protocol", versions 1 and 2, Willy Tarreau, 2010-2020.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest header of version 1 (2.1): 107 bytes with its line end.
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";

/// The longest header of version 2 that is accepted, in bytes. Addresses are 36 bytes at most; the rest is for what load
/// balancers add (2.2), of which the names in client certificates are the longest in use.
const V2_MAX: usize = 4096;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// Which versions of the header a listener accepts (`proxy_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Version 1 only, a line of text (2.1).
    V1,
    /// Version 2 only, binary (2.2).
    V2,
    /// Both versions.
    Any,
}

/// The client that a header announces, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// The address of a client behind the load balancer; an IPv4 address mapped into IPv6 is given as IPv4.
    Client(SocketAddr),
    /// No client: the load balancer made the connection itself (`LOCAL`, a health check), does not know the client
    /// (`UNKNOWN`), or the client has no IP address. The connection's own address counts then.
    NoClient,
}

/// Why bytes are no header that this listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// They do not begin as a header of an accepted version.
    Missing,
    /// The header does not end within its limit: 107 bytes in version 1, 4096 in version 2.
    TooLong,
    /// The header breaks the specification.
    Malformed,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no header of an accepted version",
            Self::TooLong => "a header that is too long",
            Self::Malformed => "a malformed header",
        })
    }
}

impl std::error::Error for HeaderFault {}

/// Reads the header at the start of `bytes`: the client that it announces and its size in bytes, or `None` if it is not
/// complete yet. Fails as soon as the bytes show a fault.
pub fn read(bytes: &[u8], versions: Versions) -> Result<Option<(Announced, usize)>, HeaderFault> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    if versions != Versions::V2 && begins(V1_START) {
        return read_v1(bytes);
    }
    if versions != Versions::V1 && begins(V2_START) {
        return read_v2(bytes);
    }
    Err(HeaderFault::Missing)
}

/// One line: `PROXY TCP4 source destination source-port destination-port`.
fn read_v1(bytes: &[u8]) -> Result<Option<(Announced, usize)>, HeaderFault> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if seen.len() < V1_MAX { Ok(None) } else { Err(HeaderFault::TooLong) };
    };
    match seen[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if seen.len() < V1_MAX => return Ok(None),
        [b'\r'] => return Err(HeaderFault::TooLong),
        _ => return Err(HeaderFault::Malformed),
    }
    let line = std::str::from_utf8(&seen[..end + 2]).map_err(|_| HeaderFault::Malformed)?;
    Ok(Some((announced_v1(line)?, line.len())))
}

/// The client that a whole line announces.
fn announced_v1(line: &str) -> Result<Announced, HeaderFault> {
    // everything behind UNKNOWN has to be ignored (2.1), but ppp counts the words there
    if line == "PROXY UNKNOWN\r\n" || line.starts_with("PROXY UNKNOWN ") {
        return Ok(Announced::NoClient);
    }
    // ppp reads ports with the standard library, which takes a sign
    if line.contains('+') {
        return Err(HeaderFault::Malformed);
    }
    let header = ppp::v1::Header::try_from(line).map_err(|_| HeaderFault::Malformed)?;
    match header.addresses {
        ppp::v1::Addresses::Tcp4(of) => Ok(client(of.source_address.into(), of.source_port)),
        ppp::v1::Addresses::Tcp6(of) => Ok(client(of.source_address.into(), of.source_port)),
        ppp::v1::Addresses::Unknown => Ok(Announced::NoClient),
    }
}

/// Binary: a signature, a byte for the command and one for the family, the length of the rest in two bytes, the rest.
fn read_v2(bytes: &[u8]) -> Result<Option<(Announced, usize)>, HeaderFault> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let size = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if size > V2_MAX {
        return Err(HeaderFault::TooLong);
    }
    let header = match ppp::v2::Header::try_from(&bytes[..bytes.len().min(size)]) {
        Ok(header) => header,
        Err(ppp::v2::ParseError::Partial(..)) => return Ok(None),
        Err(_) => return Err(HeaderFault::Malformed),
    };
    if header.command == ppp::v2::Command::Local {
        return Ok(Some((Announced::NoClient, size)));
    }
    let announced = match (header.protocol, header.addresses) {
        // a listener for streams gets no datagrams (2.2: such a header has to be refused)
        (ppp::v2::Protocol::Datagram, _) => return Err(HeaderFault::Malformed),
        (ppp::v2::Protocol::Stream, ppp::v2::Addresses::IPv4(of)) => {
            client(of.source_address.into(), of.source_port)
        }
        (ppp::v2::Protocol::Stream, ppp::v2::Addresses::IPv6(of)) => {
            client(of.source_address.into(), of.source_port)
        }
        _ => Announced::NoClient,
    };
    Ok(Some((announced, size)))
}

fn client(address: IpAddr, port: u16) -> Announced {
    Announced::Client(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [V2_START, &[command, family], &length, rest].concat()
    }

    fn named(text: &str) -> Announced {
        Announced::Client(text.parse().expect("an address"))
    }

    #[test]
    fn a_line_announces_the_client() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n", named("192.0.2.7:50000")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n", named("[2001:db8::7]:1")),
            ("PROXY TCP6 ::ffff:c000:207 ::1 1 443\r\n", named("192.0.2.7:1")),
            ("PROXY UNKNOWN\r\n", Announced::NoClient),
            ("PROXY UNKNOWN a b c d e f g h\r\n", Announced::NoClient),
        ] {
            let behind = format!("{line}\x16\x03\x01");
            for versions in [Versions::V1, Versions::Any] {
                assert_eq!(read(behind.as_bytes(), versions), Ok(Some((expected, line.len()))), "{line:?}");
            }
            assert_eq!(read(line.as_bytes(), Versions::V2), Err(HeaderFault::Missing));
            for cut in 0..line.len() {
                assert_eq!(read(&line.as_bytes()[..cut], Versions::V1), Ok(None), "{line:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_line_that_breaks_the_rules_is_a_fault() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 50000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 50000 443 x\r\n",
            "PROXY TCP4 192.0.2.7  10.0.0.1 50000 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +5000 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 050 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.007 10.0.0.1 1 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\r\n",
        ] {
            assert_eq!(read(line.as_bytes(), Versions::Any), Err(HeaderFault::Malformed), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(read(long.as_bytes(), Versions::Any), Err(HeaderFault::TooLong));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(read(longest.as_bytes(), Versions::Any), Ok(Some((Announced::NoClient, 107))));
        for other in ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXY\tTCP4", "\x16\x03\x01"] {
            assert_eq!(read(other.as_bytes(), Versions::Any), Err(HeaderFault::Missing), "{other:?}");
        }
    }

    #[test]
    fn a_binary_header_announces_the_client() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[10..16].copy_from_slice(&[255, 255, 192, 0, 2, 7]);
        v6[33] = 9;
        let more = [&v4[..], &[0x02, 0, 3, b'a', b'b', b'c']].concat();
        for (header, expected) in [
            (v2(0x21, 0x11, &v4), named("192.0.2.7:50000")),
            (v2(0x21, 0x11, &more), named("192.0.2.7:50000")),
            (v2(0x21, 0x21, &v6), named("192.0.2.7:9")),
            (v2(0x20, 0x00, &[]), Announced::NoClient),
            (v2(0x20, 0x11, &v4), Announced::NoClient),
            (v2(0x21, 0x00, &[1, 2, 3]), Announced::NoClient),
            (v2(0x21, 0x31, &[b'/'; 216]), Announced::NoClient),
        ] {
            let behind = [&header[..], b"\x16\x03\x01"].concat();
            for versions in [Versions::V2, Versions::Any] {
                assert_eq!(read(&behind, versions), Ok(Some((expected, header.len()))), "{header:?}");
            }
            assert_eq!(read(&behind, Versions::V1), Err(HeaderFault::Missing));
            for cut in 0..header.len() {
                assert_eq!(read(&header[..cut], Versions::Any), Ok(None), "{header:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_binary_header_that_breaks_the_rules_is_a_fault() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 1, 0xbb];
        for header in [
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x13, &v4),
            v2(0x21, 0x41, &v4),
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x21, &v4),
        ] {
            assert_eq!(read(&header, Versions::Any), Err(HeaderFault::Malformed), "{header:?}");
        }
        assert_eq!(read(&v2(0x21, 0x11, &[0; V2_MAX - 15]), Versions::Any), Err(HeaderFault::TooLong));
        assert!(matches!(read(&v2(0x21, 0x11, &[0; V2_MAX - 16]), Versions::Any), Ok(Some((_, V2_MAX)))));
    }
}
