//! What `/metrics` shows of the process as a whole: phase, configuration, limits and certificates.

use crate::metrics::families::{Families, NO_LABELS};
use std::fmt::Error;

/// Most certificates on the page; of more, those that expire first.
const CERTIFICATES_MAX: usize = 256;

/// The phase, the last reload, the limits and the certificates.
#[derive(Debug, Clone, Default)]
pub struct ProcessFacts {
    /// Every phase, and whether it is the present one.
    pub phases: Vec<(&'static str, bool)>,
    /// The last attempt to serve a newer configuration or certificate.
    pub reload: Reload,
    /// The limits of the configuration.
    pub limits: Vec<Limit>,
    /// A name of each certificate, and the end of its validity in seconds since 1970.
    pub certificates: Vec<(String, i64)>,
}

/// The last attempt to serve a newer configuration or certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reload {
    /// Whether it succeeded. The start counts as an attempt.
    pub successful: bool,
    /// When the last one succeeded, in seconds since 1970.
    pub success_seconds: f64,
}

/// A limit of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Its key in `[limits]`.
    pub key: &'static str,
    /// Its value; a rate is one a second. `None` means that there is no limit.
    pub most: Option<f64>,
    /// How much of it is used now, for limits that hold for all clients together.
    pub used: Option<f64>,
}

/// Writes the families of the process as a whole.
pub(crate) fn write(families: &mut Families<'_, '_>, facts: &ProcessFacts) -> Result<(), Error> {
    let phases = facts.phases.iter().map(|(phase, is_now)| ([("phase", *phase)], i64::from(*is_now)));
    families.gauges("tidegate_phase", "1 for the phase that the process is in", phases)?;
    families.gauges(
        "tidegate_config_last_reload_successful",
        "Whether the last reload of configuration or certificates succeeded",
        [(NO_LABELS, i64::from(facts.reload.successful))],
    )?;
    families.gauges(
        "tidegate_config_last_reload_success_timestamp_seconds",
        "When configuration or certificates were loaded successfully last, in seconds since 1970",
        [(NO_LABELS, facts.reload.success_seconds)],
    )?;
    let most = facts.limits.iter().map(|limit| ([("limit", limit.key)], limit.most.unwrap_or(f64::INFINITY)));
    families.gauges("tidegate_limit", "Limits of the configuration; +Inf where there is none", most)?;
    let used = facts.limits.iter().filter_map(|limit| Some(([("limit", limit.key)], limit.used?)));
    families.gauges("tidegate_limit_used", "How much of a limit is used now", used)?;
    let certificates = expiry_by_name(&facts.certificates);
    let rows = certificates.iter().map(|(name, not_after)| ([("name", *name)], *not_after as f64));
    families.gauges(
        "tidegate_certificate_not_after_seconds",
        "When a certificate expires, in seconds since 1970",
        rows,
    )
}

/// The certificates that the page shows: of several with one name the one that expires first.
fn expiry_by_name(certificates: &[(String, i64)]) -> Vec<(&str, i64)> {
    let mut rows: Vec<_> = certificates.iter().map(|(name, not_after)| (*not_after, name.as_str())).collect();
    rows.sort_unstable();
    let mut shown: Vec<(&str, i64)> = Vec::new();
    for (not_after, name) in rows {
        if shown.len() < CERTIFICATES_MAX && !shown.iter().any(|(before, _)| *before == name) {
            shown.push((name, not_after));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_certificates_with_one_name_the_page_shows_the_first_to_expire() {
        let certificate = |name: &str, not_after| (name.to_owned(), not_after);
        let certificates = [certificate("a", 5), certificate("b", 3), certificate("a", 4)];
        assert_eq!(expiry_by_name(&certificates), [("b", 3), ("a", 4)]);
        let many: Vec<_> = (0..1000).map(|n| certificate(&n.to_string(), 1000 - n)).collect();
        let shown = expiry_by_name(&many);
        assert_eq!((shown.len(), shown[0]), (CERTIFICATES_MAX, ("999", 1)));
    }
}
