//! Tests of the listeners for operators, over real sockets.

use super::*;
use crate::control::admin::lifecycle::{Shown, serve};
use crate::control::admin::listener::{Kind, ListenAddress, bind};
use crate::control::start::certs;
use serde_json::json;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use tokio::sync::oneshot;

const CONFIG: &str = "stream_manager.url = \"http://10.0.0.2\"\nstream_manager.authorization = \"hunter2\"\n\
                      tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

/// Serves a listener on a thread of its own, as the control thread does.
fn serve_in_thread(kind: Kind, address: &ListenAddress) -> Arc<ProcessState> {
    let facts = certs::Facts {
        chain: "secret-path/c.pem".into(),
        names: vec!["a.example".to_owned()],
        not_before: 0,
        not_after: 4_000_000_000,
        by_acme: false,
    };
    let config = crate::config::read(CONFIG).expect("a valid configuration");
    let listening = vec![SocketAddr::from(([127, 0, 0, 1], 443))];
    let state = Arc::new(ProcessState::new(config, 2, vec![facts], listening));
    let bound = bind(kind, address).expect("the address is free");
    let shown = Shown { state: Arc::clone(&state), recorder: Arc::default() };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let ((_close, closed), (_end, ended)) = (oneshot::channel(), oneshot::channel());
        runtime.expect("a runtime").block_on(serve(kind, bound, shown, closed, ended))
    });
    state
}

/// A loopback address with a port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn send(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    send(TcpStream::connect(address).expect("connected"), &format!("GET {path} HTTP/1.1\r\nHost: {address}"))
}

#[test]
fn readyz_is_200_only_while_the_process_serves() {
    let address = free_address();
    let state = serve_in_thread(Kind::Monitoring, &ListenAddress::Tcp(address));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "));
    state.phase.advance(Phase::Serving);
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    state.phase.advance(Phase::Draining);
    let answer = get(address, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("draining\n"), "{answer}");
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200 "));
}

#[test]
fn pages_show_the_numbers_and_no_secret() {
    let address = free_address();
    let state = serve_in_thread(Kind::Monitoring, &ListenAddress::Tcp(address));
    state.metrics[0].sessions_total[0][0].add(2);
    state.metrics[1].sessions_total[0][0].add(3);
    state.metrics[1].sessions_active[0][0].add(1);
    assert!(state.stored_answers.set(Box::new(|| 7)).is_ok());

    let metrics = get(address, "/metrics");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(
        metrics.contains("\ntidegate_sessions_total{route=\"two_step\",role=\"publisher\"} 5\n"),
        "{metrics}"
    );

    let status = get(address, "/api/status");
    let body = status.split_once("\r\n\r\n").expect("a body").1;
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["phase"], &body["sessions"]["active"]), (&json!("starting"), &json!(1)));
    assert_eq!(
        (&body["sessions"]["two_step"]["publisher"]["total"], &body["answers"]["stored"]),
        (&json!(5), &json!(7))
    );
    assert_eq!(body["certificates"][0]["names"], json!(["a.example"]));
    assert_eq!(body["workers"].as_array().map(Vec::len), Some(2));

    let page = get(address, "/");
    let nonce =
        page.split_once("script-src 'nonce-").and_then(|(_, rest)| rest.split_once('\'')).expect("a nonce").0;
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")), "{page}");
    assert!(!page.contains("{nonce}") && nonce.len() == 32);
    assert!(get(address, "/").split_once(nonce).is_none(), "a nonce is used once");
    for text in [&metrics, &status, &page] {
        assert!(text.contains("x-content-type-options: nosniff") && text.contains("cache-control: no-store"));
        assert!(!text.contains("hunter2") && !text.contains("secret-path"));
    }
    // no worker runs in this test
    assert!(get(address, "/api/sessions").starts_with("HTTP/1.1 503 "));
    assert!(get(address, "/nothing").starts_with("HTTP/1.1 404 "));
}

#[test]
fn foreign_names_are_not_answered() {
    let address = free_address();
    serve_in_thread(Kind::Monitoring, &ListenAddress::Tcp(address));
    let request = "GET /metrics HTTP/1.1\r\nHost: evil.example:9180";
    let answer = send(TcpStream::connect(address).expect("connected"), request);
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
}

#[test]
fn a_socket_file_replaces_a_dead_one_but_not_a_live_one() {
    let path = std::env::temp_dir().join(format!("tidegate-admin-{}.sock", std::process::id()));
    drop(UnixListener::bind(&path).expect("a socket file that no process serves"));
    let listen = ListenAddress::Unix(path.clone());
    serve_in_thread(Kind::Admin, &listen);
    let mode = std::fs::metadata(&path).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let stream = UnixStream::connect(&path).expect("connected");
    assert!(send(stream, "GET /livez HTTP/1.1\r\nHost: anything").starts_with("HTTP/1.1 200 "));
    assert!(bind(Kind::Admin, &listen).expect_err("another process serves it").contains("another process"));
    std::fs::remove_file(&path).expect("removed");

    std::fs::write(&path, "no socket").expect("written");
    assert!(bind(Kind::Admin, &listen).is_err() && path.exists(), "a file that is no socket is left alone");
    std::fs::remove_file(&path).expect("removed");
}
