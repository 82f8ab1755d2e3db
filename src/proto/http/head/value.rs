//! The grammar of single values in a head: targets, authorities, numbers, lists of tokens.
//!
//! Nothing here knows which field a value came from.

use crate::proto::http::head::fault::HeadFault;
use std::borrow::Cow;

/// Whether a request target may hold this byte (P1).
pub(crate) fn target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'#'
}

/// Stores the value of a field that may be there once. Fails if `stored` has a value already, or if this one is not visible
/// ASCII.
pub(crate) fn once<'b>(stored: &mut Option<&'b str>, value: &'b [u8]) -> Result<(), HeadFault> {
    let value = visible(value).ok_or(HeadFault::Field)?;
    if stored.replace(value).is_some() { Err(HeadFault::Field) } else { Ok(()) }
}

/// Stores a line of a field that is a list (RFC 9110 5.3): several lines mean one, with commas between their values; an empty
/// line adds nothing. Fails if a line is not visible ASCII.
pub(crate) fn list<'b>(stored: &mut Option<Cow<'b, str>>, value: &'b [u8]) -> Result<(), HeadFault> {
    let value = visible(value).ok_or(HeadFault::Field)?;
    match stored {
        Some(list) if value.is_empty() && !list.is_empty() => {}
        Some(list) if !list.is_empty() => {
            let list = list.to_mut();
            list.push_str(", ");
            list.push_str(value);
        }
        _ => *stored = Some(Cow::Borrowed(value)),
    }
    Ok(())
}

/// The value as text if it is visible ASCII, spaces and tabs; httparse also accepts bytes over 127 (obs-text).
pub(crate) fn visible(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| text.is_ascii())
}

/// Whether a list of tokens, separated by commas, has this one.
pub(crate) fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A number of digits only. `None` if there is a sign, a list, or more than 64 bits.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether this is a host name, an address, or a bracketed IPv6 address, with a port or without.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            if port.is_empty() {
                return true;
            }
            let Some(port) = port.strip_prefix(':') else { return false };
            ("", Some(port))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bracketed = text.starts_with('[');
    let host_fits = bracketed
        || (!host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')));
    let port_fits = port.is_none_or(|port| number(port.as_bytes()).is_some_and(|port| port <= 0xffff));
    host_fits && port_fits
}

/// The target in origin-form (RFC 9112 3.2.1). An absolute target is reduced to it. Fails if a byte may not stand in a
/// target, if the form is another one, or if an absolute target names another host than `Host` does.
pub(crate) fn origin_form<'b>(target: &'b str, host: &str) -> Result<&'b str, HeadFault> {
    if !target.bytes().all(target_byte) {
        return Err(HeadFault::Target);
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadFault::Target)?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err(HeadFault::Target);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let plain = |authority: &str| authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
    if plain(authority) != plain(host) {
        return Err(HeadFault::OtherHost);
    }
    match path {
        "" => Ok("/"),
        // a query without a path is no route of the gateway
        path if path.starts_with('?') => Err(HeadFault::Target),
        path => Ok(path),
    }
}
