//! Checks across keys: values that are right alone and wrong together.

use crate::config::model::{AdminListen, Config};
use crate::config::problem::Report;
use crate::proto::http::cors::AllowOrigins;
use std::net::SocketAddr;

/// Reports everything in a configuration that contradicts itself.
pub(crate) fn check(config: &Config, report: &mut Report<'_>) {
    listeners(config, report);
    proxies(config, report);
    origins(config, report);
    answers(config, report);
    limits(config, report);
    cors(config, report);
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
        let right = "right is exact origins in allow_origins, or allow_credentials = false";
        report.clash("cors.allow_credentials", "true beside \"*\" in allow_origins", right);
    }
    if cors.allow_headers.iter().any(|name| name == "*") {
        let right = "browsers read it as a name then: right is the names of the fields";
        report.clash("cors.allow_headers", "\"*\" beside allow_credentials = true", right);
    }
}

/// Whether two listeners would want the same port of the same address. The wildcard of one family does not cover the
/// other one: IPv6 listeners are IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let reach = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && reach
}

fn listeners(config: &Config, report: &mut Report<'_>) {
    let listen = &config.gateway.listen;
    if listen.is_empty() {
        report.clash("gateway.listen", "an empty list", "right is at least one address with its port");
    }
    for (place, address) in listen.iter().enumerate() {
        // equal ones were found when the list was read
        if let Some(wide) =
            listen[..place].iter().find(|other| *other != address && overlap(**other, *address))
        {
            let found = format!("{address} beside {wide}, which wants the same port");
            report.clash("gateway.listen", &found, "right is the wildcard alone, or addresses without it");
        }
    }
    let AdminListen::Tcp(admin) = config.admin.listen else { return };
    if let Some(taken) = listen.iter().find(|address| overlap(**address, admin)) {
        let found = format!("{admin}, which gateway.listen has as {taken}");
        report.clash("admin.listen", &found, "right is a port of its own");
    }
}

fn proxies(config: &Config, report: &mut Report<'_>) {
    let gateway = &config.gateway;
    if gateway.proxy_protocol.is_some() && gateway.trusted_proxies.is_empty() {
        let right = "nobody could connect: right is the addresses of the balancers in front, or proxy_protocol = \"off\"";
        report.clash("gateway.trusted_proxies", "an empty list beside proxy_protocol", right);
    }
}

fn origins(config: &Config, report: &mut Report<'_>) {
    let origins = &config.origins;
    if origins.apps.is_empty() {
        report.clash("origins.apps", "an empty list", "right is at least one app, such as \"live\"");
    }
    if origins.strict && !origins.learned {
        let right = "strict admits only learned nodes: right is learned = true, or strict = false";
        report.clash("origins.strict", "true beside learned = false", right);
    }
    if origins.strict && origins.networks.is_empty() {
        let right =
            "strict admits only nodes inside networks: right is to list them there, or strict = false";
        report.clash("origins.strict", "true beside an empty networks", right);
    }
    if !origins.learned && origins.networks.is_empty() && origins.names.is_empty() {
        let right = "no node could ever be dialled: right is learned = true, or nodes in networks or names";
        report.clash("origins.learned", "false beside empty networks and names", right);
    }
}

/// A node must stay admitted at least as long as we hand out the answer that names it.
fn answers(config: &Config, report: &mut Report<'_>) {
    let answers = &config.answers;
    for (key, ttl) in
        [("answers.broadcast_ttl", answers.broadcast_ttl), ("answers.subscribe_ttl", answers.subscribe_ttl)]
    {
        if ttl > answers.learned_ttl {
            let right = "the node would be forgotten before its answer: right is at most learned_ttl";
            report.clash(key, "more than answers.learned_ttl", right);
        }
    }
}

fn limits(config: &Config, report: &mut Report<'_>) {
    let limits = &config.limits;
    if limits.target_size >= limits.head_size {
        let right = "the target is a part of the head: right is less than head_size";
        report.clash("limits.target_size", "as much as limits.head_size or more", right);
    }
}
