//! What a start or a reload has gathered before any worker hears of it: nothing of it can fail any more.

use crate::config::Config;
use crate::shared::revision::{Names, Revision};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything that a revision is made of.
#[derive(Debug, Clone)]
pub struct RevisionParts {
    /// Counts up from 1.
    pub number: u64,
    pub config: Arc<Config>,
    pub tls: Arc<ServerConfig>,
    /// Certificates of the configured CA bundle.
    pub roots: Vec<CertificateDer<'static>>,
    /// Our self_addresses addresses and the stream manager's.
    pub self_addresses: Vec<IpAddr>,
    pub names: Names,
}

impl RevisionParts {
    /// The revision, and the roots that only the control side needs.
    pub fn into_revision(self) -> (Revision, Vec<CertificateDer<'static>>) {
        let Self { number, config, tls, roots, self_addresses, names } = self;
        (Revision::new(number, config, tls, self_addresses, names), roots)
    }
}
