//! The HTTP client of the stream manager, with the address, credentials, trusted certificates and timeout of one revision.
//!
//! It returns status, content type and body; `proto::red5::answer` decides for how long an answer may be stored. Every node
//! that a good answer names is learned, also when the answer itself is not stored.

use crate::config::Config;
use crate::control::stream_manager::breaker::{CircuitBreaker, PROBE_INTERVAL, Probe};
use crate::control::stream_manager::fault::Fault;
use crate::control::stream_manager::health::{ManagerHealth, Managers};
use crate::metrics::ManagerOutcome;
use crate::proto::red5::answer::{self, FreshnessRules};
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::Answer;
use crate::shared::counters::UseCount;
use crate::shared::gateway::Gateway;
use crate::shared::nodes::ManagerId;
use crate::shared::questions::Outcome;
use crate::shared::revision::Revision;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::slice;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long an answer with a list or statistics may be used.
const LIST_TTL: Duration = Duration::from_secs(1);

/// Idle connections to the stream manager are closed after this time. Tomcat closes them after 20 s, and a question that is
/// sent just then has to be sent again.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The stream that the gateway asks for to learn whether the stream manager answers at all. No stream has this name.
const PROBE_STREAM: &str = "tidegate-probe";

/// Where the paths of the streams service begin. All its good answers are lists of nodes, those to publishers too.
const STREAMS_SERVICE: &str = "/as/v1/streams/";

/// A timer of tokio may end so much too early by another clock.
const TIMER_PRECISION: Duration = Duration::from_millis(2);

/// Status, fields and body of an answer.
type Exchanged = (u16, HeaderMap, Bytes);

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Asks questions under one revision. A question that began with one manager client also ends with it.
pub(crate) struct ManagerClient {
    gateway: Arc<Gateway>,
    revision: Arc<Revision>,
    http: Http,
    /// The beginning of every URL that is asked: scheme, host, port and configured path.
    base: String,
    manager: ManagerId,
    authorization: Option<HeaderValue>,
    freshness: FreshnessRules,
    breaker: CircuitBreaker,
    health: Arc<ManagerHealth>,
}

impl ManagerClient {
    /// Makes the client of `revision`. It stores nodes that it learns in `gateway`, and tells `managers` how questions end.
    pub(crate) fn new(gateway: Arc<Gateway>, revision: Arc<Revision>, managers: &Managers) -> Self {
        let config = &revision.config;
        let manager = &config.stream_manager;
        let health = managers.configure(slice::from_ref(&manager.url)).remove(0);
        let authorization = authorization(config);
        Self {
            http: http_client(config, &revision.roots),
            base: manager.url.to_string(),
            manager: ManagerId::of(&manager.url),
            authorization,
            freshness: FreshnessRules {
                broadcast: config.answers.broadcast_ttl,
                subscribe: config.answers.subscribe_ttl,
                list: LIST_TTL,
                missing: config.answers.missing_ttl,
            },
            breaker: CircuitBreaker::default(),
            health,
            gateway,
            revision,
        }
    }

    /// Whether another client asks the same stream manager: same scheme, host, port and path.
    pub(crate) fn has_same_manager_as(&self, other: &Self) -> bool {
        self.manager == other.manager
    }

    /// Asks the question `target` within `stream_manager.timeout`. While the answer names only nodes in quarantine and a
    /// healthy one is known, it asks again, at most `origins.attempts` times in all. Otherwise the last answer counts: a
    /// node that failed is better than no node.
    pub(crate) async fn ask(self: &Arc<Self>, target: &str, kind: EventKind, keep: Keep) -> Outcome {
        let asked = Instant::now();
        let deadline = tokio::time::Instant::now() + self.revision.config.stream_manager.timeout;
        let mut outcome = self.ask_once(target, kind, keep, deadline).await;
        // a later one has less time, so that its timeout says nothing about the stream manager
        if matches!(outcome, Err(Refusal::ManagerTimeout))
            && self.had_its_time(asked)
            && self.breaker.on_timeout(target, asked)
        {
            tokio::task::spawn(Self::probe(Arc::downgrade(self)));
        }
        for _ in 1..self.revision.config.origins.attempts {
            let nodes = &self.gateway.nodes;
            let is_quarantined = |answer: &Arc<Answer>| {
                !answer.nodes.is_empty() && answer.nodes.iter().all(|node| nodes.is_quarantined(*node))
            };
            if keep == Keep::Never || !outcome.as_ref().is_ok_and(is_quarantined) || !nodes.knows_healthy() {
                break;
            }
            match self.ask_once(target, kind, keep, deadline).await {
                Ok(better) => outcome = Ok(better),
                Err(_) => break,
            }
        }
        outcome
    }

