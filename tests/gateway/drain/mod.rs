//! Shutdown: the gateway ends every session in order, within the configured time, and then exits.

mod order;
mod sessions;
