//! What all workers and the control side share: one value for the whole process.

use super::answers::Answers;
use super::ceiling::Ceiling;
use crate::config::Config;
use crate::metrics::WorkerMetrics;
use crate::proto::admission::AdmissionRules;
use crate::proto::head::HeadLimits;
use crate::proto::params::ParamRules;
use crate::proto::relay::RelayRules;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A page that an embedding program (the demo) serves beside the gateway's own routes. Not configurable.
#[derive(Debug, Clone)]
pub struct Page {
    /// Exact target, for example `/`.
    pub path: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Shared by workers and control.
pub struct Gateway {
    pub config: Arc<Config>,
    pub tls: Arc<rustls::ServerConfig>,
    pub answers: Answers,
    pub(crate) affinity: super::affinity::Affinity,
    pub ceiling: Ceiling,
    pub metrics: Vec<Arc<WorkerMetrics>>,
    /// Names that clients may use as `host`, with the addresses that they resolved to.
    pub names: arc_swap::ArcSwap<HashMap<String, Vec<IpAddr>>>,
    pub pages: Vec<Page>,
    rules: Rules,
}

/// The configuration in the words of `proto`.
pub(super) struct Rules {
    pub(super) head: HeadLimits,
    pub(super) params: ParamRules,
    pub(super) admission: AdmissionRules,
    pub(super) relay: RelayRules,
}

impl Gateway {
    /// Puts the shared value together. `own` are the gateway's and the stream manager's addresses: they are not dialled.
    pub fn new(
        config: Arc<Config>,
        tls: Arc<rustls::ServerConfig>,
        answers: Answers,
        metrics: Vec<Arc<WorkerMetrics>>,
        own: Vec<IpAddr>,
        pages: Vec<Page>,
    ) -> Self {
        Self {
            affinity: super::affinity::Affinity::default(),
            ceiling: Ceiling::new(&config.limits),
            rules: Rules::new(&config, own),
            config,
            tls,
            answers,
            metrics,
            names: arc_swap::ArcSwap::default(),
            pages,
        }
    }

    pub(super) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rules by which nodes are admitted.
    pub const fn admission(&self) -> &AdmissionRules {
        &self.rules.admission
    }
}

impl Rules {
    fn new(config: &Config, own: Vec<IpAddr>) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
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
