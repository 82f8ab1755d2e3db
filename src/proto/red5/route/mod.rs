//! The route of a request target, found by its raw path, strictly and with regard to case.
//!
//! Nothing is normalised: a route holds the bytes that came. A path that two readers could understand differently is refused
//! before any route is compared. Methods are checked by the caller, parameters in
//! [`params`](crate::proto::red5::params), [`one_step`](crate::proto::red5::one_step) and
//! [`whip`](crate::proto::red5::whip).

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
