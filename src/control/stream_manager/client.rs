//! One way of asking the stream manager: its address, credentials, trust and patience, as one revision has them.
//!
//! Only status, content type and body come back from here; what may be kept is decided by `proto::answer`, and every node
//! that a good answer names is learned, also when the answer itself is not kept.

use crate::config::{Config, ManagerUrl};
use crate::control::stream_manager::breaker::CircuitBreaker;
use crate::proto::red5::answer;
use crate::proto::red5::answer::FreshnessRules;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::Answer;
use crate::shared::counters::UseCount;
use crate::shared::gateway::Gateway;
use crate::shared::questions::Outcome;
use crate::shared::revision::Revision;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Lists and statistics are believed so long.
const LIST_TTL: Duration = Duration::from_secs(1);

/// Idle connections to the stream manager are closed after this; Tomcat closes them after 20 s, and meeting its close
/// with a question costs a retry.
const POOL_IDLE: Duration = Duration::from_secs(15);

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Everything that a question needs. A question is asked to its end by the asker that began it.
pub(crate) struct Asker {
    gateway: Arc<Gateway>,
    revision: Arc<Revision>,
    http: Http,
    base: String,
    authorization: Option<HeaderValue>,
    freshness: FreshnessRules,
    breaker: CircuitBreaker,
}

impl Asker {
    /// An asker for a revision.
    pub(crate) fn new(gateway: Arc<Gateway>, revision: Arc<Revision>) -> Self {
        let config = &revision.config;
        let manager = &config.stream_manager;
        let authorization = manager.authorization.as_ref().and_then(|secret| {
            let mut value = HeaderValue::from_str(&secret.0).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            http: client(config, &revision.roots),
            base: base(&manager.url),
            authorization,
            freshness: FreshnessRules {
                broadcast: config.answers.broadcast_ttl,
                subscribe: config.answers.subscribe_ttl,
                list: LIST_TTL,
                missing: config.answers.missing_ttl,
            },
            breaker: CircuitBreaker::default(),
            gateway,
            revision,
        }
    }

    /// Whether another asker asks the same stream manager.
    pub(crate) fn asks_the_same_as(&self, other: &Self) -> bool {
        self.base == other.base
    }

    /// Asks, and asks again while only nodes are named that failed a moment ago: another one may be had. If none is,
    /// the last answer stands; a node that failed is better than no node.
    pub(crate) async fn ask(&self, target: &str, kind: EventKind, keep: Keep) -> Outcome {
        let deadline = tokio::time::Instant::now() + self.revision.config.stream_manager.timeout;
        let mut outcome = self.ask_once(target, kind, keep, deadline).await;
        for _ in 1..self.revision.config.origins.attempts {
            let nodes = &self.gateway.nodes;
            let is_dead = |answer: &Arc<Answer>| {
                !answer.nodes.is_empty() && answer.nodes.iter().all(|node| nodes.is_quarantined(*node))
            };
            if keep == Keep::Never || !outcome.as_ref().is_ok_and(is_dead) || !nodes.knows_healthy() {
                break;
            }
            match self.ask_once(target, kind, keep, deadline).await {
                Ok(better) => outcome = Ok(better),
                Err(_) => break,
            }
        }
        outcome
    }

    async fn ask_once(
        &self,
        target: &str,
        kind: EventKind,
        keep: Keep,
        deadline: tokio::time::Instant,
    ) -> Outcome {
        let asked = Instant::now();
        if !self.breaker.allows(asked) {
            return Err(Refusal::ManagerTimeout);
        }
        let fetched = tokio::time::timeout_at(deadline, self.fetch(target, kind)).await;
        match &fetched {
            Ok(_) => self.breaker.on_answer(Instant::now()),
            Err(_) => self.breaker.on_timeout(asked),
        }
        let (status, headers, body) =
            fetched.unwrap_or(Err(Refusal::ManagerTimeout)).inspect_err(|refusal| {
                tracing::warn!(code = refusal.code(), "the stream manager could not be asked");
            })?;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE);
        let cache_control = all(&headers, header::CACHE_CONTROL);
        let read = answer::read(status, content_type, &body);
        let fresh = read.freshness(&self.freshness, kind, keep, cache_control.as_deref());
        let nodes = match read {
            answer::Answer::Found { nodes } => nodes,
            _ => Vec::new(),
        };
        let answers = &self.gateway.answers;
        for node in nodes.iter().filter(|node| self.revision.may_learn(**node)) {
            self.gateway.nodes.learn(*node);
        }
        let uses = match kind {
            // the caller who asked is the first use
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

    /// One exchange. A kept-alive connection that the stream manager closed under our question is tried once more.
    async fn fetch(&self, target: &str, kind: EventKind) -> Result<(u16, HeaderMap, Bytes), Refusal> {
        let uri: Uri = format!("{}{target}", self.base).parse().map_err(|_| Refusal::BadTarget)?;
        // what may have an effect, such as a publish, is never said twice
        let mut again = kind != EventKind::Other;
        let response = loop {
            match self.http.request(self.request(&uri)).await {
                Ok(response) => break response,
                Err(e) if again && was_closed(&e) => again = false,
                Err(e) => {
                    tracing::debug!(error = %e, "asking the stream manager failed");
                    return Err(Refusal::ManagerFailed);
                }
            }
        };
        self.body(response).await
    }

    fn request(&self, uri: &Uri) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(value) = &self.authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        request
    }

    /// The whole body, or a refusal: too long, cut short, in a coding that was not asked for, or a redirect, which
    /// would lead clients past the gateway.
    async fn body(&self, response: Response<Incoming>) -> Result<(u16, HeaderMap, Bytes), Refusal> {
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let coded = all(&parts.headers, header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
        if coded || !matches!(status, 200..=299 | 400..=599) {
            return Err(Refusal::ManagerFailed);
        }
        let body = Limited::new(body, self.revision.config.limits.body_max).collect().await.map_err(|e| {
            tracing::debug!(error = %e, "the stream manager's answer was cut short or too long");
            Refusal::ManagerFailed
        })?;
        Ok((status, parts.headers, body.to_bytes()))
    }
}

/// All values of a field, joined by commas (RFC 9110, 5.3).
fn all(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Whether the connection ended before an answer began: the sign of a kept-alive connection that was just closed.
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

fn base(url: &ManagerUrl) -> String {
    let scheme = if url.https { "https" } else { "http" };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{scheme}://{host}:{}{}", url.port, url.prefix)
}

fn client(config: &Config, extra_roots: &[CertificateDer<'static>]) -> Http {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(config.stream_manager.timeout));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_root_certificates(roots(config, extra_roots))
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .build(connector)
}

/// The machine's roots and the configured ones; none are looked for when the stream manager speaks plain HTTP.
fn roots(config: &Config, extra: &[CertificateDer<'static>]) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    if config.stream_manager.url.https {
        let found = rustls_native_certs::load_native_certs();
        found.errors.iter().for_each(|e| tracing::warn!(error = %e, "a root certificate can't be read"));
        roots.add_parsable_certificates(found.certs);
        roots.add_parsable_certificates(extra.iter().cloned());
    }
    roots
}
