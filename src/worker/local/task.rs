//! Tasks of sessions: counted while they live, and a panic in one ends that one alone.

use crate::metrics::WorkerMetrics;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Wraps a session, or a task that may outlive one. It counts as an open connection while it lives, so that a drain waits
/// for it. A panic in it is caught and counted; the runtime would not catch it and would end the worker with all its
/// sessions.
pub(crate) fn guarded(
    metrics: Arc<WorkerMetrics>,
    session: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    // counted now and not at the first poll: a drain may look at the count before that
    metrics.connections.add(1);
    // not an async block: its future would hold the session twice, once as captured and once as awaited
    AssertUnwindSafe(session).catch_unwind().map(move |ended| {
        if ended.is_err() {
            metrics.panics.add(1);
        }
        metrics.connections.add(-1);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::io::latch::Latch;
    use crate::worker::io::runtime;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn a_panic_ends_one_session_and_is_counted() {
        let metrics = Arc::new(WorkerMetrics::default());
        let went_on = Rc::new(Cell::new(false));
        runtime::block_on_any(async {
            let (neighbour, asked) = (went_on.clone(), Rc::new(Latch::default()));
            let when_asked = asked.clone();
            let sessions = [
                runtime::spawn(guarded(metrics.clone(), async {
                    runtime::sleep(Duration::from_millis(1)).await;
                    panic!("a bug of ours");
                })),
                runtime::spawn(guarded(metrics.clone(), async {})),
            ];
            let other = runtime::spawn(guarded(metrics.clone(), async move {
                when_asked.wait().await;
                neighbour.set(true);
            }));
            for session in sessions {
                session.await;
            }
            assert_eq!(metrics.connections.get(), 1, "the neighbour is still there");
            asked.set();
            other.await;
        });
        assert!(went_on.get(), "the worker went on");
        assert_eq!((metrics.panics.get(), metrics.connections.get()), (1, 0));
    }
}
