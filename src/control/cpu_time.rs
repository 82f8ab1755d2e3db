//! CPU time of the threads of workers, as the kernel counts it (`/proc/self/task`, proc(5)).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// What the kernel says of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// How long it ran on a core, since its start.
    pub(crate) ran: Duration,
    /// How long it was ready to run and waited for a core, since its start. A wait that goes on is not counted yet.
    pub(crate) waited: Duration,
    /// It runs, or it is ready to run and waits for a core.
    pub(crate) is_runnable: bool,
}

/// The times of the threads `tidegate-0`, `tidegate-1`, … up to this count; `None` where the kernel does not tell.
pub(crate) fn of_workers(count: usize) -> Vec<Option<CpuTime>> {
    let mut times = vec![None; count];
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
        let worker =
            name.trim_end().strip_prefix("tidegate-").and_then(|number| number.parse::<usize>().ok());
        if let Some(time) = worker.and_then(|worker| times.get_mut(worker)) {
            *time = read(&thread.path());
        }
    }
    times
}

fn read(thread: &Path) -> Option<CpuTime> {
    let schedstat = fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut nanos = schedstat.split(' ').map_while(|field| field.trim_end().parse::<u64>().ok());
    let (ran, waited) = (nanos.next()?, nanos.next()?);
    // the state stands behind the name, which may hold any character
    let stat = fs::read_to_string(thread.join("stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(") ")?;
    Some(CpuTime {
        ran: Duration::from_nanos(ran),
        waited: Duration::from_nanos(waited),
        is_runnable: behind_name.starts_with('R'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_busy_thread_runs_and_a_sleeping_one_does_not() {
        let (busy, idle) = (5000, 5001);
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_stopped = {
            let stop = stop.clone();
            move || stop.load(std::sync::atomic::Ordering::Relaxed)
        };
        let spinning = is_stopped.clone();
        let threads = [
            std::thread::Builder::new().name(format!("tidegate-{busy}")).spawn(move || {
                while !spinning() {
                    std::hint::spin_loop();
                }
            }),
            std::thread::Builder::new().name(format!("tidegate-{idle}")).spawn(move || {
                while !is_stopped() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }),
        ];
        // a kernel without these counters shows none, and then there is nothing to compare
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let times = of_workers(idle + 1);
            let (Some(busy), Some(idle)) = (times[busy], times[idle]) else { continue };
            if busy.ran > Duration::from_millis(50) {
                assert!(busy.is_runnable && idle.ran < busy.ran);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in threads {
            thread.expect("a thread").join().expect("no panic");
        }
        assert_eq!(of_workers(3), [None; 3], "no worker runs in this test");
    }
}
