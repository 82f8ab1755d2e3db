//! What the gateway has to reach: the stream manager, asked a question as the gateway asks it, and the nodes that the
//! configuration names. All at the same time, each for three seconds at most.

use crate::config::{Config, ManagerUrl};
use crate::control::doctor::finding::Finding;
use crate::control::stream_manager::client;
use futures_util::future::{join, join_all};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one check may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Nodes that are dialled at most: more of them would tell nothing new.
const NODES_MAX: usize = 64;

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
struct Answered {
    status: u16,
    resolve: Duration,
    connect: Duration,
    /// `None` over plain HTTP.
    tls: Option<Duration>,
    answer: Duration,
}

/// Why there was no answer.
#[derive(Debug)]
struct Unanswered {
    stage: Stage,
    /// `None`: the time was up.
    error: Option<io::Error>,
}

/// Asks the stream manager and dials the nodes of a configuration; `roots` are the certificates of `stream_manager.ca`.
pub(crate) fn check(config: &Config, roots: &[CertificateDer<'static>]) -> Vec<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let Ok(runtime) = runtime else {
        let remedy = "raise LimitNOFILE= or `ulimit -n`";
        return vec![Finding::warning(
            "network",
            "nothing could be asked: no file descriptor is left",
            remedy,
        )];
    };
    let (manager, nodes) = runtime.block_on(join(ask(config, roots), dial_nodes(config)));
    // a resolver that does not answer must not hold up the end
    runtime.shutdown_background();
    let mut findings = vec![judge_manager(&config.stream_manager.url, &manager)];
    findings.extend(judge_nodes(&nodes));
    findings
}

