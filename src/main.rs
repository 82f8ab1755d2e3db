//! The program: an allocator, a command line, and the workers it starts.

use std::process::ExitCode;
use tidegate::control;

// a sanitizer has to see every allocation, so it brings its own (tests/sanitize.sh)
#[cfg(not(sanitized))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    control::cli::command_line::main(|launch| control::workers::launch::launch(launch, None))
}
