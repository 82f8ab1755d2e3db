//! The admin listener: metrics for monitoring, health for load balancers, a status page for people.
//!
//! What changes something passes `admin_guard` first. It runs on the control thread, so a slow reader here never costs
//! a session anything.

use crate::config::AdminListen;
use crate::control::admin::lifecycle::{ClosableListener, Closed};
use crate::control::admin::{api, guard};
use crate::control::process::state::{Phase, ProcessState};
use crate::control::reload::reloader;
use crate::control::reload::reloader::ReloadReport;
use crate::control::start::host;
use crate::metrics::page;
use crate::metrics::page::{Dialect, Facts};
use crate::metrics::{AnswerOutcome, Counter, Route, WorkerMetrics};
use crate::proto::websocket::relay::By;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const PAGE: &str = include_str!("page.html");

/// A bound admin listener that nobody serves yet.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds what the configuration says; `None` if it says off. The error is a whole sentence.
pub fn bind(listen: &AdminListen) -> Result<Option<Bound>, String> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::Tcp(address) => {
            bind_tcp(*address).map(|listener| Some(Bound::Tcp(listener))).map_err(|error| {
                format!("can't open the admin listener {address} ({error}); choose another one in [admin].listen")
            })
        }
        AdminListen::Unix(path) => bind_unix(path).map(|listener| Some(Bound::Unix(listener))).map_err(|error| {
            let path = path.display();
            format!("can't open the admin listener unix:{path} ({error}); choose another one in [admin].listen")
        }),
    }
}

pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds a socket file for owner and group, in place of one that a dead process left.
pub(crate) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let left = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if left {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        std::fs::remove_file(path)?;
    }
    // by umask, so that it is never open to others, not even for a moment
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `end`, and then until who asked before has the answer; takes no new connection from `leave` on. Call it on
/// the control thread's runtime.
pub(crate) async fn serve(
    bound: Bound,
    shared: Arc<ProcessState>,
    leave: Closed,
    end: Closed,
) -> io::Result<()> {
    let end = async { drop(end.await) };
    match bound {
        Bound::Tcp(listener) => {
            let address = listener.local_addr()?;
            tracing::info!("admin page on http://{address}/");
            let listener = ClosableListener(Some(tokio::net::TcpListener::from_std(listener)?), leave);
            axum::serve(listener, router(shared, Some(address))).with_graceful_shutdown(end).await
        }
        Bound::Unix(listener) => {
            let listener = ClosableListener(Some(tokio::net::UnixListener::from_std(listener)?), leave);
            axum::serve(listener, router(shared, None)).with_graceful_shutdown(end).await
        }
    }
}

/// Everything the listener answers. With an address only requests that name it are answered; a socket file is out of
/// reach of web pages anyway.
fn router(shared: Arc<ProcessState>, address: Option<SocketAddr>) -> Router {
    Router::new()
        .route("/", get(people))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/api/status", get(status))
        .route("/api/reload", post(reloader::answer))
        .merge(api::routes())
        .layer(from_fn_with_state(address, guard::guard))
        .layer(from_fn(harden))
        .with_state(shared)
}

/// Fields that every answer carries.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fields = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
        .headers_mut()
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

/// The page for people. Its script and style run by a number used once.
async fn people() -> Response {
    let mut bytes = [0; 16];
    if aws_lc_rs::default_provider().secure_random.fill(&mut bytes).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE.replace("{nonce}", &nonce))).into_response()
}

async fn metrics(State(shared): State<Arc<ProcessState>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let dialect = Dialect::accepted(accept);
    let facts = Facts {
        driver: shared.driver().to_owned(),
        revision: shared.current().revision,
        process: host::process_stats(shared.started_at),
    };
    let page = page::write(&shared.metrics, &facts, dialect);
    ([(header::CONTENT_TYPE, dialect.content_type())], page).into_response()
}

/// Whether the process goes round; if not, only a new start helps.
async fn live(State(shared): State<Arc<ProcessState>>) -> (StatusCode, String) {
    match shared.metrics.iter().position(|worker| worker.unresponsive.get() > 0) {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(worker) => (StatusCode::SERVICE_UNAVAILABLE, format!("worker {worker} stands still\n")),
    }
}

/// Whether a load balancer may send clients here.
async fn ready(State(shared): State<Arc<ProcessState>>) -> (StatusCode, String) {
    let phase = shared.phase.get();
    let code = if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", phase.word()))
}

async fn status(State(shared): State<Arc<ProcessState>>) -> Json<Value> {
    let current = shared.current();
    let sum = |of: &dyn Fn(&WorkerMetrics) -> &Counter| -> u64 {
        shared.metrics.iter().map(|worker| of(worker).get()).sum()
    };
    let mut sessions = json!({ "active": shared.sessions() });
    for route in Route::ALL {
        let active =
            shared.metrics.iter().map(|worker| worker.sessions_active[*route as usize].get()).sum::<i64>();
        let total = sum(&|worker| &worker.sessions_total[*route as usize]);
        sessions[route.word()] = json!({ "active": active, "total": total });
    }
    let mut answers = json!({ "stored": shared.stored_answers.get().map_or(0, |stored| stored()) });
    for outcome in AnswerOutcome::ALL {
        answers[outcome.word()] = sum(&|worker| &worker.answers[*outcome as usize]).into();
    }
    let mut ends = json!({});
    for by in By::ALL {
        let all = shared.metrics.iter().flat_map(|worker| &worker.ends[by as usize]);
        ends[by.word()] = all.map(Counter::get).sum::<u64>().into();
    }
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": shared.phase.get().word(),
        "revision": current.revision,
        "needs_restart": current.needs_restart,
        "reload": shared.last_reload.load().as_deref().map(ReloadReport::to_json),
        "driver": shared.driver(),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "listening": shared.listening,
        "connections": shared.connections(),
        "sessions": sessions,
        "answers": answers,
        "ends": ends,
        "bytes": sum(&|worker| &worker.bytes[0]) + sum(&|worker| &worker.bytes[1]),
        "frames": sum(&|worker| &worker.frames[0]) + sum(&|worker| &worker.frames[1]),
        "panics": sum(&|worker| &worker.panics),
        "workers": shared.metrics.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "certificates": certificates(&current.certificates),
    }))
}

fn worker((index, worker): (usize, &Arc<WorkerMetrics>)) -> Value {
    json!({
        "index": index,
        "sessions": worker.sessions(),
        "connections": worker.connections.get(),
        "heartbeat": worker.heartbeat.get(),
        "loop_lag_seconds": worker.loop_lag_micros.get() as f64 / 1e6,
        "buffers_lent_bytes": worker.buffers_lent_bytes.get(),
    })
}

fn certificates(certificates: &[crate::control::start::certs::Facts]) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let one = |facts: &crate::control::start::certs::Facts| {
        json!({
            "names": facts.names,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "days_left": (facts.not_after - now).div_euclid(86_400),
        })
    };
    certificates.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
