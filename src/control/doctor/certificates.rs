//! The certificates that clients get: how long they are good, and which users may read their keys.

use crate::control::doctor::finding::Finding;
use crate::control::start::certs::{self, Facts};
use crate::control::start::secret;
use std::path::{Path, PathBuf};

const DAY: i64 = 86_400;

/// One certificate of the configuration.
#[derive(Debug)]
pub(crate) struct CertificateFacts {
    pub(crate) facts: Facts,
    /// The file of its key; `None` if an environment variable holds it.
    pub(crate) key: Option<PathBuf>,
    /// Which other users may read the key, in words; `None` if only tidegate's may.
    pub(crate) exposed_to: Option<String>,
}

/// Looks at the key of a certificate that was loaded; `key` is what the configuration has there.
pub(crate) fn read(facts: Facts, key: &Path) -> CertificateFacts {
    let key = secret::key_file(key);
    CertificateFacts { exposed_to: key.as_deref().and_then(certs::exposure), facts, key }
}

/// Judges each certificate at a time in seconds since 1970.
pub(crate) fn judge(certificates: &[CertificateFacts], now: i64) -> Vec<Finding> {
    let both = |certificate: &CertificateFacts| [Some(dates(&certificate.facts, now)), key(certificate)];
    certificates.iter().flat_map(both).flatten().collect()
}

fn dates(facts: &Facts, now: i64) -> Finding {
    let check = "certificate";
    let names = match facts.names.is_empty() {
        true => "no name".to_owned(),
        false => facts.names.join(", "),
    };
    let chain = facts.chain.display();
    let days = (facts.not_after - now) / DAY;
    if facts.not_before > now {
        let found = format!("for {names}: not valid yet ({chain})");
        return Finding::problem(
            check,
            found,
            "set the clock of this machine, or wait until the certificate is valid",
        );
    }
    if facts.not_after < now {
        let found = format!("for {names}: expired {} days ago ({chain})", -days);
        return Finding::problem(check, found, format!("renew {chain}, which is served without a restart"));
    }
    let found = format!("for {names}: {days} days left ({chain})");
    match facts.names.is_empty() {
        true => Finding::problem(
            check,
            format!("{chain} is for no name and no address, so that clients refuse it"),
            "get a certificate with its names as subjectAltName",
        ),
        // the gateway renews its own, and says so if it can't
        false if days < 7 && !facts.by_acme => {
            Finding::warning(check, found, format!("renew {chain}, which is served without a restart"))
        }
        false => Finding::ok(check, found),
    }
}

fn key(certificate: &CertificateFacts) -> Option<Finding> {
    let file = certificate.key.as_deref()?;
    let (check, path) = ("private key", file.display());
    Some(match &certificate.exposed_to {
        None => Finding::ok(check, format!("{path} is closed to other users")),
        Some(readers) => {
            Finding::warning(check, format!("{path} can be read by {readers}"), certs::close_key(file))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    const NOW: i64 = 1_800_000_000;

    fn certificate(not_before: i64, not_after: i64) -> Facts {
        Facts {
            chain: "c.pem".into(),
            names: vec!["a.example".to_owned()],
            not_before,
            not_after,
            by_acme: false,
        }
    }

    #[test]
    fn days_are_counted_and_few_of_them_are_a_warning() {
        let judge = |begins, days| dates(&certificate(NOW + begins, NOW + days * DAY), NOW);
        let good = judge(-1, 30);
        assert_eq!((good.level, good.found.as_str()), (Level::Ok, "for a.example: 30 days left (c.pem)"));
        assert_eq!(judge(-1, 7).level, Level::Ok);
        assert_eq!(judge(-1, 6).level, Level::Warning);
        let expired = judge(-9, -2);
        assert_eq!(expired.level, Level::Problem);
        assert!(expired.found.contains("expired 2 days ago"), "{expired:?}");
        assert_eq!(judge(9, 30).level, Level::Problem, "not valid yet");
        let nameless = Facts { names: Vec::new(), ..certificate(0, NOW + 30 * DAY) };
        assert_eq!(dates(&nameless, NOW).level, Level::Problem);
    }

    #[test]
    fn a_key_that_others_may_read_is_a_warning() {
        let facts = certificate(0, NOW + 30 * DAY);
        let readers = Some("every user of this machine (mode 0644)".to_owned());
        let exposed =
            CertificateFacts { facts: facts.clone(), key: Some("k.pem".into()), exposed_to: readers };
        let finding = key(&exposed).expect("a finding");
        assert_eq!(finding.level, Level::Warning);
        assert_eq!(finding.found, "k.pem can be read by every user of this machine (mode 0644)");
        assert!(finding.remedy.is_some_and(|remedy| remedy.contains("chmod 600 k.pem")));
        let in_a_variable = read(facts.clone(), Path::new("env:KEY"));
        assert_eq!(key(&in_a_variable), None);
        let closed = CertificateFacts { facts, key: Some("k.pem".into()), exposed_to: None };
        assert_eq!(judge(&[closed], NOW).iter().map(|finding| finding.level).max(), Some(Level::Ok));
    }
}
