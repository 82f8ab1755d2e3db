//! Why an order failed, by what the gateway does next.

use instant_acme::{Error, Problem};
use std::fmt;
use std::io;
use std::path::Path;

/// A failed order. Its `Display` is one bounded line for the log and the status page, without a secret.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    text: String,
}

/// Whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The CA could not be reached, or broke off: it may be asked again soon.
    Server,
    /// The CA checked the name and said no, or can't issue such a certificate. CAs limit how often that may happen.
    Refused,
    /// The CA said how long to wait, in seconds; 0 where it did not.
    Limited(i64),
    /// The folder can't be used; the CA was not asked.
    Storage,
}

/// Characters of the longest text. It may be the CA's.
const TEXT_MAX: usize = 400;

impl Trouble {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut short: String = plain.take(TEXT_MAX).collect();
        if text.chars().nth(TEXT_MAX).is_some() {
            short.push('…');
        }
        Self { kind, text: short }
    }

    /// A file or folder that can't be used. `action` is what failed, such as `written`.
    pub(super) fn storage(path: &Path, action: &str, error: &io::Error) -> Self {
        Self::new(Kind::Storage, format!("{} can't be {action} ({error})", path.display()))
    }

    /// What the library reports about the step `step`, such as `the order`. `retry_after` is what the CA's last answer said, in
    /// seconds.
    pub(super) fn of(step: &str, error: &Error, retry_after: Option<i64>) -> Self {
        let kind = match error {
            Error::Api(problem) => kind_of(problem, retry_after),
            Error::Other(_) | Error::Json(_) | Error::Timeout(_) => match retry_after {
                Some(seconds) => Kind::Limited(seconds),
                None => Kind::Server,
            },
            _ => Kind::Refused,
        };
        Self::new(kind, format!("{step}: {}", said(error)))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn kind_of(problem: &Problem, retry_after: Option<i64>) -> Kind {
    let server_error = problem.status.is_some_and(|status| status >= 500);
    match word(problem) {
        "rateLimited" => Kind::Limited(retry_after.unwrap_or(0)),
        _ if retry_after.is_some() && server_error => Kind::Limited(retry_after.unwrap_or(0)),
        "badNonce" | "serverInternal" => Kind::Server,
        _ if server_error => Kind::Server,
        _ => Kind::Refused,
    }
}

/// The word of the error as RFC 8555, 6.7 lists it, such as `badNonce`; empty for an unknown one.
fn word(problem: &Problem) -> &str {
    problem.r#type.as_deref().and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")).unwrap_or("")
}

/// The error as text: what the CA says, then its word.
fn said(error: &Error) -> String {
    let Error::Api(problem) = error else { return error.to_string() };
    describe(problem)
}

/// What a CA says about a problem: its own text, then its word.
pub(super) fn describe(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("no reason given");
    let subproblems = problem.subproblems.iter().filter_map(|sub| sub.detail.as_deref());
    let details = std::iter::once(detail).chain(subproblems).collect::<Vec<_>>().join("; ");
    match word(problem) {
        "" => format!("the CA says: {details}"),
        word => format!("the CA says: {details} ({word})"),
    }
}

/// Whether the CA rejected a nonce: the same request may be sent again with another one (RFC 8555, 6.5).
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if word(problem) == "badNonce")
}

/// Whether the account may be what the CA refused (RFC 8555, 7.3.6 and 6.7).
pub(super) fn may_be_account(error: &Error) -> bool {
    match error {
        Error::Api(problem) => matches!(word(problem), "accountDoesNotExist" | "unauthorized" | "malformed"),
        Error::KeyRejected => true,
        _ => false,
    }
}

/// Whether the CA rejects that an order replaces another certificate, so that it may be sent without that (RFC 9773, 5).
pub(super) fn is_replacement_refused(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(problem) => {
            word(problem) == "alreadyReplaced"
                || problem.detail.as_deref().is_some_and(|text| text.contains("replace"))
        }
        Error::Other(other) => other.to_string().contains("replaces field"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(word: &str, status: u16, detail: &str) -> Error {
        Error::Api(Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{word}")),
            detail: Some(detail.to_owned()),
            status: Some(status),
            subproblems: Vec::new(),
        })
    }

    #[test]
    fn what_the_ca_says_decides_how_soon_it_is_asked_again() {
        let kind = |error: &Error, retry_after| Trouble::of("order", error, retry_after).kind;
        assert_eq!(kind(&api("unauthorized", 403, "wrong certificate"), None), Kind::Refused);
        assert_eq!(kind(&api("connection", 400, "refused"), None), Kind::Refused);
        assert_eq!(kind(&api("badNonce", 400, "nonce"), None), Kind::Server);
        assert_eq!(kind(&api("serverInternal", 500, "oops"), None), Kind::Server);
        assert_eq!(kind(&api("rateLimited", 429, "too many"), Some(7200)), Kind::Limited(7200));
        assert_eq!(kind(&api("rateLimited", 429, "too many"), None), Kind::Limited(0));
        assert_eq!(kind(&Error::Other("connection refused".into()), None), Kind::Server);
        assert_eq!(kind(&Error::Other("HTTP 503".into()), Some(60)), Kind::Limited(60));
    }

    #[test]
    fn the_text_is_one_bounded_line() {
        let long = format!("first\r\nsecond\u{1b}[31m {}", "x".repeat(5000));
        let text = Trouble::of("the order", &api("malformed", 400, &long), None).to_string();
        assert!(text.starts_with("the order: the CA says: first  second"), "{text}");
        assert!(text.chars().count() <= TEXT_MAX + 1 && !text.chars().any(char::is_control), "{text}");
    }
}
