//! The listeners for operators: their pages and their API, the guard that keeps other clients out, their sockets and their life.

pub mod api;
mod api_error;
pub(crate) mod connections;
mod events;
mod flow;
pub mod guard;
pub mod lifecycle;
pub mod listener;
mod nodes;
pub mod operator_listeners;
pub mod pages;
mod recorder;
mod sessions;
mod status;
mod totals;
mod why;
