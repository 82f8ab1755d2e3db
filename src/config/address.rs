//! Kinds of values that say where something is: socket addresses, networks, host names, URLs, web origins.
//!
//! Only the text is judged here; whether a name resolves or a port is free is for `control` to find out.

use crate::config::model::{AdminListen, ManagerUrl, OriginHeader};
use crate::config::problem::Report;
use crate::config::value::{Kind, List, Scalar, quote, text};
use crate::proto::admission::Network;
use crate::proto::http::cors::AllowOrigins;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use toml::Spanned;
use toml::de::DeValue;

/// `address:port`, IPv6 in brackets. Port 0 lets the kernel choose one, the same for all workers.
pub(crate) struct Address;

impl Scalar for Address {
    type Value = SocketAddr;

    fn of(value: &DeValue<'_>) -> Result<SocketAddr, String> {
        let right =
            || "right is an address with its port, such as \"0.0.0.0:443\" or \"[::]:443\"".to_owned();
        let address = text(value, right)?;
        address.parse().map_err(|_| match address.parse::<u16>() {
            Ok(port) => format!("right is an address with its port, such as \"0.0.0.0:{port}\""),
            Err(_) => right(),
        })
    }

    fn write(value: &SocketAddr) -> String {
        quote(&value.to_string())
    }
}

/// An address, or an address with the length of its prefix.
pub(crate) struct Prefix;

/// The address with everything after its first `prefix` bits cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let kept = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits() & !u32::MAX.checked_shr(kept).unwrap_or(0)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() & !u128::MAX.checked_shr(kept).unwrap_or(0)).into(),
    }
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Scalar for Prefix {
    type Value = Network;

    fn of(value: &DeValue<'_>) -> Result<Network, String> {
        let right = || {
            "right is an address or a prefix, such as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\"".to_owned()
        };
        let (written, prefix) = match text(value, right)?.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text(value, right)?, None),
        };
        let address: IpAddr = written.parse().map_err(|_| right())?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return Err(format!("right is IPv4 as itself, such as \"{v4}\""));
        }
        let prefix = match prefix {
            None => full(address),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= full(address) && !digits.starts_with('+'))
                .ok_or_else(|| format!("right is a prefix length from 0 to {}", full(address)))?,
        };
        let base = masked(address, prefix);
        if base != address {
            return Err(format!(
                "bits behind the prefix are set: right is \"{base}/{prefix}\", or \"{address}\" alone"
            ));
        }
        Ok(Network { address, prefix })
    }

    fn write(value: &Network) -> String {
        if value.prefix == full(value.address) {
            quote(&value.address.to_string())
        } else {
            quote(&format!("{}/{}", value.address, value.prefix))
        }
    }
}

/// A host name in lower case, if it is one (RFC 1123): no address, and nothing that a resolver may take for one.
fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    (text.len() <= 253 && text.split('.').all(label) && !number).then(|| text.to_ascii_lowercase())
}

/// A host name that a client may use instead of an address.
pub(crate) struct Name;

impl Scalar for Name {
    type Value = String;

    fn of(value: &DeValue<'_>) -> Result<String, String> {
        let right = || "right is a host name, such as \"node1.example.com\"".to_owned();
        let name = text(value, right)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err("addresses belong to origins.networks; right is a host name".to_owned());
        }
        host_name(name).ok_or_else(right)
    }

    fn write(value: &String) -> String {
        quote(value)
    }
}

/// First path segment of a node that clients may name.
pub(crate) struct App;

impl Scalar for App {
    type Value = String;

