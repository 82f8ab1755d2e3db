//! Hostile requests over TLS, each with its only acceptable outcome; no byte of them reaches a node or the stream
//! manager.
//!
//! The corpus is `tests/data/front_door`; `corpus` documents its format. For each case the test checks the answers,
//! including the answer to a valid request after it; the counter of refusals; and that no node and no stream manager was
//! dialled. Cases that pass are in `tests/data/front_door_passes.txt`, with the exact bytes that the other side receives.

use crate::harness::client::KEY;
use crate::harness::connection::{End, printable};
use crate::harness::{Config, Connection, Gateway, Reply, Request, Response, TestBed, Workspace};
use corpus::{After, Case, Placeholders};
use recorder::Recorder;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

mod corpus;
mod recorder;

const OWN_PAGE: &str = "https://gateway.test:8443";
const EVENT: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

/// The values that both corpora use.
fn placeholders(workspace: &Workspace) -> Placeholders {
    let smuggled = String::from_utf8(Request::get(&EVENT.replace("stream1", "smuggled")).bytes()).unwrap();
    let ws = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13"
    );
    let node = workspace.node(1).ip();
    Placeholders::from([
        ("host", "Host: gateway.test:8443".to_owned()),
        ("event", EVENT.to_owned()),
        ("socket", format!("/streammanager/?id=stream1&host={node}&app=live")),
        ("node", node.to_string()),
        ("manager", workspace.manager().to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("ws", ws),
        ("key", KEY.to_owned()),
        ("smuggled", smuggled),
        // values of the other side, known only once it has received something
        ("client", "<client>".to_owned()),
        ("port", "<port>".to_owned()),
        ("fresh", "<fresh>".to_owned()),
    ])
}

/// A request that follows a case on its connection: a preflight of the gateway's own page. No case has the same answer.
fn probe() -> Request {
    let preflight = Request::new("OPTIONS", &EVENT.replace("stream1", "probe")).by_page(OWN_PAGE);
    preflight.with("Access-Control-Request-Method", "GET").with("Connection", "close")
}

fn is_answer_to_probe(response: &Response) -> bool {
    response.status() == 204 && response.field("access-control-allow-origin") == Some(OWN_PAGE)
}

/// All answers until the end, separated as a client would. Only a 100 is followed by another answer to the same request.
#[track_caller]
fn answers(client: &mut Connection) -> Vec<Response> {
    let (mut bytes, end) = client.read_to_end();
    assert_eq!(end, End::Clean, "after {}", printable(&bytes));
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let head = crate::harness::Head::parse(&bytes.drain(..head).collect::<Vec<u8>>());
        let length = head.field("content-length").map_or(0, |length| length.parse().expect("a length"));
        assert!(bytes.len() >= length, "an incomplete answer: {head:?}");
        answers.push(Response { head, body: bytes.drain(..length).collect() });
    }
    answers
}

/// Sends the bytes of a case at its pace, and returns the answers.
#[track_caller]
fn run_case(bed: &TestBed, case: &Case) -> Vec<Response> {
    let mut client = bed.client();
    let request =
        if case.stalls { case.request.clone() } else { [&case.request[..], &probe().bytes()].concat() };
    // the gateway may close early after a refusal
    client.try_send(&request).ok();
    for byte in &case.drip {
        if client.receives_within(Duration::from_millis(20)) || client.try_send(&[*byte]).is_err() {
            break;
        }
    }
    answers(&mut client)
}

/// Checks the answers of a case, and that nothing else was answered.
#[track_caller]
fn check_answers(bed: &TestBed, case: &Case, mut answers: Vec<Response>) {
    if case.after == After::InSync {
        let last = answers.pop().expect("an answer");
        assert!(is_answer_to_probe(&last), "the last answer does not belong to the probe: {last:?}");
    }
    assert_eq!(answers.len(), case.answers.len(), "{answers:?}");
    for (response, (status, code)) in answers.iter().zip(&case.answers) {
        match code.as_str() {
            "" => assert_eq!(response.status(), *status, "{response:?}"),
            code => response.assert_refusal(*status, code),
        }
        for name in ["x-injected", "location", "set-cookie", "access-control-allow-origin"] {
            assert_eq!(response.field(name), None, "{response:?}");
        }
        let printed = format!("{response:?}");
        for secret in [bed.workspace.node(1).ip().to_string(), bed.workspace.manager().to_string()] {
            assert!(!printed.contains(&secret), "an address in the answer: {printed}");
        }
    }
}

