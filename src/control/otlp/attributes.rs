//! Attributes of spans and events. Their names are those of the semantic conventions of OpenTelemetry where these have one;
//! all others begin with `tidegate.`.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use std::net::SocketAddr;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A list with one text.
pub(super) fn list(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    attribute(key, Value::ArrayValue(ArrayValue { values: vec![value] }))
}

/// A flag.
pub(super) fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

/// A whole number.
pub(super) fn number(key: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

/// An address and its port: `prefix.address` and `prefix.port`. A port that is not known is left out.
pub(super) fn address(prefix: &str, address: SocketAddr) -> impl Iterator<Item = KeyValue> {
    let ip = text(&format!("{prefix}.address"), address.ip().to_canonical().to_string());
    let port = (address.port() != 0).then(|| number(&format!("{prefix}.port"), address.port()));
    std::iter::once(ip).chain(port)
}
