//! Targets as the log may show them: the values of parameters that may be secret are masked.

use std::borrow::Cow;

/// The target with the values of the parameters `redact` replaced by `***`; borrowed if there are none.
///
/// Pairs end at `&`, `;` or `?`. Names are compared without regard to case, and as any server might read them: escapes are
/// decoded until none is left, plus signs are spaces, spaces around a name and question marks in it are removed.
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
    let is = |name: &str| redact.iter().any(|listed| listed.eq_ignore_ascii_case(name));
    // most names mean what they say; every target of a request comes by here
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return is(name);
    }
    let name = unescaped(name.replace('+', " ").as_bytes());
    let name = String::from_utf8_lossy(&name).replace('?', "");
    is(name.trim())
}

/// The text without any escapes, those included that only decoding brings about (`%2561` becomes `a`). One pass does it: a
/// target full of escaped percent signs must not cost a pass for each.
pub(crate) fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(name.len());
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for &byte in name {
        plain.push(byte);
        while let [.., b'%', high, low] = *plain {
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { break };
            plain.truncate(plain.len() - 3);
            plain.push(high << 4 | low);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(target: &str) -> String {
        let listed = ["password", "token", "accessToken"].map(str::to_owned);
        redact_target(target, &listed).into_owned()
    }

    #[test]
    fn only_the_values_of_listed_parameters_are_masked() {
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

    /// One pass for each of a million escapes would not end within the test run.
    #[test]
    fn escapes_of_escapes_are_decoded_in_one_pass() {
        let deep = format!("/?%{}70assword=s3cret", "25".repeat(1_000_000));
        assert!(!redact(&deep).contains("s3cret"));
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
