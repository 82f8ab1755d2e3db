//! Everything that a reload replaces, in one value: the configuration, the rules made of it, the TLS settings, the names.
//!
//! A revision does not change, except for what names resolve to. Every worker holds the newest one and gets a newer one by a
//! command. A request keeps to its end the revision that was the newest when its head was complete. A relay copies what it
//! needs and holds no revision, so an old one is dropped after the last request that began under it.

use crate::config::Config;
use crate::proto::admission::{self, AdmissionRules, Admitted, Denial};
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

/// The configured host names of nodes (`origins.names`), with the addresses that they resolved to.
pub type Names = HashMap<String, Vec<IpAddr>>;

/// One state of everything that a reload can change.
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// The configuration as used.
    pub config: Arc<Config>,
    /// The settings of TLS with clients, certificates included.
    pub tls: Arc<rustls::ServerConfig>,
    /// Certificates of `stream_manager.ca`; the client of the stream manager trusts them besides the machine's own.
    pub roots: Vec<CertificateDer<'static>>,
    /// Resolved anew from time to time, as are our own addresses; nothing else in here moves.
    pub names: ArcSwap<Names>,
    /// Addresses that became the gateway's own or the stream manager's after the rules were made. They are not dialled either.
    /// Replaced like `names`.
    pub extra_denied: ArcSwap<Vec<IpAddr>>,
    rules: Rules,
}

/// A revision as a worker holds it: the requests of one core count their references in the `Rc`, so that cores do not share
/// that counter.
pub(crate) type Held = Rc<Arc<Revision>>;

/// The rules of `proto` that the configuration asks for.
pub(crate) struct Rules {
    pub(crate) head: HeadLimits,
    pub(crate) params: ParamRules,
    pub(crate) admission: AdmissionRules,
    pub(crate) relay: RelayRules,
}

impl Revision {
    /// Makes a revision and its rules. `own` are the addresses of the gateway and of the stream manager, which are not dialled.
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

    /// The rules by which nodes are admitted; `extra_denied` comes on top of them.
    pub const fn admission(&self) -> &AdmissionRules {
        &self.rules.admission
    }

    /// Admits the address of a node: see [`admission::admit`]. Fails with [`Refusal::OriginNotAdmitted`].
    pub fn admit(&self, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
        self.refuse_denied(address)?;
        admission::admit(self.admission(), address, is_learned)
    }

    /// Admits an address that a configured name resolved to: see [`admission::admit_named`]. Fails with
    /// [`Refusal::OriginNotAdmitted`].
    pub fn admit_named(&self, address: IpAddr, is_learned: bool) -> Result<Admitted, Refusal> {
        self.refuse_denied(address)?;
        admission::admit_named(self.admission(), address, is_learned)
    }

    /// Admits an address that need not be learned or listed: that of a WHIP session. Denied addresses
    /// fail with [`Refusal::OriginNotAdmitted`].
    pub fn admit_configured(&self, address: IpAddr) -> Result<Admitted, Refusal> {
        self.refuse_denied(address)?;
        admission::admit_configured(self.admission(), address)
    }

    /// Why [`Revision::admit`] refuses an address; `None` if it admits it.
    pub(crate) fn denial(&self, address: IpAddr, is_learned: bool) -> Option<Denial> {
        let denial = admission::denial(self.admission(), address, is_learned);
        if denial != Some(Denial::Class) && self.refuse_denied(address).is_err() {
            return Some(Denial::Own);
        }
        denial
    }

    /// Whether an address that the stream manager named may be learned.
    pub fn may_learn(&self, address: IpAddr) -> bool {
        self.refuse_denied(address).is_ok() && admission::may_learn(self.admission(), address)
    }

    fn refuse_denied(&self, address: IpAddr) -> Result<(), Refusal> {
        let is_denied = self.extra_denied.load().contains(&address) && !self.admission().lists(address);
        if is_denied { Err(Refusal::OriginNotAdmitted) } else { Ok(()) }
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
