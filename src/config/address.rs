//! Kinds of values that are addresses: socket addresses, networks, host names, apps, URLs, web origins.
//!
//! Only the text is checked here. Whether a name resolves and whether a port is free shows in `control`.

use crate::config::model::{AdminListen, ManagerUrl, OriginHeader};
use crate::config::problem::Report;
use crate::config::value::{Kind, List, Scalar, quote, text};
use crate::proto::admission::{NetworkFault, parse_network};
use crate::proto::http::cors::AllowOrigins;
use http::Uri;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use toml::Spanned;
use toml::de::DeValue;

/// `address:port`, IPv6 in brackets. Port 0 lets the kernel choose one, the same for all workers.
pub(crate) struct Address;

impl Scalar for Address {
    type Value = SocketAddr;

    fn parse(value: &DeValue<'_>) -> Result<SocketAddr, String> {
        let expected = || "an address with its port, such as \"0.0.0.0:443\" or \"[::]:443\"".to_owned();
        let address = text(value, expected)?;
        address.parse().map_err(|_| match address.parse::<u16>() {
            Ok(port) => format!("an address with its port, such as \"0.0.0.0:{port}\""),
            Err(_) => expected(),
        })
    }

    fn print(value: &SocketAddr) -> String {
        quote(&value.to_string())
    }
}

/// An address, or an address with the length of its prefix and no bits behind it.
pub(crate) struct Prefix;

/// The IPv4 address that a text holds in the form of IPv6, `::ffff:10.0.0.1`, if any. Such an address is never dialled.
fn mapped_ipv4(text: &str) -> Option<Ipv4Addr> {
    text.split('/').next()?.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped()
}

impl Scalar for Prefix {
    type Value = IpNet;

    fn parse(value: &DeValue<'_>) -> Result<IpNet, String> {
        let expected =
            || "an address or a prefix, such as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\"".to_owned();
        let written = text(value, expected)?;
        if let Some(address) = mapped_ipv4(written) {
            return Err(format!("IPv4 in its own form, such as \"{address}\""));
        }
        parse_network(written).map_err(|fault| match fault {
            NetworkFault::Address => expected(),
            NetworkFault::Prefix(longest) => format!("a prefix length from 0 to {longest}"),
            NetworkFault::HostBits(network) => format!(
                "\"{}\", without bits behind the prefix, or \"{}\" alone",
                network.trunc(),
                network.addr()
            ),
        })
    }

    fn print(value: &IpNet) -> String {
        let is_single = value.prefix_len() == value.max_prefix_len();
        quote(&if is_single { value.addr().to_string() } else { value.to_string() })
    }
}

/// A host name in lower case, if the text is one (RFC 1123): no address, and nothing that a resolver may read as one.
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

/// A host name that a client may use instead of the address of a node.
pub(crate) struct Name;

impl Scalar for Name {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a host name, such as \"node1.example.com\"".to_owned();
        let name = text(value, expected)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err("a host name (an address belongs to origins.networks)".to_owned());
        }
        host_name(name).ok_or_else(expected)
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// A host name of this gateway, such as monitoring asks by.
pub(crate) struct HostName;

impl Scalar for HostName {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a host name without a port, such as \"gateway1.example.com\"".to_owned();
        let name = text(value, expected)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err("a host name (addresses may be asked in any case)".to_owned());
        }
        host_name(name).ok_or_else(expected)
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// First path segment of a node that clients may name.
pub(crate) struct App;

