//! The program: an allocator and a command line.

use std::process::ExitCode;
use tidegate::control::cli::command_line::{self, Action};
use tidegate::control::run;
use tidegate::control::start::program::Program;

// a sanitizer has to see every allocation, so it brings its own (tests/sanitize.sh)
#[cfg(not(sanitized))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command_line::main() {
        Action::Run(config) => {
            let program = Program::as_started();
            let program =
                program.inspect_err(|error| eprintln!("tidegate: SIGUSR2 will not work here ({error})"));
            run::run(&config, program.ok(), None)
        }
        Action::Exit(code) => code,
    }
}
