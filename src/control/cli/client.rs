//! The client of the admin listener: one question over TCP or a socket file, for the commands that talk to a running gateway.

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

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 16 << 20;

/// What the gateway answers. A refusal is a stop with its own words, and so is a gateway that is not there.
pub fn ask(admin: &AdminListen, method: Method, path: &str) -> Result<Bytes, ExitError> {
    let (status, body) = try_ask(admin, method, path, PATIENCE)?;
    if status.is_success() {
        return Ok(body);
    }
    let said = serde_json::from_slice::<Value>(&body).ok();
    match said.as_ref().and_then(|said| said["error"].as_str()) {
        Some(why) => Err(ExitError { code: NO, text: format!("the gateway says no: {why}") }),
        None => Err(nobody(admin, &format!("it answers {status}"))),
    }
}

/// An answer as JSON.
pub fn json(admin: &AdminListen, answer: &[u8]) -> Result<Value, ExitError> {
    serde_json::from_slice(answer).map_err(|_| nobody(admin, "that is no tidegate"))
}

/// Nobody is there, or somebody else.
pub fn nobody(admin: &AdminListen, why: &str) -> ExitError {
    let place = match admin {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
        AdminListen::Off => "off".to_owned(),
    };
    ExitError::os(format!(
        "no gateway answers on {place} ({why}); is it running, and is --admin what its [admin] says?"
    ))
}

/// The whole answer, whatever its status.
pub fn try_ask(
    admin: &AdminListen,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, Bytes), ExitError> {
    let ask = async {
        let asked = tokio::time::timeout(patience, connect(admin, method, path)).await;
        let late = || Err(io::Error::other(format!("no answer in {} seconds", patience.as_secs())));
        asked.unwrap_or_else(|_| late())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.and_then(|runtime| runtime.block_on(ask)).map_err(|why| nobody(admin, &why.to_string()))
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
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(io::Error::other)?;
    Ok((status, body.to_bytes()))
}
