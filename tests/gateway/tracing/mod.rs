//! W3C Trace Context and OpenTelemetry: which trace a request belongs to, what goes on to nodes and stream managers, and what a
//! collector gets.

pub mod collector;
mod context;
mod delivery;
mod spans;
mod whip;

/// The example of the specification: a trace that is recorded, and the same one that is not.
pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const PARENT: &str = "b7ad6b7169203331";
pub const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
