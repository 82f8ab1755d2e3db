//! What a start needs: configuration and certificates from files, listeners, inherited descriptors, cores, the control thread.

pub mod certs;
pub mod control_pipe;
pub mod control_thread;
pub mod host;
pub mod inherited;
pub mod listeners;
pub mod load;
pub mod note;
pub(crate) mod otlp_headers;
pub mod pinned;
pub mod program;
pub(crate) mod secret;
pub(crate) mod stored_certs;
