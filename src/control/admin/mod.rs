//! The listeners for operators: their pages and their API, the guard that keeps other clients out, their sockets and their life.

pub mod api;
mod api_error;
pub(crate) mod connections;
pub mod guard;
pub mod lifecycle;
pub mod listener;
mod nodes;
pub mod operator_listeners;
pub mod pages;
mod sessions;
mod why;
