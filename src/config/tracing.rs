//! Kinds of values that only `[tracing]` has: the collector's address, a fraction, a name of a service.

use crate::config::address::manager_url;
use crate::config::model::ManagerUrl;
use crate::config::value::{Scalar, quote, text};
use toml::de::DeValue;

/// The base address of a collector: http or https, host, optional port, optional path prefix.
pub(crate) struct Endpoint;

impl Scalar for Endpoint {
    type Value = ManagerUrl;

    /// Not with a `@` or `?`, because a password or a token may stand beside those.
    fn may_show(text: &str) -> bool {
        !text.contains(['@', '?'])
    }

    fn parse(value: &DeValue<'_>) -> Result<ManagerUrl, String> {
        let expected = || {
            "http or https, a host, an optional port and an optional path prefix, such as \"http://127.0.0.1:4318\" \
             (credentials belong to tracing.headers)"
                .to_owned()
        };
        let url = manager_url(text(value, expected)?).ok_or_else(expected)?;
        if url.prefix.ends_with("/v1/traces") {
            return Err("the address without /v1/traces, which the gateway adds".to_owned());
        }
        Ok(url)
    }

    fn print(value: &ManagerUrl) -> String {
        quote(&value.to_string())
    }
}

/// A number from 0 to 1.
pub(crate) struct Fraction;

impl Scalar for Fraction {
    type Value = f64;

    fn parse(value: &DeValue<'_>) -> Result<f64, String> {
        let number = match value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        number.ok_or_else(|| "a number from 0.0 to 1.0".to_owned())
    }

    fn print(value: &f64) -> String {
        format!("{value:?}")
    }
}

/// The name of a service: 1 to 128 visible characters of ASCII and spaces.
pub(crate) struct ServiceName;

impl Scalar for ServiceName {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "1 to 128 visible characters of ASCII".to_owned();
        let name = text(value, expected)?;
        let fits = (1..=128).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if fits && name.trim() == name { Ok(name.to_owned()) } else { Err(expected()) }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}
