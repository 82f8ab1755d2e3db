//! The control thread: the one thread that runs on tokio. It serves the admin listener, asks the stream manager and resolves
//! names, so that slow peers never delay a worker.

use std::io;
use std::thread;
use tokio::runtime::{Builder, Handle};

/// Starts the thread; it ends with the process. Tasks are spawned on the handle. It fails if the runtime or the thread can't
/// be had.
pub fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("tidegate-control".to_owned()).spawn(move || {
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok(handle)
}
