//! When a certificate is renewed: at the time that the CA suggests (RFC 9773), else after two thirds of its life.

use super::time::{now, random};
use crate::control::start::certs::Loaded;
use instant_acme::{Account, CertificateIdentifier, Error};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// How often the CA is asked for its suggestion, in seconds: as it says, between these.
const ASK_MIN: i64 = 60 * 60;
const ASK_MAX: i64 = 24 * 60 * 60;

/// When it is asked again after it could not be asked.
const ASK_AGAIN: i64 = 6 * 60 * 60;

/// A suggestion is followed no sooner than this after a certificate began to be valid.
const RENEW_MIN: i64 = 60 * 60;

/// What the CA suggested for one certificate. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Renewal {
    /// Which certificate it is for.
    certificate: String,
    /// The window, and the moment in it that was chosen; `None` where the CA suggests nothing.
    window: Option<Window>,
    /// When the CA is asked again.
    ask_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    start: i64,
    end: i64,
    chosen: i64,
}

impl Renewal {
    /// Whether the CA has to be asked about this certificate.
    pub(super) fn is_stale(&self, loaded: &Loaded, now: i64) -> bool {
        self.certificate != mark(loaded) || self.ask_at <= now
    }

    /// For a CA that could not be asked at all.
    pub(super) fn unknown(loaded: &Loaded) -> Self {
        Self { certificate: mark(loaded), window: None, ask_at: now() + ASK_AGAIN }
    }

    /// Asks the CA. What it suggested before stays where it can't be asked.
    pub(super) async fn ask(before: Option<&Self>, account: &Account, loaded: &Loaded) -> Self {
        let (certificate, now) = (mark(loaded), now());
        let before =
            before.filter(|before| before.certificate == certificate).and_then(|before| before.window);
        let Ok(id) = CertificateIdentifier::try_from(leaf(loaded)) else {
            return Self { certificate, window: None, ask_at: now + ASK_MAX };
        };
        match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let suggested = &info.suggested_window;
                let window = window(suggested.start.unix_timestamp(), suggested.end.unix_timestamp(), before);
                let again = i64::try_from(again.as_secs()).unwrap_or(ASK_MAX).clamp(ASK_MIN, ASK_MAX);
                Self { certificate, window, ask_at: now + again }
            }
            Err(Error::Unsupported(_)) => Self { certificate, window: None, ask_at: now + ASK_MAX },
            Err(error) => {
                tracing::debug!(%error, "the CA does not say when to renew");
                Self { certificate, window: before, ask_at: now + ASK_AGAIN }
            }
        }
    }
}

/// The window with a moment in it, chosen anew only if the window changed. `None` for one that makes no sense.
fn window(start: i64, end: i64, before: Option<Window>) -> Option<Window> {
    if let Some(before) = before.filter(|before| (before.start, before.end) == (start, end)) {
        return Some(before);
    }
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some(Window { start, end, chosen: start + random(length) })
}

/// When the certificate is renewed, in seconds since 1970.
///
/// Without a suggestion that is after two thirds of its life and up to a thirtieth more, the same for all gateways that serve
/// it: 60 to 63 days of 90.
pub(super) fn renew_at(loaded: &Loaded, renewal: Option<&Renewal>) -> i64 {
    let facts = &loaded.facts;
    let life = facts.not_after.saturating_sub(facts.not_before).max(0);
    let spread = i64::try_from(hash(leaf(loaded)) % 1000).unwrap_or(0);
    let regular = facts.not_before.saturating_add(life / 3 * 2).saturating_add(life / 30 * spread / 1000);
    let suggested = renewal
        .filter(|renewal| renewal.certificate == mark(loaded))
        .and_then(|renewal| renewal.window)
        .map(|window| window.chosen.max(facts.not_before.saturating_add(RENEW_MIN)));
    // a suggestion may be later, but not so late that nothing is left for a second try
    suggested.map_or(regular, |at| at.min(facts.not_after.saturating_sub(life / 10)))
}

/// The certificate itself, without its chain.
pub(super) fn leaf(loaded: &Loaded) -> &CertificateDer<'static> {
    // a chain without a certificate was refused when it was read
    &loaded.key.cert[0]
}

/// A short text that differs for each certificate.
fn mark(loaded: &Loaded) -> String {
    format!("{:016x}", hash(leaf(loaded)))
}

fn hash(der: &CertificateDer<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    der.as_ref().hash(&mut hasher);
    hasher.finish()
}
