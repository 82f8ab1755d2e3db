//! The HTTP client for the CA: https only, HTTP/1.1, with the roots of this machine and those of `tls.acme.ca`.

use super::trouble::{Kind, Trouble};
use crate::control::start::certs;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// How long one request may take, its answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the longest answer: a chain of certificates is a few KiB.
const ANSWER_MAX: usize = 256 * 1024;

/// Connections are kept for the requests of one order.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

const PRODUCT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// A client, to be cloned for each use: clones share connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// Seconds that the last answer asked to wait; -1 where it did not.
    retry_after: Arc<AtomicI64>,
}

impl Http {
    /// A client that trusts the CA certificates in `ca` besides those of this machine. Reads files.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, Trouble> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca {
            let extra = certs::read_chain(path).map_err(|error| {
                Trouble::new(Kind::Storage, certs::pem_fault("ca", path, &error, "certificate").found)
            })?;
            roots.add_parsable_certificates(extra);
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
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        Ok(Self { client, retry_after: Arc::new(AtomicI64::new(-1)) })
    }

    /// How many seconds the last answer asked to wait, if it was a refusal that said so.
    pub(super) fn retry_after(&self) -> Option<i64> {
        Some(self.retry_after.load(Ordering::Relaxed)).filter(|seconds| *seconds >= 0)
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        let library =
            request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // RFC 8555, 6.1: the name of the client before that of the library
        if let Ok(agent) = HeaderValue::from_str(&format!("{PRODUCT} {library}")) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            match tokio::time::timeout(REQUEST_TIMEOUT, http.exchange(request, &host)).await {
                Ok(answer) => answer,
                Err(_) => Err(other(format!("{host} did not answer within {} s", REQUEST_TIMEOUT.as_secs()))),
            }
        })
    }
}

impl Http {
    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
        host: &str,
    ) -> Result<BytesResponse, Error> {
        self.retry_after.store(-1, Ordering::Relaxed);
        let answer = self.client.request(request).await;
        let answer =
            answer.map_err(|error| other(format!("{host} can't be reached ({})", causes(&error))))?;
        let (parts, body) = answer.into_parts();
        let refused = parts.status.is_client_error() || parts.status.is_server_error();
        if refused {
            self.retry_after.store(seconds_to_wait(&parts.headers).unwrap_or(-1), Ordering::Relaxed);
        }
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body =
            body.map_err(|error| other(format!("the answer of {host} broke off ({error})")))?.to_bytes();
        let is_json = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.contains("json"));
        // the library would only say that it is no JSON
        if refused && !is_json {
            return Err(other(format!("{host} answered {}", status(parts.status))));
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

fn status(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn other(text: String) -> Error {
    Error::Other(text.into())
}

/// The innermost reason of an error: outer ones only say where it happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The field `Retry-After` in seconds from now (RFC 9110, 10.2.3).
fn seconds_to_wait(headers: &HeaderMap) -> Option<i64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(seconds.into());
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let wait = until.duration_since(SystemTime::now()).unwrap_or_default();
    i64::try_from(wait.as_secs()).ok()
}
