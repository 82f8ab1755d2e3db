//! The admin listener: its pages and its API, the guard against foreign web pages, its socket and its life.

pub mod api;
mod api_error;
pub(crate) mod connections;
pub mod guard;
pub mod lifecycle;
pub mod listener;
pub mod pages;
mod sessions;
mod why;
