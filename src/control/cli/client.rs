//! The client of the admin listener, for the commands that talk to a running gateway: one request over TCP or a socket file.

use crate::config::AdminListen;
use crate::control::exit::{ExitError, NO};
use http_body_util::{BodyExt, Empty, Limited};
pub use hyper::Method;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long the gateway may take to answer a request that is not a reload.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Sends a request; returns the body of a successful answer. Fails with the gateway's reason if it refuses (exit code 1), and
/// if no gateway answers within `ANSWER_TIMEOUT` (exit code 71).
pub fn request(admin: &AdminListen, method: Method, path: &str) -> Result<Bytes, ExitError> {
    let (status, body) = send(admin, method, path, ANSWER_TIMEOUT)?;
    if status.is_success() {
        return Ok(body);
    }
    let answer = serde_json::from_slice::<Value>(&body).ok();
    match answer.as_ref().and_then(|answer| answer["error"].as_str()) {
        Some(reason) => Err(ExitError { code: NO, text: format!("the gateway refused: {reason}") }),
        None => Err(no_gateway(admin, &format!("expected an answer of tidegate, found status {status}"))),
    }
}

/// Reads an answer as JSON. Fails if it is not JSON: another program answered.
pub fn json(admin: &AdminListen, answer: &[u8]) -> Result<Value, ExitError> {
    serde_json::from_slice(answer)
        .map_err(|_| no_gateway(admin, "expected an answer of tidegate, found one that is not JSON"))
}

/// The error for an address at which no gateway answers, or another program does.
fn no_gateway(admin: &AdminListen, reason: &str) -> ExitError {
    unreachable(admin, reason, false)
}

/// The same for any reason; `denied` is whether this user may not even connect, so that nothing is known about a gateway there.
fn unreachable(admin: &AdminListen, reason: &str, denied: bool) -> ExitError {
    let address = match admin {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
        AdminListen::Off => "off".to_owned(),
    };
    if denied {
        return ExitError::os(format!(
            "can't connect to {address} ({reason}); run the command as root, or as a user that may write to the socket"
        ));
    }
    ExitError::os(format!(
        "no gateway answers on {address} ({reason}); check that it runs, and that --admin is its [admin].listen"
    ))
}

/// Sends a request; returns status and body of the answer, whatever the status. Fails if no whole answer comes within `timeout`.
pub fn send(
    admin: &AdminListen,
    method: Method,
    path: &str,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ExitError> {
    let answer = async {
        let answer = tokio::time::timeout(timeout, connect(admin, method, path)).await;
        let late = || Err(io::Error::other(format!("no answer within {} s", timeout.as_secs())));
        answer.unwrap_or_else(|_| late())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let answer = runtime.and_then(|runtime| runtime.block_on(answer));
    answer.map_err(|error| {
        unreachable(admin, &error.to_string(), error.kind() == io::ErrorKind::PermissionDenied)
    })
}

async fn connect(admin: &AdminListen, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)> {
    match admin {
        AdminListen::Tcp(address) => {
            exchange(TcpStream::connect(address).await?, &address.to_string(), method, path).await
        }
        AdminListen::Unix(socket) => {
            exchange(UnixStream::connect(socket).await?, "localhost", method, path).await
        }
        AdminListen::Off => Err(io::Error::other("there is no admin listener")),
    }
}

async fn exchange<S>(stream: S, host: &str, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", host);
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(io::Error::other)?;
    Ok((status, body.to_bytes()))
}
