//! What every bench program here does with its run: a directory for it, and how it ended.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// A directory for this run, gone at its end.
pub struct Room(pub PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        // nothing can be done about a directory that somebody else holds
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How the program ends: badly also when a row met a fault.
pub fn ended(name: &str, ran: Result<bool, impl Display>) -> ExitCode {
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
    }
}
