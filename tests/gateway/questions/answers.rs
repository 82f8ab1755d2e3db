//! Step one: the stream manager's answers reach the client unchanged, and it is asked no more often than needed.

use crate::harness::{Connection, Gate, Reply, Request, Response, TestBed, eventually};

pub const SUBSCRIBE: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

const BROADCAST: &str = "/streammanager/api/4.0/event/live/stream1?action=broadcast";

/// A test bed whose stored answers neither expire nor are used up.
fn bed_with_lasting_answers() -> TestBed {
    TestBed::with(|config, _| {
        config.set("answers.subscribe_uses", 100_000);
        for key in ["broadcast_ttl", "subscribe_ttl", "missing_ttl"] {
            config.set(&format!("answers.{key}"), "60s");
        }
    })
}

/// A test bed whose manager has one reply for everything.
pub fn bed_that_answers(reply: Reply) -> TestBed {
    let bed = bed_with_lasting_answers();
    bed.manager.answer("", reply);
    bed
}

/// The gateway's entry in `Cache-Status`, without its `ttl`.
#[track_caller]
fn cache_status(response: &Response) -> String {
    let value = response.field("cache-status").expect("Cache-Status");
    let mut parts = value.split(';').map(str::trim);
    assert_eq!(parts.next(), Some("tidegate"), "{value}");
    parts.filter(|part| !part.starts_with("ttl=")).collect::<Vec<_>>().join("; ")
}

/// Asks twice and returns how often the stream manager was asked.
#[track_caller]
pub fn questions_for_two(bed: &TestBed, target: &str) -> usize {
    let before = bed.manager.count();
    let (first, second) = (bed.get(target), bed.get(target));
    assert_eq!((first.status(), &first.body), (second.status(), &second.body));
    bed.manager.count() - before
}

#[test]
fn answers_pass_unchanged_in_every_form() {
    let bed = bed_with_lasting_answers();
    let ip = bed.workspace.node(1).ip();
    let replies = [
        Reply::node(ip),
        Reply::node(ip).chunked(),
        Reply::node(ip).content_type("Application/JSON;charset=UTF-8"),
        Reply::json(
            200,
            format!(r#"{{"name":"s","scope":"live","serverAddress":"{ip}","region":"r","new":[1]}}"#),
        ),
        Reply::json(200, format!("[ {{\"serverAddress\" : \"{ip}\",\n\"scope\":\"/live\"}} , {{}} ]")),
        Reply::json(200, "[]"),
        Reply::manager_error(404),
        Reply::manager_error(400),
        Reply::manager_error(500),
        Reply::manager_error(409),
    ];
    for (n, reply) in replies.into_iter().enumerate() {
        let target = format!("/streammanager/api/3.1/event/live/room/s{n}?action=subscribe");
        bed.manager.answer(&format!("/s{n}?"), reply.clone());
        let mut client = bed.client();
        let response = client.get(&target);
        assert_eq!(response.text(), reply.body());
        let again = client.get(&target);
        assert_eq!((again.status(), again.text()), (response.status(), reply.body()), "also from the store");
        assert_eq!(again.field("content-type"), response.field("content-type"));
        assert_eq!(
            response.field("cache-control"),
            Some("no-store"),
            "no cache may store which node was chosen"
        );
        assert!(response.field("x-tidegate-session").is_some());
    }
    let typed = bed.get("/streammanager/api/3.1/event/live/room/s2?action=subscribe");
    assert_eq!(typed.field("content-type"), Some("Application/JSON;charset=UTF-8"));
}

#[test]
fn the_status_of_the_manager_is_passed_to_the_client() {
    for status in [200, 400, 404, 409, 500, 503] {
        let bed = bed_that_answers(Reply::manager_error(status));
        assert_eq!(bed.get(SUBSCRIBE).status(), status);
    }
}

#[test]
fn a_hit_is_marked_in_cache_status_and_costs_no_question() {
    let bed = bed_that_answers(Reply::node("10.0.0.5".parse().unwrap()));
    let first = bed.get(SUBSCRIBE);
    assert!(cache_status(&first).starts_with("fwd="), "{first:?}");
    let second = bed.get(SUBSCRIBE);
    assert_eq!(cache_status(&second), "hit");
    let ttl = second.field("cache-status").unwrap().split("ttl=").nth(1).expect("a ttl");
    assert!((1..=60).contains(&ttl.parse::<i32>().unwrap()), "{ttl}");
    assert_eq!(bed.manager.count(), 1);
    assert_eq!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "hit")]), 1.0);
    assert_eq!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "miss")]), 1.0);
}

