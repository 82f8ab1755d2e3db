//! The stream managers: each asked a harmless question as the gateway asks it, with the time of each part.

use crate::config::{Config, ManagerUrl};
use crate::control::doctor::finding::Finding;
use crate::control::doctor::timeout::{TIMEOUT, time_is_up};
use crate::control::stream_manager::http;
use futures_util::future::join_all;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A part of a question, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Resolve,
    Connect,
    Tls,
    Answer,
}

/// An answer of the stream manager, and how long each part took.
#[derive(Debug)]
pub(crate) struct Answered {
    status: u16,
    resolve: Duration,
    connect: Duration,
    /// `None` over plain HTTP.
    tls: Option<Duration>,
    answer: Duration,
}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    stage: Stage,
    /// `None`: the time was up.
    error: Option<io::Error>,
}

/// Asks every stream manager of a configuration, all at the same time; `roots` are the certificates of `stream_manager.ca`.
pub(crate) async fn ask_all<'c>(
    config: &'c Config,
    roots: &[CertificateDer<'static>],
) -> Vec<(&'c ManagerUrl, Result<Answered, Unanswered>)> {
    let managers = config.stream_manager.managers().iter();
    join_all(managers.map(async |url| (url, ask(url, config, roots).await))).await
}

async fn ask(
    url: &ManagerUrl,
    config: &Config,
    roots: &[CertificateDer<'static>],
) -> Result<Answered, Unanswered> {
    let stage = Cell::new(Stage::Resolve);
    let asked = tokio::time::timeout(TIMEOUT, ask_in_stages(url, config, roots, &stage)).await;
    let error = match asked {
        Ok(Ok(answered)) => return Ok(answered),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    Err(Unanswered { stage: stage.get(), error })
}

async fn ask_in_stages(
    url: &ManagerUrl,
    config: &Config,
    roots: &[CertificateDer<'static>],
    stage: &Cell<Stage>,
) -> io::Result<Answered> {
    let began = Instant::now();
    let addresses: Vec<_> = tokio::net::lookup_host((url.host.as_str(), url.port)).await?.collect();
    let resolve = began.elapsed();

    stage.set(Stage::Connect);
    let began = Instant::now();
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    let connect = began.elapsed();

    let mut tls = None;
    let mut stream: Box<dyn Stream> = Box::new(stream);
    if url.https {
        stage.set(Stage::Tls);
        let began = Instant::now();
        let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(http::tls_config(config, roots)));
        stream = Box::new(connector.connect(name, stream).await?);
        tls = Some(began.elapsed());
    }

    stage.set(Stage::Answer);
    let began = Instant::now();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let target = format!("{}{}", url.prefix, http::probe_target(config));
    let target = target.parse().map_err(io::Error::other)?;
    let mut request = http::request(&target, http::authorization(config).as_ref());
    request.headers_mut().insert(HOST, host(url).parse().map_err(io::Error::other)?);
    let status = sender.send_request(request).await.map_err(io::Error::other)?.status().as_u16();
    Ok(Answered { status, resolve, connect, tls, answer: began.elapsed() })
}

/// A connection with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The `Host` field for a URL: without the port where it is the scheme's own.
fn host(url: &ManagerUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    match (url.https, url.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// Judges the stream manager at `url`.
pub(crate) fn judge(url: &ManagerUrl, asked: &Result<Answered, Unanswered>) -> Finding {
    let check = "stream manager";
    match asked {
        Ok(answered) => judge_status(url, answered),
        Err(Unanswered { stage, error }) => {
            let reason = error.as_ref().map_or_else(time_is_up, ToString::to_string);
            let (what, remedy) = match stage {
                Stage::Resolve => (
                    format!("the name {} does not resolve", url.host),
                    format!(
                        "look at `getent hosts {}` and /etc/resolv.conf, or correct its address in stream_manager.urls",
                        url.host
                    ),
                ),
                Stage::Connect => (
                    "no connection".to_owned(),
                    format!(
                        "look whether it runs, and at firewalls on the way: `nc -vz {} {}`; or correct its address in stream_manager.urls",
                        url.host, url.port
                    ),
                ),
                Stage::Tls => (
                    "no TLS".to_owned(),
                    format!(
                        "name its CA in stream_manager.ca, or correct its address in stream_manager.urls: `openssl s_client -connect {}:{}` shows its certificate",
                        url.host, url.port
                    ),
                ),
                Stage::Answer => (
                    "no answer to a question".to_owned(),
                    format!(
                        "look at its log, or correct its address in stream_manager.urls: is port {} its HTTP port?",
                        url.port
                    ),
                ),
            };
            Finding::problem(check, format!("{url}: {what} ({reason})"), remedy)
        }
    }
}

/// A 404 is what a stream that does not exist gets.
fn judge_status(url: &ManagerUrl, answered: &Answered) -> Finding {
    let (check, Answered { status, resolve, connect, tls, answer }) = ("stream manager", answered);
    let ms = |time: &Duration| format!("{} ms", time.as_millis());
    let mut times = vec![format!("DNS {}", ms(resolve)), format!("connect {}", ms(connect))];
    times.extend(tls.as_ref().map(|tls| format!("TLS {}", ms(tls))));
    times.push(format!("answer {}", ms(answer)));
    let found = format!("{url} answers with {status} ({})", times.join(", "));
    match status {
        401 | 403 => Finding::warning(
            check,
            found,
            "set stream_manager.authorization to what this service asks for, or let it admit this machine",
        ),
        300..=399 => Finding::problem(
            check,
            format!("{found}, a redirect, which the gateway does not follow"),
            "set its address in stream_manager.urls to the one that the redirect names",
        ),
        500.. => Finding::problem(
            check,
            found,
            "look at the stream manager's log: every question gets such an answer",
        ),
        _ => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    fn url(text: &str) -> ManagerUrl {
        config(text, "").stream_manager.managers()[0].clone()
    }

    fn config(url: &str, keys: &str) -> Config {
        let text = format!(
            "{keys}\nstream_manager.url = \"{url}\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        crate::config::read(&text).expect("a good configuration")
    }

    #[test]
    fn the_host_field_has_the_port_only_where_it_is_not_the_schemes_own() {
        for (text, expected) in [
            ("http://a.example", "a.example"),
            ("https://a.example", "a.example"),
            ("http://a.example:5080", "a.example:5080"),
            ("http://[2001:db8::1]:5080", "[2001:db8::1]:5080"),
        ] {
            assert_eq!(host(&url(text)), expected);
        }
    }

    #[test]
    fn each_stage_of_a_question_has_its_remedy() {
        let url = url("https://sm.example:5443");
        for (stage, found, remedy) in [
            (Stage::Resolve, "does not resolve", "`getent hosts sm.example`"),
            (Stage::Connect, "no connection (refused)", "`nc -vz sm.example 5443`"),
            (Stage::Tls, "no TLS", "stream_manager.ca"),
            (Stage::Answer, "no answer to a question", "is port 5443 its HTTP port?"),
        ] {
            let finding = judge(&url, &Err(Unanswered { stage, error: Some(io::Error::other("refused")) }));
            assert_eq!(finding.level, Level::Problem);
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.remedy.is_some_and(|text| text.contains(remedy)), "{remedy}");
        }
        let late = judge(&url, &Err(Unanswered { stage: Stage::Answer, error: None }));
        assert!(late.found.ends_with("(no answer within 3 s)"), "{late:?}");
    }

    #[test]
    fn the_status_of_an_answer_is_judged() {
        let ms = Duration::from_millis;
        let level = |status| {
            let answered =
                Answered { status, resolve: ms(1), connect: ms(2), tls: Some(ms(3)), answer: ms(4) };
            judge_status(&url("https://sm.example"), &answered).level
        };
        let levels = [200, 404, 400, 401, 302, 500, 503].map(level);
        assert_eq!(
            levels,
            [Level::Ok, Level::Ok, Level::Ok, Level::Warning, Level::Problem, Level::Problem, Level::Problem]
        );
    }
}