    /// Whether a question that was asked at `asked` had all of `stream_manager.timeout`.
    fn had_its_time(&self, asked: Instant) -> bool {
        asked.elapsed() + TIMER_PRECISION >= self.revision.config.stream_manager.timeout
    }

    /// Reads what was exchanged, and notes how a question ended that was asked at `asked`. `wants_json`: its good answers are
    /// JSON. `probe`: it was the gateway's own.
    fn read(
        &self,
        exchanged: &Result<Exchanged, Fault>,
        wants_json: bool,
        asked: Instant,
        probe: bool,
    ) -> answer::Answer {
        let mut read = answer::Answer::Other;
        let fault = match exchanged {
            Err(fault) => Some(fault.clone()),
            Ok((status, headers, body)) => {
                let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                read = answer::read(*status, content_type, body);
                match status {
                    500.. => Some(Fault::new(ManagerOutcome::ServerError, format_args!("status {status}"))),
                    200 if read == answer::Answer::Other && wants_json => {
                        let found = content_type.unwrap_or("no Content-Type");
                        Some(Fault::new(ManagerOutcome::Json, format_args!("{found}, {} bytes", body.len())))
                    }
                    _ => None,
                }
            }
        };
        match fault {
            Some(fault) => self.health.on_fault(fault, asked.elapsed(), probe),
            None => self.health.on_answer(asked.elapsed()),
        }
        read
    }

    /// Writes what is due in the log, and asks a probe if questions fail and no other task asks one.
    pub(crate) async fn watch(&self) {
        if self.health.tick() && !self.breaker.is_probing() {
            self.ask_probe(&Probe::Unknown).await;
        }
    }

    async fn ask_once(
        &self,
        target: &str,
        kind: EventKind,
        keep: Keep,
        deadline: tokio::time::Instant,
    ) -> Outcome {
        // what may be shared shows no credentials and has no effect
        let repeatable = keep != Keep::Never;
        if !self.breaker.allows(target, repeatable, Instant::now()) {
            self.health.on_not_asked();
            return Err(Refusal::ManagerTimeout);
        }
        let (uri, began) = (self.uri(target)?, Instant::now());
        let exchanged = tokio::time::timeout_at(deadline, self.exchange(&uri, kind)).await;
        if let Ok(answered) = &exchanged {
            let probe = (repeatable && answered.is_ok()).then_some(target);
            self.breaker.on_answer(probe, Instant::now());
        }
        let Ok(exchanged) = exchanged else {
            if self.had_its_time(began) {
                self.health.on_fault(Fault::new(ManagerOutcome::Timeout, ""), began.elapsed(), false);
            }
            return Err(Refusal::ManagerTimeout);
        };
        // of other questions it is not known what their answers look like
        let wants_json = kind != EventKind::Other || target.starts_with(STREAMS_SERVICE);
        let read = self.read(&exchanged, wants_json, began, false);
        let (status, headers, body) = exchanged.map_err(|_| Refusal::ManagerFailed)?;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE);
        let cache_control = all_values(&headers, header::CACHE_CONTROL);
        let fresh = read.freshness(&self.freshness, kind, keep, cache_control.as_deref());
        let nodes = match read {
            answer::Answer::Found { nodes } => nodes,
            _ => Vec::new(),
        };
        let answers = &self.gateway.answers;
        for node in nodes.iter().filter(|node| self.revision.may_learn(**node)) {
            self.gateway.nodes.learn_from(*node, self.manager);
        }
        let uses = match kind {
            // the session that asked is the first use
            EventKind::Subscribe if status == 200 => {
                self.revision.config.answers.subscribe_uses.saturating_sub(1)
            }
            _ => u32::MAX,
        };
        Ok(Arc::new(Answer {
            status,
            content_type: content_type.map(str::to_owned),
            body: body.into(),
            nodes,
            fresh,
            uses: UseCount::new(uses),
            made: answers.now(),
        }))
    }

    /// Asks questions of the gateway's own until the stream manager has answered some question, or until no other question is
    /// under way at a client that a reload has replaced.
    async fn probe(client: Weak<Self>) {
        while let Some(client) = client.upgrade()
            && let Some(probe) = client.breaker.next_probe()
        {
            let next = tokio::time::Instant::now() + PROBE_INTERVAL;
            client.ask_probe(&probe).await;
            drop(client);
            tokio::time::sleep_until(next).await;
        }
    }

    /// Asks one question of the gateway's own, and notes how it ended.
    async fn ask_probe(&self, probe: &Probe) {
        let config = &self.revision.config;
        let target = match probe {
            Probe::Answered(target) => target.to_string(),
            Probe::Unknown => probe_target(config),
        };
        let Ok(uri) = self.uri(&target) else { return };
        let asked = Instant::now();
        let exchange = self.exchange(&uri, EventKind::Subscribe);
        match tokio::time::timeout(config.stream_manager.timeout, exchange).await {
            Ok(exchanged) => {
                self.breaker.on_answer(None, Instant::now());
                self.read(&exchanged, true, asked, true);
            }
            Err(_) => {
                self.breaker.on_probe_timeout(probe, asked);
                self.health.on_fault(Fault::new(ManagerOutcome::Timeout, ""), asked.elapsed(), true);
            }
        }
    }

    /// Sends one request and reads the answer. If the stream manager closed a kept-alive connection while the question was on
    /// its way, the question is sent once more.
    async fn exchange(&self, uri: &Uri, kind: EventKind) -> Result<Exchanged, Fault> {
        // a question that may have an effect, such as a publish, is never sent twice
        let mut may_retry = kind != EventKind::Other;
        let response = loop {
            match self.http.request(request(uri, self.authorization.as_ref())).await {
                Ok(response) => break response,
                Err(e) if may_retry && was_closed(&e) => may_retry = false,
                Err(e) => return Err(Fault::of(&e)),
            }
        };
        self.body(response).await
    }

    fn uri(&self, target: &str) -> Result<Uri, Refusal> {
        format!("{}{target}", self.base).parse().map_err(|_| Refusal::BadTarget)
    }

    /// Reads the whole answer. Refused are a body that is truncated, longer than `answers.body_max` or in a coding that was
    /// not asked for, and a redirect, which would lead clients past the gateway.
    async fn body(&self, response: Response<Incoming>) -> Result<Exchanged, Fault> {
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let coded = all_values(&parts.headers, header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
        let unusable = |why: fmt::Arguments<'_>| Err(Fault::new(ManagerOutcome::Unusable, why));
        if coded {
            return unusable(format_args!("a content coding that was not asked for"));
        }
        if !matches!(status, 200..=299 | 400..=599) {
            return unusable(format_args!("status {status}"));
        }
        let limited = Limited::new(body, self.revision.config.answers.body_max);
        let body = limited.collect().await.map_err(|e| match e.is::<LengthLimitError>() {
            true => Fault::new(ManagerOutcome::Unusable, "longer than answers.body_max"),
            false => Fault::new(ManagerOutcome::Closed, "truncated"),
        })?;
        Ok((status, parts.headers, body.to_bytes()))
    }
}

