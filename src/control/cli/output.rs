//! What the commands print.

use crate::control::exit::ExitError;
use std::io::{self, Write};

/// Writes to stdout; a reader who left early, as `head` does, is no error.
pub(crate) fn print(text: &[u8]) -> Result<(), ExitError> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ExitError::os(format!("can't write to stdout ({error}); look at where it goes")))
        }
        _ => Ok(()),
    }
}
