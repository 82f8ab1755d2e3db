//! The whole process: starts the workers, tells them when to drain, shows their counters, ends them well.
//!
//! `run` is the plot. Everything that can fail before a client is served fails here, with one sentence that names the
//! cause and the next step. This floor knows nothing of frames, heads or rings.

mod acts;
pub mod admin;
mod admin_guard;
pub mod admin_hold;
pub mod ask;
mod asker;
pub mod certs;
pub mod cli;
pub mod cores;
pub mod crew;
pub mod desk;
mod follow;
mod fresh;
pub mod handover;
pub mod inherited;
pub mod listen;
pub mod load;
pub mod log;
mod manager;
mod names;
mod orders;
pub mod phase;
pub mod program;
pub mod reload;
mod reload_command;
pub mod report;
pub mod signals;
mod silence;
pub mod status;
pub mod successor;
pub mod supervise;
pub mod systemd;

use crate::worker::revision::Names;
pub use fresh::Fresh;
use handover::Succession;
use inherited::Inherited;
use listen::Opened;
use phase::Shared;
use program::Program;
use reload::Reloader;
use report::Stop;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Handle};

/// Everything the workers are started with.
#[derive(Debug)]
pub struct Launch {
    pub shared: Arc<Shared>,
    pub fresh: Fresh,
    /// One for each worker.
    pub seats: Vec<Seat>,
    /// The runtime of the control thread, where the client of the stream manager may run too.
    pub control: Handle,
}

/// What one worker is started with.
#[derive(Debug)]
pub struct Seat {
    pub index: usize,
    /// The core to pin it to.
    pub core: Option<usize>,
    /// Bound and non-blocking; at least one for each address. They listen when [`Crew::accept`] is called.
    pub listeners: Vec<TcpListener>,
    /// Listeners to be closed as soon as everybody who waits there is let in.
    pub leftovers: Vec<TcpListener>,
}

/// All workers together, as the supervisor sees them.
pub trait Crew {
    /// How many workers could accept connections; the reason if one can't.
    fn listening(&self) -> Result<usize, String>;
    /// Lets every worker begin to accept.
    fn accept(&self);
    /// Asks every worker to accept nobody more: another process does. Sessions go on.
    fn leave(&self) {}
    /// Once every worker has left: how many connections have not finished their first request's head.
    fn newcomers(&self) -> Option<usize> {
        Some(0)
    }
    /// Asks every worker to drain. The phase is `Draining` already.
    fn drain(&self);
    /// What a successor has to know, in lines.
    fn memory(&self) -> Vec<String> {
        Vec::new()
    }
    /// One such line of a predecessor. Nobody is accepted yet.
    fn recall(&self, _line: &str) {}
    /// A worker that ended although nobody asked it to.
    fn fallen(&self) -> Option<usize> {
        None
    }
    /// The way of a reload to them.
    fn reviser(&self) -> Box<dyn Revise>;
    /// Whether nothing is left to be ended. Asked during a drain, beside the count of open connections.
    fn is_idle(&self) -> bool {
        true
    }
}

/// The way of a reload to the workers. It does not keep them alive.
pub trait Revise: Send {
    /// Hands a newer revision to every worker and waits until they took it over; names those that did not, soon.
    fn revise(&self, fresh: Fresh) -> Vec<usize>;
    /// Names that clients may use, with their addresses now.
    fn names(&self) -> Arc<Names>;
}

/// Serves until somebody asks for the end.
pub fn run(path: &Path, launch: impl FnOnce(Launch) -> Result<Box<dyn Crew>, String>) -> ExitCode {
    run_program(path, None, launch)
}

/// The same for a program that can be started a second time, to take over from this one.
pub fn run_program(
    path: &Path,
    program: Option<Program>,
    launch: impl FnOnce(Launch) -> Result<Box<dyn Crew>, String>,
) -> ExitCode {
    let inherited = inherited::take().map_err(|error| {
        Stop::os(format!("can't take what was left open for this process ({error}); start it without"))
    });
    let mut inherited = match inherited {
        Ok(inherited) => inherited,
        Err(stop) => return stop.say(),
    };
    let mut succession = Succession::new(program, &mut inherited);
    match serve(path, inherited, &mut succession, launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            succession.report(&stop.text);
            stop.say()
        }
    }
}

