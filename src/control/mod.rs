//! The whole process: starts the workers, tells them when to drain, shows their counters, ends them well.
//!
//! `run` is the plot. Everything that can fail before a client is served fails here, with one sentence that names the
//! cause and the next step. This floor knows nothing of frames, heads or rings.

pub mod admin;
pub mod certs;
pub mod cli;
pub mod cores;
pub mod crew;
pub mod listen;
pub mod load;
pub mod log;
mod manager;
mod names;
pub mod phase;
pub mod report;
pub mod signals;
mod silence;
pub mod status;
pub mod supervise;
pub mod systemd;

use phase::Shared;
use report::Stop;
use rustls::ServerConfig;
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
    pub tls: Arc<ServerConfig>,
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
    /// Whether nothing is left to be ended. Asked during a drain, beside the count of open connections.
    fn is_idle(&self) -> bool {
        true
    }
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
    let asks = signals::listen().map_err(|error| Stop::os(format!("can't listen to signals ({error})")))?;
    let loaded = load::load(path).map_err(|failure| report::failure(path, &failure))?;
    let _logs = log::start(&loaded.config.log)
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
    let shared = Shared::new(loaded.config, cores.len(), loaded.certificates, listening.unwrap_or_default());
    let shared = Arc::new(shared);
    let control = start_control(admin, Arc::clone(&shared)).map_err(|error| {
        Stop::os(format!("can't start the control thread ({error}); look at the limits of this user"))
    })?;
    let seats = cores.into_iter().zip(listeners).enumerate();
    let seats = seats.map(|(index, (core, listeners))| Seat { index, core, listeners }).collect();
    let crew =
        launch(Launch { shared: Arc::clone(&shared), tls: loaded.tls, seats, control }).map_err(Stop::os)?;
    supervise::supervise(&shared, &*crew, &asks)
}

/// Starts the one thread that runs on tokio. It ends with the process.
fn start_control(admin: Option<admin::Bound>, shared: Arc<Shared>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("tidegate-control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Some(admin) = admin {
                // it only comes back if it could not begin
                let error = admin::serve(admin, shared).await;
                tracing::error!("the admin listener ended: {error:?}");
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(handle)
}
