//! Checks across keys: values that are right alone and wrong together. A key whose own value is wrong is not compared.

use crate::config::model::{AdminListen, Config};
use crate::config::problem::Report;
use crate::config::value::{Scalar, Size, Span};
use crate::proto::http::cors::AllowOrigins;
use std::net::SocketAddr;

/// Most names that one gateway orders certificates for. More orders than that at once would meet the limits of a public CA.
const ACME_NAMES_MAX: usize = 100;

/// Most stream managers of one cluster. A question that the first ones do not answer has to reach the last one in time.
const MANAGERS_MAX: usize = 16;

/// Adds a problem for everything in a configuration that contradicts itself.
pub(crate) fn check(config: &Config, report: &mut Report<'_>) {
    listeners(config, report);
    managers(config, report);
    certificates(config, report);
    admin(config, report);
    proxies(config, report);
    nodes(config, report);
    answers(config, report);
    limits(config, report);
    cors(config, report);
}

/// The stream managers are a list, or there is one. Each may hold a share of all connections and of the time of a question.
fn managers(config: &Config, report: &mut Report<'_>) {
    let manager = &config.stream_manager;
    if report.is_wrong(&["stream_manager.urls", "stream_manager.url"]) {
        return;
    }
    if manager.url.is_some() && !manager.urls.is_empty() {
        let expected = "either urls, a list of stream managers, or url, the only one";
        report.add_at_key("stream_manager.url", "both urls and url", expected);
    }
    if manager.managers().is_empty() {
        let expected = "at least one stream manager, for example urls = [\"http://10.0.0.2:5080\"]";
        report.add_at_key("stream_manager.urls", "none", expected);
    }
    if manager.urls.len() > MANAGERS_MAX {
        let found = format!("{} stream managers", manager.urls.len());
        report.add_at_key("stream_manager.urls", found, format!("at most {MANAGERS_MAX}"));
    }
}

/// With credentials browsers take no answer for all pages, and a page that is allowed by its domain alone could be any
/// client's of a shared one.
fn cors(config: &Config, report: &mut Report<'_>) {
    let cors = &config.cors;
    if !cors.allow_credentials {
        return;
    }
    let exact = match &cors.allow_origins {
        AllowOrigins::Any => false,
        AllowOrigins::SameHost => true,
        AllowOrigins::Listed(listed) => !listed.iter().any(|origin| origin.contains('*')),
    };
    if !exact {
        let expected = "exact web origins in cors.allow_origins, or false";
        report.add_at_key("cors.allow_credentials", "true beside \"*\" in cors.allow_origins", expected);
    }
    if cors.allow_headers.iter().any(|name| name == "*") {
        let found = "\"*\", which browsers take for a name beside cors.allow_credentials = true";
        report.add_at_key("cors.allow_headers", found, "the names of the fields");
    }
}

/// Whether two listeners would need the same port of the same address. The wildcard of one family does not cover the
/// other one: IPv6 listeners are IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_address
}

fn listeners(config: &Config, report: &mut Report<'_>) {
    if report.is_wrong(&["gateway.listen", "monitoring.listen", "admin.listen"]) {
        return;
    }
    let listen = &config.gateway.listen;
    if listen.is_empty() {
        report.add_at_key("gateway.listen", "an empty list", "at least one address with its port");
    }
    for (index, address) in listen.iter().enumerate() {
        // equal ones were found when the list was read
        if let Some(other) =
            listen[..index].iter().find(|other| *other != address && overlap(**other, *address))
        {
            let found = format!("{address} beside {other}, which needs the same port");
            report.add_at_key("gateway.listen", found, "the wildcard alone, or addresses without it");
        }
    }
    let mut taken: Vec<_> = listen.iter().map(|address| ("gateway.listen", *address)).collect();
    let admin = match config.admin.listen {
        AdminListen::Tcp(address) => Some(address),
        _ => None,
    };
    for (key, address) in [("monitoring.listen", config.monitoring.listen), ("admin.listen", admin)] {
        let Some(address) = address else { continue };
        if let Some((other, its)) = taken.iter().find(|(_, its)| overlap(*its, address)) {
            let found = format!("{address}, which {other} has as {its}");
            report.add_at_key(key, found, "a port of its own");
        }
        taken.push((key, address));
    }
}

/// Every local user reaches a TCP address, so that a listener there may change something for clients with a token only.
fn admin(config: &Config, report: &mut Report<'_>) {
    if report.is_wrong(&["admin.listen", "admin.token"]) {
        return;
    }
    if let (AdminListen::Tcp(address), None) = (&config.admin.listen, &config.admin.token) {
        let found = format!("{address} without admin.token, so that every local user could change something");
        let expected = "\"auto\" or \"unix:PATH\", or admin.token beside the address (what only reads has the address \
                        of monitoring.listen)";
        report.add_at_key("admin.listen", found, expected);
    }
}

