//! A relayed session: sockets on both legs, and bytes of one side on their way to the other.

mod closes;
mod leg;
mod milestones;
pub(crate) mod pump;
pub(crate) mod splice;
