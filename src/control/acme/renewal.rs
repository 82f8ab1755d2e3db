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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::start::certs::{Facts, date};
    use futures_util::FutureExt;
    use instant_acme::{BodyWrapper, BytesResponse, HttpClient, NewAccount};
    use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::sign::CertifiedKey;
    use std::pin::Pin;
    use std::sync::Arc;

    const DAY: i64 = 24 * 60 * 60;
    const FROM: i64 = 1_800_000_000;

    /// A certificate of a CA, valid for so many days from [`FROM`] on as far as its facts say.
    fn issued(days: i64) -> Loaded {
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut ca = CertificateParams::default();
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = Issuer::new(ca, ca_key);
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&private).expect("a key");
        let facts = Facts {
            chain: "a.pem".into(),
            names: vec!["a.example".to_owned()],
            not_before: FROM,
            not_after: FROM + days * DAY,
            by_acme: true,
        };
        Loaded { key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)), facts }
    }

    /// A CA with renewal information, or without, that answers with this window.
    struct Ca {
        window: Option<(String, String)>,
    }

    impl HttpClient for Ca {
        fn request(
            &self,
            request: http::Request<BodyWrapper<hyper::body::Bytes>>,
        ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
            let body = match (request.uri().path(), &self.window) {
                ("/dir", window) => {
                    let mut directory = serde_json::json!({ "newNonce": "https://ca/n", "newAccount": "https://ca/a", "newOrder": "https://ca/o" });
                    if window.is_some() {
                        directory["renewalInfo"] = "https://ca/renewal".into();
                    }
                    directory
                }
                (path, Some((start, end))) if path.starts_with("/renewal/") => {
                    serde_json::json!({ "suggestedWindow": { "start": start, "end": end } })
                }
                _ => serde_json::json!({}),
            };
            let response = http::Response::builder()
                .header("replay-nonce", "n")
                .header("location", "https://ca/account/1")
                .header("retry-after", "21600")
                .body(http_body_util::Full::new(hyper::body::Bytes::from(body.to_string())));
            let response = response.expect("a response").into();
            Box::pin(std::future::ready(Ok(response)))
        }
    }

    fn ask(window: Option<(&str, &str)>, before: Option<&Renewal>, loaded: &Loaded) -> Renewal {
        let window = window.map(|(start, end)| (start.to_owned(), end.to_owned()));
        let asked = async {
            let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
            let builder = Account::builder_with_http(Box::new(Ca { window }));
            let (account, _credentials) =
                builder.create(&new, "https://ca/dir".to_owned(), None).await.expect("an account");
            Renewal::ask(before, &account, loaded).await
        };
        asked.now_or_never().expect("this CA answers at once")
    }

    #[test]
    fn without_a_suggestion_it_is_two_thirds_of_the_life_and_a_little_more() {
        let times: Vec<_> = (0..20).map(|_| renew_at(&issued(90), None) - FROM).collect();
        assert!(times.iter().all(|time| (60 * DAY..=63 * DAY).contains(time)), "{times:?}");
        assert!(times.iter().any(|time| *time != times[0]), "not all at the same time: {times:?}");
        let loaded = issued(90);
        assert_eq!(renew_at(&loaded, None), renew_at(&loaded, None), "all gateways agree");
        assert!((4 * DAY..5 * DAY).contains(&(renew_at(&issued(6), None) - FROM)));
    }

    #[test]
    fn the_suggestion_of_the_ca_is_followed_and_chosen_once() {
        let loaded = issued(90);
        let (start, end) = (FROM + 40 * DAY, FROM + 42 * DAY);
        let rfc3339 = |seconds| date(seconds).replace(" UTC", "Z").replacen(' ', "T", 1);
        let (from, to) = (rfc3339(start), rfc3339(end));
        let renewal = ask(Some((&from, &to)), None, &loaded);
        let at = renew_at(&loaded, Some(&renewal));
        assert!((start..end).contains(&at), "{renewal:?}");
        assert!(!renewal.is_stale(&loaded, now()) && renewal.is_stale(&loaded, now() + 7 * 60 * 60));
        assert_eq!(
            ask(Some((&from, &to)), Some(&renewal), &loaded),
            renewal,
            "the same window, the same moment"
        );
        // a window in the past: at once, but not in the first hour of a certificate
        let revoked = ask(Some((&rfc3339(FROM - DAY), &rfc3339(FROM - DAY / 2))), Some(&renewal), &loaded);
        assert_eq!(renew_at(&loaded, Some(&revoked)), FROM + 60 * 60);
        // one that makes no sense, and one behind the end
        let absurd = ask(Some((&to, &from)), None, &loaded);
        assert_eq!(renew_at(&loaded, Some(&absurd)), renew_at(&loaded, None));
        let late = ask(Some((&rfc3339(FROM + 200 * DAY), &rfc3339(FROM + 201 * DAY))), None, &loaded);
        assert_eq!(renew_at(&loaded, Some(&late)), FROM + 81 * DAY);
        // of another certificate
        assert!(renewal.is_stale(&issued(90), now()));
    }

    #[test]
    fn a_ca_without_renewal_information_is_not_asked_for_a_day() {
        let loaded = issued(90);
        let renewal = ask(None, None, &loaded);
        assert!(!renewal.is_stale(&loaded, now() + DAY - 60) && renewal.is_stale(&loaded, now() + DAY + 60));
        assert_eq!(renew_at(&loaded, Some(&renewal)), renew_at(&loaded, None));
    }
}
