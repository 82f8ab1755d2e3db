//! The relay of WebSocket frames between client and node as a state machine: bytes, ends of connections and the time go in,
//! decisions come out.
//!
//! ```text
//!          a Close from one side, or a reason of the gateway's own at a frame boundary
//!   ┌──────┐ ──────────────────────────────────────────► ┌─────────┐  both legs closed and   ┌──────┐
//!   │ Open │                                             │ Closing │  read to their end, ──► │ Over │
//!   └──────┘ ◄── frames flow both ways                   └─────────┘  or `close_timeout`     └──────┘
//! ```
//!
//! Each direction is a *lane*, named after the side that sends its bytes. A Close of the gateway's own is inserted into a
//! lane at its next frame boundary and shuts the lane: bytes that arrive later are read and dropped. When a side vanishes
//! without a Close, the gateway sends one to the other side. The first cause of the end is the relay's [`End`].
//!
//! Nothing here knows a socket or a clock: `now` is milliseconds on any monotonic clock.

mod end;
mod lane;
mod machine;
mod rules;
#[cfg(test)]
mod tests;

pub use end::{By, End, How};
pub use machine::{Relay, Tick};
pub use rules::RelayRules;
