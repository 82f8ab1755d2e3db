//! The gateway as a client of the stream manager: kept connections, its own credentials, and every failure of the
//! manager.

use crate::harness::certs::Identity;
use crate::harness::{
    ClientBuilder, Config, DEADLINE, Gate, Gateway, HttpPeer, Reply, Request, TestBed, Workspace, eventually,
};
use crate::questions::answers::{SUBSCRIBE, bed_that_answers, questions_for_two};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[test]
fn a_manager_on_https_is_authenticated_before_it_is_asked() {
    let workspace = Workspace::claim();
    let address = (workspace.ip(2), 5443).into();
    let (identity, impostor) =
        (Identity::for_address(workspace.ip(2).into()), Identity::for_address(workspace.ip(3).into()));
    let ca = workspace.file("manager-ca.pem");
    std::fs::write(&ca, format!("{}{}", identity.chain_pem, impostor.chain_pem)).unwrap();
    let mut config = Config::new(&workspace);
    config.set("stream_manager.ca", ca.to_str().unwrap());
    config.set("stream_manager.url", format!("https://{address}"));
    let _gateway = Gateway::start(&workspace, &config);
    let ask = || ClientBuilder::to(workspace.gateway()).connect_tls().get(SUBSCRIBE);

    let manager = HttpPeer::start_tls(address, &impostor);
    ask().assert_refusal(502, "manager_failed");
    assert_eq!(manager.count(), 0);
    drop(manager);
    let manager = HttpPeer::start_tls(address, &identity);
    manager.answer("/stream1", Reply::node(workspace.node(1).ip()));
    eventually("the right manager is accepted", || ask().status() == 200);
    assert_eq!(manager.received_heads()[0].target(), SUBSCRIBE);
}

#[test]
fn connections_to_the_manager_are_kept() {
    let bed = TestBed::start();
    for n in 0..20 {
        assert_eq!(
            bed.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe")).status(),
            404
        );
    }
    assert_eq!(bed.manager.count(), 20);
    assert!(bed.manager.connections() <= 3, "{} connections", bed.manager.connections());
}

#[test]
fn the_manager_gets_the_raw_target_and_the_gateways_own_fields() {
    let bed = TestBed::with(|config, workspace| {
        config.set("stream_manager.url", format!("http://{}/prefix", workspace.manager()));
        config.set("stream_manager.authorization", "Bearer ours");
    });
    bed.manager.answer("", Reply::node(bed.workspace.node(1).ip()));
    let target =
        "/streammanager/api/2.0/event/live/a%20b+c'(d)?action=subscribe&region=us-east-1&strict=true";
    let request = Request::get(target)
        .with("Cookie", "secret=1")
        .with("Authorization", "Bearer theirs")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("Accept-Encoding", "br")
        .with("If-None-Match", "\"x\"");
    assert_eq!(bed.exchange(&request).status(), 200);
    let question = &bed.manager.received_heads()[0];
    assert_eq!(question.line, format!("GET /prefix{target} HTTP/1.1"));
    assert_eq!(question.field("host"), Some(bed.workspace.manager().to_string().as_str()));
    assert_eq!(question.field("authorization"), Some("Bearer ours"));
    assert_eq!(question.field("cookie"), None);
    assert_ne!(question.field("x-forwarded-for"), Some("6.6.6.6"));
    assert!(question.field("accept-encoding").is_none_or(|value| value == "identity"));
}

#[test]
fn an_answer_that_forbids_storing_is_not_stored() {
    for value in ["no-store", "private", "max-age=0"] {
        let bed = bed_that_answers(Reply::node("10.0.0.5".parse().unwrap()).field("Cache-Control", value));
        assert_eq!(questions_for_two(&bed, SUBSCRIBE), 2, "{value}");
        let response = bed.get(SUBSCRIBE);
        assert_eq!(
            response.field("cache-control"),
            Some("no-store"),
            "Cache-Control of the manager is not passed on"
        );
    }
}

#[test]
fn a_slow_manager_is_a_504() {
    let bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "200ms"));
    let gate = Gate::default();
    bed.manager.answer("/stream1", Reply::json(200, "{}").held(&gate));
    bed.get(SUBSCRIBE).assert_refusal(504, "manager_timeout");
    gate.open();
    assert_eq!(bed.get(&SUBSCRIBE.replace("stream1", "other")).status(), 404, "other questions are answered");
    assert_eq!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "failed")]), 1.0);
}

#[test]
fn a_dead_manager_is_a_502_until_it_is_back() {
    let mut bed = TestBed::start();
    let address = bed.workspace.manager();
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    let response = bed.get(SUBSCRIBE);
    response.assert_refusal(502, "manager_failed");
    assert!(!response.text().contains(&address.ip().to_string()), "the manager is not named");
    bed.manager = HttpPeer::start(address);
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    eventually("the manager is back", || bed.get(SUBSCRIBE).status() == 200);
}

#[test]
fn a_manager_that_hangs_up_is_a_502() {
    for reply in [Reply::hang_up(), Reply::node("10.0.0.5".parse().unwrap()).truncated()] {
        let bed = bed_that_answers(reply);
        for _ in 0..2 {
            bed.get(SUBSCRIBE).assert_refusal(502, "manager_failed");
        }
        assert!(bed.manager.count() >= 2, "a failure is not stored");
    }
}