impl Scalar for App {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected =
            || "one path segment of 1 to 64 letters, digits, dots, dashes or underscores".to_owned();
        let app = text(value, expected)?;
        if app.eq_ignore_ascii_case("streammanager") {
            return Err("the app of your nodes (streammanager belongs to the stream manager)".to_owned());
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let dots = app == "." || app == "..";
        if (1..=64).contains(&app.len()) && app.bytes().all(fits) && !dots {
            Ok(app.to_owned())
        } else {
            Err(expected())
        }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// An http or https address in parts: what the address of a stream manager and a web origin have in common.
struct HttpUrl<'t> {
    https: bool,
    /// Name in lower case or address, IPv6 without brackets.
    host: String,
    port: u16,
    /// Without slashes at its end.
    path: &'t str,
}

/// Reads `http://` or `https://`, a host, an optional port (1 to 65535) and an optional path. Nothing else may stand there.
fn http_url(text: &str) -> Option<HttpUrl<'_>> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?;
    // `Uri` also reads a scheme in capitals, a query and a fragment: then its parts do not make up the text
    let path = text.strip_prefix(scheme)?.strip_prefix("://")?.strip_prefix(authority.as_str())?;
    if path.trim_end_matches('/') != uri.path().trim_end_matches('/') {
        return None;
    }
    let https = scheme == "https";
    // fails where credentials stand before the host
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => default_port(https),
        rest => {
            let is_port = |port: &str| rest.strip_prefix(':') == Some(port) && !port.starts_with('+');
            authority.port().filter(|port| is_port(port.as_str()) && port.as_u16() != 0)?.as_u16()
        }
    };
    let host = match authority.host().strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
        None => {
            let address = authority.host().parse::<Ipv4Addr>().ok().map(|v4| v4.to_string());
            address.or_else(|| host_name(authority.host()))?
        }
    };
    Some(HttpUrl { https, host, port, path: path.trim_end_matches('/') })
}

/// Whether a text is an https URL with a host, an optional port and an optional path, and nothing else.
pub(crate) fn https_url(text: &str) -> bool {
    http_url(text).is_some_and(|url| url.https)
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// The address of a stream manager: http or https, host, optional port, optional path prefix.
pub(crate) struct Url;

/// The address that `text` is, taken apart; `None` if it is none, or has more than an address.
pub(crate) fn manager_url(text: &str) -> Option<ManagerUrl> {
    let HttpUrl { https, host, port, path } = http_url(text)?;
    let fits = |segment: &str| {
        !matches!(segment, "." | "..")
            && !segment.is_empty()
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte))
    };
    let is_clean = path.strip_prefix('/').is_none_or(|segments| segments.split('/').all(fits));
    is_clean.then(|| ManagerUrl { https, host, port, prefix: path.to_owned() })
}

/// Whether a path prefix holds the beginning of the API's own paths, `/streammanager/api/{version}` or `/as/v1`, so that every
/// question would have it twice.
fn ends_in_api(prefix: &str) -> bool {
    let segments: Vec<_> = prefix.split('/').map(str::to_ascii_lowercase).collect();
    segments.iter().any(|segment| segment == "streammanager")
        || segments.windows(2).any(|pair| pair == ["as", "v1"])
}

impl Scalar for Url {
    type Value = ManagerUrl;

    /// Not with a `@` or `?`, because a password or a token may stand beside those.
    fn may_show(text: &str) -> bool {
        !text.contains(['@', '?'])
    }

    fn parse(value: &DeValue<'_>) -> Result<ManagerUrl, String> {
        let expected = || {
            "http or https, a host, an optional port and an optional path prefix, such as \"http://10.0.0.2:5080\" \
             (credentials belong to stream_manager.authorization)"
                .to_owned()
        };
        let url = manager_url(text(value, expected)?).ok_or_else(expected)?;
        if ends_in_api(&url.prefix) {
            return Err("the address without the path of the API, which the gateway adds to each question: what stands before \
                        /streammanager or /as/v1"
                .to_owned());
        }
        Ok(url)
    }

    fn print(value: &ManagerUrl) -> String {
        quote(&value.to_string())
    }
}

