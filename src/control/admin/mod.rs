//! The admin listener: pages for people and monitoring, the API that changes things, its guard, its life.

pub mod api;
pub mod guard;
pub mod lifecycle;
pub mod listener;
pub mod pages;
