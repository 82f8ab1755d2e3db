//! What bytes mean and what is allowed: no sockets, no clock, no threads.
//!
//! Convention of the readers: `&[u8]` in, **error | not yet | value and how much it used** out. A reader consumes nothing
//! until it can finish. The frame scanner is the one exception, because it works cut-through; see [`frame`].

pub mod admission;
pub mod answer;
pub mod body;
#[doc(hidden)]
pub mod check;
pub mod cors;
pub mod frame;
pub mod head;
pub mod location;
pub mod one_step;
pub(crate) mod pairs;
pub mod params;
pub mod pass;
pub mod proxy_protocol;
pub mod redact;
pub mod refusal;
pub mod relay;
pub mod reply;
pub mod target;
pub mod upgrade;
pub mod whip;