/// A web origin as browsers write it (RFC 6454, 6.2): lower case, no slash at its end, no default port.
fn web_origin(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let HttpUrl { https, host, port, path } = http_url(&lower)?;
    let scheme = if https { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = if port == default_port(https) { String::new() } else { format!(":{port}") };
    path.is_empty().then(|| format!("{scheme}://{host}{port}"))
}

/// A web origin exactly as a browser sends it, or what was expected.
fn exact_origin(text: &str) -> Result<String, String> {
    match web_origin(text) {
        Some(origin) if origin == text => Ok(origin),
        Some(origin) => Err(format!("\"{origin}\", as browsers send it")),
        None => Err("a web origin such as \"https://app.example.com\"".to_owned()),
    }
}

/// The `Origin` field that a node gets: `"none"`, `"node"`, `"client"` or a web origin.
pub(crate) struct NodeOrigin;

impl Scalar for NodeOrigin {
    type Value = OriginHeader;

    fn parse(value: &DeValue<'_>) -> Result<OriginHeader, String> {
        let expected = || {
            "\"none\", \"node\", \"client\" or a web origin such as \"https://app.example.com\"".to_owned()
        };
        Ok(match text(value, expected)? {
            "none" => OriginHeader::None,
            "node" => OriginHeader::Node,
            "client" => OriginHeader::Client,
            fixed => OriginHeader::Fixed(exact_origin(fixed).map_err(|_| expected())?),
        })
    }

    fn print(value: &OriginHeader) -> String {
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
/// of an app (`capacitor://localhost`). Fails with what was expected.
fn page_origin(text: &str) -> Result<String, String> {
    if let Some((scheme, domain)) = text.split_once("://*.") {
        let exact = exact_origin(&format!("{scheme}://{domain}"));
        let name = domain.split(':').next().unwrap_or_default();
        let is_domain = name.contains('.') && !name.ends_with(|last: char| last.is_ascii_digit());
        let expected = "\"*.\" before a domain of two labels or more, such as \"https://*.example.com\"";
        return exact.ok().filter(|_| is_domain).map(|_| text.to_owned()).ok_or_else(|| expected.to_owned());
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

/// One web origin of a list.
struct WebOrigin;

impl Scalar for WebOrigin {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        match value.as_str() {
            Some("*") => Err("[\"*\"] alone, or a list of web origins without it".to_owned()),
            Some(origin) => page_origin(origin),
            None => Err("a web origin such as \"https://app.example.com\"".to_owned()),
        }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// The web origins whose pages may use the gateway: a list, or `["*"]`.
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

/// The address of the admin listener: `auto`, `unix:/PATH`, `ADDRESS:PORT` or `off`.
pub(crate) struct AdminAddress;

impl Scalar for AdminAddress {
    type Value = AdminListen;

    fn parse(value: &DeValue<'_>) -> Result<AdminListen, String> {
        let expected = || {
            "\"auto\", \"unix:/run/tidegate/admin.sock\", an address with its port such as \"127.0.0.1:9181\" or \"off\""
                .to_owned()
        };
        let address = text(value, expected)?;
        match address {
            "auto" => return Ok(AdminListen::Auto),
            "off" => return Ok(AdminListen::Off),
            _ => {}
        }
        if let Some(path) = address.strip_prefix("unix:") {
            // the kernel takes paths of at most 107 bytes
            let fits = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
            return if fits { Ok(AdminListen::Unix(path.into())) } else { Err(expected()) };
        }
        address.parse().map(AdminListen::Tcp).map_err(|_| expected())
    }

    fn print(value: &AdminListen) -> String {
        match value {
            AdminListen::Auto => quote("auto"),
            AdminListen::Off => quote("off"),
            AdminListen::Tcp(address) => quote(&address.to_string()),
            AdminListen::Unix(path) => quote(&format!("unix:{}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_hosts_domains_and_apps_have_a_web_origin() {
        for origin in [
            "https://app.example.com",
            "http://[::1]",
            "https://*.example.com",
            "https://*.example.com:8443",
            "capacitor://localhost",
            "app://a.b:1",
        ] {
            assert_eq!(page_origin(origin).as_deref(), Ok(origin));
        }
        let (exact, domain) = ("a web origin such as", "two labels or more");
        for (wrong, expected) in [
            ("https://*", exact),
            ("https://a.*.example.com", exact),
            ("https://*.com", domain),
            ("https://*.10.0.0.1:80", domain),
            ("https://*.Example.com", domain),
            ("https://*.example.com/", domain),
            ("https://*.*.example.com", domain),
            ("capacitor://*.example.com", domain),
            ("capacitor://localhost/", exact),
            ("Capacitor://localhost", exact),
            ("capacitor://", exact),
            ("capacitor://u@localhost", exact),
            ("htps://app.example.com", exact),
            ("wss://app.example.com", exact),
            ("null", exact),
        ] {
            let problem = page_origin(wrong).expect_err(wrong);
            assert!(problem.contains(expected), "{wrong}: {problem}");
        }
    }
}
