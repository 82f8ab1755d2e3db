//! Which node serves a client: admission, the gateway's own search in one step, and quarantine of failed nodes.

mod admission;
pub mod one_step;
mod one_step_failures;
mod quarantine;