/// Where the gateway orders no certificates itself, it needs one in files.
fn certificates(config: &Config, report: &mut Report<'_>) {
    if report.is_wrong(&["tls.certificates", "tls.acme", "tls.acme.names"]) {
        return;
    }
    if config.tls.certificates.is_empty() && config.acme.names.is_empty() {
        let expected = "at least one [[tls.certificates]] with chain and key, or names in [tls.acme]";
        report.add_at_key("tls.certificates", "none", expected);
    }
    if config.acme.names.len() > ACME_NAMES_MAX {
        let found = format!("{} names", config.acme.names.len());
        report.add_at_key("tls.acme.names", found, format!("at most {ACME_NAMES_MAX} names"));
    }
}

fn proxies(config: &Config, report: &mut Report<'_>) {
    let gateway = &config.gateway;
    if report.is_wrong(&["gateway.proxy_protocol", "gateway.trusted_proxies"]) {
        return;
    }
    if gateway.proxy_protocol.is_some() && gateway.trusted_proxies.is_empty() {
        let found = "an empty list beside proxy_protocol, so that no client could connect";
        let expected = "the addresses of the load balancers in front, or proxy_protocol = \"off\"";
        report.add_at_key("gateway.trusted_proxies", found, expected);
    }
}

fn nodes(config: &Config, report: &mut Report<'_>) {
    let origins = &config.origins;
    if origins.apps.is_empty() && !report.is_wrong(&["origins.apps"]) {
        report.add_at_key("origins.apps", "an empty list", "at least one app, such as \"live\"");
    }
    if report.is_wrong(&["origins.strict", "origins.learned", "origins.networks", "origins.names"]) {
        return;
    }
    if origins.strict && !origins.learned {
        let found = "strict = true, which admits only learned nodes, beside learned = false";
        report.add_at_key("origins.strict", found, "learned = true, or strict = false");
    }
    if origins.strict && origins.networks.is_empty() {
        let found = "strict = true, which admits only nodes inside networks, beside an empty networks";
        report.add_at_key("origins.strict", found, "the nodes in networks, or strict = false");
    }
    if !origins.learned && origins.networks.is_empty() && origins.names.is_empty() {
        let found = "learned = false beside empty networks and names, so that no node could be dialled";
        report.add_at_key("origins.learned", found, "learned = true, or nodes in networks or names");
    }
}

/// A node has to stay admitted at least as long as the gateway gives out the answer that names it.
fn answers(config: &Config, report: &mut Report<'_>) {
    let answers = &config.answers;
    for (key, ttl) in
        [("answers.broadcast_ttl", &answers.broadcast_ttl), ("answers.subscribe_ttl", &answers.subscribe_ttl)]
    {
        if *ttl > answers.learned_ttl && !report.is_wrong(&[key, "answers.learned_ttl"]) {
            let found = format!("{}: nodes would be forgotten before their answers", Span::print(ttl));
            let expected = format!("at most answers.learned_ttl ({})", Span::print(&answers.learned_ttl));
            report.add_at_key(key, found, expected);
        }
    }
}

fn limits(config: &Config, report: &mut Report<'_>) {
    type Bytes = Size<usize, 0, { u64::MAX }>;
    let limits = &config.limits;
    if report.is_wrong(&["limits.target_size", "limits.head_size"]) {
        return;
    }
    if limits.target_size >= limits.head_size {
        let found = format!("{}: the target is a part of the head", Bytes::print(&limits.target_size));
        let expected = format!("less than limits.head_size ({})", Bytes::print(&limits.head_size));
        report.add_at_key("limits.target_size", found, expected);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read;

    const MINIMAL: &str = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
                           [[tls.certificates]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n";

    #[test]
    fn a_wrong_value_makes_no_second_problem_of_a_key_that_is_compared_with_it() {
        for (table, lines) in [
            ("origins", "strict = true\nnetworks = [\"10.0.0.1/8\"]"),
            ("origins", "learned = false\nnames = [\"a b\"]"),
            ("gateway", "proxy_protocol = \"v2\"\ntrusted_proxies = [\"x\"]"),
            ("answers", "learned_ttl = \"1d\"\nbroadcast_ttl = \"1h\""),
            ("limits", "head_size = \"64\"\ntarget_size = \"20KiB\""),
        ] {
            let problems = read(&format!("{MINIMAL}[{table}]\n{lines}\n")).expect_err("one value is wrong");
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
    }
}
