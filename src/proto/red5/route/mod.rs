//! Which route a request target takes, matched on the raw path, strictly and with regard to case.
//!
//! Nothing is normalised here: what a route gives on is the bytes that came. A path that two readers could understand
//! differently is refused before any route is looked at. Methods are the caller's business; parameters of the two-step
//! route are `params`' business.

mod event;
mod find;
mod priority;
mod streams;
#[cfg(test)]
mod tests;

pub use event::{Event, EventKind, Keep, MISSING_NAME_MAX};
pub use find::{Route, route};
pub use priority::Priority;
pub use streams::{Action, Kind, OneStepRoute, Step, StreamPath, WhipForm, WhipRoute};
