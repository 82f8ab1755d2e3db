//! Many reloads under load: no handshake fails, no session breaks, and memory does not grow.
//!
//! 40 reloads by default; `TIDEGATE_TEST_RELOADS=200` is the full size. `docs/reference/lifecycle.md` has the results at that
//! size.

use crate::harness::certs::{ECDSA, Identity};
use crate::harness::client::trusting;
use crate::harness::connection::{End, Side, Tls};
use crate::harness::gateway::write_pair;
use crate::harness::{ClientBuilder, Connection, Frame, Reply, Request, TestBed};
use crate::questions::answers::SUBSCRIBE;
use rustls::{ClientConfig, RootCertStore};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, ScopedJoinHandle};

/// Sessions that exchange messages all the time.
const LONG_CLIENTS: usize = 16;
/// Threads that open short connections all the time.
const SHORT_CLIENTS: usize = 4;
/// Sessions of earlier revisions that are open at any time.
const KEPT_SESSIONS: usize = 16;
/// Allowed growth of the second half's maximum over the first half's maximum. Sessions that come and go change it by one
/// or two MiB.
const GROWTH_MAX: u64 = 4 << 20;
/// Reloads without any load, and the allowed growth of memory after them. A leaked revision is 24 KiB.
const RELOADS_WITHOUT_LOAD: usize = 100;
const GROWTH_WITHOUT_LOAD_MAX: u64 = 512 << 10;

#[test]
fn reloads_under_load_disturb_no_client() {
    let reloads =
        std::env::var("TIDEGATE_TEST_RELOADS").map_or(40, |number| number.parse().expect("a number"));
    let renewed = Identity::renewed();
    let mut config = None;
    let mut bed = TestBed::with(|changed, _| {
        changed.set("limits.sessions_per_ip", "off");
        // the kept sessions are silent for a while, and a busy machine may be slow
        changed.set("websocket.ping_interval", "off");
        changed.set("websocket.close_timeout", "10s");
        for wait in ["connect_timeout", "upgrade_timeout"] {
            changed.set(&format!("origins.{wait}"), "10s");
        }
        config = Some(changed.clone());
    });
    let mut config = config.expect("the closure was called");
    bed.manager.answer("", Reply::node(bed.ip(1)));
    let node = echo(bed.workspace.node(1));
    let load = Load::on(&bed, &renewed);

    let memory = thread::scope(|scope| {
        let long_clients: Vec<_> = (0..LONG_CLIENTS)
            .map(|n| {
                scope.spawn({
                    let load = &load;
                    move || load.run_long_session(n)
                })
            })
            .collect();
        let short_clients: Vec<_> =
            (0..SHORT_CLIENTS).map(|_| scope.spawn(|| load.run_short_sessions())).collect();
        // also if something fails below: otherwise the other threads would never end
        let over = StopOnDrop(&load.over);
        let mut kept = VecDeque::new();
        let mut memory = Vec::new();
        for n in 0..reloads {
            let identity = if n % 2 == 0 { &renewed } else { &*ECDSA };
            write_pair(&bed.workspace, "ecdsa", identity);
            config.set("origins.depth", 4 + n as i64 % 3);
            config.set("limits.headers", 100 + n as i64 % 7);
            config.set("log.level", if n % 2 == 0 { "info" } else { "debug" });
            config.write(&bed.workspace);
            reload(&bed, n);
            let tls = load.connect(&load.settings());
            assert_eq!(tls.conn.peer_certificates().unwrap()[0], identity.der, "reload {n}");
            let mut session = load.open(tls);
            load.exchange(&mut session, n);
            kept.push_back(session);
            if kept.len() > KEPT_SESSIONS {
                load.close(kept.pop_front().expect("there is a session"));
            }
            memory.push(bed.gateway.memory());
        }
        kept.into_iter().for_each(|session| load.close(session));
        drop(over);
        for worker in long_clients.into_iter().chain(short_clients) {
            join(worker);
        }
        memory
    });
    drop(node);
    let (messages, handshakes) = (load.messages.load(SeqCst), load.handshakes.load(SeqCst));
    let (first, second) = memory.split_at(reloads / 2);
    let most = |memory: &[u64]| memory.iter().max().copied().expect("some") >> 10;
    println!(
        "{reloads} reloads, revision {}: {handshakes} handshakes, {messages} messages; at most {} KiB resident in the \
         first half, {} KiB in the second",
        bed.gateway.revision(),
        most(first),
        most(second)
    );
    assert!(bed.gateway.revision() > reloads as u64);
    assert_eq!(bed.gateway.metric("tidegate_tls_handshake_failures_total", &[]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[]), 0.0);
    for how in ["lost", "torn", "violation", "idle"] {
        assert_eq!(bed.gateway.metric("tidegate_ends_total", &[("how", how)]), 0.0, "{how}");
    }
    assert!(handshakes > reloads && messages > 10 * reloads, "there was no load");
    assert!(most(second) < most(first) + (GROWTH_MAX >> 10), "memory grew: {memory:?}");
    reloads_without_load(&bed);
    bed.gateway.assert_healthy();
}

