//! Counts the connections to the admin listener that the gateway ended.

use crate::metrics::{Counter, page};

/// Connections to the admin listener that the gateway ended, by reason.
#[derive(Debug, Default)]
pub struct AdminCuts {
    /// No byte of an answer was sent for too long.
    pub timeout: Counter,
    /// They made room for newer ones.
    pub limit: Counter,
}

impl AdminCuts {
    /// What was counted so far, for `/metrics`.
    pub fn counted(&self) -> page::AdminCuts {
        page::AdminCuts { timeout: self.timeout.get(), limit: self.limit.get() }
    }
}
