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
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let access = match &log.access {
        AccessLog::Off => None,
        AccessLog::Stderr => Some(stderr.clone()),
        AccessLog::File(path) => {
            let (file, guard) = non_blocking(OpenOptions::new().append(true).create(true).open(path)?);
            guards.push(guard);
            Some(file)
        }
    };
    let all = Targets::new().with_default(level).with_target(ACCESS, LevelFilter::OFF);
    let only_access = Targets::new().with_target(ACCESS, LevelFilter::INFO);
    let registry = tracing_subscriber::registry()
        .with(layer(log.format, stderr).with_filter(all))
        .with(access.map(|writer| layer(log.format, writer).with_filter(only_access)));
    let _ = registry.try_init();
    hook_panics();
    Ok(Logs { _guards: guards })
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