#[test]
fn invalid_answers_are_never_stored_and_never_passed_in_part() {
    let replies = [
        ("no JSON", Reply::json(200, "serverAddress=10.0.0.5")),
        ("a page", Reply::json(200, "<html>").content_type("text/html")),
        ("nothing", Reply::json(200, "")),
        ("half JSON", Reply::json(200, r#"{"serverAddress":"10.0.0.5""#)),
        ("elsewhere", Reply::json(302, "").field("Location", "http://10.0.0.1/")),
        ("huge", Reply::json(200, format!(r#"{{"name":"{}"}}"#, "x".repeat(8 << 20)))),
        ("deep", Reply::json(200, "[".repeat(100_000))),
        ("no address", Reply::json(200, r#"{"serverAddress":"10.0.0.5/../x"}"#)),
        ("a number", Reply::json(200, r#"{"serverAddress":12}"#)),
    ];
    for (name, reply) in replies {
        eprintln!("manager says {name}");
        let mut bed = bed_that_answers(reply.clone());
        let before = bed.manager.count();
        for _ in 0..2 {
            let response = bed.get(SUBSCRIBE);
            match response.status() {
                502 => response.assert_refusal(502, "manager_failed"),
                _ => assert_eq!(response.body, reply.body().as_bytes(), "passed whole or not at all"),
            }
            assert_eq!(response.field("location"), None);
        }
        // valid JSON may be stored if there is room for it
        if !matches!(name, "no address" | "a number" | "huge") {
            assert_eq!(bed.manager.count() - before, 2, "{name} was stored");
        }
        bed.gateway.assert_healthy();
    }
}

/// A stream manager that accepts connections and never answers. The connections go to the test.
pub fn silent_manager(bed: &Workspace) -> Receiver<TcpStream> {
    let listener = TcpListener::bind((bed.ip(3), 5080)).expect("a free address");
    let (sender, queue) = channel();
    // the thread ends with the test program, since it waits for further connections
    std::thread::spawn(move || {
        listener.incoming().map_while(Result::ok).try_for_each(|tcp| sender.send(tcp))
    });
    queue
}

#[test]
fn a_question_of_a_single_client_ends_when_the_client_leaves() {
    let mut asked = None;
    let bed = TestBed::with(|config, workspace| {
        asked = Some(silent_manager(workspace));
        config.set("stream_manager.url", format!("http://{}:5080", workspace.ip(3)));
        config.set("stream_manager.timeout", "60s");
    });
    let mut client = bed.client();
    client
        .send_request(&Request::get("/streammanager/api/4.0/event/live/stream1?action=subscribe&token=mine"));
    let mut question = asked.expect("a stream manager").recv_timeout(DEADLINE).expect("a question");
    question.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = [0; 4096];
    assert!(question.read(&mut head).unwrap() > 0);
    drop(client);
    assert_eq!(question.read(&mut head).unwrap(), 0, "the connection to the manager is closed");
}

#[test]
fn a_slow_manager_gets_a_bounded_number_of_questions() {
    // the last eighth is reserved for publishers
    const PLAYERS: usize = 896;
    let mut asked = None;
    let bed = TestBed::with(|config, workspace| {
        asked = Some(silent_manager(workspace));
        config.set("stream_manager.url", format!("http://{}:5080", workspace.ip(3)));
        config.set("stream_manager.timeout", "60s");
        config.set("limits.sessions_per_ip", "off");
    });
    let ask = |n: usize| {
        let action = if n < PLAYERS { "subscribe" } else { "broadcast" };
        let mut client = bed.client();
        client
            .send_request(&Request::get(&format!("/streammanager/api/4.0/event/live/s{n}?action={action}")));
        client
    };
    let asked = asked.expect("a stream manager");
    // a publisher that overtakes a player, on another worker, would take its place
    let (mut waiting, mut questions) = (Vec::new(), Vec::new());
    for group in [0..PLAYERS, PLAYERS..1024] {
        waiting.extend(group.clone().map(ask));
        questions.extend(group.map(|_| asked.recv_timeout(DEADLINE).expect("a question")));
    }
    let response = ask(1024).read_response();
    response.assert_refusal(503, "overloaded");
    assert!(response.field("retry-after").is_some());
    assert!(asked.try_recv().is_err(), "the manager is not even dialled");
    drop((waiting, questions));
}

#[test]
fn clients_with_slow_questions_keep_no_question_of_others_from_a_manager_that_is_well() {
    // longer than the timeout, so that no answer to another question comes between
    const PAUSE: Duration = Duration::from_millis(450);
    for warm in [false, true] {
        let bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "200ms"));
        let (gate, over) = (Gate::default(), AtomicBool::new(false));
        bed.manager.answer("/slow", Reply::json(200, "{}").held(&gate));
        let ordinary = |n: usize| format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe");
        if warm {
            assert_eq!(bed.get(&ordinary(99)).status(), 404);
        }
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (bed, over) = (&bed, &over);
                scope.spawn(move || {
                    let mut client = bed.client();
                    for round in 0.. {
                        let event = "/streammanager/api/4.0/event/live";
                        // one question for all, questions of a single client, and a new one each time
                        let target = match n % 3 {
                            0 => format!("{event}/slow?action=subscribe"),
                            1 => format!("{event}/slow?action=subscribe&token={n}"),
                            _ => format!("{event}/slow{n}-{round}?action=broadcast"),
                        };
                        client.get(&target).assert_refusal(504, "manager_timeout");
                        if over.load(Ordering::SeqCst) {
                            return;
                        }
                    }
                });
            }
            let mut statuses = Vec::new();
            for n in 0..12 {
                std::thread::sleep(PAUSE);
                statuses.push(bed.get(&ordinary(n)).status());
            }
            over.store(true, Ordering::SeqCst);
            assert_eq!(statuses, [404; 12], "{}", bed.gateway.stderr());
        });
        gate.open();
    }
}