#[test]
fn different_targets_are_different_questions() {
    let bed = bed_that_answers(Reply::node("10.0.0.5".parse().unwrap()));
    let targets = [
        SUBSCRIBE.to_owned(),
        SUBSCRIBE.replace("4.0", "3.1"),
        SUBSCRIBE.replace("stream1", "Stream1"),
        SUBSCRIBE.replace("live/", "live/room/"),
        SUBSCRIBE.replace("stream1", "stream%31"),
        format!("{SUBSCRIBE}&region=a"),
        format!("{SUBSCRIBE}&region=a&strict=true"),
        format!("{SUBSCRIBE}&strict=true&region=a"),
        format!("{SUBSCRIBE}&endpoints=2"),
        BROADCAST.to_owned(),
    ];
    for target in &targets {
        assert_eq!(questions_for_two(&bed, target), 1, "{target}");
    }
    assert_eq!(bed.manager.count(), targets.len());
}

#[test]
fn personal_and_unknown_questions_are_never_stored() {
    let bed = bed_that_answers(Reply::node("10.0.0.5".parse().unwrap()));
    let targets = [
        format!("{BROADCAST}&transcode=true"),
        format!("{SUBSCRIBE}&transcode=true"),
        format!("{BROADCAST}&username=u&password=p"),
        format!("{SUBSCRIBE}&token=t"),
        format!("{SUBSCRIBE}&foo=bar"),
        format!("{BROADCAST}&foo=bar"),
        SUBSCRIBE.replace("subscribe", "Subscribe"),
        format!("{SUBSCRIBE}&action=broadcast"),
    ];
    for target in &targets {
        let first = bed.get(target);
        if first.status() == 400 {
            // two actions may be refused as well
            assert!(target.ends_with("&action=broadcast"), "{target}: {first:?}");
            continue;
        }
        assert_eq!(questions_for_two(&bed, target), 2, "{target}");
    }
    let request = Request::get(SUBSCRIBE).with("Authorization", "Bearer theirs");
    let before = bed.manager.count();
    assert_eq!((bed.exchange(&request).status(), bed.exchange(&request).status()), (200, 200));
    assert_eq!(bed.manager.count() - before, 2, "a client with credentials gets no stored answer");
}

#[test]
fn two_hundred_clients_share_one_question() {
    // some clients may ask after the answer was stored: it must not be used up then
    let bed = TestBed::with(|config, _| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.subscribe_uses", 1000);
        // the first client waits until all others are connected, which takes long on a busy machine
        config.set("limits.head_timeout", "60s");
    });
    let gate = Gate::default();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()).held(&gate));
    // of several addresses: one has its share of the connections that have not asked yet
    let builders = [1, 2, 3, 4].map(|n| bed.client_builder().from(bed.workspace.client_ip(n)));
    let mut clients: Vec<Connection> = (0..200).map(|n| builders[n % 4].connect_tls()).collect();
    clients.iter_mut().for_each(|client| client.send_request(&Request::get(SUBSCRIBE)));
    bed.manager.wait_for_requests(1);
    gate.open();
    let mut statuses: Vec<String> = Vec::new();
    for client in &mut clients {
        let response = client.read_response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json()["serverAddress"], bed.workspace.node(1).ip().to_string());
        statuses.push(cache_status(&response));
    }
    assert_eq!(bed.manager.count(), 1);
    assert!(statuses.iter().any(|status| status.contains("collapsed")), "{statuses:?}");
    let asked = |status: &&String| status.starts_with("fwd=") && !status.contains("collapsed");
    let asked: Vec<_> = statuses.iter().filter(asked).collect();
    assert_eq!(asked.len(), 1, "one client asked the question: {asked:?}");
    let outcomes = ["hit", "miss", "collapsed"];
    let counted: f64 =
        outcomes.iter().map(|word| bed.gateway.metric("tidegate_answers_total", &[("outcome", word)])).sum();
    assert_eq!(counted, 200.0);
}

#[test]
fn a_first_client_that_leaves_does_not_harm_the_others() {
    let bed = bed_with_lasting_answers();
    let gate = Gate::default();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()).held(&gate));
    let (mut first, mut second) = (bed.client(), bed.client());
    first.send_request(&Request::get(SUBSCRIBE));
    bed.manager.wait_for_requests(1);
    second.send_request(&Request::get(SUBSCRIBE));
    first.reset();
    gate.open();
    assert_eq!(second.read_response().status(), 200);
    assert_eq!(bed.manager.count(), 1);
}

