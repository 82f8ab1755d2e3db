//! `tracing.headers`: the fields that a collector gets with every request, in the form of `OTEL_EXPORTER_OTLP_HEADERS`.

use crate::control::start::secret::{self, Missing};
use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// Reads the secret that `text` refers to. It has to be fields as [`parse`] reads them.
pub(crate) fn read(text: &str) -> Result<String, Missing> {
    let value = secret::read(text)?;
    if parse(&value).is_some_and(|fields| !fields.is_empty()) {
        return Ok(value);
    }
    Err(Missing {
        found: "a value that is no list of fields, or names one that the gateway sets itself".to_owned(),
        expected: "NAME=VALUE, several with commas between them, escaped as in OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned(),
        is_file: false,
    })
}

/// The fields of `name=value,name=value`, where values have escapes of URLs. `None` if one can't be sent. The values are marked
/// as ones that nothing prints.
pub(crate) fn parse(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let fields = text.split(',').map(str::trim).filter(|field| !field.is_empty());
    fields.map(field).collect()
}

fn field(field: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = field.split_once('=')?;
    let name: HeaderName = name.trim().parse().ok()?;
    let is_ours =
        ["content-type", "content-length", "content-encoding", "host", "connection", "transfer-encoding"];
    if is_ours.contains(&name.as_str()) {
        return None;
    }
    let value: Vec<u8> = percent_decode_str(value.trim()).collect();
    let mut value = HeaderValue::from_bytes(&value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_specification_of_opentelemetry_writes_them() {
        let fields = parse("api-key=a%20b%2Cc, x-tenant=7,,").expect("two fields");
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("api-key", &b"a b,c"[..]), ("x-tenant", b"7")]);
        for wrong in ["api-key", "a b=c", "a=%0a", "Content-Type=text/plain", "=x"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
        assert!(format!("{:?}", parse("a=secret")).contains("Sensitive"));
    }
}
