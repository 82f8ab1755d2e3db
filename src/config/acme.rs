//! The kinds of `[tls.acme]`: names that a public CA can check, the mail address of an account, the URL of a directory.

use crate::config::address::{Name, https_url};
use crate::config::value::{Scalar, quote, text};
use toml::de::DeValue;

/// A host name with at least two labels. The CA connects to it, so it is no wildcard and no address.
pub(crate) struct PublicName;

impl Scalar for PublicName {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a host name that the CA can reach, such as \"edge.example.com\"".to_owned();
        let name = text(value, expected)?;
        if name.starts_with("*.") {
            return Err(
                "names without a wildcard, because TLS-ALPN-01 proves single names only (a certificate \
                        with a wildcard can be a file in [[tls.certificates]])"
                    .to_owned(),
            );
        }
        if !name.contains('.') {
            return Err(expected());
        }
        Name::parse(value).map_err(|_| expected())
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// A mail address, with or without `mailto:`. Only its form is checked.
pub(crate) struct Contact;

/// Bytes of the longest address (RFC 5321, 4.5.3.1: 64 before the sign, 255 behind it).
const CONTACT_MAX: usize = 320;

impl Scalar for Contact {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a mail address, such as \"ops@example.com\"".to_owned();
        let contact = text(value, expected)?;
        let address = contact.strip_prefix("mailto:").unwrap_or(contact);
        // RFC 8555, 7.3: one address and no header fields
        let fits = |byte: u8| byte.is_ascii_graphic() && !b",;?<>()[]\"\\".contains(&byte);
        let parts = address.split_once('@').filter(|(user, host)| {
            !user.is_empty() && host.contains('.') && !host.contains('@') && !host.ends_with('.')
        });
        match parts {
            Some(_) if address.len() <= CONTACT_MAX && address.bytes().all(fits) => Ok(address.to_owned()),
            _ => Err(expected()),
        }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// The https URL at which a CA describes itself (RFC 8555, 7.1.1).
pub(crate) struct Directory;

impl Scalar for Directory {
    type Value = String;

    /// Not with an `@`, because a password may stand before it.
    fn may_show(text: &str) -> bool {
        !text.contains('@')
    }

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || {
            "the https URL of an ACME directory, such as \"https://acme-v02.api.letsencrypt.org/directory\""
                .to_owned()
        };
        let url = text(value, expected)?;
        if https_url(url) { Ok(url.to_owned()) } else { Err(expected()) }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Problem, read};

    fn read_acme(lines: &str) -> Result<Config, Vec<Problem>> {
        read(&format!("stream_manager.url = \"http://10.0.0.2\"\n[tls.acme]\n{lines}\n"))
    }

    fn problem(lines: &str) -> String {
        let problems = read_acme(lines).expect_err("a wrong configuration");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].line, 3, "{problems:?}");
        problems[0].to_string()
    }

    #[test]
    fn names_stand_in_for_certificates_in_files() {
        let config =
            read_acme("names = [\"Edge.example.com\"]\ncontact = \"mailto:ops@example.com\"").expect("good");
        assert!(config.tls.certificates.is_empty());
        assert_eq!(config.acme.names, ["edge.example.com"]);
        assert_eq!(config.acme.contact.as_deref(), Some("ops@example.com"));
        assert_eq!(config.acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(read(&crate::config::to_toml(&config)).expect("what is printed reads back"), config);
        let none = read_acme("names = []").expect_err("no certificate at all");
        assert!(none[0].to_string().contains("or names in [tls.acme]"), "{none:?}");
    }

    #[test]
    fn what_no_ca_can_check_is_refused_with_a_reason() {
        for name in ["*.example.com", "localhost", "10.0.0.1", "a b.example", "[::1]", "", "münchen.example"]
        {
            let text = problem(&format!("names = [{name:?}]"));
            assert!(text.starts_with("tls.acme.names: expected "), "{text}");
        }
        assert!(problem("names = [\"*.a.example\"]").contains("TLS-ALPN-01"));
        for contact in
            ["ops", "a@b@c.example", "ops@example.com?cc=x@y.example", "@example.com", "a b@c.example"]
        {
            let text = problem(&format!("contact = {contact:?}\nnames = [\"a.example\"]"));
            assert!(text.contains("a mail address"), "{text}");
        }
        for url in ["http://ca.example/dir", "https://", "ca.example", "https://u:hunter2@ca.example/dir"] {
            let text = problem(&format!("directory = {url:?}\nnames = [\"a.example\"]"));
            assert!(text.contains("https URL") && !text.contains("hunter2"), "{text}");
        }
        assert!(problem("nmaes = [\"a.example\"]\nnames = [\"a.example\"]").contains("tls.acme.names"));
        let many: Vec<_> = (0..101).map(|n| format!("\"n{n}.example\"")).collect();
        assert!(problem(&format!("names = [{}]", many.join(","))).contains("at most 100 names"));
    }
}
