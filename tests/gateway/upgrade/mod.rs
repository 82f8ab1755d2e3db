//! Upgrades: a new process takes over the listeners of the running one, and no client is refused or reset.

mod failures;
mod queues;
mod systemd;
mod takeover;
mod under_load;
