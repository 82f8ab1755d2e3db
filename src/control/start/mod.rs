//! What a start reads and takes: configuration, certificates, listeners, inherited sockets, the machine.

pub mod certs;
pub mod control_pipe;
pub mod control_thread;
pub mod host;
pub mod inherited;
pub mod listeners;
pub mod load;
pub mod note;
pub mod program;
