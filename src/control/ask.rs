//! One request of a command to the admin listener of the running gateway.

use crate::config::AdminListen;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const LONGEST: usize = 16 << 20;

/// Where an admin listener is, for people.
pub(super) fn place(admin: &AdminListen) -> String {
    match admin {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
        AdminListen::Off => "off".to_owned(),
    }
}

/// Asks, and takes the whole answer, whatever its status. It has no body to send.
pub(super) fn ask(
    admin: &AdminListen,
    method: Method,
    path: &str,
    patience: Duration,
) -> io::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(patience, exchange(admin, method, path)).await;
        let late = || Err(io::Error::other(format!("no answer in {} seconds", patience.as_secs())));
        asked.unwrap_or_else(|_| late())
    })
}

async fn exchange(admin: &AdminListen, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)> {
    match admin {
        AdminListen::Tcp(address) => {
            send(TcpStream::connect(address).await?, &address.to_string(), method, path).await
        }
        AdminListen::Unix(socket) => {
            send(UnixStream::connect(socket).await?, "localhost", method, path).await
        }
        AdminListen::Off => Err(io::Error::other("there is no admin listener")),
    }
}

async fn send<S>(stream: S, host: &str, method: Method, path: &str) -> io::Result<(StatusCode, Bytes)>
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
