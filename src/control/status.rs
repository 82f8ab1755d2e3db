//! `tidegate status`: asks the admin listener of the running gateway.

use super::cli::print;
use super::report::Stop;
use crate::config::AdminListen;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 16 << 20;

/// Prints the status, as lines or as JSON.
pub fn show(admin: &AdminListen, json: bool) -> Result<(), Stop> {
    let place = match admin {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
        AdminListen::Off => "off".to_owned(),
    };
    let failed = |why: String| {
        Stop::os(format!(
            "no gateway answers on {place} ({why}); is it running, and is --admin what its [admin] says?"
        ))
    };
    let answer = fetch(admin).map_err(|error| failed(error.to_string()))?;
    if json {
        return print(&[&answer[..], b"\n"].concat());
    }
    let status = serde_json::from_slice(&answer).map_err(|_| failed("that is no tidegate".to_owned()))?;
    print(lines(&status).as_bytes())
}

/// The status as JSON.
pub(super) fn fetch(admin: &AdminListen) -> io::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, ask(admin, "/api/status")).await;
        asked.unwrap_or_else(|_| Err(io::Error::other("no answer in 5 seconds")))
    })
}

async fn ask(admin: &AdminListen, path: &str) -> io::Result<Bytes> {
    match admin {
        AdminListen::Tcp(address) => {
            get(TcpStream::connect(address).await?, &address.to_string(), path).await
        }
        AdminListen::Unix(socket) => get(UnixStream::connect(socket).await?, "localhost", path).await,
        AdminListen::Off => Err(io::Error::other("there is no admin listener")),
    }
}

async fn get<S>(stream: S, host: &str, path: &str) -> io::Result<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request =
        Request::get(path).header("host", host).body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if !response.status().is_success() {
        return Err(io::Error::other(format!("it answers {}", response.status())));
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(io::Error::other)?;
    Ok(body.to_bytes())
}

/// The status for people.
pub(super) fn lines(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list =
        |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    let rows = [
        ("phase", text(&status["phase"])),
        ("version", format!("{}, revision {}", text(&status["version"]), status["revision"])),
        ("driver", text(&status["driver"])),
        ("uptime", format!("{} s", status["uptime_seconds"])),
        ("listening", list(&status["listening"])),
        ("sessions", text(&status["sessions"]["active"])),
        ("answers", format!("{} stored", status["answers"]["stored"])),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<12}{value}");
    }
    for worker in status["workers"].as_array().into_iter().flatten() {
        let (sessions, lag) = (&worker["sessions"], &worker["loop_lag_seconds"]);
        let _ = writeln!(out, "worker {:<5}{sessions} sessions, {lag} s behind", worker["index"].to_string());
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let days = &certificate["days_left"];
        let _ = writeln!(out, "certificate {}, {days} days left", list(&certificate["names"]));
    }
    out
}
