//! The buffers of one worker, lent to a session only while it moves bytes.
//!
//! They are lent inside a closure, so the compiler enforces that no buffer is held across an await: an idle session holds
//! none.

use std::cell::RefCell;

/// Most bytes that one `recv` takes. Fewer and larger pieces cost less for each byte, because each piece wakes its
/// receiver; `docs/performance.md` has the figures.
pub(crate) const RECEIVE_MAX: usize = 512 * 1024;

/// Room in front of received bytes, for a TLS record that began earlier (at most 16 KiB and its overhead) or a frame header
/// that began earlier.
pub(crate) const CARRY_MAX: usize = 80 * 1024;

/// What TLS adds to [`RECEIVE_MAX`] bytes: at most 29 for each started 16 KiB, and room for alerts and tickets.
const OUTPUT: usize = RECEIVE_MAX + 16 * 1024;

/// The buffers of one worker.
pub(crate) struct Scratch {
    /// Received bytes.
    pub input: Box<[u8]>,
    /// TLS records on their way to a client.
    pub output: Box<[u8]>,
    /// Plaintext that has to be put together because it is not one slice of the received bytes.
    pub gather: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; CARRY_MAX + RECEIVE_MAX].into_boxed_slice(),
        output: vec![0; OUTPUT].into_boxed_slice(),
        gather: Vec::new(),
    });
}

/// Lends this worker's buffers to `use_it`.
pub(crate) fn with<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.gather.clear();
        use_it(scratch)
    })
}
