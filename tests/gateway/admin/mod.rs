//! The operator's view: monitoring, logs, metrics, and the commands that act on a running gateway.

mod commands;
mod events;
mod monitoring;
mod nodes;
mod rights;
mod views;
