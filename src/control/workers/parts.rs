//! What a start or a reload gathers for a revision before any worker gets it. Nothing of it can fail any more.

use crate::config::Config;
use crate::control::process::state::Served;
use crate::control::stream_manager::dns;
use crate::shared::revision::{Names, Revision};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything that a revision is made of.
#[derive(Debug)]
pub struct RevisionParts {
    /// Counts up from 1.
    pub number: u64,
    pub config: Arc<Config>,
    pub tls: Arc<ServerConfig>,
    /// Certificates of `stream_manager.ca`.
    pub roots: Vec<CertificateDer<'static>>,
    /// Addresses of this machine and of the stream manager: they are never dialled as nodes.
    pub self_addresses: Vec<IpAddr>,
    /// Configured node names with their addresses.
    pub names: Names,
}

impl RevisionParts {
    /// The first revision of a process. A name that does not resolve now is logged; it may resolve later, so a start does not
    /// depend on it.
    pub fn first(served: &Served, tls: Arc<ServerConfig>, roots: Vec<CertificateDer<'static>>) -> Self {
        let resolved = dns::resolve(&served.config);
        for name in &resolved.unresolved {
            tracing::warn!(name = name.name, error = %name.error, "a name in {} does not resolve now", name.key);
        }
        Self {
            number: served.revision,
            config: Arc::clone(&served.config),
            tls,
            roots,
            self_addresses: resolved.self_addresses,
            names: resolved.names,
        }
    }

    /// The next revision after `served`, the same in everything but its number and its TLS settings.
    pub fn with_tls(served: &Revision, tls: Arc<ServerConfig>) -> Self {
        Self {
            number: served.number + 1,
            config: Arc::clone(&served.config),
            tls,
            roots: served.roots.clone(),
            self_addresses: served.admission().own.clone(),
            names: served.names.load().as_ref().clone(),
        }
    }

    /// Makes the revision, with the rules that its configuration gives.
    pub fn into_revision(self) -> Revision {
        let Self { number, config, tls, roots, self_addresses, names } = self;
        Revision::new(number, config, tls, roots, self_addresses, names)
    }
}
