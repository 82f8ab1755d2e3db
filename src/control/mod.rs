//! The whole process: starts the workers, tells them when to drain, shows their counters, ends them well.
//!
//! `run` is the plot. Everything that can fail before a client is served fails here, with one sentence that names the
//! cause and the next step. This floor knows nothing of frames, heads or rings.

mod acts;
pub mod admin;
mod admin_guard;
pub mod ask;
mod asker;
pub mod certs;
pub mod cli;
pub mod cores;
pub mod crew;
pub mod desk;
mod follow;
mod fresh;
pub mod listen;
pub mod load;
pub mod log;
mod manager;
mod names;
mod orders;
pub mod phase;
pub mod reload;
mod reload_command;
pub mod report;
pub mod signals;
mod silence;
pub mod status;
pub mod supervise;
pub mod systemd;

use crate::worker::revision::Names;
pub use fresh::Fresh;
use phase::Shared;
use reload::Reloader;
use report::Stop;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

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
    /// Bound, listening and non-blocking; at least one for each address.
    pub listeners: Vec<TcpListener>,
}

/// All workers together, as the supervisor sees them.
pub trait Crew {
    /// How many workers accept connections; the reason if one can't.
    fn listening(&self) -> Result<usize, String>;
    /// Asks every worker to drain. The phase is `Draining` already.
    fn drain(&self);
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
    match serve(path, launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.say(),
    }
}

fn serve(path: &Path, launch: impl FnOnce(Launch) -> Result<Box<dyn Crew>, String>) -> Result<(), Stop> {
    let inherited = systemd::inherited().map_err(|error| {
        Stop::os(format!(
            "can't take the sockets in LISTEN_FDS ({error}); start it by its socket unit or without one"
        ))
    })?;
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
    let listeners = listen::open(&loaded.config.gateway.listen, cores.len(), inherited)
        .map_err(|refused| Stop::os(refused.to_string()))?;
    let admin = admin::bind(&loaded.config.admin.listen).map_err(Stop::os)?;

    let listening = listeners.first().map(|own| own.iter().filter_map(|one| one.local_addr().ok()).collect());
    let shared =
        Shared::new(loaded.config.clone(), cores.len(), loaded.facts(), listening.unwrap_or_default());
    let shared = Arc::new(shared);
    // nobody else sets it
    let _ = shared.asks.set(asker);
    let control = start_control(admin, Arc::clone(&shared)).map_err(|error| {
        Stop::os(format!("can't start the control thread ({error}); look at the limits of this user"))
    })?;
    let seats = cores.into_iter().zip(listeners).enumerate();
    let seats = seats.map(|(index, (core, listeners))| Seat { index, core, listeners }).collect();
    let fresh = first(&shared, loaded.tls, loaded.roots);
    let launched =
        Launch { shared: Arc::clone(&shared), fresh: fresh.clone(), seats, control: control.runtime.clone() };
    let crew = launch(launched).map_err(Stop::os)?;
    let workers = crew.reviser();
    let path = path.to_owned();
    Reloader::new(path, Arc::clone(&shared), logs.changer(), workers, fresh, loaded.certificates)
        .start()
        .map_err(|error| {
            Stop::os(format!("can't start a thread ({error}); look at the limits of this user"))
        })?;
    let ended = supervise::supervise(&shared, &*crew, &asks);
    // the workers cut what is left, and count it
    drop(crew);
    supervise::sum_up(&shared);
    control.end();
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

/// The one thread that runs on tokio.
struct Control {
    runtime: Handle,
    end: oneshot::Sender<()>,
    ended: mpsc::Receiver<()>,
}

/// How long a reader of the admin pages may take for what it asked before the end.
const LAST_ANSWER: Duration = Duration::from_secs(1);

impl Control {
    /// Lets who asked the admin listener have the answer: whoever asked for a drain hears that it began, even if there was
    /// nothing to drain.
    fn end(self) {
        if self.end.send(()).is_ok() {
            let _ = self.ended.recv_timeout(LAST_ANSWER);
        }
    }
}

/// Starts the control thread. It ends with the process.
fn start_control(admin: Option<admin::Bound>, shared: Arc<Shared>) -> io::Result<Control> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let ((end, over), (say, ended)) = (oneshot::channel(), mpsc::channel());
    thread::Builder::new().name("tidegate-control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Some(admin) = admin {
                let until = async { drop(over.await) };
                if let Err(error) = admin::serve(admin, shared, until).await {
                    tracing::error!("the admin listener ended: {error}");
                }
            }
            // nobody listens for it any more if the process does not end in an orderly way
            let _ = say.send(());
            std::future::pending::<()>().await;
        });
    })?;
    Ok(Control { runtime: handle, end, ended })
}
