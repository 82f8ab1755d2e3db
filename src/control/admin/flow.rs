//! The flow of sessions through the gateway in one stretch of time: what the counters of the workers grew by in it.

use crate::control::process::process_stats::cpu_seconds;
use crate::control::process::state::ProcessState;
use crate::metrics::page::session_kinds;
use crate::metrics::requests::method_number;
use crate::metrics::{
    AnswerOutcome, BUCKETS_MICROS, Counter, Histogram, RequestRoute, Route, WhipEnd, WorkerMetrics,
};
use crate::proto::millis::millis;
use crate::proto::red5::role::Role;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::relay::{By, How};
use serde_json::{Map, Value, json};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The requests that begin a session: the route, the method, and the status of a good answer.
const BEGINS: [(RequestRoute, &str, u16); 4] = [
    (RequestRoute::TwoStep, "GET", 101),
    (RequestRoute::OneStep, "GET", 101),
    (RequestRoute::Whip, "POST", 201),
    (RequestRoute::Whep, "POST", 201),
];

/// The status that stands for a client that left before it got its answer.
const CLIENT_LEFT: u16 = 499;

/// What became of requests for a session, as `asked` names it.
const ASKED: [&str; 3] = ["served", "left", "failed"];

/// What was counted since the start, all workers together: a number for each name, always in the same order.
#[derive(Debug)]
pub(crate) struct Totals {
    at: Instant,
    cpu_seconds: f64,
    counted: Vec<u64>,
}

/// What was counted in a stretch of time, and what was open at its end.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The end, in milliseconds since 1970.
    at: u64,
    seconds: f32,
    /// CPU seconds of the process for each second of time.
    cpu: f32,
    /// By how much each number of [`Totals`] grew.
    counted: Box<[u32]>,
    /// Open sessions of each kind, in the order of [`session_kinds`].
    active: Box<[u32]>,
    http: u32,
    connections: u32,
}

impl Totals {
    /// What was counted until now.
    pub(crate) fn now(state: &ProcessState) -> Self {
        let workers = &state.metrics;
        let sum = |of: &dyn Fn(&WorkerMetrics) -> u64| workers.iter().map(|worker| of(worker)).sum::<u64>();
        let counter = |of: &dyn Fn(&WorkerMetrics) -> &Counter| sum(&|worker| of(worker).get());
        let mut counted = Vec::new();
        counted.extend(
            session_kinds().map(|(route, role)| {
                counter(&|worker| &worker.sessions_total[route as usize][role as usize])
            }),
        );
        counted.extend((0..ASKED.len()).map(|became| sum(&|worker| asked(worker)[became])));
        counted.extend(Refusal::ALL.iter().map(|refusal| counter(&|worker| worker.refusals.of(*refusal))));
        for by in By::ALL {
            counted.extend(
                How::ALL.iter().map(|how| counter(&|worker| &worker.ends[by as usize][*how as usize])),
            );
        }
        counted.extend(WhipEnd::ALL.iter().map(|how| counter(&|worker| &worker.whip_ends[*how as usize])));
        counted.extend((0..=BUCKETS_MICROS.len()).map(|bucket| sum(&|worker| setups(worker, bucket))));
        let answers = AnswerOutcome::ALL.iter();
        counted.extend(answers.map(|outcome| counter(&|worker| &worker.answers[*outcome as usize])));
        counted.extend([0, 1].map(|side| counter(&|worker| &worker.bytes[side])));
        counted.extend([0, 1].map(|side| counter(&|worker| &worker.frames[side])));
        Self { at: Instant::now(), cpu_seconds: cpu_seconds(), counted }
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self, state: &ProcessState) -> Sample {
        let grown = self.counted.iter().zip(&before.counted);
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        Sample {
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            seconds: seconds as f32,
            cpu: ((self.cpu_seconds - before.cpu_seconds) / seconds) as f32,
            counted: grown.map(|(now, then)| number(now.saturating_sub(*then))).collect(),
            active: session_kinds().map(|(route, role)| number(state.active_sessions(route, role))).collect(),
            http: number(state.metrics.iter().map(|worker| worker.http_connections.get()).sum::<i64>()),
            connections: number(state.connections()),
        }
    }
}

