//! The plot of the process: read, bind, start, supervise, end.
//!
//! Everything that can fail before a client is served fails here, with one sentence that names the cause and the next step.

use crate::control::admin::{lifecycle, listener};
use crate::control::exit;
use crate::control::exit::ExitError;
use crate::control::log;
use crate::control::process::state::ProcessState;
use crate::control::reload::reloader::Reloader;
use crate::control::signals;
use crate::control::start::inherited::{self, Inherited};
use crate::control::start::listeners::{self, Opened};
use crate::control::start::program::Program;
use crate::control::start::{host, load};
use crate::control::stream_manager::dns;
use crate::control::supervise;
use crate::control::upgrade::handover::Handover;
use crate::control::workers::interface::{Launch, WorkerSpec, Workers};
use crate::control::workers::parts::RevisionParts;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Handle};

/// Serves until somebody asks for the end.
pub fn run(path: &Path, launch: impl FnOnce(Launch) -> Result<Box<dyn Workers>, String>) -> ExitCode {
    run_program(path, None, launch)
}

/// The same for a program that can be started a second time, to take over from this one.
pub fn run_program(
    path: &Path,
    program: Option<Program>,
    launch: impl FnOnce(Launch) -> Result<Box<dyn Workers>, String>,
) -> ExitCode {
    let inherited = inherited::take().map_err(|error| {
        ExitError::os(format!("can't take what was left open for this process ({error}); start it without"))
    });
    let mut inherited = match inherited {
        Ok(inherited) => inherited,
        Err(stop) => return stop.say(),
    };
    let mut handover = Handover::new(program, &mut inherited);
    match serve(path, inherited, &mut handover, launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            handover.report(&stop.text);
            stop.say()
        }
    }
}

fn serve(
    path: &Path,
    mut inherited: Inherited,
    handover: &mut Handover,
    launch: impl FnOnce(Launch) -> Result<Box<dyn Workers>, String>,
) -> Result<(), ExitError> {
    let (asker, asks) =
        signals::listen().map_err(|error| ExitError::os(format!("can't listen to signals ({error})")))?;
    let loaded = load::load(path).map_err(|failure| exit::failure(path, &failure))?;
    let logs = log::start(&loaded.config.log)
        .map_err(|error| ExitError::os(format!("can't open the access log ({error})")))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}:{}: {warning}", path.display(), warning.line);
    }
    host::raise_files(loaded.config.limits.sessions);
    let cores = host::assign(&loaded.config.gateway, &host::allowed());
    let admin = match lifecycle::take(&loaded.config.admin.listen, inherited.admin, &mut inherited.sockets) {
        Ok(Some(taken)) => Some(taken),
        _ => listener::bind(&loaded.config.admin.listen).map_err(ExitError::os)?,
    };
    let Opened { per_worker, mut draining_listeners, ports } =
        listeners::open(&loaded.config.gateway.listen, cores.len(), inherited.sockets)
            .map_err(|refused| ExitError::os(refused.to_string()))?;

    let of_one = per_worker.iter().take(1).flatten();
    let mut listening: Vec<_> = of_one.filter_map(|listener| listener.local_addr().ok()).collect();
    // a worker may have inherited several of one address
    listening.dedup();
    let shared = ProcessState::new(loaded.config.clone(), cores.len(), loaded.facts(), listening);
    let shared = Arc::new(shared);
    // nobody else sets it
    let _ = shared.asks.set(asker);
    let (control, admin) = start_control(admin, &shared).map_err(|error| {
        ExitError::os(format!("can't start the control thread ({error}); look at the limits of this user"))
    })?;
    handover.hold(ports, admin);
    let specs = cores.into_iter().zip(per_worker).enumerate();
    let specs = specs.map(|(index, (core, listeners))| {
        // queues that only have to be emptied are no work to share
        WorkerSpec { index, core, listeners, draining_listeners: std::mem::take(&mut draining_listeners) }
    });
    let specs = specs.collect();
    let parts = first(&shared, loaded.tls, loaded.roots);
    let launched = Launch { shared: Arc::clone(&shared), parts: parts.clone(), specs, control };
    let workers = launch(launched).map_err(ExitError::os)?;
    let reviser = workers.reviser();
    let path = path.to_owned();
    Reloader::new(path, Arc::clone(&shared), logs.changer(), reviser, parts, loaded.certificates)
        .start()
        .map_err(|error| {
            ExitError::os(format!("can't start a thread ({error}); look at the limits of this user"))
        })?;
    let ended = supervise::supervise(&shared, &*workers, &asks, handover);
    // the workers cut what is left, and count it
    drop(workers);
    supervise::sum_up(&shared);
    handover.end_admin();
    ended
}

/// The first revision. A name that does not resolve now may later, so a start does not depend on it.
fn first(
    shared: &ProcessState,
    tls: Arc<ServerConfig>,
    roots: Vec<CertificateDer<'static>>,
) -> RevisionParts {
    let current = shared.current();
    let resolved = dns::resolve(&current.config);
    for lost in &resolved.lost {
        tracing::warn!(name = lost.name, error = %lost.error, "a name in {} does not resolve now", lost.key);
    }
    let config = Arc::clone(&current.config);
    RevisionParts {
        number: current.revision,
        config,
        tls,
        roots,
        self_addresses: resolved.self_addresses,
        names: resolved.names,
    }
}

/// Starts the one thread that runs on tokio. It ends with the process.
fn start_control(
    admin: Option<listener::Bound>,
    shared: &Arc<ProcessState>,
) -> io::Result<(Handle, Option<lifecycle::AdminHandle>)> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let hold = admin.map(|bound| lifecycle::prepare(bound, shared.clone(), &handle)).transpose()?;
    thread::Builder::new().name("tidegate-control".to_owned()).spawn(move || {
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok((handle, hold))
}
