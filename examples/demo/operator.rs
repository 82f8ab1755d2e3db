//! What the page's buttons do: end a node and start it again, kick a session, drain the gateway, ask what happened in a session.
//!
//! A small HTTP server on a loopback address, because a page that comes through the gateway can't reach the gateway's admin socket.
//! It answers only requests with the token of this run, which stands in the page, and lets pages of the gateway's own web
//! origins read the answers.

use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tidegate_sandbox::Cluster;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

/// How long the gateway may take to answer: to kick a WHIP session it asks the session's node.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(6);

/// What the buttons work on.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) admin_socket: PathBuf,
    pub(crate) token: String,
    /// Web origins of the page.
    pub(crate) origins: Vec<String>,
    /// Nodes that were ended.
    pub(crate) down: Arc<Mutex<Vec<IpAddr>>>,
}

/// Starts the server on a thread of its own, which ends with the process. Returns its address.
pub(crate) fn start(operator: Operator) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("demo-operator".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve(listener, router(operator)).await
        })
    })?;
    Ok(address)
}

fn router(operator: Operator) -> Router {
    Router::new()
        .route("/nodes", get(nodes))
        .route("/nodes/{node}/{state}", post(change_node))
        .route("/api/{*path}", get(ask_gateway).post(ask_gateway).delete(ask_gateway))
        .layer(from_fn_with_state(operator.clone(), guard))
        .with_state(operator)
}

/// Lets only the demo's page in: its web origin, and the token that it has.
async fn guard(State(operator): State<Operator>, request: Request, next: Next) -> Response {
    let field = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let origin = field(request.headers(), header::ORIGIN);
    let Some(origin) = origin.filter(|origin| operator.origins.contains(origin)) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let expected = format!("Bearer {}", operator.token);
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else if field(request.headers(), header::AUTHORIZATION).as_ref() == Some(&expected) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    };
    let fields = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.as_str()),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The nodes of the sandbox, and whether they run.
async fn nodes(State(operator): State<Operator>) -> Response {
    let down = operator.down.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let nodes = operator.cluster.node_addresses();
    let rows = nodes.iter().map(|node| json!({ "node": node.to_string(), "up": !down.contains(node) }));
    Json(json!({ "nodes": rows.collect::<Vec<_>>() })).into_response()
}

/// Ends a node with all that it has (`down`), as a crash does, or starts it again (`up`).
async fn change_node(
    State(operator): State<Operator>,
    UrlPath((node, state)): UrlPath<(IpAddr, String)>,
) -> Response {
    let nodes = operator.cluster.node_addresses();
    let Some(index) = nodes.iter().position(|one| *one == node) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut down = operator.down.lock().unwrap_or_else(PoisonError::into_inner);
    down.retain(|one| *one != node);
    match state.as_str() {
        "down" => {
            operator.cluster.node(index).down();
            down.push(node);
        }
        "up" => operator.cluster.node(index).up(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    }
    Json(json!({ "node": node.to_string(), "state": state })).into_response()
}

/// Passes a request on to the admin socket of the gateway.
async fn ask_gateway(State(operator): State<Operator>, request: Request) -> Response {
    let (method, target) = (request.method().clone(), request.uri().to_string());
    let answer = spawn_blocking(move || ask(&operator.admin_socket, &method, &target)).await;
    match answer {
        Ok(Ok((status, body))) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        _ => {
            (StatusCode::BAD_GATEWAY, Json(json!({ "error": "the gateway does not answer" }))).into_response()
        }
    }
}

/// One request to the admin socket. Returns status and body.
fn ask(socket: &PathBuf, method: &Method, target: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parts.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