fn serve(
    path: &Path,
    mut inherited: Inherited,
    succession: &mut Succession,
    launch: impl FnOnce(Launch) -> Result<Box<dyn Crew>, String>,
) -> Result<(), Stop> {
    let (asker, asks) =
        signals::listen().map_err(|error| Stop::os(format!("can't listen to signals ({error})")))?;
    let loaded = load::load(path).map_err(|failure| report::failure(path, &failure))?;
    let logs = log::start(&loaded.config.log)
        .map_err(|error| Stop::os(format!("can't open the access log ({error})")))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}:{}: {warning}", path.display(), warning.line);
    }
    cores::raise_files(loaded.config.limits.sessions);
    let cores = cores::assign(&loaded.config.gateway, &cores::allowed());
    let admin = match admin_hold::take(&loaded.config.admin.listen, inherited.admin, &mut inherited.sockets) {
        Ok(Some(taken)) => Some(taken),
        _ => admin::bind(&loaded.config.admin.listen).map_err(Stop::os)?,
    };
    let Opened { per_worker, mut leftovers, ports } =
        listen::open(&loaded.config.gateway.listen, cores.len(), inherited.sockets)
            .map_err(|refused| Stop::os(refused.to_string()))?;

    let of_one = per_worker.iter().take(1).flatten();
    let mut listening: Vec<_> = of_one.filter_map(|listener| listener.local_addr().ok()).collect();
    // a worker may have inherited several of one address
    listening.dedup();
    let shared = Shared::new(loaded.config.clone(), cores.len(), loaded.facts(), listening);
    let shared = Arc::new(shared);
    // nobody else sets it
    let _ = shared.asks.set(asker);
    let (control, admin) = start_control(admin, &shared).map_err(|error| {
        Stop::os(format!("can't start the control thread ({error}); look at the limits of this user"))
    })?;
    succession.hold(ports, admin);
    let seats = cores.into_iter().zip(per_worker).enumerate();
    let seats = seats.map(|(index, (core, listeners))| {
        // queues that only have to be emptied are no work to share
        Seat { index, core, listeners, leftovers: std::mem::take(&mut leftovers) }
    });
    let seats = seats.collect();
    let fresh = first(&shared, loaded.tls, loaded.roots);
    let launched = Launch { shared: Arc::clone(&shared), fresh: fresh.clone(), seats, control };
    let crew = launch(launched).map_err(Stop::os)?;
    let workers = crew.reviser();
    let path = path.to_owned();
    Reloader::new(path, Arc::clone(&shared), logs.changer(), workers, fresh, loaded.certificates)
        .start()
        .map_err(|error| {
            Stop::os(format!("can't start a thread ({error}); look at the limits of this user"))
        })?;
    let ended = supervise::supervise(&shared, &*crew, &asks, succession);
    // the workers cut what is left, and count it
    drop(crew);
    supervise::sum_up(&shared);
    succession.end_admin();
    ended
}

/// The first revision. A name that does not resolve now may later, so a start does not depend on it.
fn first(shared: &Shared, tls: Arc<ServerConfig>, roots: Vec<CertificateDer<'static>>) -> Fresh {
    let current = shared.current();
    let resolved = names::resolve(&current.config);
    for lost in &resolved.lost {
        tracing::warn!(name = lost.name, error = %lost.error, "a name in {} does not resolve now", lost.key);
    }
    let config = Arc::clone(&current.config);
    Fresh { number: current.revision, config, tls, roots, own: resolved.own, names: resolved.names }
}

/// Starts the one thread that runs on tokio. It ends with the process.
fn start_control(
    admin: Option<admin::Bound>,
    shared: &Arc<Shared>,
) -> io::Result<(Handle, Option<admin_hold::Hold>)> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let hold = admin.map(|bound| admin_hold::prepare(bound, shared.clone(), &handle)).transpose()?;
    thread::Builder::new().name("tidegate-control".to_owned()).spawn(move || {
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok((handle, hold))
}
