//! The way of spans to a collector that is gone, slow, or refuses them; at the end of a process, after a reload and a hand-over.
//! Clients never notice any of it.

use super::collector::{Collector, trace, traced, value};
use crate::harness::takeover::Takeover;
use crate::harness::{Config, Frame, Gate, HttpPeer, Reply, TestBed, eventually};
use std::time::{Duration, Instant};

const QUESTION: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

#[track_caller]
fn ask(bed: &TestBed, times: usize) {
    for _ in 0..times {
        assert_eq!(bed.get(QUESTION).status(), 404);
    }
}

fn spans_metric(bed: &TestBed, outcome: &str) -> f64 {
    bed.gateway.metric("tidegate_trace_spans_total", &[("outcome", outcome)])
}

#[track_caller]
fn wait_for_log(bed: &TestBed, text: &str) {
    eventually(text, || bed.gateway.stderr().contains(text));
}

fn count_in_log(bed: &TestBed, text: &str) -> usize {
    bed.gateway.stderr().matches(text).count()
}

const GONE: &str = "the collector takes no spans: ";
const BACK: &str = "the collector takes spans again";

#[test]
fn a_dead_collector_is_one_line_and_gets_the_spans_when_it_is_back() {
    let bed = TestBed::with(trace);
    ask(&bed, 3);
    wait_for_log(&bed, &format!("{GONE}it refuses connections"));
    ask(&bed, 3);
    // longer than the first wait
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(count_in_log(&bed, GONE), 1);
    let collector = Collector::start(&bed.workspace);
    collector.wait_for(6);
    wait_for_log(&bed, BACK);
    bed.gateway.wait_for_metric("tidegate_trace_spans_total", &[("outcome", "sent")], 6.0);
    assert_eq!((spans_metric(&bed, "dropped"), spans_metric(&bed, "rejected")), (0.0, 0.0));
    assert_eq!((count_in_log(&bed, GONE), count_in_log(&bed, BACK)), (1, 1));
}

#[test]
fn a_slow_collector_holds_up_no_client() {
    let (bed, collector) = traced(|_, _| {});
    let gate = Gate::default();
    collector.0.answer("POST ", Reply::empty(200).held(&gate));
    ask(&bed, 1);
    collector.0.wait_for_requests(1);
    let began = Instant::now();
    ask(&bed, 20);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(collector.0.count(), 1, "one request at a time");
    gate.open();
    collector.wait_for(21);
}

#[test]
fn a_collector_that_asks_for_a_pause_gets_the_same_spans_again() {
    let (bed, collector) = traced(|_, _| {});
    let busy = Reply::empty(503).field("Retry-After", "1");
    collector.0.answer_in_turn("POST ", [busy, Reply::empty(200)]);
    ask(&bed, 1);
    wait_for_log(&bed, &format!("{GONE}it answers with status 503"));
    let began = Instant::now();
    wait_for_log(&bed, BACK);
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    let [first, second] = &collector.0.received()[..] else { panic!("two requests") };
    assert_eq!(first.body, second.body);
    assert_eq!(spans_metric(&bed, "sent"), 1.0);
}

#[test]
fn spans_that_a_collector_refuses_are_counted_and_not_sent_again() {
    let (bed, collector) = traced(|_, _| {});
    // a partial success (ExportTraceServiceResponse) with rejected_spans = 1
    let partial = Reply::typed(200, "application/x-protobuf", [0x0a, 0x02, 0x08, 0x01]);
    collector.0.answer_in_turn("POST ", [Reply::empty(401), partial]);
    ask(&bed, 1);
    bed.gateway.wait_for_metric("tidegate_trace_spans_total", &[("outcome", "rejected")], 1.0);
    wait_for_log(&bed, &format!("{GONE}it refuses them with status 401"));
    ask(&bed, 1);
    bed.gateway.wait_for_metric("tidegate_trace_spans_total", &[("outcome", "rejected")], 2.0);
    assert_eq!((collector.0.count(), spans_metric(&bed, "sent")), (2, 0.0));
}

#[test]
fn spans_that_wait_are_sent_before_the_process_ends() {
    let (mut bed, collector) = traced(|_, _| {});
    let listener = bed.node(1);
    let (_client, _node) = bed.relay(&listener);
    ask(&bed, 5);
    bed.gateway.terminate();
    assert!(bed.gateway.wait_for_exit().success());
    let spans = collector.spans();
    assert_eq!(spans.len(), 6, "{spans:?}");
    let websocket = spans.iter().find(|span| span.name == "GET two_step").expect("the session that was open");
    assert_eq!(value(&websocket.attributes, "tidegate.end.by").as_deref(), Some("gateway"));
}

#[test]
fn a_collector_that_does_not_answer_delays_the_end_by_three_seconds_at_most() {
    let (mut bed, collector) = traced(|_, _| {});
    collector.0.answer("POST ", Reply::empty(200).held(&Gate::default()));
    ask(&bed, 1);
    collector.0.wait_for_requests(1);
    ask(&bed, 4);
    let began = Instant::now();
    bed.gateway.terminate();
    assert!(bed.gateway.wait_for_exit().success());
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    assert!(bed.gateway.stderr().contains("spans were dropped"), "{}", bed.gateway.stderr());
}

#[test]
fn a_dead_collector_does_not_delay_the_end() {
    let mut bed = TestBed::with(trace);
    ask(&bed, 1);
    wait_for_log(&bed, GONE);
    let began = Instant::now();
    bed.gateway.terminate();
    assert!(bed.gateway.wait_for_exit().success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_reload_changes_the_collector_or_ends_the_spans() {
    let mut config = None;
    let bed = TestBed::with(|first, _| config = Some(first.clone()));
    let mut config: Config = config.expect("it was made");
    let reload = |config: &Config| {
        config.write(&bed.workspace);
        let (code, said) = bed.gateway.reload();
        assert_eq!(code, Some(0), "{said}");
    };
    let collector = Collector::start(&bed.workspace);
    ask(&bed, 1);
    trace(&mut config, &bed.workspace);
    reload(&config);
    ask(&bed, 2);
    collector.wait_for(2);
    let other = HttpPeer::start((bed.workspace.ip(4), 4318).into());
    other.answer("POST /prefix/v1/traces", Reply::empty(200));
    config.set("tracing.endpoint", format!("http://{}:4318/prefix", bed.workspace.ip(4)));
    config.set_env("IGNORED", "");
    reload(&config);
    ask(&bed, 1);
    other.wait_for_requests(1);
    assert_eq!(other.lines(), ["POST /prefix/v1/traces"]);
    config.unset("tracing.endpoint");
    reload(&config);
    ask(&bed, 1);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!((collector.spans().len(), other.count()), (2, 1));
}

#[test]
fn a_process_that_handed_over_still_exports_its_sessions() {
    let mut collector = None;
    let takeover = Takeover::start(|config, workspace| {
        collector = Some(Collector::start(workspace));
        trace(config, workspace);
    });
    let collector = collector.expect("it was started");
    let listener = takeover.bed.node(1);
    let (mut client, mut node) = takeover.bed.relay(&listener);
    takeover.upgrade();
    ask(&takeover.bed, 1);
    client.send_frame(Frame::close(1000, ""));
    node.expect_close(1000);
    node.answer_close(1000);
    let mut names: Vec<_> = collector.wait_for(2).into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["GET event", "GET two_step"]);
}
