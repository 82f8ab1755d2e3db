//! Targets as a log may show them: the values of parameters that may be secret are masked.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The target with the values of some parameters masked. Names are compared without regard to case, and as a server
/// might read them: percent signs and plus signs decoded, as often as it takes, question marks removed.
pub fn redact_target<'t>(target: &'t str, redact: &[String]) -> Cow<'t, str> {
    let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
    let mut masked = String::with_capacity(target.len());
    let mut changed = false;
    for part in query.split_inclusive(['&', ';', '?']) {
        let (param, separator) = match part.char_indices().next_back() {
            Some((end, '&' | ';' | '?')) => part.split_at(end),
            _ => (part, ""),
        };
        match param.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_listed(name, redact) => {
                changed = true;
                masked.extend([name, "=***", separator]);
            }
            _ => masked.push_str(part),
        }
    }
    if changed { Cow::Owned(format!("{path}?{masked}")) } else { Cow::Borrowed(target) }
}

fn is_listed(name: &str, redact: &[String]) -> bool {
    let mut name = name.replace('+', " ");
    // each round makes it shorter, so this ends
    loop {
        let decoded = percent_decode_str(&name).decode_utf8_lossy().into_owned();
        if decoded.len() >= name.len() {
            break;
        }
        name = decoded;
    }
    redact.iter().any(|listed| listed.eq_ignore_ascii_case(name.replace('?', "").trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(target: &str) -> String {
        let listed = ["password", "token", "accessToken"].map(str::to_owned);
        redact_target(target, &listed).into_owned()
    }

    #[test]
    fn listed_values_are_masked_and_nothing_else() {
        let masked = redact("/live?id=a&password=p%26w&x=1&token=t;ACCESSTOKEN=z&tokens=2");
        assert_eq!(masked, "/live?id=a&password=***&x=1&token=***;ACCESSTOKEN=***&tokens=2");
        assert_eq!(redact("/live?password=a=b&password=c"), "/live?password=***&password=***");
    }

    #[test]
    fn disguised_names_are_masked_too() {
        for name in [
            "p%61ssword",
            "%70%61%73%73%77%6f%72%64",
            "p%2561ssword",
            "password+",
            "%20Password",
            "%3Fpassword",
            "pass%253fword",
        ] {
            assert_eq!(redact(&format!("/?{name}=s3cret")), format!("/?{name}=***"));
        }
        assert_eq!(redact("/?a=1&amp;token=s3cret"), "/?a=1&amp;token=***");
        assert_eq!(redact("/?a?token=s3cret"), "/?a?token=***");
    }

    #[test]
    fn targets_without_secrets_are_not_copied() {
        for target in ["/", "/?", "/?a", "/?password", "/?password=", "/live/password=1?é=%ff&&=;"] {
            assert!(
                matches!(redact_target(target, &["password".to_owned()]), Cow::Borrowed(same) if same == target)
            );
        }
    }
}
