//! Shutdown: the gateway ends every session in order, within the configured time, and then exits.

mod health;
mod order;
mod sessions;
mod undo;