/// Without load every leaked page is visible.
fn reloads_without_load(bed: &TestBed) {
    bed.gateway.wait_for_metric("tidegate_connections_active", &[], 0.0);
    let reload = || {
        assert_eq!(bed.gateway.send_admin(&bed.gateway.admin_request("POST", "/api/reload")).status(), 200)
    };
    reload();
    let before = bed.gateway.memory();
    (0..RELOADS_WITHOUT_LOAD).for_each(|_| reload());
    let after = bed.gateway.memory();
    println!(
        "{RELOADS_WITHOUT_LOAD} reloads without load: {} KiB before, {} KiB after",
        before >> 10,
        after >> 10
    );
    assert!(after < before + GROWTH_WITHOUT_LOAD_MAX, "memory grew from {before} to {after}");
}

/// Reloads once, by each way in turn. The new revision is served when this returns.
fn reload(bed: &TestBed, n: usize) {
    let before = bed.gateway.revision();
    match n % 3 {
        0 => bed.gateway.send_sighup(),
        1 => assert_eq!(bed.gateway.reload().0, Some(0)),
        _ => assert_eq!(
            bed.gateway.send_admin(&bed.gateway.admin_request("POST", "/api/reload")).status(),
            200
        ),
    }
    bed.gateway.wait_for_revision(before + 1);
}

fn join(worker: ScopedJoinHandle<'_, ()>) {
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Ends the load when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Clients that run until the load is over. Each one fails the test if anything goes wrong for it.
struct Load {
    builder: ClientBuilder,
    target: String,
    roots: RootCertStore,
    over: AtomicBool,
    handshakes: AtomicUsize,
    messages: AtomicUsize,
}

impl Load {
    fn on(bed: &TestBed, renewed: &Identity) -> Self {
        let mut roots = crate::harness::certs::roots();
        roots.add(renewed.der.clone()).unwrap();
        Self {
            builder: bed.client_builder(),
            target: bed.websocket_target(1),
            roots,
            over: AtomicBool::new(false),
            handshakes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
        }
    }

    /// A client without tickets.
    fn settings(&self) -> Arc<ClientConfig> {
        Arc::new(trusting(rustls::ALL_VERSIONS, self.roots.clone()))
    }

    fn connect(&self, settings: &Arc<ClientConfig>) -> Tls {
        let tls = self.builder.clone().with(settings.clone()).connect_tls_stream();
        self.handshakes.fetch_add(1, SeqCst);
        tls
    }

    /// Opens a WebSocket.
    fn open(&self, tls: Tls) -> Connection {
        let mut client = Connection::new(Box::new(tls), Side::Client);
        let response = client.exchange(&Request::upgrade(&self.target));
        assert_eq!(response.status(), 101, "{response:?}");
        client
    }

    /// Sends a message and expects the same message back.
    fn exchange(&self, client: &mut Connection, n: usize) {
        let size = 1 + n * 7919 % 5000;
        let frame = Frame::binary((0..size).map(|at| (at * 31 + n) as u8).collect::<Vec<_>>());
        client.send_frame(frame.clone());
        let heard = client.read_frame();
        assert!(heard == frame, "message {n} came back as {heard:?}");
        self.messages.fetch_add(1, SeqCst);
    }

    fn close(&self, mut client: Connection) {
        self.exchange(&mut client, 1);
        client.send_frame(Frame::close(1000, "bye"));
        assert_eq!(client.read_close(), (Some(1000), "bye".to_owned()));
        assert_eq!(client.expect_end(), End::Clean);
    }

    /// One session from the first revision to the last.
    fn run_long_session(&self, first: usize) {
        let mut session = self.open(self.connect(&self.settings()));
        for n in first.. {
            if self.over.load(SeqCst) {
                break;
            }
            self.exchange(&mut session, n);
        }
        self.close(session);
    }

    /// Opens connections one after the other, with full and resumed handshakes, each for questions or a short session.
    fn run_short_sessions(&self) {
        while !self.over.load(SeqCst) {
            let settings = self.settings();
            for _ in 0..2 {
                let mut client = Connection::new(Box::new(self.connect(&settings)), Side::Client);
                for _ in 0..2 {
                    assert_eq!(client.get(SUBSCRIBE).status(), 200, "also on a kept connection");
                }
            }
            let mut session = self.open(self.connect(&settings));
            (0..3).for_each(|n| self.exchange(&mut session, n));
            self.close(session);
        }
    }
}

/// A node that sends every frame back.
fn echo(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    let accepting = listener.try_clone().unwrap();
    thread::spawn(move || {
        for tcp in accepting.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut connection = Connection::new(Box::new(tcp), Side::Node);
                connection.accept_upgrade();
                connection.tcp().set_read_timeout(None).unwrap();
                while let Some(frame) = connection.try_read_frame() {
                    let last = frame.opcode == Frame::CLOSE;
                    let bytes = connection.encode(&frame);
                    if connection.try_send(&bytes).is_err() || last {
                        return;
                    }
                }
            });
        }
    });
    listener
}
