//! Events for the supervisor: signals, and requests of the admin listener.
//!
//! Signals are blocked in every thread but one, so that no worker's wait in the kernel is ever interrupted.

use futures_channel::oneshot;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const WATCHED: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGUSR2];

/// Takes the outcome of a request of the admin listener: a value, or the reason of a refusal. Nothing may wait for it any more.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// What the supervisor is asked to do from outside.
#[derive(Debug)]
pub enum ControlEvent {
    /// SIGTERM or SIGINT: drain and end. A second one ends the process at once.
    End,
    /// `POST /api/drain`: drain and end. A second one changes nothing.
    Drain,
    /// `DELETE /api/drain`: take back a drain that [`ControlEvent::Drain`] began. The reply comes once the workers accept again.
    UndoDrain(Reply<()>),
    /// SIGHUP: read the configuration and the certificates anew.
    Reload,
    /// SIGUSR2, or with a reply `POST /api/upgrade`: hand the listeners to a new process of the binary that is installed now. The
    /// reply is the id of the process that serves then.
    HandOver(Option<Reply<u32>>),
}

/// Begins to listen to signals. Returns a sender for events of other origin and the receiver of all events. Call it before
/// any other thread starts, because threads inherit which signals are blocked. It fails if a signal can't be handled or
/// blocked, or if no thread can be started.
pub fn listen() -> io::Result<(Sender<ControlEvent>, Receiver<ControlEvent>)> {
    let mut signals = Signals::new(WATCHED)?;
    mask(libc::SIG_BLOCK)?;
    let (sender, receiver) = channel();
    let of_signals = sender.clone();
    thread::Builder::new().name("tidegate-signal".to_owned()).spawn(move || {
        if let Err(error) = mask(libc::SIG_UNBLOCK) {
            tracing::error!("signals can't be received: {error}");
        }
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => ControlEvent::Reload,
                SIGUSR2 => ControlEvent::HandOver(None),
                _ => ControlEvent::End,
            };
            if of_signals.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok((sender, receiver))
}

/// Blocks (`SIG_BLOCK`) or unblocks (`SIG_UNBLOCK`) the watched signals in the calling thread.
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
