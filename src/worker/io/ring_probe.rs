//! What io_uring offers on this machine, for `tidegate doctor`: makes a ring as a worker does, asks the kernel about it and
//! closes it. No worker uses this ring.

use crate::worker::io::runtime::{RING_ENTRIES, deferred_ring};
use io_uring::{IoUring, Probe, opcode};
use std::io;

/// What a ring of this kernel can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingFeatures {
    /// Names of operations that workers submit and that this kernel does not have.
    pub missing: Vec<&'static str>,
    /// Completions are made only inside the wait of the ring's own thread: SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1).
    pub deferred: bool,
    /// One poll may complete many times (Linux 5.13).
    pub multishot_poll: bool,
    /// The kernel takes buffers from a ring that it shares with the process (Linux 5.19).
    pub buffer_rings: bool,
    /// One receive may complete many times (Linux 6.0).
    pub multishot_receive: bool,
}

/// What the workers' runtime submits: readiness, time, cancellation, and the wake from another thread.
const USED: [(&str, u8); 4] = [
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("READ", opcode::Read::CODE),
];

/// Makes a ring of a worker's size and asks what it can do. Fails as io_uring_setup(2) does, or as the registration of a probe.
pub fn probe_ring() -> io::Result<RingFeatures> {
    let (ring, deferred) = match deferred_ring().build(RING_ENTRIES) {
        Ok(ring) => (ring, true),
        Err(_) => (IoUring::new(RING_ENTRIES)?, false),
    };
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let missing = USED.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name);
    Ok(RingFeatures {
        missing: missing.collect(),
        deferred,
        // the kernel does not list the flags of its operations, so something stands for each that came with the same release
        multishot_poll: ring.params().is_feature_resource_tagging(),
        buffer_rings: probe.is_supported(opcode::Socket::CODE),
        multishot_receive: probe.is_supported(opcode::SendZc::CODE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_what_workers_submit_wherever_there_is_a_ring() {
        match probe_ring() {
            Ok(features) => {
                assert_eq!(features.missing, [""; 0]);
                assert!(features.multishot_poll || !features.multishot_receive, "6.0 has what 5.13 has");
                assert!(features.buffer_rings || !features.multishot_receive, "6.0 has what 5.19 has");
            }
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }
}