/// All refusals that the gateway has counted so far.
fn refusals(gateway: &Gateway) -> BTreeMap<String, u64> {
    let page = gateway.admin_get("/metrics").text();
    let counted = page.lines().filter_map(|line| {
        let (code, count) = line.strip_prefix("tidegate_refusals_total{code=\"")?.split_once("\"} ")?;
        Some((code.to_owned(), count.parse().expect("a number")))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

fn add(counted: &mut BTreeMap<String, u64>, case: &Case) {
    for (_, code) in case.answers.iter().filter(|(_, code)| !code.is_empty()) {
        *counted.entry(code.clone()).or_default() += 1;
    }
}

/// Runs the checks of one case. Prints its name if they fail.
fn case_passes(case: &Case, look: impl FnOnce()) -> bool {
    let passed = catch_unwind(AssertUnwindSafe(look)).is_ok();
    if !passed {
        eprintln!("^^^ [{}]: {}", case.name, case.why);
    }
    passed
}

fn limits(config: &mut Config) {
    config.set("limits.head_timeout", "2s");
    config.set("limits.body_timeout", "2s");
}

#[test]
fn every_hostile_request_has_its_outcome_and_reaches_no_peer() {
    let mut bed = TestBed::with(|config, _| limits(config));
    let node = bed.http_node(1);
    let cases = corpus::read("front_door", &placeholders(&bed.workspace));
    assert_distinct(&cases);
    let (slow, quick): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.stalls);
    let dialled = || node.connections() + bed.manager.connections();
    let mut counted = BTreeMap::new();
    let failed = |case: &&&Case| {
        let (mut expected, before) = (counted.clone(), dialled());
        add(&mut expected, case);
        !case_passes(case, || {
            let answers = run_case(&bed, case);
            counted = refusals(&bed.gateway);
            check_answers(&bed, case, answers);
            assert_eq!(counted, expected, "counted refusals");
            assert_eq!(dialled(), before, "a peer was dialled");
        })
    };
    let mut failures: Vec<_> = quick.iter().filter(failed).map(|case| &case.name).collect();
    // slow cases run at the same time
    let late = std::thread::scope(|scope| {
        let look = |case: &&Case| !case_passes(case, || check_answers(&bed, case, run_case(&bed, case)));
        let played: Vec<_> = slow.iter().map(|case| (case, scope.spawn(move || look(case)))).collect();
        played
            .into_iter()
            .filter_map(|(case, look)| look.join().unwrap().then_some(&case.name))
            .collect::<Vec<_>>()
    });
    failures.extend(late);
    slow.iter().for_each(|case| add(&mut counted, case));
    assert_eq!(failures, Vec::<&String>::new(), "of {} cases", cases.len());
    assert_eq!(refusals(&bed.gateway), counted);
    assert_eq!((node.dials(), bed.manager.dials()), (0, 0), "a peer was dialled");
    // the same checks see requests that are served
    bed.manager.answer("/stream1", Reply::node(bed.ip(1)));
    assert_eq!(bed.get(EVENT).status(), 200);
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_bad_handshake");
    assert_eq!((node.dials(), bed.manager.dials()), (1, 1));
    bed.gateway.assert_healthy();
}

/// Checks that every case is unique and has a reason, and that there are enough of them.
fn assert_distinct(cases: &[Case]) {
    let names: HashSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases with the same name");
    let requests: HashSet<_> = cases.iter().map(|case| (&case.request, &case.drip)).collect();
    assert_eq!(requests.len(), cases.len(), "two cases with the same request");
    assert!(cases.len() >= 400, "{} cases", cases.len());
    for case in cases {
        assert!(
            !case.why.is_empty() && case.after != After::Open && case.received.is_none(),
            "[{}]",
            case.name
        );
    }
}

#[test]
fn requests_that_pass_reach_the_peer_in_a_canonical_form() {
    let workspace = Workspace::claim();
    let node = Recorder::listen(workspace.node(1), workspace.node(1));
    let manager = Recorder::listen(workspace.manager(), workspace.node(1));
    let mut config = Config::new(&workspace);
    config.set("answers.subscribe_ttl", "1ms");
    let gateway = Gateway::start(&workspace, &config);
    let builder = crate::harness::ClientBuilder::to(workspace.gateway());
    for case in corpus::read("front_door_passes.txt", &placeholders(&workspace)) {
        eprintln!("[{}] {}", case.name, case.why);
        let mut client = builder.clone().from(workspace.client_ip(1)).connect_tls();
        let port = client.tcp().local_addr().unwrap().port().to_string();
        client.send(&case.request);
        let mut response = client.read_response();
        while response.status() == 100 {
            response = client.read_response();
        }
        assert_eq!(response.status(), case.answers[0].0, "{response:?}");
        if let Some((peer_name, expected)) = &case.received {
            let peer = if peer_name == "node" { &node } else { &manager };
            let received = String::from_utf8(peer.take()).unwrap();
            let fresh = received.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            assert!(fresh.is_none_or(|key| key.len() == KEY.len() && key != KEY), "{received}");
            let expected = String::from_utf8(expected.clone()).unwrap();
            let expected =
                expected.replace("<client>", &workspace.client_ip(1).to_string()).replace("<port>", &port);
            assert_eq!(received, expected.replace("<fresh>", fresh.unwrap_or_default()));
        }
        assert!(node.is_silent() && manager.is_silent(), "no other peer received a request");
    }
    gateway.assert_no_panic();
}
