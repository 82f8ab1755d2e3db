//! The logs. Threads of their own write them to stderr and to the file of the access log, so that no worker ever waits for a
//! disk. Level, format and the file of the access log can change while lines are written.

use crate::config::{AccessLog, Log, LogFormat, LogLevel};
use crate::control::journal;
use crate::control::log_format::LineFormat;
use crate::control::log_queue::{self, QueueWriter};
use arc_swap::ArcSwap;
use std::fs::OpenOptions;
use std::io;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the lines of the access log: `tracing::info!(target: ACCESS, …)`.
pub const ACCESS: &str = "access";

/// The logs of the process. When it is dropped, the lines that wait are written.
pub struct Logs(Arc<LogWriters>);

/// Changes the logs of the process, from any thread.
#[derive(Clone)]
pub struct Changer(Arc<LogWriters>);

/// A log configuration with its file, opened.
pub struct Opened {
    log: Log,
    file: Option<(QueueWriter, WorkerGuard)>,
}

/// The writers of both logs, their formats and their filters.
struct LogWriters {
    stderr: QueueWriter,
    /// Whether stderr is the journal.
    journal: bool,
    access: SwapWriter,
    formats: Formats,
    set_filters: SetFilters,
    guards: Mutex<Guards>,
}

/// The format of the log, and that of the access log.
#[derive(Clone, Default)]
struct Formats {
    all: LineFormat,
    access: LineFormat,
}

/// Sets which lines go to the log, and which to the access log.
type SetFilters = Box<dyn Fn(Targets, Targets) + Send + Sync>;

/// A dropped guard writes the lines that wait.
#[derive(Default)]
struct Guards {
    _stderr: Option<WorkerGuard>,
    access_file: Option<WorkerGuard>,
}

/// Opens the file of the access log, if `log` names one. The logs stay as they are. It fails if the file can't be opened.
pub fn open(log: &Log) -> io::Result<Opened> {
    let file = match &log.access {
        AccessLog::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            Some(log_queue::start("access", LossyWriter::new(path.display().to_string(), file)))
        }
        AccessLog::Off | AccessLog::Stderr => None,
    };
    Ok(Opened { log: log.clone(), file })
}

/// Starts logging for the whole process, panics included. A second call changes nothing. It fails if the file of the access log
/// can't be opened.
pub fn start(log: &Log) -> io::Result<Logs> {
    let opened = open(log)?;
    let (stderr, guard) = log_queue::start("stderr", io::stderr());
    let (access, formats) = (SwapWriter::new(stderr.clone()), Formats::default());
    let (subscriber, set_filters) = subscriber(stderr.clone(), access.clone(), formats.clone());
    let guards = Mutex::new(Guards { _stderr: Some(guard), access_file: None });
    let journal = journal::is_stderr();
    let writers = Arc::new(LogWriters { stderr, journal, access, formats, set_filters, guards });
    // before the subscriber is installed, or its first lines would be filtered out
    writers.change(opened);
    let _ = subscriber.try_init();
    hook_panics();
    Ok(Logs(writers))
}

impl Logs {
    /// Changes these logs later, from any thread.
    pub fn changer(&self) -> Changer {
        Changer(Arc::clone(&self.0))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let guards = std::mem::take(&mut *self.0.guards());
        // outside the lock, because it waits until the lines are written
        drop(guards);
    }
}

impl Changer {
    /// Logs as `opened` says from the next line on.
    pub fn change(&self, opened: Opened) {
        self.0.change(opened);
    }
}

impl LogWriters {
    fn guards(&self) -> MutexGuard<'_, Guards> {
        // a panic can't leave them half changed
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, Opened { log, file }: Opened) {
        let (writer, guard) =
            file.map_or((self.stderr.clone(), None), |(writer, guard)| (writer, Some(guard)));
        self.access.0.store(Arc::new(writer));
        let json = log.format == LogFormat::Json;
        self.formats.all.change(json, self.journal);
        self.formats.access.change(json, self.journal && log.access == AccessLog::Stderr);
        let (others, access) = filters(&log);
        (self.set_filters)(others, access);
        // lines that wait for the former file are written there
        let former = std::mem::replace(&mut self.guards().access_file, guard);
        drop(former);
    }
}

/// Writes lines to a file whose disk may be full. Lines that can't be written are dropped; the log says once when that begins and
/// once when it ends. Each call of `write` is one line.
struct LossyWriter<W> {
    /// Its path, for the log.
    path: String,
    file: W,
    /// Lines dropped since the last line that was written.
    dropped: u64,
    /// The last line was written only in part.
    truncated: bool,
}

