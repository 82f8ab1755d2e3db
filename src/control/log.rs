//! Logs: to stderr or a file by a thread of their own, so that no worker ever waits for a disk; and what is masked in
//! them. Level, format and the access log's place can change while lines are written.

use crate::config::{AccessLog, Log, LogFormat, LogLevel};
use arc_swap::ArcSwap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the access log's lines: `tracing::info!(target: ACCESS, …)`.
pub const ACCESS: &str = "access";

/// The logs of the process. Writes out what is left when it is dropped.
pub struct Logs(Arc<LogWriters>);

/// A way to change the logs, from wherever.
#[derive(Clone)]
pub struct Changer(Arc<LogWriters>);

/// What is needed to log as configured, opened already.
pub struct Opened {
    log: Log,
    file: Option<(NonBlocking, WorkerGuard)>,
}

/// What lines are written with.
struct LogWriters {
    stderr: NonBlocking,
    access: Pen,
    form: Form,
    /// Sets which lines go where: all others, then those of the access log.
    filter: Box<dyn Fn(Targets, Targets) + Send + Sync>,
    /// Of stderr, and of the access log's file. Dropping one writes out what is left.
    guards: Mutex<(Option<WorkerGuard>, Option<WorkerGuard>)>,
}

/// Opens what a configuration wants to write to. The logs stay as they are.
pub fn open(log: &Log) -> io::Result<Opened> {
    let file = match &log.access {
        AccessLog::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            Some(non_blocking(LossyWriter::new(file)))
        }
        AccessLog::Off | AccessLog::Stderr => None,
    };
    Ok(Opened { log: log.clone(), file })
}

/// Starts logging for the whole process and hooks panics. A second call changes nothing but gives no error.
pub fn start(log: &Log) -> io::Result<Logs> {
    let opened = open(log)?;
    let (stderr, guard) = non_blocking(io::stderr());
    let (access, form) = (Pen::new(stderr.clone()), Form::default());
    let (subscriber, filter) = subscriber(stderr.clone(), access.clone(), form.clone());
    let guards = Mutex::new((Some(guard), None));
    let pens = Arc::new(LogWriters { stderr, access, form, filter, guards });
    // before it is installed: no line is written otherwise
    pens.change(opened);
    let _ = subscriber.try_init();
    hook_panics();
    Ok(Logs(pens))
}

impl Logs {
    /// A way to change them.
    pub fn changer(&self) -> Changer {
        Changer(Arc::clone(&self.0))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let guards = std::mem::take(&mut *self.0.guards());
        drop(guards);
    }
}

impl Changer {
    /// Logs as configured from the next line on.
    pub fn change(&self, opened: Opened) {
        self.0.change(opened);
    }
}

impl LogWriters {
    fn guards(&self) -> std::sync::MutexGuard<'_, (Option<WorkerGuard>, Option<WorkerGuard>)> {
        // a panic can't leave it half changed
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, Opened { log, file }: Opened) {
        let (pen, guard) = file.map_or((self.stderr.clone(), None), |(pen, guard)| (pen, Some(guard)));
        self.access.0.store(Arc::new(pen));
        self.form.json.store(log.format == LogFormat::Json, Relaxed);
        let (others, access) = filters(&log);
        (self.filter)(others, access);
        // what still waits for the former file is written there
        let former = std::mem::replace(&mut self.guards().1, guard);
        drop(former);
    }
}

/// A file whose disk may be full: lines that can't be written are dropped, which is said once each time it begins and ends.
/// Each write is one line.
struct LossyWriter<W> {
    file: W,
    lost: u64,
    /// The last line ended before its end.
    torn: bool,
}

