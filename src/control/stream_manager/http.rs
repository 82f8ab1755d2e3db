//! HTTP to stream managers: the client with its limits, the fields of a question, one exchange.
//!
//! A name may have several addresses: the client tries them one after the other, each family beside the other (RFC 8305), until
//! one accepts. Which stream manager is asked is not known here.

use crate::config::Config;
use crate::control::stream_manager::fault::Fault;
use crate::metrics::ManagerOutcome;
use crate::proto::http::trace_context::TraceFields;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// Idle connections to a stream manager are closed after this time. Tomcat closes them after 20 s, and a question that is sent
/// just then has to be sent again.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The stream that the gateway asks for to learn whether a stream manager answers at all. No stream has this name.
const PROBE_STREAM: &str = "tidegate-probe";

/// Status, fields and body of an answer.
pub(crate) type Exchanged = (u16, HeaderMap, Bytes);

/// Sends questions to all stream managers of one revision. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct ManagerHttp {
    client: Client<TimeLimit<HttpsConnector<HttpConnector>>, Empty<Bytes>>,
    authorization: Option<HeaderValue>,
    body_max: usize,
}

impl ManagerHttp {
    /// The client for `config`; `extra_roots` are trusted besides the machine's own certificates. A connection has to be there
    /// within `connect_max`, name, TLS and all addresses included.
    pub(crate) fn new(
        config: &Config,
        extra_roots: &[CertificateDer<'static>],
        connect_max: Duration,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        // each address of a name gets its share of it
        connector.set_connect_timeout(Some(connect_max));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(config, extra_roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(TimeLimit { connector, limit: connect_max });
        Self { client, authorization: authorization(config), body_max: config.answers.body_max }
    }

    /// Sends one request and reads the answer. If the stream manager closed a kept-alive connection while the question was on
    /// its way, the question is sent once more, if it
    /// `may_retry`: one with an effect, such as a publish, is never sent twice.
    pub(crate) async fn exchange(
        &self,
        uri: &Uri,
        mut may_retry: bool,
        trace: Option<&TraceFields>,
    ) -> Result<Exchanged, Fault> {
        let response = loop {
            let mut question = request(uri, self.authorization.as_ref());
            add_trace(question.headers_mut(), trace);
            match self.client.request(question).await {
                Ok(response) => break response,
                Err(e) if may_retry && was_closed(&e) => may_retry = false,
                Err(e) => return Err(Fault::of(&e)),
            }
        };
        self.body(response).await
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
        let limited = Limited::new(body, self.body_max);
        let body = limited.collect().await.map_err(|e| match e.is::<LengthLimitError>() {
            true => Fault::new(ManagerOutcome::Unusable, "longer than answers.body_max"),
            false => Fault::new(ManagerOutcome::Closed, "truncated"),
        })?;
        Ok((status, parts.headers, body.to_bytes()))
    }
}

/// A connector that gives up after a time.
#[derive(Debug, Clone)]
struct TimeLimit<C> {
    connector: C,
    limit: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Service<Uri> for TimeLimit<C>
where
    C: Service<Uri, Future: Send + 'static, Error: Into<BoxError>>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connection = tokio::time::timeout(self.limit, self.connector.call(uri));
        let limit = self.limit;
        Box::pin(async move {
            match connection.await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => {
                    let why = format!("no connection within {} ms", limit.as_millis());
                    Err(io::Error::new(io::ErrorKind::TimedOut, why).into())
                }
            }
        })
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

/// Tells the stream manager which trace a question belongs to.
fn add_trace(headers: &mut HeaderMap, trace: Option<&TraceFields>) {
    let Some(TraceFields { parent, state }) = trace else { return };
    let fields =
        [("traceparent", Some(parent.to_string())), ("tracestate", state.as_deref().map(str::to_owned))];
    for (name, value) in fields {
        // both are of visible ASCII
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// All values of a field, joined by commas (RFC 9110, 5.3); `None` without the field.
pub(crate) fn all_values(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Whether the connection ended before an answer began. This happens when the stream manager closes a kept-alive connection.
fn was_closed(e: &hyper_util::client::legacy::Error) -> bool {
    let mut source = Error::source(e);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            return cause.is_incomplete_message() || cause.is_canceled() || cause.is_closed();
        }
        source = cause.source();
    }
    false
}

/// The TLS of questions to stream managers on https.
pub(crate) fn tls_config(config: &Config, extra_roots: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_root_certificates(roots(config, extra_roots))
        .with_no_client_auth()
}

/// The machine's root certificates and `extra`; none of either if all stream managers are asked over plain HTTP.
fn roots(config: &Config, extra: &[CertificateDer<'static>]) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    if config.stream_manager.managers().iter().any(|manager| manager.https) {
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
