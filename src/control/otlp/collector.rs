//! The collector: where it is, and one request to it (OTLP/HTTP, binary).

use crate::config::{Config, Tracing};
use crate::control::otlp::attributes::text;
use crate::control::start::otlp_headers;
use crate::control::stream_manager::fault::Fault;
use crate::metrics::ManagerOutcome;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// How long one request may take; the specification of OTLP has the same default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without a request is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why a batch was not taken.
pub(super) struct Failed {
    /// For the log.
    pub(super) cause: String,
    /// Whether the same batch may be taken later.
    pub(super) again: bool,
    /// The wait that the collector asks for.
    pub(super) after: Option<Duration>,
}

impl Failed {
    /// A failure after which the batch is sent again.
    fn again(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), again: true, after: None }
    }
}

/// The collector of one configuration.
pub(super) struct Collector {
    config: Tracing,
    url: String,
    uri: Uri,
    headers: HeaderMap,
    http: Http,
}

impl Collector {
    /// The collector that `config` names; `None` if it names none.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let config = config.tracing.clone();
        let endpoint = config.endpoint.as_ref()?;
        let url = format!("{endpoint}/v1/traces");
        let uri = url.parse().ok()?;
        let agent = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, agent);
        let secret = config.headers.as_ref().and_then(|headers| otlp_headers::parse(&headers.0));
        headers.extend(secret.unwrap_or_default());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let http = http_client(endpoint.https);
        Some(Self { url, uri, headers, http, config })
    }

    /// Whether a configuration asks for the same as this collector's.
    pub(super) fn is_configured_by(&self, config: &Config) -> bool {
        self.config == config.tracing
    }

    /// Where it takes spans.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A request with these spans, as bytes.
    pub(super) fn encode(&self, spans: Vec<Span>) -> Vec<u8> {
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource {
            attributes: vec![
                text("service.name", self.config.service_name.as_str()),
                text("service.version", version),
                text("telemetry.sdk.language", "rust"),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "tidegate".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource_spans =
            ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }

    /// Sends one request. The result is how many of its spans the collector refuses.
    pub(super) async fn send(&self, body: &[u8]) -> Result<u64, Failed> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(taken) => taken,
            Err(_) => Err(Failed::again("it does not answer within 10 s")),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<u64, Failed> {
        let response = self.http.request(request).await.map_err(|error| {
            let fault = Fault::of(&error);
            match fault.outcome {
                // the sentence for it names a key of the stream manager
                ManagerOutcome::Timeout => Failed::again("the connection to it timed out"),
                _ => Failed::again(fault.to_string()),
            }
        })?;
        judge(response).await
    }
}

/// How many spans a collector refuses by its answer. Statuses are those of the specification of OTLP/HTTP.
async fn judge(response: Response<Incoming>) -> Result<u64, Failed> {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let body = Limited::new(body, ANSWER_MAX).collect().await;
    match status {
        200..=299 => {
            let body = body.map_err(|_| Failed::again("it closes connections before an answer is whole"))?;
            // an answer that can't be read says nothing against the spans
            let answer = ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default();
            let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
            Ok(u64::try_from(rejected).unwrap_or_default())
        }
        429 | 502..=504 => {
            let after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            Err(Failed { after, ..Failed::again(format!("it answers with status {status}")) })
        }
        _ => {
            Err(Failed { cause: format!("it refuses them with status {status}"), again: false, after: None })
        }
    }
}

/// The HTTP client. Over HTTPS it trusts the root certificates of the machine.
fn http_client(https: bool) -> Http {
    let mut roots = rustls::RootCertStore::empty();
    if https {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector)
}
