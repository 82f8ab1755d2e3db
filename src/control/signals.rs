//! Which signal asks for what.
//!
//! Signals are blocked in every thread but one, so that no worker's wait in the kernel is ever interrupted.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const WATCHED: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGUSR2];

/// What somebody outside asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlEvent {
    /// SIGTERM or SIGINT: drain and end; at once if it is the second time.
    End,
    /// Somebody asked the admin listener for a drain; asking twice changes nothing.
    Drain,
    /// SIGHUP.
    Reload,
    /// SIGUSR2: hand the listeners to a new binary.
    HandOver,
}

/// Begins to listen to signals; others may ask through the sender. Call it before any other thread starts: threads inherit what is blocked.
pub fn listen() -> io::Result<(Sender<ControlEvent>, Receiver<ControlEvent>)> {
    let mut signals = Signals::new(WATCHED)?;
    mask(libc::SIG_BLOCK)?;
    let (asks, receiver) = channel();
    let others = asks.clone();
    thread::Builder::new().name("tidegate-signal".to_owned()).spawn(move || {
        if let Err(error) = mask(libc::SIG_UNBLOCK) {
            tracing::error!("signals can't be received: {error}");
        }
        for signal in signals.forever() {
            let ask = match signal {
                SIGHUP => ControlEvent::Reload,
                SIGUSR2 => ControlEvent::HandOver,
                _ => ControlEvent::End,
            };
            if asks.send(ask).is_err() {
                return;
            }
        }
    })?;
    Ok((others, receiver))
}

/// Blocks or unblocks our signals in the calling thread.
#[allow(unsafe_code)]
fn mask(how: i32) -> io::Result<()> {
    // SAFETY: `set` is a plain value that sigemptyset fills before it is read; the calls touch nothing but it and the
    // calling thread's own mask.
    let code = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in WATCHED {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut())
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}
