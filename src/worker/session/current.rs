//! The request that a connection deals with at present.

use crate::metrics::RequestRoute;
use std::time::Instant;

/// The request that a connection deals with at present.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    pub route: RequestRoute,
    /// Its number in the metrics.
    pub method: usize,
    /// When its head was complete.
    pub since: Instant,
}
