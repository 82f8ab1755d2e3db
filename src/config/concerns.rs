//! Concerns: values that are allowed, but have no effect or not the one that was probably wanted. They give warnings and
//! prevent no start.

use crate::config::model::{AdminListen, Config};
use crate::config::problem::Problem;
use crate::config::value::{Scalar, Span};
use crate::proto::admission::is_never_dialled;
use std::time::Duration;

/// The shortest `origins.connect_timeout` in which a connect survives the loss of its first packet: TCP repeats a SYN after 1 s
/// (RFC 6298, 2), and the answer needs a round trip.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(1100);

/// Every concern of a configuration, without its line. `is_written` is whether the file has a key, so that its value is no
/// default. Entries of a list have their number in the key, as in `origins.networks.0`.
pub(crate) fn find(config: &Config, is_written: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut concerns = Vec::new();
    let mut add = |key: String, found: String, expected: &str| {
        concerns.push(Problem { key, line: 0, found, expected: expected.to_owned() });
    };
    let gateway = &config.gateway;
    if gateway.proxy_protocol.is_none() && !gateway.trusted_proxies.is_empty() {
        let found = "addresses beside proxy_protocol = \"off\", so that the list has no effect and clients have the address of \
                     their load balancer";
        let expected = "proxy_protocol = \"v1\", \"v2\" or \"any\", or no trusted_proxies";
        add("gateway.trusted_proxies".to_owned(), found.to_owned(), expected);
    }
    let origins = &config.origins;
    for (index, network) in origins.networks.iter().enumerate() {
        if is_never_dialled(network) {
            let found = format!("{network}, which is never dialled");
            let expected = match network.addr().is_loopback() {
                true => "each address of this machine as an entry of its own, such as \"127.0.0.1\"",
                false => {
                    "addresses of nodes (metadata services, link-local, multicast, unspecified and translated addresses \
                     are denied in any case)"
                }
            };
            add(format!("origins.networks.{index}"), found, expected);
        }
    }
    if origins.connect_timeout < CONNECT_TIMEOUT_MIN && is_written("origins.connect_timeout") {
        let found = format!(
            "{}, in which a connect fails when one packet is lost (TCP repeats it after 1 s)",
            Span::print(&origins.connect_timeout)
        );
        add("origins.connect_timeout".to_owned(), found, "\"1100ms\" or more");
    }
    match &config.admin.listen {
        AdminListen::Tcp(address) if !address.ip().is_loopback() => {
            let found = format!("{address}, over which the token goes without encryption");
            add(
                "admin.listen".to_owned(),
                found,
                "\"auto\" or \"unix:PATH\", or a loopback address behind a tunnel",
            );
        }
        AdminListen::Tcp(_) => {}
        _ if config.admin.token.is_some() => {
            let found = "a token beside an admin.listen that is no TCP address, so that it has no effect";
            add(
                "admin.token".to_owned(),
                found.to_owned(),
                "\"\", or an address with its port in admin.listen",
            );
        }
        _ => {}
    }
    concerns
}

#[cfg(test)]
mod tests {
    use crate::config::read_whole;

    const MINIMAL: &str = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
                           [[tls.certificates]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n";

    fn warnings(text: &str) -> Vec<(usize, String)> {
        let reading = read_whole(text).expect("TOML");
        assert_eq!(reading.problems, []);
        reading.warnings.into_iter().map(|warning| (warning.line, warning.to_string())).collect()
    }

    #[test]
    fn what_has_no_effect_gives_a_warning_with_its_line() {
        assert_eq!(warnings(MINIMAL), []);
        let of = |table: &str, lines: &str| warnings(&format!("{MINIMAL}[{table}]\n{lines}\n"));
        let proxies = of("gateway", "trusted_proxies = [\"10.0.0.0/8\"]");
        assert_eq!(proxies.len(), 1, "{proxies:?}");
        assert!(proxies[0].0 == 7 && proxies[0].1.contains("proxy_protocol"), "{proxies:?}");
        assert_eq!(of("gateway", "proxy_protocol = \"v2\"\ntrusted_proxies = [\"10.0.0.0/8\"]"), []);

        let networks = of(
            "origins",
            "networks = [\n\"10.0.0.0/8\",\n\"169.254.0.0/16\",\n\"127.0.0.1\",\n\"127.0.0.0/8\",\n\"ff00::/8\"]",
        );
        assert_eq!(networks.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [9, 11, 12]);
        assert!(networks[0].1.ends_with("found 169.254.0.0/16, which is never dialled"), "{networks:?}");
        assert!(networks[1].1.contains("as an entry of its own"), "{networks:?}");

        let plain = of("admin", "listen = \"10.0.0.5:9181\"\ntoken = \"env:T\"");
        assert!(plain.len() == 1 && plain[0].1.contains("without encryption"), "{plain:?}");
        assert_eq!(of("admin", "listen = \"127.0.0.1:9181\"\ntoken = \"env:T\""), []);
        let useless = of("admin", "token = \"env:T\"");
        assert!(useless.len() == 1 && useless[0].1.contains("no effect"), "{useless:?}");

        let short = of("origins", "connect_timeout = \"1s\"");
        assert!(short.len() == 1 && short[0].1.contains("\"1100ms\" or more"), "{short:?}");
        assert_eq!(of("origins", "connect_timeout = \"1100ms\""), []);
    }
}