impl<W: io::Write> LossyWriter<W> {
    const fn new(path: String, file: W) -> Self {
        Self { path, file, dropped: 0, truncated: false }
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.truncated {
            self.file.write_all(b"\n")?;
            self.truncated = false;
        }
        let mut written = 0;
        while written < line.len() {
            match self.file.write(&line[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.truncated = written > 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl<W: io::Write> io::Write for LossyWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.try_write(line) {
            Ok(()) => {
                let lost = std::mem::take(&mut self.dropped);
                if lost > 0 {
                    tracing::warn!("the access log is written again; {lost} lines were lost: {}", self.path);
                }
            }
            Err(error) => {
                if self.dropped == 0 {
                    let path = &self.path;
                    tracing::error!(
                        "the access log can't be written, its lines are dropped until it can: {path}: {error}"
                    );
                }
                self.dropped += 1;
                log_queue::count_lost();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Which lines go to the log, by level, and which to the access log.
fn filters(log: &Log) -> (Targets, Targets) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let access = if log.access == AccessLog::Off { LevelFilter::OFF } else { LevelFilter::INFO };
    let others = Targets::new().with_default(level).with_target(ACCESS, LevelFilter::OFF);
    (others, Targets::new().with_target(ACCESS, access))
}

/// A subscriber that writes lines of the access log to `access` and all others to `all`; none until filters are set with the
/// function that it returns too.
fn subscriber(
    all: QueueWriter,
    access: SwapWriter,
    formats: Formats,
) -> (impl Subscriber + Send + Sync + use<>, SetFilters) {
    let (others, set_others) = reload::Layer::new(Targets::new());
    let (only_access, set_access) = reload::Layer::new(Targets::new());
    let all = tracing_subscriber::fmt::layer().with_ansi(false).event_format(formats.all).with_writer(all);
    let own =
        tracing_subscriber::fmt::layer().with_ansi(false).event_format(formats.access).with_writer(access);
    let subscriber =
        tracing_subscriber::registry().with(all.with_filter(others)).with(own.with_filter(only_access));
    let set_filters = Box::new(move |others, access| {
        // it fails when the subscriber is gone: then no line is written any more
        let _ = set_others.reload(others).and_then(|()| set_access.reload(access));
    });
    (subscriber, set_filters)
}

/// A writer that can be replaced while it is used.
#[derive(Clone)]
struct SwapWriter(Arc<ArcSwap<QueueWriter>>);

impl SwapWriter {
    fn new(writer: QueueWriter) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(writer)))
    }
}

impl MakeWriter<'_> for SwapWriter {
    type Writer = QueueWriter;

    fn make_writer(&self) -> QueueWriter {
        QueueWriter::clone(&self.0.load())
    }
}

/// Logs each panic in one line: its place in the code and its thread. The message is left out, because it may hold what a client
/// sent.
fn hook_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let location = panic.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "panic at {location}; this is a bug");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessFormat;
    use std::sync::{Arc, Mutex};

    /// A file of a test that can be read while it is written.
    #[derive(Clone, Default)]
    struct MemoryFile(Arc<Mutex<Vec<u8>>>);

    impl io::Write for MemoryFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while writing").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk with room for this many bytes.
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
    fn only_lines_that_do_not_fit_on_a_full_disk_are_lost() {
        let mut log = LossyWriter::new(String::new(), Disk(Vec::new(), 8));
        let write = |log: &mut LossyWriter<Disk>, line: &str| {
            io::Write::write_all(log, line.as_bytes()).expect("it never fails");
        };
        for line in ["first\n", "second\n", "third\n"] {
            write(&mut log, line);
        }
        assert_eq!((log.file.0.as_slice(), log.dropped), (&b"first\nse"[..], 2));
        log.file.1 = 100;
        write(&mut log, "fourth\n");
        write(&mut log, "fifth\n");
        assert_eq!((log.file.0.as_slice(), log.dropped), (&b"first\nse\nfourth\nfifth\n"[..], 0));
    }

    /// The content of both logs after the same lines were written with each configuration in turn.
    fn logged(configured: &[(LogLevel, LogFormat, bool)]) -> [String; 2] {
        let files = [MemoryFile::default(), MemoryFile::default()];
        let (stderr, all_guard) = log_queue::start("stderr", files[0].clone());
        let (own, own_guard) = log_queue::start("access", files[1].clone());
        let (access, formats) = (SwapWriter::new(stderr.clone()), Formats::default());
        let (subscriber, set_filters) = subscriber(stderr.clone(), access.clone(), formats.clone());
        let writers =
            LogWriters { stderr, journal: true, access, formats, set_filters, guards: Mutex::default() };
        tracing::subscriber::with_default(subscriber, || {
            for (level, format, access) in configured {
                let access = if *access { AccessLog::File("a file".into()) } else { AccessLog::Off };
                let log = Log {
                    level: *level,
                    format: *format,
                    access,
                    access_format: AccessFormat::Fields,
                    redact: Vec::new(),
                };
                writers.change(Opened { log, file: None });
                writers.access.0.store(Arc::new(own.clone()));
                tracing::info!(number = 7, "a line");
                tracing::debug!("a detail");
                tracing::info!(target: ACCESS, "a request");
            }
        });
        drop((all_guard, own_guard));
        files.map(|file| String::from_utf8(file.0.lock().expect("no panic").clone()).expect("UTF-8"))
    }

    #[test]
    fn lines_are_filtered_by_level_and_requests_go_to_the_access_log() {
        let [all, access] = logged(&[(LogLevel::Info, LogFormat::Text, true)]);
        assert!(
            all.contains("a line number=7") && !all.contains("a detail") && !all.contains("a request"),
            "{all}"
        );
        assert!(access.contains("a request") && access.lines().count() == 1, "{access}");
        assert!(all.starts_with("<6>") && access.starts_with("20"), "only stderr is the journal: {access}");
        let [all, access] = logged(&[(LogLevel::Debug, LogFormat::Json, false)]);
        let lines: Vec<serde_json::Value> =
            all.lines().map(|line| serde_json::from_str(&line[3..]).expect("JSON behind a prefix")).collect();
        assert_eq!(
            (lines.len(), &lines[0]["number"], &lines[1]["message"]),
            (2, &7.into(), &"a detail".into())
        );
        assert_eq!(access, "");
    }

    #[test]
    fn level_format_and_access_log_change_from_the_next_line_on() {
        let quiet = (LogLevel::Warn, LogFormat::Text, false);
        let [all, access] = logged(&[quiet, (LogLevel::Debug, LogFormat::Json, true), quiet]);
        let lines: Vec<_> = all.lines().collect();
        assert_eq!(lines.len(), 2, "{all}");
        assert!(
            lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(&line[3..]).is_ok()),
            "{all}"
        );
        assert_eq!(access.lines().count(), 1, "{access}");
    }
}
