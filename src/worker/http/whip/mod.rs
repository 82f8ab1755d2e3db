//! WHIP and WHEP: requests are forwarded to the node that has, or will have, the WHIP session, and its answers come back.
//!
//! A POST creates a WHIP session, which is remembered. PATCH and DELETE then reach the node that created it, whether the
//! client follows the `Location` with the gateway's handle, repeats the `Session-Host`, or does neither.

mod answer;
mod forward;
mod kick;
mod plan;
mod undo;

pub(crate) use forward::Forwarding;
pub(crate) use kick::kick;
pub(crate) use plan::{Planned, WhipRequest, plan};
