//! The buffers of one core, lent while bytes are moving and to nobody in between.
//!
//! They are taken inside a closure, so the compiler keeps the rule that no buffer is held across an await: an idle
//! session holds none.

use std::cell::RefCell;

/// Bytes that one `recv` may take. Fewer and larger pieces cost less for each byte, since each wakes its receiver:
/// `docs/performance.md` has the figures.
pub(crate) const RECEIVE_MAX: usize = 512 * 1024;

/// Room in front of received bytes: for a TLS record begun earlier (at most 16 KiB and its overhead), or for a frame
/// header begun earlier.
pub(crate) const CARRY_MAX: usize = 80 * 1024;

/// What TLS adds to [`RECEIVE_MAX`] bytes: at most 29 for each started 16 KiB, and room for alerts and tickets.
const OUTPUT: usize = RECEIVE_MAX + 16 * 1024;

/// The buffers of one core.
pub(crate) struct Scratch {
    /// What was received.
    pub input: Box<[u8]>,
    /// Records on their way to a client.
    pub output: Box<[u8]>,
    /// Plaintext that is not one slice of what was received.
    pub gather: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; CARRY_MAX + RECEIVE_MAX].into_boxed_slice(),
        output: vec![0; OUTPUT].into_boxed_slice(),
        gather: Vec::new(),
    });
}

/// Lends this core's buffers.
pub(crate) fn with<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.gather.clear();
        use_it(scratch)
    })
}
