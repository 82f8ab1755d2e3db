//! The events that the status page lives on: the history first, then a sample every two seconds, and an end.

use crate::harness::takeover::Takeover;
use crate::harness::{Gateway, TestBed, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long an event may take: a sample comes every two seconds.
const EVENT_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that follows the events.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Asks for the events. Returns the status too.
    fn open(address: SocketAddr) -> (u16, Self) {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).unwrap();
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, Self(reader))
    }

    fn of(bed: &TestBed) -> Self {
        let (status, events) = Self::open(bed.workspace.monitoring());
        assert_eq!(status, 200);
        events
    }

    /// The next event with its data; `None` at the end of the stream.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        while self.0.read_line(&mut line).expect("it goes on") > 0 {
            if let Some(event) = line.trim_end().strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.trim_end().strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).expect("JSON")));
            }
            line.clear();
        }
        None
    }

    /// The events until one with this name, and its data.
    #[track_caller]
    fn until(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().unwrap_or_else(|| panic!("ended before an event {name}"));
            if found == name {
                return data;
            }
        }
    }
}

#[test]
fn events_begin_with_the_history_and_go_on_with_samples_and_the_status() {
    let bed = TestBed::start();
    let mut first = Events::of(&bed);
    let (name, history) = first.next().expect("an event");
    assert_eq!((name.as_str(), &history["kept_seconds"]), ("history", &Value::from(900)));
    assert_eq!(history["status"]["phase"], "serving");
    let listener = bed.node(1);
    let _relay = bed.relay(&listener);
    bed.get("/nowhere").assert_refusal(404, "no_such_route");
    let mut sum = (0, 0, 0, 0);
    let last = loop {
        let data = first.until("sample");
        let sample = &data["sample"];
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        sum.0 +=
            count(&sample["began"]["two_step_publisher"]) + count(&sample["began"]["two_step_subscriber"]);
        sum.1 += count(&sample["asked"]["served"]);
        sum.2 += count(&sample["refused"]["no_such_route"]);
        sum.3 += sample["setup"].as_array().map_or(0, |all| all.iter().map(count).sum());
        if sum == (1, 1, 1, 1) {
            break data;
        }
    };
    let active = last["sample"]["active"].as_object().expect("kinds").values().filter_map(Value::as_u64);
    assert_eq!((active.sum::<u64>(), &last["status"]["sessions"]["active"]), (1, &Value::from(1)));

    let mut late = Events::of(&bed);
    let history = late.until("history");
    let samples = history["samples"].as_array().expect("samples");
    assert!(samples.iter().any(|sample| sample["refused"]["no_such_route"] == 1), "{history}");
    assert_eq!(history["setup_bounds_seconds"].as_array().map(Vec::len), Some(14));
}

#[test]
fn streams_of_events_are_bounded_and_keep_no_other_request_out() {
    let bed = TestBed::start();
    let address = bed.workspace.monitoring();
    let mut open: Vec<_> = (0..16).map(|_| Events::of(&bed)).collect();
    let (status, mut refused) = Events::open(address);
    assert_eq!(status, 503);
    let mut text = vec![0; 400];
    let read = refused.0.read(&mut text).unwrap();
    assert!(read > 0);
    assert_eq!(bed.gateway.monitoring_get("/readyz").status(), 200);
    assert_eq!(open[3].next().expect("an event").0, "history");
    drop(open);
    eventually("a stream that ends makes room", || Events::open(address).0 == 200);
}

#[test]
fn events_end_with_the_process_and_do_not_hold_it_up() {
    let mut bed = TestBed::with(|config, _| config.set_drains("300ms"));
    let mut events = Events::of(&bed);
    events.until("history");
    let listener = bed.node(1);
    let _relay = bed.relay(&listener);
    let began = Instant::now();
    bed.gateway.terminate();
    let end = events.until("end");
    assert_eq!((&end["phase"], &end["successor"]), (&Value::from("stopped"), &Value::Null));
    assert_eq!(events.next(), None);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn events_end_when_another_process_takes_over_and_name_it() {
    let takeover = Takeover::start(|_, _| ());
    let address = takeover.bed.workspace.monitoring();
    let (status, mut events) = Events::open(address);
    assert_eq!(status, 200);
    events.until("history");
    let pid = takeover.upgrade();
    assert_eq!(events.until("end")["successor"], pid);
    assert_eq!(events.next(), None);
    let (_, mut events) = Events::open(address);
    assert_eq!(
        events.until("history")["status"]["pid"],
        pid,
        "the client that comes back finds the successor"
    );
}

#[test]
fn a_client_that_does_not_read_its_events_costs_a_bounded_amount() {
    let bed = TestBed::start();
    let before = bed.gateway.memory();
    let silent: Vec<_> = (0..16).map(|_| Events::of(&bed)).collect();
    let request = |gateway: &Gateway| gateway.monitoring_get("/api/status").status();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(request(&bed.gateway), 200);
    let grown = bed.gateway.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    drop(silent);
}
