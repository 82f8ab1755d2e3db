//! The plot of the process: read the configuration, open the logs, bind, start the control thread, the workers and the
//! reloader, supervise them, end.
//!
//! Everything that can fail before the first client is served fails here, with one sentence that names the cause and the
//! next step.

use crate::control::acme;
use crate::control::admin::operator_listeners::OperatorSockets;
use crate::control::exit::{self, ExitError};
use crate::control::log::{self, Logs};
use crate::control::process::state::ProcessState;
use crate::control::reload::cert_watch::CertWatcher;
use crate::control::reload::reloader::Reloader;
use crate::control::signals;
use crate::control::start::inherited::{self, Inherited};
use crate::control::start::listeners::{self, Opened};
use crate::control::start::load::{self, Carried, Loaded};
use crate::control::start::program::Program;
use crate::control::start::{control_thread, host, pinned};
use crate::control::supervise::{self, report};
use crate::control::upgrade::handover::Handover;
use crate::control::workers::launch::{self, Launch};
use crate::control::workers::parts::RevisionParts;
use crate::shared::gateway::Fallback;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves with the configuration at `path` until a signal or the admin listener ends it. `program` is what SIGUSR2 starts to
/// hand the listeners to; without it the listeners stay here. `fallback` answers requests without a route of the gateway, for
/// programs that embed it. Returns the exit code; an error is printed to stderr.
pub fn run(path: &Path, program: Option<Program>, fallback: Option<Fallback>) -> ExitCode {
    let mut inherited = match inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => {
            let text = format!("can't take over inherited descriptors ({error}); start it without them");
            return ExitError::os(text).print();
        }
    };
    let relatives = inherited.predecessors();
    let mut handover = Handover::new(program, &mut inherited);
    match serve(path, inherited, &relatives, &mut handover, fallback) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            handover.report_failure(&error.text);
            error.print()
        }
    }
}

/// The life of the process from reading the configuration to its end. `relatives` are its predecessors that still run.
fn serve(
    path: &Path,
    inherited: Inherited,
    relatives: &[u32],
    handover: &mut Handover,
    fallback: Option<Fallback>,
) -> Result<(), ExitError> {
    // read: signals come first, because threads inherit which signals are blocked
    let (event_sender, events) =
        signals::listen().map_err(|error| ExitError::os(format!("can't listen to signals ({error})")))?;
    handover.watch_predecessor().map_err(thread_error)?;
    let carried = Carried::default();
    let loaded = load::load(path, &carried).map_err(|failure| exit::failure(path, &failure))?;
    let logs = open_logs(path, &loaded)?;

    // take from the machine: open files, cores, listeners
    host::raise_file_limit(loaded.config.limits.sessions);
    let cores = assign_cores(&loaded, relatives);
    let (operator_sockets, opened) = bind(&loaded, cores.len(), inherited)?;
    let mut state = ProcessState::new(loaded.config.clone(), cores.len(), loaded.facts(), opened.addresses());
    state.challenges = carried.challenges;
    let state = Arc::new(state);
    // set once: the process runs this function once
    let _ = state.events.set(event_sender);

    // start: the control thread with the listeners for operators, the workers, the reloader
    let control = control_thread::start().map_err(thread_error)?;
    let operator_listeners = operator_sockets.prepare(&state, &control).map_err(thread_error)?;
    handover.hold(opened.ports, operator_listeners);
    let parts = RevisionParts::first(&state.served(), loaded.tls, loaded.roots);
    let specs =
        launch::specs(parts.config.gateway.driver, cores, opened.per_worker, opened.draining_listeners);
    let launch = Launch { state: Arc::clone(&state), parts, specs, control: control.clone() };
    let workers = launch::launch(launch, fallback).map_err(ExitError::os)?;
    Reloader::new(
        path.to_owned(),
        Arc::clone(&state),
        logs.changer(),
        workers.reviser(),
        CertWatcher::new(&state.served().config, loaded.certificates, loaded.stored),
    )
    .start()
    .map_err(thread_error)?;
    acme::start(&control, &state);

    // serve, drain, end
    let result = supervise::supervise(&state, &*workers, &events, handover);
    if let Err(error) = &result {
        // before the workers end: until it knows, a predecessor waits
        handover.report_failure(&error.text);
    }
    // a request of the admin listener that is still in there is refused by this
    drop(events);
    // the workers cut what is still open, and count it
    drop(workers);
    report::log_summary(&state);
    handover.end();
    result
}

/// Begins to log as configured, and logs the warnings about the configuration.
fn open_logs(path: &Path, loaded: &Loaded) -> Result<Logs, ExitError> {
    let logs = log::start(&loaded.config.log)
        .map_err(|error| ExitError::os(format!("can't open the access log ({error})")))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}:{}: {warning}", path.display(), warning.line);
    }
    Ok(logs)
}

/// The core of each worker, as the configuration says and the machine has them. Those of `relatives` count as free: they leave
/// them to this process.
fn assign_cores(loaded: &Loaded, relatives: &[u32]) -> Vec<Option<usize>> {
    let allowed = host::allowed_cores();
    let quota = host::cpu_quota(allowed.len());
    let is_pin_written = loaded.writes("gateway.pin");
    let taken = pinned::by_others(relatives);
    let assigned = host::assign_cores(&loaded.config.gateway, is_pin_written, &allowed, quota, &taken);
    if let Some(reason) = &assigned.reason {
        tracing::info!("{reason}");
    }
    assigned.cores
}

/// Takes over inherited listeners and binds the missing ones: those for operators and those of the workers.
fn bind(
    loaded: &Loaded,
    workers: usize,
    mut inherited: Inherited,
) -> Result<(OperatorSockets, Opened), ExitError> {
    let config = &loaded.config;
    let operator_sockets = OperatorSockets::open(config, inherited.operator_sockets, &mut inherited.sockets)
        .map_err(ExitError::os)?;
    let opened = listeners::open(&config.gateway.listen, workers, inherited.sockets)
        .map_err(|error| ExitError::os(error.to_string()))?;
    Ok((operator_sockets, opened))
}

fn thread_error(error: io::Error) -> ExitError {
    ExitError::os(format!("can't start a thread ({error}); look at the limits of this user"))
}
