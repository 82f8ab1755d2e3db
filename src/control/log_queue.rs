//! The queue of log lines in front of the thread that writes them. It is bounded in bytes: a disk or a pipe that is slower than
//! the lines come costs memory up to the bound, and then lines. Lost lines are counted, and the log says so.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of the lines that wait in one queue, with [`LINE_OVERHEAD`] for each: some seconds of a busy access log.
const QUEUE_MAX: usize = 16 << 20;

/// What a line that waits needs besides its text, in bytes.
const LINE_OVERHEAD: usize = 128;

/// Most lines that fit into [`QUEUE_MAX`]. The channel must not refuse a line before the bytes do.
const LINES_MAX: usize = QUEUE_MAX / LINE_OVERHEAD;

/// Lost lines are reported in the log at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Lines of all logs of this process that were lost.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Log lines that were lost since the start of the process: the queue was full, or they could not be written.
pub fn lost_lines() -> u64 {
    LOST.load(Relaxed)
}

/// Counts one line that could not be written.
pub(crate) fn count_lost() {
    LOST.fetch_add(1, Relaxed);
}

/// Puts lines into a queue; clones share it. A write never waits and never fails. Each call of `write` is one line.
#[derive(Debug, Clone)]
pub(crate) struct QueueWriter {
    lines: NonBlocking,
    queue: Arc<Queue>,
}

/// What is known of the lines on their way.
#[derive(Debug)]
struct Queue {
    /// Which log it is, for the report.
    name: &'static str,
    /// What the lines that wait cost.
    bytes: AtomicUsize,
    /// Lines that found no room or could not be written, and are not reported yet.
    unreported: AtomicU64,
    /// When lost lines were last reported.
    reported: Mutex<Option<Instant>>,
}

/// Starts a thread that writes the lines of a queue to `file`, and returns the queue's writer. When the guard is dropped, the
/// lines that wait are written. `name` says in reports which log it is.
pub(crate) fn start<W: io::Write + Send + 'static>(
    name: &'static str,
    file: W,
) -> (QueueWriter, WorkerGuard) {
    let queue = Arc::new(Queue {
        name,
        bytes: AtomicUsize::new(0),
        unreported: AtomicU64::new(0),
        reported: Mutex::new(None),
    });
    let dequeuing = DequeuingWriter { file, queue: Arc::clone(&queue) };
    let (lines, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).finish(dequeuing);
    (QueueWriter { lines, queue }, guard)
}

impl io::Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let cost = line.len() + LINE_OVERHEAD;
        if self.queue.bytes.fetch_add(cost, Relaxed) + cost > QUEUE_MAX {
            self.queue.bytes.fetch_sub(cost, Relaxed);
            self.queue.unreported.fetch_add(1, Relaxed);
            count_lost();
            return Ok(line.len());
        }
        self.lines.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for QueueWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Queue {
    /// Says in the log that lines were lost, once there is room for it again; at most once in [`REPORT_INTERVAL`].
    fn report(&self) {
        if self.unreported.load(Relaxed) == 0 || self.bytes.load(Relaxed) > QUEUE_MAX / 2 {
            return;
        }
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return;
        }
        *reported = Some(Instant::now());
        drop(reported);
        let lost = self.unreported.swap(0, Relaxed);
        tracing::warn!(
            log = self.name,
            "{lost} lines were lost: they came faster than they could be written, or could not be written"
        );
    }
}

/// Writes lines that come from a queue. It never fails: a line that can't be written is lost and counted.
struct DequeuingWriter<W> {
    file: W,
    queue: Arc<Queue>,
}

impl<W: io::Write> io::Write for DequeuingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.file.write_all(line).is_err() {
            self.queue.unreported.fetch_add(1, Relaxed);
            count_lost();
        }
        self.queue.bytes.fetch_sub(line.len() + LINE_OVERHEAD, Relaxed);
        self.queue.report();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // what could not be written was counted
        let _ = self.file.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A file that takes a line only when the test lets it.
    struct SlowFile {
        allowed: Receiver<()>,
        written: Sender<usize>,
    }

    impl Write for SlowFile {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // without the test every line passes
            let _ = self.allowed.recv();
            let _ = self.written.send(line.len());
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_are_bounded_in_bytes_and_lost_ones_are_counted() {
        for size in [1, 10_000] {
            let (allow, allowed) = channel();
            let (written, lines) = channel();
            let (mut writer, guard) = start("test", SlowFile { allowed, written });
            let before = lost_lines();
            let sent = 3 * QUEUE_MAX / (size + LINE_OVERHEAD);
            for _ in 0..sent {
                writer.write_all(&vec![b'x'; size]).expect("a write never fails");
                assert!(writer.queue.bytes.load(Relaxed) <= QUEUE_MAX);
            }
            let unreported = writer.queue.unreported.load(Relaxed);
            assert!(lost_lines() - before >= unreported);
            // from now on the file takes everything
            drop(allow);
            drop(guard);
            let arrived = lines.try_iter().count() as u64;
            assert_eq!(arrived + unreported, sent as u64, "lines of {size} bytes");
            assert!(arrived as usize * (size + LINE_OVERHEAD) > QUEUE_MAX * 9 / 10, "the queue was used");
            assert_eq!(writer.queue.bytes.load(Relaxed), 0);
            assert_eq!(writer.queue.unreported.load(Relaxed), 0, "the loss was reported");
        }
    }

    #[test]
    fn a_line_that_the_file_refuses_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let before = lost_lines();
        let (mut writer, guard) = start("test", Full);
        writer.write_all(b"a line").expect("a write never fails");
        drop(guard);
        assert!(lost_lines() > before);
        assert_eq!(writer.queue.bytes.load(Relaxed), 0);
    }
}
