//! Upgrades: a new process takes over the listeners of the running one, and no client is refused or reset.

mod command;
mod failures;
mod keep;
mod queues;
mod races;
mod steps;
mod systemd;
mod takeover;
mod turn;
mod under_load;
