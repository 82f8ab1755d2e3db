//! The families about sessions: how many there are, how they began and ended, what they carry.

use crate::metrics::families::{Families, NO_LABELS};
use crate::metrics::labels::{ProxyFailure, Route, TlsFailure, Version, WhipEnd};
use crate::metrics::page::facts::{Page, session_kinds};
use crate::proto::red5::role::Role;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use std::collections::BTreeMap;
use std::fmt::Error;

impl Page {
    pub(super) fn sessions(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let labels = |route: Route, role: Role| [("route", route.word()), ("role", role.word())];
        let active: Vec<_> = session_kinds()
            .map(|(route, role)| (labels(route, role), self.active_sessions(route, role)))
            .collect();
        families.gauges(
            "tidegate_sessions_active",
            "Sessions that are open now, by route and role",
            active,
        )?;
        let all: Vec<_> = session_kinds()
            .map(|(route, role)| {
                let sum = families.sum(|w| &w.sessions_total[route as usize][role as usize]);
                (labels(route, role), sum)
            })
            .collect();
        families.counters("tidegate_sessions", "Sessions that began, by route and role", all)?;
        let open = self.workers.iter().map(|worker| worker.http_connections.get()).sum::<i64>();
        families.gauges(
            "tidegate_http_connections_active",
            "Connections that are open now and have sent an HTTP request, but none for a WebSocket",
            [(NO_LABELS, open)],
        )
    }

    pub(super) fn outcomes(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let refusals: Vec<_> = Refusal::ALL
            .iter()
            .map(|r| ([("code", r.code())], families.sum(|w| w.refusals.of(*r))))
            .collect();
        families.counters("tidegate_refusals", "Requests that were refused, by code", refusals)?;
        // a relay and a WHIP session may end in the same way: one sample for both
        let mut ends: BTreeMap<_, u64> = BTreeMap::new();
        for (by, how) in By::ALL.iter().flat_map(|by| How::ALL.iter().map(move |how| (by, how))) {
            let sum = families.sum(|w| &w.ends[*by as usize][*how as usize]);
            *ends.entry([("by", by.word()), ("how", how.word())]).or_default() += sum;
        }
        for how in WhipEnd::ALL {
            let sum = families.sum(|w| &w.whip_ends[*how as usize]);
            *ends.entry([("by", how.by().word()), ("how", how.word())]).or_default() += sum;
        }
        families.counters(
            "tidegate_ends",
            "Sessions that ended, by the side that ended them and how",
            ends,
        )?;
        let panics = [(NO_LABELS, families.sum(|w| &w.panics))];
        families.counters("tidegate_panics", "Sessions that ended by a panic inside the gateway", panics)?;
        let pauses = [(NO_LABELS, families.sum(|w| &w.accept_pauses))];
        families.counters(
            "tidegate_accept_pauses",
            "Times that a worker stopped accepting clients for lack of file descriptors or memory",
            pauses,
        )?;
        let evictions = [(NO_LABELS, families.sum(|w| &w.idle_evictions))];
        families.counters(
            "tidegate_idle_evictions",
            "Connections without a request under way that were closed to make room for others",
            evictions,
        )?;
        let open = self.workers.iter().map(|worker| worker.connections.get()).sum::<i64>();
        families.gauges(
            "tidegate_connections_active",
            "Accepted connections of any kind that are open now, and requests to nodes that may outlive them",
            [(NO_LABELS, open)],
        )
    }

    pub(super) fn tls(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let completed =
            Version::ALL.iter().flat_map(|version| [("false", 0), ("true", 1)].map(|r| (version, r)));
        let completed: Vec<_> = completed
            .map(|(version, (resumed, index))| {
                let sum = families.sum(|w| &w.handshakes[*version as usize][index]);
                ([("version", version.word()), ("resumed", resumed)], sum)
            })
            .collect();
        families.counters(
            "tidegate_tls_handshakes",
            "Completed TLS handshakes, by version and whether they resumed an earlier one",
            completed,
        )?;
        let failed: Vec<_> = TlsFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], families.sum(|w| &w.handshake_failures[*how as usize])))
            .collect();
        families.counters(
            "tidegate_tls_handshake_failures",
            "TLS handshakes that failed, by reason",
            failed,
        )?;
        let failed: Vec<_> = ProxyFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], families.sum(|w| &w.proxy_failures[*how as usize])))
            .collect();
        let help = "Connections that were dropped because of their PROXY protocol header, by reason";
        families.counters("tidegate_proxy_protocol_failures", help, failed)
    }

    pub(super) fn traffic(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let frames: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], families.sum(|w| &w.frames[*from as usize])))
            .collect();
        families.counters(
            "tidegate_frames",
            "WebSocket frames that were relayed, by the side that sent them",
            frames,
        )?;
        let bytes: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], families.sum(|w| &w.bytes[*from as usize])))
            .collect();
        families.counters("tidegate_bytes", "Bytes that were relayed, by the side that sent them", bytes)
    }
}
