//! What a reload replaces, all of it at once: the configuration, the rules made of it, the TLS settings, the names.
//!
//! A revision never changes. Every worker holds the newest one and is told of a newer one by a command. A request goes by
//! the revision that was the newest when its head was whole, to its end; a relay copies what it needs and holds none, so
//! that an old revision is gone as soon as the last request that began under it.

use crate::config::Config;
use crate::proto::admission;
use crate::proto::admission::{AdmissionRules, Admitted};
use crate::proto::http::head::HeadLimits;
use crate::proto::millis::millis;
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::relay::RelayRules;
use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Host names that clients may use, with the addresses that they resolved to.
pub type Names = HashMap<String, Vec<IpAddr>>;

/// One state of everything that can change while we serve.
pub struct Revision {
    /// Counts up from 1.
    pub number: u64,
    pub config: Arc<Config>,
    pub tls: Arc<rustls::ServerConfig>,
    /// Certificates of `stream_manager.ca`; the client of the stream manager trusts them besides the machine's own.
    pub roots: Vec<CertificateDer<'static>>,
    /// Resolved anew from time to time, as are our own addresses; nothing else in here moves.
    pub names: ArcSwap<Names>,
    /// Addresses that have become ours or the stream manager's since the rules were made: not dialled either.
    pub extra_denied: ArcSwap<Vec<IpAddr>>,
    rules: Rules,
}

/// A worker's hold on a revision: its requests count their references among themselves, not with other cores.
pub(crate) type Held = Rc<Arc<Revision>>;

/// The configuration in the words of `proto`.
pub(crate) struct Rules {
    pub(crate) head: HeadLimits,
    pub(crate) params: ParamRules,
    pub(crate) admission: AdmissionRules,
    pub(crate) relay: RelayRules,
}

impl Revision {
    /// Puts a revision together. `own` are the gateway's and the stream manager's addresses: they are not dialled.
    pub fn new(
        number: u64,
        config: Arc<Config>,
        tls: Arc<rustls::ServerConfig>,
        roots: Vec<CertificateDer<'static>>,
        own: Vec<IpAddr>,
        names: Names,
    ) -> Self {
        let rules = Rules::new(&config, own);
        let (names, extra_denied) = (ArcSwap::from_pointee(names), ArcSwap::default());
        Self { number, rules, config, tls, roots, names, extra_denied }
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rules by which nodes are admitted, but for addresses that extra_denied.
    pub const fn admission(&self) -> &AdmissionRules {
        &self.rules.admission
    }

    /// Admits an address, or says that it may not be dialled.
    pub fn admit(&self, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
        self.refuse_moved(address)?;
        admission::admit(self.admission(), address, is_learned)
    }

    /// Admits an address that needs not be known otherwise: one of a configured name, or of a session that exists.
    pub fn admit_configured(&self, address: IpAddr) -> Result<Admitted, Refusal> {
        self.refuse_moved(address)?;
        admission::admit_configured(self.admission(), address)
    }

    /// Whether an address that the stream manager named is worth remembering.
    pub fn may_learn(&self, address: IpAddr) -> bool {
        self.refuse_moved(address).is_ok() && admission::may_learn(self.admission(), address)
    }

    fn refuse_moved(&self, address: IpAddr) -> Result<(), Refusal> {
        let ours = self.extra_denied.load().contains(&address) && !self.admission().lists(address);
        if ours { Err(Refusal::OriginNotAdmitted) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revision").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Rules {
    fn new(config: &Config, own: Vec<IpAddr>) -> Self {
        let (origins, limits, websocket) = (&config.origins, &config.limits, &config.websocket);
        Self {
            head: HeadLimits {
                head_size_max: limits.head_size,
                target_size_max: limits.target_size,
                headers_max: limits.headers,
            },
            params: ParamRules {
                apps: origins.apps.clone(),
                depth_max: origins.depth,
                names: origins.names.clone(),
                ..ParamRules::default()
            },
            admission: AdmissionRules {
                networks: origins.networks.clone(),
                learned: origins.learned,
                strict: origins.strict,
                own,
                port: origins.port,
            },
            relay: RelayRules {
                message_max: websocket.message_max,
                ping_interval: websocket.ping_interval.map(millis),
                pong_timeout: millis(websocket.pong_timeout),
                idle: websocket.idle.map(millis),
                lifetime: websocket.lifetime.map(millis),
                close_timeout: millis(websocket.close_timeout),
                extensions: false,
            },
        }
    }
}