impl<W: io::Write> LossyWriter<W> {
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

impl<W: io::Write> io::Write for LossyWriter<W> {
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

/// Which lines go to the log by level, and which to the access log.
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

/// Where lines go, and how to change which.
type Filter = Box<dyn Fn(Targets, Targets) + Send + Sync>;

/// Sends lines of the access log to their own writer, and all others to the first one; none until it is told which.
fn subscriber(all: NonBlocking, access: Pen, form: Form) -> (impl Subscriber + Send + Sync + use<>, Filter) {
    let (others, set_others) = reload::Layer::new(Targets::new());
    let (only_access, set_access) = reload::Layer::new(Targets::new());
    let all = tracing_subscriber::fmt::layer().with_ansi(false).event_format(form.clone()).with_writer(all);
    let own = tracing_subscriber::fmt::layer().with_ansi(false).event_format(form).with_writer(access);
    let subscriber =
        tracing_subscriber::registry().with(all.with_filter(others)).with(own.with_filter(only_access));
    let filter = Box::new(move |others, access| {
        // it fails when nobody logs any more
        let _ = set_others.reload(others).and_then(|()| set_access.reload(access));
    });
    (subscriber, filter)
}

/// A writer that can be exchanged.
#[derive(Clone)]
struct Pen(Arc<ArcSwap<NonBlocking>>);

impl Pen {
    fn new(writer: NonBlocking) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(writer)))
    }
}

impl MakeWriter<'_> for Pen {
    type Writer = NonBlocking;

    fn make_writer(&self) -> NonBlocking {
        NonBlocking::clone(&self.0.load())
    }
}

/// Text or JSON.
#[derive(Clone)]
struct Form {
    json: Arc<AtomicBool>,
    as_text: Format<Full>,
    as_json: Format<Json>,
}

impl Default for Form {
    fn default() -> Self {
        let as_json = Format::default().json().flatten_event(true);
        Self { json: Arc::default(), as_text: Format::default(), as_json }
    }
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.json.load(Relaxed) {
            true => self.as_json.format_event(context, writer, event),
            false => self.as_text.format_event(context, writer, event),
        }
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
        let mut log = LossyWriter::new(Disk(Vec::new(), 8));
        let write = |log: &mut LossyWriter<Disk>, line: &str| {
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

    /// What stands in the two logs after some lines, written with each configuration in turn.
    fn logged(configured: &[(LogLevel, LogFormat, bool)]) -> [String; 2] {
        let papers = [Paper::default(), Paper::default()];
        let (stderr, all_guard) = non_blocking(papers[0].clone());
        let (own, own_guard) = non_blocking(papers[1].clone());
        let (access, form) = (Pen::new(stderr.clone()), Form::default());
        let (subscriber, filter) = subscriber(stderr.clone(), access.clone(), form.clone());
        let pens = LogWriters { stderr, access, form, filter, guards: Mutex::default() };
        tracing::subscriber::with_default(subscriber, || {
            for (level, format, access) in configured {
                let place = if *access { AccessLog::File("a file".into()) } else { AccessLog::Off };
                let log = Log { level: *level, format: *format, access: place, redact: Vec::new() };
                pens.change(Opened { log, file: None });
                pens.access.0.store(Arc::new(own.clone()));
                tracing::info!(number = 7, "a line");
                tracing::debug!("a detail");
                tracing::info!(target: ACCESS, "a request");
            }
        });
        drop((all_guard, own_guard));
        papers.map(|paper| String::from_utf8(paper.0.lock().expect("no panic").clone()).expect("UTF-8"))
    }

    #[test]
    fn lines_go_by_level_and_requests_go_their_own_way() {
        let [all, access] = logged(&[(LogLevel::Info, LogFormat::Text, true)]);
        assert!(
            all.contains("a line number=7") && !all.contains("a detail") && !all.contains("a request"),
            "{all}"
        );
        assert!(access.contains("a request") && access.lines().count() == 1, "{access}");
        let [all, access] = logged(&[(LogLevel::Debug, LogFormat::Json, false)]);
        let lines: Vec<serde_json::Value> =
            all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(
            (lines.len(), &lines[0]["number"], &lines[1]["message"]),
            (2, &7.into(), &"a detail".into())
        );
        assert_eq!(access, "");
    }

    #[test]
    fn level_format_and_access_change_from_the_next_line_on() {
        let quiet = (LogLevel::Warn, LogFormat::Text, false);
        let [all, access] = logged(&[quiet, (LogLevel::Debug, LogFormat::Json, true), quiet]);
        let lines: Vec<_> = all.lines().collect();
        assert_eq!(lines.len(), 2, "{all}");
        assert!(lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{all}");
        assert_eq!(access.lines().count(), 1, "{access}");
    }
}
