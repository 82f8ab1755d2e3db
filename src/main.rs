//! The program: an allocator, a command line, and the workers it starts.

use std::process::ExitCode;
use tidegate::control;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    control::cli::main(|launch| control::crew::launch(launch, Vec::new()))
}
