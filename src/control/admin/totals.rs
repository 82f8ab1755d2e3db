//! What happened since the start, and how far limits are used: a part of `/api/status`.

use crate::control::process::facts;
use crate::control::process::state::ProcessState;
use crate::metrics::{Counter, WhipEnd, WorkerMetrics};
use crate::proto::refusal::Refusal;
use crate::proto::websocket::relay::{By, How};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Refusals by code, ends of sessions by party and act, and the limits with what is used of them. What has not happened is left
/// out.
pub(crate) fn of(state: &ProcessState) -> Value {
    let sum = |of: &dyn Fn(&WorkerMetrics) -> &Counter| -> u64 {
        state.metrics.iter().map(|worker| of(worker).get()).sum()
    };
    let refusals = Refusal::ALL.into_iter().map(|refusal| (refusal.code(), sum(&|w| w.refusals.of(refusal))));
    // a relay and a WHIP session may end in the same way
    let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (by, how) in By::ALL.iter().flat_map(|by| How::ALL.iter().map(move |how| (*by, *how))) {
        *ends.entry((by.word(), how.word())).or_default() += sum(&|w| &w.ends[by as usize][how as usize]);
    }
    for how in WhipEnd::ALL {
        *ends.entry((how.by().word(), how.word())).or_default() += sum(&|w| &w.whip_ends[*how as usize]);
    }
    ends.retain(|_, count| *count > 0);
    let limits = facts::collect(state).state.limits;
    json!({
        "refusals": refusals.filter(|(_, count)| *count > 0).map(|(code, count)| (code.to_owned(), count.into()))
            .collect::<Map<_, Value>>(),
        "ends": ends.iter().map(|((by, how), count)| json!({ "by": by, "how": how, "count": count }))
            .collect::<Vec<_>>(),
        "limits": limits.iter().map(|limit| json!({ "key": limit.key, "most": limit.most, "used": limit.used }))
            .collect::<Vec<_>>(),
    })
}