    fn of(value: &DeValue<'_>) -> Result<String, String> {
        let right =
            || "right is one path segment of 1 to 64 letters, digits, dots, dashes or underscores".to_owned();
        let app = text(value, right)?;
        if app.eq_ignore_ascii_case("streammanager") {
            return Err(
                "streammanager is the stream manager's own; right is the app of your nodes".to_owned()
            );
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let dots = app == "." || app == "..";
        if (1..=64).contains(&app.len()) && app.bytes().all(fits) && !dots {
            Ok(app.to_owned())
        } else {
            Err(right())
        }
    }

    fn write(value: &String) -> String {
        quote(value)
    }
}

/// Host (name or address without brackets) and port of `host[:port]`.
fn authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, rest) = text.split_at(end);
            let address = host.parse::<Ipv4Addr>().ok().map(|v4| v4.to_string());
            (address.or_else(|| host_name(host))?, rest)
        }
    };
    let port = match port.strip_prefix(':') {
        None => port.is_empty().then_some(default_port),
        Some(digits) => {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|port| plain && *port != 0)
        }
    }?;
    Some((host, port))
}

/// Where the stream manager is.
pub(crate) struct Url;

fn manager_url(text: &str) -> Option<ManagerUrl> {
    let (scheme, rest) = text.split_once("://")?;
    let (https, default_port) = match scheme {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return None,
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority(host, default_port)?;
    let prefix = path.trim_end_matches('/');
    let fits = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte))
    };
    let clean = prefix.is_empty() || prefix[1..].split('/').all(fits);
    clean.then(|| ManagerUrl { https, host, port, prefix: prefix.to_owned() })
}

impl Scalar for Url {
    type Value = ManagerUrl;

    /// Somebody may have written a password or a token into it.
    fn shown(text: &str) -> bool {
        !text.contains(['@', '?'])
    }

    fn of(value: &DeValue<'_>) -> Result<ManagerUrl, String> {
        let right = || {
            "right is http or https, a host, perhaps a port and a path prefix, such as \"http://10.0.0.2:5080\"; \
             credentials go to stream_manager.authorization"
                .to_owned()
        };
        manager_url(text(value, right)?).ok_or_else(right)
    }

    fn write(value: &ManagerUrl) -> String {
        let scheme = if value.https { "https" } else { "http" };
        let host = if value.host.contains(':') { format!("[{}]", value.host) } else { value.host.clone() };
        quote(&format!("{scheme}://{host}:{}{}", value.port, value.prefix))
    }
}

/// A web origin as browsers write it (RFC 6454, 6.2): lower case, no slash at its end, no default port.
fn web_origin(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (host, port) = authority(rest.trim_end_matches('/'), default_port)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = if port == default_port { String::new() } else { format!(":{port}") };
    Some(format!("{scheme}://{host}{port}"))
}

/// A web origin exactly as a browser sends it, or what would be right.
fn exact_origin(text: &str) -> Result<String, String> {
    match web_origin(text) {
        Some(origin) if origin == text => Ok(origin),
        Some(origin) => Err(format!("browsers send it differently: right is \"{origin}\"")),
        None => Err("right is an origin such as \"https://app.example.com\"".to_owned()),
    }
}

/// What stands in the `Origin` field that a node gets.
pub(crate) struct NodeOrigin;

impl Scalar for NodeOrigin {
    type Value = OriginHeader;

    fn of(value: &DeValue<'_>) -> Result<OriginHeader, String> {
        let right = || {
            "right is \"none\", \"node\", \"client\" or an origin such as \"https://app.example.com\""
                .to_owned()
        };
        Ok(match text(value, right)? {
            "none" => OriginHeader::None,
            "node" => OriginHeader::Node,
            "client" => OriginHeader::Client,
            fixed => OriginHeader::Fixed(exact_origin(fixed).map_err(|_| right())?),
        })
    }

    fn write(value: &OriginHeader) -> String {
        quote(match value {
            OriginHeader::None => "none",
            OriginHeader::Node => "node",
            OriginHeader::Client => "client",
            OriginHeader::Fixed(origin) => origin,
        })
    }
}

/// Schemes that no app has, of pages that send no such origin.
const NO_APP: [&str; 6] = ["ws", "wss", "ftp", "file", "data", "blob"];

