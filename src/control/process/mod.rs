//! What the threads of the process share: phase, what is served now, the way to the workers.

pub mod state;
pub mod worker_query;