#[test]
fn the_answer_to_an_only_client_that_left_is_stored() {
    let bed = bed_with_lasting_answers();
    let gate = Gate::default();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()).held(&gate));
    let mut first = bed.client();
    first.send_request(&Request::get(SUBSCRIBE));
    bed.manager.wait_for_requests(1);
    first.reset();
    gate.open();
    eventually("the answer is stored", || cache_status(&bed.get(SUBSCRIBE)) == "hit");
    assert!(bed.manager.count() <= 2);
}

#[test]
fn a_broadcast_answer_is_stored_until_its_node_refuses_a_dial() {
    let bed = bed_with_lasting_answers();
    let ip = bed.workspace.node(1).ip();
    bed.manager.answer("/stream1", Reply::node(ip));
    assert_eq!(questions_for_two(&bed, BROADCAST), 1);
    // the refusal of another node does not matter
    bed.exchange(&Request::upgrade(&bed.websocket_target(2))).assert_refusal(502, "origin_refused");
    assert_eq!(questions_for_two(&bed, BROADCAST), 0);
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_refused");
    assert_eq!(questions_for_two(&bed, BROADCAST), 1);
    assert!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "invalidated")]) >= 1.0);
}

#[test]
fn a_subscribe_answer_is_dropped_when_its_node_refuses_too() {
    let bed = bed_with_lasting_answers();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    assert_eq!(questions_for_two(&bed, SUBSCRIBE), 1);
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_refused");
    assert_eq!(questions_for_two(&bed, SUBSCRIBE), 1);
}

#[test]
fn stored_answers_expire() {
    let bed = TestBed::with(|config, _| {
        config.set("answers.broadcast_ttl", "100ms");
        config.set("answers.subscribe_ttl", "100ms");
        config.set("answers.missing_ttl", "100ms");
    });
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let missing = SUBSCRIBE.replace("stream1", "missing");
    for target in [BROADCAST, SUBSCRIBE, &missing] {
        let before = bed.manager.count();
        let mut client = bed.client();
        eventually("the manager is asked again", || {
            client.get(target);
            bed.manager.count() >= before + 3
        });
    }
}

#[test]
fn a_subscribe_answer_is_used_up() {
    let bed = TestBed::with(|config, _| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.subscribe_uses", 3);
    });
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    for _ in 0..12 {
        assert_eq!(bed.get(SUBSCRIBE).status(), 200);
    }
    assert!((3..=4).contains(&bed.manager.count()), "{} questions for 12 clients", bed.manager.count());
}

#[test]
fn a_missing_stream_is_stored_for_a_short_time() {
    for status in [404, 400] {
        let bed = bed_that_answers(Reply::manager_error(status));
        assert_eq!(questions_for_two(&bed, SUBSCRIBE), 1, "{status}");
        assert_eq!(cache_status(&bed.get(SUBSCRIBE)), "hit");
        assert!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "missing_hit")]) >= 2.0);
    }
}

#[test]
fn failures_are_never_stored() {
    for status in [500, 503, 401, 403, 409] {
        let bed = bed_that_answers(Reply::manager_error(status));
        assert_eq!(questions_for_two(&bed, SUBSCRIBE), 2, "{status}");
    }
}

#[test]
fn admin_parameters_and_other_methods_are_refused() {
    let bed = TestBed::start();
    for target in [format!("{SUBSCRIBE}&accessToken=xyz123"), format!("{BROADCAST}&accessToken=")] {
        let response = bed.get(&target);
        response.assert_refusal(403, "admin_parameter");
        assert!(!response.text().contains("xyz123"));
    }
    for method in ["DELETE", "POST", "PUT", "PATCH"] {
        let response = bed.exchange(&Request::new(method, SUBSCRIBE).with("Content-Length", "0"));
        response.assert_refusal(405, "method_not_allowed");
        assert!(response.field("allow").is_some_and(|methods| methods.contains("GET")));
    }
    assert_eq!(bed.manager.count(), 0);
    assert!(!bed.gateway.stderr().contains("xyz123"), "no secret in the log");
}

#[test]
fn lists_are_stored_for_a_moment() {
    let bed = bed_that_answers(Reply::json(200, "[]"));
    let targets = ["/event/list", "/event/list/stats", "/event/live/stream1/stats"];
    for target in targets {
        let target = format!("/streammanager/api/4.0{target}");
        let first = bed.get(&target);
        assert_eq!((first.status(), first.text()), (200, "[]".to_owned()), "{target}");
        let mut client = bed.client();
        eventually("a stored list", || cache_status(&client.get(&target)) == "hit");
    }
}

