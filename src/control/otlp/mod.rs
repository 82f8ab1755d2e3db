//! OpenTelemetry: makes spans of the records of finished requests and sessions, and sends them to the collector (OTLP over HTTP)
//! from a thread of its own.

mod attributes;
mod collector;
mod events;
mod exporter;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use exporter::Exporter;