/// A count as the history keeps it: none below zero, and of one that is too great the greatest.
fn number<T: TryInto<u64>>(count: T) -> u32 {
    u32::try_from(count.try_into().unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Requests for a session by what became of them: see [`ASKED`].
fn asked(worker: &WorkerMetrics) -> [u64; ASKED.len()] {
    let mut became = [0; ASKED.len()];
    for (route, method, good) in BEGINS {
        for (status, histogram) in worker.requests.of(route, method_number(method)) {
            let index = match status {
                Some(status) if status == good => 0,
                Some(CLIENT_LEFT) => 1,
                _ => 2,
            };
            became[index] += histogram.count();
        }
    }
    became
}

/// How many sessions were set up within a bucket of time: until the 101 of a WebSocket, or the 201 of WHIP and WHEP.
fn setups(worker: &WorkerMetrics, bucket: usize) -> u64 {
    let of = |histogram: &Histogram| histogram.buckets[bucket].get();
    let created = BEGINS.iter().filter(|(.., good)| *good == 201).flat_map(|(route, method, good)| {
        let all = worker.requests.of(*route, method_number(method));
        all.filter(|(status, _)| *status == Some(*good)).map(|(_, histogram)| of(histogram))
    });
    of(&worker.setup) + created.sum::<u64>()
}

/// The name of a kind of session.
fn kind((route, role): (Route, Role)) -> String {
    match route {
        Route::Whip | Route::Whep => route.word().to_owned(),
        Route::TwoStep | Route::OneStep => format!("{}_{}", route.word(), role.word()),
    }
}

/// Names with their numbers, without those that are zero.
fn named(names: impl Iterator<Item = String>, numbers: &mut impl Iterator<Item = u32>) -> Value {
    let all = names.map(|name| (name, numbers.next().unwrap_or(0)));
    all.filter(|(_, number)| *number > 0)
        .map(|(name, number)| (name, number.into()))
        .collect::<Map<_, _>>()
        .into()
}

impl Sample {
    /// How many bytes it takes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.counted) + size_of_val(&*self.active)
    }

    /// As `/api/events` sends it: what is zero is left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut counted = self.counted.iter().copied();
        let began = named(session_kinds().map(kind), &mut counted);
        let asked = named(ASKED.map(str::to_owned).into_iter(), &mut counted);
        let refused = named(Refusal::ALL.iter().map(|refusal| refusal.code().to_owned()), &mut counted);
        let ends = By::ALL
            .into_iter()
            .flat_map(|by| How::ALL.into_iter().map(move |how| format!("{}_{}", by.word(), how.word())));
        let ends =
            named(ends.chain(WhipEnd::ALL.iter().map(|how| format!("whip_{}", how.word()))), &mut counted);
        let setup: Vec<_> = counted.by_ref().take(BUCKETS_MICROS.len() + 1).collect();
        let answers = named(AnswerOutcome::ALL.iter().map(|outcome| outcome.word().to_owned()), &mut counted);
        let sides = |numbers: Vec<u32>| json!({ "client": numbers.first(), "node": numbers.get(1) });
        let mut sample = json!({
            "at": self.at,
            "seconds": round(self.seconds),
            "cpu": round(self.cpu),
            "began": began,
            "asked": asked,
            "refused": refused,
            "ends": ends,
            "answers": answers,
            "bytes": sides(counted.by_ref().take(2).collect()),
            "frames": sides(counted.by_ref().take(2).collect()),
            "active": named(session_kinds().map(kind), &mut self.active.iter().copied()),
            "http": self.http,
            "connections": self.connections,
        });
        if setup.iter().any(|count| *count > 0) {
            sample["setup"] = setup.into();
        }
        sample
    }
}

/// To a thousandth.
fn round(number: f32) -> f64 {
    (f64::from(number) * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CONFIG: &str = "stream_manager.url = \"http://10.0.0.2\"\n\
                          tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

    #[test]
    fn a_sample_has_what_the_counters_grew_by_under_their_names() {
        let config = crate::config::read(CONFIG).expect("a good configuration");
        let state = ProcessState::new(config, 2, Vec::new(), Vec::new());
        let [one, other] = [&state.metrics[0], &state.metrics[1]];
        one.refusals.of(Refusal::TooMany).add(7);
        let before = Totals::now(&state);
        one.refusals.of(Refusal::TooMany).add(2);
        other.refusals.of(Refusal::TooMany).add(1);
        one.sessions_total[Route::OneStep as usize][Role::Subscriber as usize].add(4);
        one.sessions_active[Route::OneStep as usize][Role::Subscriber as usize].add(3);
        other.ends[By::Node as usize][How::Lost as usize].add(1);
        one.whip_ends[WhipEnd::Kicked as usize].add(1);
        one.setup.observe(Duration::from_micros(300));
        one.answers[AnswerOutcome::Hit as usize].add(9);
        one.bytes[1].add(1 << 40);
        let took = Duration::from_micros(300);
        for (route, method, status) in [
            (RequestRoute::OneStep, "GET", 101),
            (RequestRoute::OneStep, "GET", 502),
            (RequestRoute::Whep, "POST", 201),
            (RequestRoute::Whep, "POST", 499),
            // neither begins a session
            (RequestRoute::Whep, "PATCH", 204),
            (RequestRoute::Event, "GET", 200),
        ] {
            other.requests.observe(route, method_number(method), status, took);
        }
        let sample = Totals::now(&state).since(&before, &state).to_json();
        assert_eq!(sample["refused"], json!({ "too_many": 3 }));
        assert_eq!(sample["began"], json!({ "one_step_subscriber": 4 }));
        assert_eq!(sample["active"], json!({ "one_step_subscriber": 3 }));
        assert_eq!(sample["ends"], json!({ "origin_lost": 1, "whip_kicked": 1 }));
        assert_eq!(sample["asked"], json!({ "served": 2, "left": 1, "failed": 1 }));
        assert_eq!(sample["answers"], json!({ "hit": 9 }));
        assert_eq!(sample["bytes"], json!({ "client": 0, "node": u32::MAX }), "more does not fit");
        assert_eq!(sample["setup"][2], 2, "a WebSocket and a WHEP session: {sample}");
        let idle = Totals::now(&state);
        let idle = Totals::now(&state).since(&idle, &state).to_json();
        assert_eq!((&idle["refused"], &idle["setup"]), (&json!({}), &Value::Null));
    }
}
