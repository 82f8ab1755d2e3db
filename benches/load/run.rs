//! Parts that all bench programs share: a directory for the run, and the exit code.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// A directory for this run, which is removed at the end.
pub struct Room(pub PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        // a directory that can't be removed stays; that is no reason to fail
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The exit code of a bench program. `Ok(false)`, a row without a figure, is a failure too.
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
