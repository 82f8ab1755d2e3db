//! The families about requests, answers and Close frames.

use crate::metrics::families::Families;
use crate::metrics::page::facts::{Page, session_kinds};
use crate::metrics::requests::Combination;
use std::collections::BTreeMap;
use std::fmt::Error;

impl Page {
    pub(super) fn requests(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let count = |one: Combination| {
            self.workers
                .iter()
                .filter_map(|worker| worker.requests.get(one))
                .map(|all| all.count())
                .sum::<u64>()
        };
        let all = Combination::all().map(|one| (one.labels(), count(one))).filter(|(_, count)| *count > 0);
        let help = "Requests that were answered, by route, method and status; a combination appears with its first request";
        families.counters("tidegate_requests", help, all.collect::<Vec<_>>())?;
        families.histograms(
            "tidegate_request_seconds",
            "Seconds from the head of a request to its answer, or to the 101",
            Combination::all().map(|one| (one.labels(), one)),
            |worker, one| worker.requests.get(*one),
        )?;
        let kinds = || {
            session_kinds()
                .map(|(route, role)| ([("route", route.word()), ("role", role.word())], (route, role)))
        };
        families.histograms(
            "tidegate_first_answer_seconds",
            "Seconds from the request of a session to the node's first description of media (SDP)",
            kinds(),
            |worker, (route, role)| Some(&worker.first_answer[*route as usize][*role as usize]),
        )?;
        families.histograms(
            "tidegate_first_frame_seconds",
            "Seconds from the 101 to the node's first frame; WHIP and WHEP have no frames",
            kinds(),
            |worker, (route, role)| Some(&worker.first_frame[*route as usize][*role as usize]),
        )?;
        let mut codes: BTreeMap<_, u64> = BTreeMap::new();
        for (labels, counter) in self.workers.iter().flat_map(|worker| worker.close_codes.all()) {
            *codes.entry(labels).or_default() += counter.get();
        }
        let help = "Close frames, by the party that sent them and their code; 1005 is a Close without a code";
        families.counters("tidegate_close_codes", help, codes)
    }
}
