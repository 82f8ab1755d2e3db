//! Reload: a newer revision while the gateway serves, by request or because the file of a certificate changed.

pub mod cert_watch;
pub mod reloader;
