//! Questions to the stream manager: what reaches it, how its answers pass, and when answers are stored and shared.

pub mod answers;
mod slow_readers;
pub mod stream_manager;
mod streams_service;
