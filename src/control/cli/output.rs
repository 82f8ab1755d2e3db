//! How the commands write to stdout.

use crate::control::cli::table;
use crate::control::exit::ExitError;
use std::io::{self, IsTerminal, Write};

/// Lines of a terminal that does not tell its size.
const HEIGHT: usize = 24;

/// Writes a text to stdout. A reader that closed the pipe early, as `head` does, is not an error.
pub(crate) fn print(text: &[u8]) -> Result<(), ExitError> {
    is_printed(text).map(|_| ())
}

/// Writes a text to stdout; false if its reader is gone.
pub(crate) fn is_printed(text: &[u8]) -> Result<bool, ExitError> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(ExitError::os(format!("can't write to stdout ({error}); check where it is redirected to")))
        }
    }
}

/// Whether stdout is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns and lines of the terminal on stdout.
pub(crate) fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let told = |told: u16| Some(usize::from(told)).filter(|told| *told > 0);
    let (columns, lines) = size.map_or((None, None), |size| (told(size.ws_col), told(size.ws_row)));
    (columns.unwrap_or(table::WIDTH), lines.unwrap_or(HEIGHT))
}
