//! What a start reads and takes: configuration, certificates, listeners, inherited sockets, the machine.

pub mod certs;
pub mod host;
pub mod inherited;
pub mod listeners;
pub mod load;
pub mod program;
