//! How the commands write to stdout.

use crate::control::exit::ExitError;
use std::io::{self, Write};

/// Writes a text to stdout. A reader that closed the pipe early, as `head` does, is not an error.
pub(crate) fn print(text: &[u8]) -> Result<(), ExitError> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ExitError::os(format!("can't write to stdout ({error}); check where it is redirected to")))
        }
        _ => Ok(()),
    }
}