/// A web origin that a page may have: that of a host, those of all names below a domain (`https://*.example.com`), or that
/// of an app (`capacitor://localhost`). Fails with what would be right.
fn page_origin(text: &str) -> Result<String, String> {
    if let Some((scheme, domain)) = text.split_once("://*.") {
        let exact = exact_origin(&format!("{scheme}://{domain}"));
        let name = domain.split(':').next().unwrap_or_default();
        let is_domain = name.contains('.') && !name.ends_with(|last: char| last.is_ascii_digit());
        let right =
            "right is \"*.\" before a domain of two labels or more, such as \"https://*.example.com\"";
        return exact.ok().filter(|_| is_domain).map(|_| text.to_owned()).ok_or_else(|| right.to_owned());
    }
    match text.split_once("://") {
        Some((scheme, host)) if is_app(scheme, host) => Ok(text.to_owned()),
        _ => exact_origin(text),
    }
}

/// Whether this is the scheme and host of an app's origin, in lower case as browsers send it. What looks like a slip in
/// `https` is none.
fn is_app(scheme: &str, host: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| lower(byte) || matches!(byte, b'+' | b'-' | b'.'));
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let host_fits = !name.is_empty()
        && name.bytes().all(|byte| lower(byte) || matches!(byte, b'-' | b'.' | b'_'))
        && port.parse::<u16>().is_ok();
    scheme_fits && host_fits && !scheme.starts_with("ht") && !NO_APP.contains(&scheme)
}

/// One web origin.
struct WebOrigin;

impl Scalar for WebOrigin {
    type Value = String;

    fn of(value: &DeValue<'_>) -> Result<String, String> {
        match value.as_str() {
            Some("*") => {
                Err("\"*\" stands alone: right is [\"*\"], or a list of origins without it".to_owned())
            }
            Some(origin) => page_origin(origin),
            None => Err("right is an origin such as \"https://app.example.com\"".to_owned()),
        }
    }

    fn write(value: &String) -> String {
        quote(value)
    }
}

/// Which pages may talk to us.
pub(crate) struct Pages;

impl Kind for Pages {
    type Value = AllowOrigins;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<AllowOrigins> {
        let only = value.get_ref().as_array().filter(|items| items.len() == 1).map(|items| &items[0]);
        if only.and_then(|item| item.get_ref().as_str()) == Some("*") {
            return Some(AllowOrigins::Any);
        }
        let origins = List::<WebOrigin>::read(value, key, report)?;
        Some(if origins.is_empty() { AllowOrigins::SameHost } else { AllowOrigins::Listed(origins) })
    }

    fn write(value: &AllowOrigins) -> String {
        match value {
            AllowOrigins::SameHost => "[]".to_owned(),
            AllowOrigins::Any => "[\"*\"]".to_owned(),
            AllowOrigins::Listed(origins) => List::<WebOrigin>::write(origins),
        }
    }
}

/// Where the admin listener is.
pub(crate) struct AdminAddress;

impl Scalar for AdminAddress {
    type Value = AdminListen;

    fn of(value: &DeValue<'_>) -> Result<AdminListen, String> {
        let right = || {
            "right is an address with its port such as \"127.0.0.1:9180\", \"unix:/run/tidegate/admin.sock\" or \"off\""
                .to_owned()
        };
        let address = text(value, right)?;
        if address == "off" {
            return Ok(AdminListen::Off);
        }
        if let Some(path) = address.strip_prefix("unix:") {
            // 107 bytes is what the kernel takes
            let fits = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
            return if fits { Ok(AdminListen::Unix(path.into())) } else { Err(right()) };
        }
        address.parse().map(AdminListen::Tcp).map_err(|_| right())
    }

    fn write(value: &AdminListen) -> String {
        match value {
            AdminListen::Off => quote("off"),
            AdminListen::Tcp(address) => quote(&address.to_string()),
            AdminListen::Unix(path) => quote(&format!("unix:{}", path.display())),
        }
    }
}