async fn ask(config: &Config, roots: &[CertificateDer<'static>]) -> Result<Answered, Unanswered> {
    let stage = Cell::new(Stage::Resolve);
    let asked = tokio::time::timeout(TIMEOUT, ask_in_stages(config, roots, &stage)).await;
    let error = match asked {
        Ok(Ok(answered)) => return Ok(answered),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    Err(Unanswered { stage: stage.get(), error })
}

async fn ask_in_stages(
    config: &Config,
    roots: &[CertificateDer<'static>],
    stage: &Cell<Stage>,
) -> io::Result<Answered> {
    let url = &config.stream_manager.url;
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
        let connector = TlsConnector::from(Arc::new(client::tls_config(config, roots)));
        stream = Box::new(connector.connect(name, stream).await?);
        tls = Some(began.elapsed());
    }

    stage.set(Stage::Answer);
    let began = Instant::now();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let target = format!("{}{}", url.prefix, client::probe_target(config));
    let target = target.parse().map_err(io::Error::other)?;
    let mut request = client::request(&target, client::authorization(config).as_ref());
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
fn judge_manager(url: &ManagerUrl, asked: &Result<Answered, Unanswered>) -> Finding {
    let check = "stream manager";
    match asked {
        Ok(answered) => judge_status(url, answered),
        Err(Unanswered { stage, error }) => {
            let reason = error
                .as_ref()
                .map_or_else(|| format!("no answer within {} s", TIMEOUT.as_secs()), ToString::to_string);
            let (what, remedy) = match stage {
                Stage::Resolve => (
                    format!("the name {} does not resolve", url.host),
                    format!(
                        "look at `getent hosts {}` and /etc/resolv.conf, or correct stream_manager.url",
                        url.host
                    ),
                ),
                Stage::Connect => (
                    "no connection".to_owned(),
                    format!(
                        "look whether it runs, and at firewalls on the way: `nc -vz {} {}`; or correct stream_manager.url",
                        url.host, url.port
                    ),
                ),
                Stage::Tls => (
                    "no TLS".to_owned(),
                    format!(
                        "name its CA in stream_manager.ca, or correct stream_manager.url: `openssl s_client -connect {}:{}` shows its certificate",
                        url.host, url.port
                    ),
                ),
                Stage::Answer => (
                    "no answer to a question".to_owned(),
                    format!(
                        "look at its log, or correct stream_manager.url: is port {} its HTTP port?",
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
            "set stream_manager.url to the address that the redirect names",
        ),
        500.. => Finding::problem(
            check,
            found,
            "look at the stream manager's log: every question gets such an answer",
        ),
        _ => Finding::ok(check, found),
    }
}

/// A node of the configuration: the key that names it, its address, and what a dial of it gave.
#[derive(Debug)]
struct Dialled {
    key: &'static str,
    /// As the configuration writes it.
    name: String,
    address: Option<SocketAddr>,
    /// How long the connect took; `None` in the error if the time was up.
    result: Result<Duration, Option<io::Error>>,
}

/// Dials the nodes that the configuration names: single addresses in `origins.networks`, and `origins.names`.
async fn dial_nodes(config: &Config) -> Vec<Dialled> {
    let port = config.origins.port;
    let single =
        config.origins.networks.iter().filter(|network| network.prefix_len() == network.max_prefix_len());
    let addresses: BTreeSet<IpAddr> = single.map(|network| network.addr()).take(NODES_MAX).collect();
    let by_address = join_all(addresses.into_iter().map(|address| async move {
        let address = SocketAddr::new(address, port);
        Dialled {
            key: "origins.networks",
            name: address.to_string(),
            address: Some(address),
            result: connect(address).await,
        }
    }));
    let by_name = join_all(config.origins.names.iter().take(NODES_MAX).map(|name| dial_name(name, port)));
    let (mut nodes, named) = join(by_address, by_name).await;
    nodes.extend(named);
    nodes
}

/// Dials the first address of a name.
async fn dial_name(name: &str, port: u16) -> Dialled {
    let dialled = |address, result| Dialled { key: "origins.names", name: name.to_owned(), address, result };
    let resolved = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    match resolved.map(|found| found.map(|mut addresses| addresses.next())) {
        Ok(Ok(Some(address))) => dialled(Some(address), connect(address).await),
        Ok(Ok(None)) | Err(_) => dialled(None, Err(None)),
        Ok(Err(error)) => dialled(None, Err(Some(error))),
    }
}

async fn connect(address: SocketAddr) -> Result<Duration, Option<io::Error>> {
    let began = Instant::now();
    match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(|_| began.elapsed()).map_err(Some),
        Err(_) => Err(None),
    }
}

/// Judges the nodes: one that can't be reached is a warning, because the others serve; none that can is a problem.
fn judge_nodes(nodes: &[Dialled]) -> Vec<Finding> {
    let none = nodes.iter().all(|node| node.result.is_err());
    nodes.iter().map(|node| judge_node(node, none)).collect()
}

fn judge_node(node: &Dialled, none: bool) -> Finding {
    let (check, Dialled { key, name, address, result }) = ("node", node);
    let shown = match address {
        Some(address) if address.to_string() != *name => format!("{name} at {address} ({key})"),
        _ => format!("{name} ({key})"),
    };
    let error = match result {
        Ok(time) => {
            return Finding::ok(check, format!("{shown} accepts connections ({} ms)", time.as_millis()));
        }
        Err(error) => error
            .as_ref()
            .map_or_else(|| format!("no answer within {} s", TIMEOUT.as_secs()), ToString::to_string),
    };
    let remedy = match address {
        Some(address) => format!(
            "look whether the node runs, whether origins.port = {} is its port, and at firewalls on the way: `nc -vz {} {}`",
            address.port(),
            address.ip(),
            address.port()
        ),
        None => format!("look at `getent hosts {name}`, or correct {key}"),
    };
    let found = format!("{shown} can't be reached: {error}");
    if none { Finding::problem(check, found, remedy) } else { Finding::warning(check, found, remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    fn url(text: &str) -> ManagerUrl {
        config(text, "").stream_manager.url
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
            let finding =
                judge_manager(&url, &Err(Unanswered { stage, error: Some(io::Error::other("refused")) }));
            assert_eq!(finding.level, Level::Problem);
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.remedy.is_some_and(|text| text.contains(remedy)), "{remedy}");
        }
        let late = judge_manager(&url, &Err(Unanswered { stage: Stage::Answer, error: None }));
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

    #[test]
    fn one_dead_node_is_a_warning_and_none_alive_a_problem() {
        let node = |result| Dialled {
            key: "origins.names",
            name: "n1".to_owned(),
            address: "10.0.0.1:5080".parse().ok(),
            result,
        };
        let levels =
            |nodes: &[Dialled]| judge_nodes(nodes).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(&[node(Ok(Duration::ZERO)), node(Err(None))]), [Level::Ok, Level::Warning]);
        assert_eq!(levels(&[node(Err(None))]), [Level::Problem]);
        assert_eq!(levels(&[]), []);
        let finding = judge_node(&node(Err(None)), false);
        assert_eq!(
            finding.found,
            "n1 at 10.0.0.1:5080 (origins.names) can't be reached: no answer within 3 s"
        );
    }

    #[test]
    fn only_single_addresses_and_names_are_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let keys = format!(
            "origins.port = {port}\norigins.networks = [\"127.0.0.1\", \"10.0.0.0/8\"]\norigins.names = [\"node.invalid\"]"
        );
        let findings = check(&config(&format!("http://127.0.0.1:{port}"), &keys), &[]);
        let levels: Vec<_> = findings.iter().map(|finding| (finding.check, finding.level)).collect();
        // the listener accepts no connection, so the kernel's queue answers the node and nothing answers the question
        assert_eq!(
            levels,
            [("stream manager", Level::Problem), ("node", Level::Ok), ("node", Level::Warning)]
        );
        assert!(findings[0].found.contains("no answer to a question"), "{findings:?}");
    }
}