/// The target of a question of the gateway's own, which only shows whether the stream manager answers.
pub(crate) fn probe_target(config: &Config) -> String {
    let app = config.origins.apps.first().map_or("live", String::as_str);
    let api = config.stream_manager.api.text();
    format!("/streammanager/api/{api}/event/{app}/{PROBE_STREAM}?action=subscribe")
}

/// The value of `stream_manager.authorization`, marked as one that nothing prints.
pub(crate) fn authorization(config: &Config) -> Option<HeaderValue> {
    let secret = config.stream_manager.authorization.as_ref()?;
    let mut value = HeaderValue::from_str(&secret.0).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A question with the fields that every question has.
pub(crate) fn request(uri: &Uri, authorization: Option<&HeaderValue>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
    );
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    request
}

/// All values of a field, joined by commas (RFC 9110, 5.3); `None` without the field.
fn all_values(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Whether the connection ended before an answer began. This happens when the stream manager closes a kept-alive connection.
fn was_closed(e: &hyper_util::client::legacy::Error) -> bool {
    let mut source = std::error::Error::source(e);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            return cause.is_incomplete_message() || cause.is_canceled() || cause.is_closed();
        }
        source = cause.source();
    }
    false
}

/// The HTTP client for `config`; `extra_roots` are trusted besides the machine's own certificates.
fn http_client(config: &Config, extra_roots: &[CertificateDer<'static>]) -> Http {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(config.stream_manager.timeout));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(config, extra_roots))
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector)
}

/// The TLS of questions to a stream manager on https.
pub(crate) fn tls_config(config: &Config, extra_roots: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_root_certificates(roots(config, extra_roots))
        .with_no_client_auth()
}

/// The machine's root certificates and `extra`; none of either if the stream manager is asked over plain HTTP.
fn roots(config: &Config, extra: &[CertificateDer<'static>]) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    if config.stream_manager.url.https {
        let found = rustls_native_certs::load_native_certs();
        found
            .errors
            .iter()
            .for_each(|e| tracing::warn!(error = %e, "a root certificate of this machine can't be read"));
        roots.add_parsable_certificates(found.certs);
        roots.add_parsable_certificates(extra.iter().cloned());
    }
    roots
}
