//! One leg of a relay: what is known of its socket, waits for readiness, and the wait for the node to end its connection.

use crate::proto::millis::Millis;
use crate::worker::io::fairness::Backlog;
use std::pin::Pin;
use std::task::Context;

/// How long a node may take to end its connection after both Closes, in milliseconds; then the gateway ends it.
const NODE_END_TIMEOUT: Millis = 1_000;

/// What is known of one leg's socket: whether it can be read and written now, and whether the gateway has closed its
/// writing end.
#[derive(Debug, Default)]
pub(crate) struct Leg {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) finished: bool,
    pub(crate) backlog: Backlog,
}

/// The waits that are needed now.
pub(crate) struct Wants {
    pub(crate) client_in: bool,
    pub(crate) node_in: bool,
    pub(crate) client_out: bool,
    pub(crate) node_out: bool,
}

/// The wait for a node to end its connection, as RFC 6455 (7.1.1) asks of a server. The side that ends a connection first keeps
/// its port for a minute (TIME_WAIT), and a gateway has only some 28,000 ports for each node.
#[derive(Debug, Default)]
pub(crate) struct NodeEnd {
    due: Option<Millis>,
}

impl NodeEnd {
    /// Whether the node has had its time at `now`: a second, at most half of `close_timeout`. The first call begins the wait.
    pub(crate) fn is_overdue(&mut self, now: Millis, close_timeout: Millis) -> bool {
        let timeout = NODE_END_TIMEOUT.min(close_timeout / 2);
        now >= *self.due.get_or_insert_with(|| now.saturating_add(timeout))
    }

    /// When the wait is over; [`Millis::MAX`] while there is none.
    pub(crate) fn due(&self) -> Millis {
        self.due.unwrap_or(Millis::MAX)
    }
}

/// Polls a wait for readiness that lasts over many wakes. It is armed when it is wanted and not armed yet. True when the
/// socket is ready; then `woke` is set too.
pub(crate) fn poll<F: Future<Output = ()>>(
    mut slot: Pin<&mut Option<F>>,
    want: bool,
    arm: impl FnOnce() -> F,
    cx: &mut Context<'_>,
    woke: &mut bool,
) -> bool {
    if want && slot.is_none() {
        slot.set(Some(arm()));
    }
    let ready = slot.as_mut().as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready());
    if ready {
        slot.set(None);
        *woke = true;
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_second_but_no_more_than_half_of_the_close_timeout() {
        let mut end = NodeEnd::default();
        assert_eq!(end.due(), Millis::MAX);
        assert!(!end.is_overdue(100, 5_000));
        assert_eq!(end.due(), 1_100);
        assert!(!end.is_overdue(1_099, 5_000) && end.is_overdue(1_100, 5_000));
        let mut short = NodeEnd::default();
        assert!(!short.is_overdue(0, 300) && short.is_overdue(150, 300));
    }
}
