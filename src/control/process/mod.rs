//! What the threads of the process share: its phase, what is served now, the facts for `/metrics`, reports of reloads, the way to the workers.

pub mod acme_status;
pub mod admin_cuts;
pub mod facts;
pub mod process_stats;
pub mod reload_report;
pub mod state;
pub mod worker_query;
