//! The client of the gateway's listeners, for the commands that talk to a running gateway: one request over TCP or a socket file.

use crate::control::admin::listener::ListenAddress;
use crate::control::cli::target::{Listener, Target};
use crate::control::exit::{ExitError, NO};
use http_body_util::{BodyExt, Empty, Limited};
pub(crate) use hyper::Method;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long the gateway may take to answer a request that is not a reload.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Sends a request; returns the body of a successful answer. Fails with the gateway's reason if it refuses (exit code 1), and
/// if no gateway answers within `ANSWER_TIMEOUT` (exit code 71).
pub(crate) fn request(target: &Target, method: Method, path: &str) -> Result<Bytes, ExitError> {
    let (status, body) = send(target, method, path, ANSWER_TIMEOUT)?;
    if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
}

/// The error for an answer that is not successful: the gateway's reason (exit code 1), or that another program answered.
pub(crate) fn refused(status: StatusCode, body: &[u8]) -> ExitError {
    let answer = serde_json::from_slice::<Value>(body).ok();
    let Some(reason) = answer.as_ref().and_then(|answer| answer["error"].as_str()) else {
        return not_a_gateway(&format!("found status {status}"));
    };
    let next = if status == StatusCode::UNAUTHORIZED { "; set TIDEGATE_ADMIN_TOKEN" } else { "" };
    ExitError { code: NO, text: format!("the gateway refused: {reason}{next}") }
}

/// Reads an answer as JSON. Fails if it is not JSON: another program answered.
pub(crate) fn json(answer: &[u8]) -> Result<Value, ExitError> {
    serde_json::from_slice(answer).map_err(|_| not_a_gateway("found one that is not JSON"))
}

/// The error for an answer of another program.
fn not_a_gateway(found: &str) -> ExitError {
    ExitError::os(format!("expected an answer of tidegate, {found}; check that --admin names its listener"))
}

/// Sends a request; returns status and body of the answer, whatever the status. A request that only reads goes to the monitoring
/// listener if the admin listener can't be reached. Fails if no whole answer comes within `timeout`.
pub(crate) fn send(
    target: &Target,
    method: Method,
    path: &str,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ExitError> {
    let mut reasons = Vec::new();
    for listener in target.listeners(&method)? {
        match send_to(listener, method.clone(), path, timeout) {
            Ok(answer) => return Ok(answer),
            Err(error) => reasons.push(unreachable(&listener.address, &error)),
        }
    }
    Err(ExitError::os(reasons.join("; and ")))
}

/// What a look at the admin listener found.
#[derive(Debug)]
pub(crate) enum Poll {
    Answer(Value),
    /// No answer this time; there may be one the next time.
    Nothing,
    /// No process serves there.
    Gone,
}

/// Looks at the listener that takes changes, once. Fails if there is none.
pub(crate) fn poll(target: &Target, path: &str) -> Result<Poll, ExitError> {
    let Some(listener) = target.listeners(&Method::POST)?.first().copied() else { return Ok(Poll::Gone) };
    Ok(match send_to(listener, Method::GET, path, ANSWER_TIMEOUT) {
        Ok((status, body)) if status.is_success() => json(&body).map_or(Poll::Nothing, Poll::Answer),
        Ok(_) => Poll::Nothing,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Poll::Gone,
            _ => Poll::Nothing,
        },
    })
}

/// Why a listener can't be reached, and what to do.
fn unreachable(address: &ListenAddress, error: &io::Error) -> String {
    match address {
        ListenAddress::Unix(path) if error.kind() == io::ErrorKind::PermissionDenied => {
            let group = group_of(path).map_or(String::new(), |group| format!(" ({group})"));
            format!(
                "can't connect to {address} ({error}); only its owner and its group{group} may: run the command as root, or \
                 add this user to that group with `usermod --append --groups` and log in again"
            )
        }
        _ => format!(
            "no gateway answers on {address} ({error}); check that it runs, and that --admin or --config names its listener"
        ),
    }
}

/// The group of a socket file, or of the folder that keeps this user from it; its number if it has no name in `/etc/group`.
fn group_of(path: &Path) -> Option<String> {
    let gid = path.ancestors().find_map(|path| fs::metadata(path).ok())?.gid();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    // group(5): name, password, number, members
    let name = groups.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    });
    Some(name.unwrap_or_else(|| gid.to_string()))
}

fn send_to(
    listener: &Listener,
    method: Method,
    path: &str,
    timeout: Duration,
) -> io::Result<(StatusCode, Bytes)> {
    let answer = async {
        let answer = tokio::time::timeout(timeout, connect(listener, method, path)).await;
        let late = || Err(io::Error::other(format!("no answer within {} s", timeout.as_secs())));
        answer.unwrap_or_else(|_| late())
    };
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?.block_on(answer)
}

async fn connect(listener: &Listener, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)> {
    let host = match &listener.address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(_) => "localhost".to_owned(),
    };
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    if let Some(token) = &listener.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.0));
    }
    let request = request.body(Empty::new()).map_err(io::Error::other)?;
    match &listener.address {
        ListenAddress::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
        ListenAddress::Unix(socket) => exchange(UnixStream::connect(socket).await?, request).await,
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> io::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(io::Error::other)?;
    Ok((status, body.to_bytes()))
}