#[test]
fn a_list_is_passed_on_and_stored_up_to_the_configured_size() {
    let list = |size: usize| {
        let entry = r#"{"name":"stream1","scope":"live","serverAddress":"10.9.9.9"},"#;
        let list = format!("[{}]", entry.repeat(size / entry.len()).trim_end_matches(','));
        format!("{list}{}", " ".repeat(size - list.len()))
    };
    let target = "/streammanager/api/4.0/event/list";
    for (configured, most) in [(None, 4 << 20), (Some("1KiB"), 1 << 10)] {
        let bed = TestBed::with(|config, _| {
            // the size of requests and of nodes' answers does not matter
            config.set("limits.body_max", "1KiB");
            if let Some(size) = configured {
                config.set("answers.body_max", size);
            }
        });
        for size in [most / 16, most].into_iter().filter(|size| *size > 100) {
            let body = list(size);
            bed.manager.answer("", Reply::json(200, body.clone()));
            eventually("the list of this size", || bed.get(target).body == body.as_bytes());
            assert_eq!(cache_status(&bed.get(target)), "hit", "{size} bytes");
        }
        bed.manager.answer("", Reply::json(200, list(most + 1)));
        eventually("the refusal of a longer list", || bed.get(target).status() == 502);
        bed.get(target).assert_refusal(502, "manager_failed");
    }
}

#[test]
fn stored_answers_take_no_more_memory_than_configured() {
    let bed = TestBed::with(|config, _| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.capacity", "1MiB");
    });
    let big =
        format!(r#"{{"serverAddress":"{}","note":"{}"}}"#, bed.workspace.node(1).ip(), "x".repeat(60_000));
    bed.manager.answer("", Reply::json(200, big));
    let mut client = bed.client();
    let mut ask = |n: usize| {
        let response = client.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe"));
        assert_eq!(response.status(), 200);
    };
    (0..40).for_each(&mut ask);
    let before = bed.gateway.memory();
    (40..540).for_each(&mut ask);
    let grown = bed.gateway.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes for 30 MB of answers");
}

#[test]
fn the_content_types_of_stored_answers_count_against_the_configured_memory() {
    let bed = TestBed::with(|config, _| {
        config.set("answers.missing_ttl", "60s");
        config.set("answers.capacity", "1MiB");
    });
    bed.manager.answer("", Reply::json(404, "{}").content_type(&format!("x/{}", "x".repeat(60_000))));
    let mut client = bed.client();
    let mut ask = |n: usize| {
        let response = client.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe"));
        assert_eq!(response.status(), 404);
    };
    (0..40).for_each(&mut ask);
    let before = bed.gateway.memory();
    (40..540).for_each(&mut ask);
    let grown = bed.gateway.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes for 30 MB of content types");
}

#[test]
fn no_more_clients_wait_for_one_flight_than_configured() {
    let bed = TestBed::with(|config, _| config.set("answers.waiters", 4));
    let gate = Gate::default();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()).held(&gate));
    let mut clients: Vec<Connection> = (0..12).map(|_| bed.client()).collect();
    clients.iter_mut().for_each(|client| client.send_request(&Request::get(SUBSCRIBE)));
    eventually("eight clients are refused", || {
        bed.gateway.metric("tidegate_refusals_total", &[("code", "overloaded")]) >= 8.0
    });
    gate.open();
    let responses: Vec<Response> = clients.iter_mut().map(Connection::read_response).collect();
    let (served, refused): (Vec<_>, Vec<_>) = responses.iter().partition(|response| response.status() == 200);
    assert!((1..=4).contains(&served.len()), "{} served", served.len());
    for response in refused {
        response.assert_refusal(503, "overloaded");
        assert!(response.field("retry-after").is_some());
    }
}

#[test]
fn a_client_that_shut_its_sending_half_is_still_answered() {
    let gate = Gate::default();
    let bed = bed_that_answers(Reply::json(200, "[]").held(&gate));
    let mut client = bed.client();
    client.send_request(&Request::get(SUBSCRIBE));
    client.shutdown_write();
    bed.manager.wait_for_requests(1);
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status(), response.text()), (200, "[]".to_owned()));
}

#[test]
fn clients_that_left_do_not_count_as_waiting() {
    let gate = Gate::default();
    let bed = TestBed::with(|config, _| {
        config.set("gateway.workers", 1);
        config.set("answers.waiters", 2);
    });
    bed.manager.answer("", Reply::json(200, "[]").held(&gate));
    let ask = || {
        let mut client = bed.client();
        client.send_request(&Request::get(SUBSCRIBE));
        client
    };
    let left = [ask(), ask()];
    bed.manager.wait_for_requests(1);
    left.into_iter().for_each(Connection::reset);
    bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
    let mut waiting = ask();
    assert!(!waiting.receives_within(std::time::Duration::from_millis(200)), "the client is refused");
    gate.open();
    assert_eq!(waiting.read_response().status(), 200);
}
