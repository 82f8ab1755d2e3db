//! Logs: to stderr or a file by a thread of their own, so that no worker ever waits for a disk; and what is masked in
//! them.

use crate::config::{AccessLog, Log, LogFormat, LogLevel};
use std::fs::OpenOptions;
use std::io;
use std::panic;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the access log's lines: `tracing::info!(target: ACCESS, …)`.
pub const ACCESS: &str = "access";

/// Writes out what is left when it is dropped.
#[derive(Debug)]
pub struct Logs {
    _guards: Vec<WorkerGuard>,
}

/// Starts logging for the whole process and hooks panics. A second call changes nothing but gives no error.
pub fn start(log: &Log) -> io::Result<Logs> {
    let (stderr, guard) = non_blocking(io::stderr());
    let mut guards = vec![guard];
    let access = match &log.access {
        AccessLog::Off => None,
        AccessLog::Stderr => Some(stderr.clone()),
        AccessLog::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            let (file, guard) = non_blocking(Patient::new(file));
            guards.push(guard);
            Some(file)
        }
    };
    let _ = subscriber(log, stderr, access).try_init();
    hook_panics();
    Ok(Logs { _guards: guards })
}

/// A file whose disk may be full: lines that can't be written are dropped, which is said once each time it begins and ends.
/// Each write is one line.
struct Patient<W> {
    file: W,
    lost: u64,
    /// The last line ended before its end.
    torn: bool,
}

impl<W: io::Write> Patient<W> {
    const fn new(file: W) -> Self {
        Self { file, lost: 0, torn: false }
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut written = 0;
        while written < line.len() {
            match self.file.write(&line[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.torn = written > 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl<W: io::Write> io::Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.try_write(line) {
            Ok(()) => {
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    tracing::warn!(lost, "the access log is written again");
                }
            }
            Err(error) => {
                if self.lost == 0 {
                    tracing::error!(%error, "the access log can't be written; its lines are dropped until it can");
                }
                self.lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Sends lines of the access log to their own writer, or to none, and all others by level to the first one.
fn subscriber(
    log: &Log,
    all: NonBlocking,
    access: Option<NonBlocking>,
) -> impl Subscriber + Send + Sync + use<> {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = Targets::new().with_default(level).with_target(ACCESS, LevelFilter::OFF);
    let only_access = Targets::new().with_target(ACCESS, LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(layer(log.format, all).with_filter(others))
        .with(access.map(|writer| layer(log.format, writer).with_filter(only_access)))
}

fn layer<S>(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// One line for each panic: where, and in which thread. Its message is left out, because it may hold what a client sent.
fn hook_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "panic at {place}; this is a bug");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A file of a test: what is written can be read while it is written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while writing").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk with so much room.
    struct Disk(Vec<u8>, usize);

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.1 - self.0.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_the_lines_that_do_not_fit_and_no_others() {
        let mut log = Patient::new(Disk(Vec::new(), 8));
        let write = |log: &mut Patient<Disk>, line: &str| {
            io::Write::write_all(log, line.as_bytes()).expect("it is patient");
        };
        for line in ["first\n", "second\n", "third\n"] {
            write(&mut log, line);
        }
        assert_eq!((log.file.0.as_slice(), log.lost), (&b"first\nse"[..], 2));
        log.file.1 = 100;
        write(&mut log, "fourth\n");
        write(&mut log, "fifth\n");
        assert_eq!((log.file.0.as_slice(), log.lost), (&b"first\nse\nfourth\nfifth\n"[..], 0));
    }

    /// What stands in the two logs after some lines.
    fn logged(level: LogLevel, format: LogFormat, access: bool) -> [String; 2] {
        let log = Log { level, format, access: AccessLog::Off, redact: Vec::new() };
        let papers = [Paper::default(), Paper::default()];
        let (all, all_guard) = non_blocking(papers[0].clone());
        let (own, own_guard) = non_blocking(papers[1].clone());
        tracing::subscriber::with_default(subscriber(&log, all, access.then_some(own)), || {
            tracing::info!(number = 7, "a line");
            tracing::debug!("a detail");
            tracing::info!(target: ACCESS, "a request");
        });
        drop((all_guard, own_guard));
        papers.map(|paper| String::from_utf8(paper.0.lock().expect("no panic").clone()).expect("UTF-8"))
    }

    #[test]
    fn lines_go_by_level_and_requests_go_their_own_way() {
        let [all, access] = logged(LogLevel::Info, LogFormat::Text, true);
        assert!(
            all.contains("a line number=7") && !all.contains("a detail") && !all.contains("a request"),
            "{all}"
        );
        assert!(access.contains("a request") && access.lines().count() == 1, "{access}");
        let [all, access] = logged(LogLevel::Debug, LogFormat::Json, false);
        let lines: Vec<serde_json::Value> =
            all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(
            (lines.len(), &lines[0]["number"], &lines[1]["message"]),
            (2, &7.into(), &"a detail".into())
        );
        assert_eq!(access, "");
    }
}
