//! A new revision while serving: everything is read anew; certificates are watched.

pub mod cert_watch;
pub mod reloader;
