//! The command line: `run`, `check`, what is asked of a running gateway, and what packagers need.

use crate::config;
use crate::config::AdminListen;
use crate::control::cli::{reload, sessions, status};
use crate::control::exit;
use crate::control::exit::{CONFIG, ExitError, USAGE};
use crate::control::start::load;
use crate::control::start::load::{Failure, Loaded};
use crate::control::start::program::Program;
use crate::control::workers::interface::{Launch, Workers};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An edge gateway for Red5 Pro clusters: TLS and WebSockets in, plain nodes out.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = false, subcommand_required = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM; then drain and exit 0
    Run {
        #[command(flatten)]
        file: File,
    },
    /// Check everything a start would need and print every problem
    Check {
        #[command(flatten)]
        file: File,
        /// Print the configuration as used, defaults included, secrets masked
        #[arg(long)]
        effective: bool,
    },
    /// Show how the running gateway is
    Status {
        #[command(flatten)]
        at: At,
    },
    /// List the sessions of the running gateway
    Sessions {
        #[command(flatten)]
        at: At,
    },
    /// End one session of the running gateway with a Close
    Kick {
        /// Its id, as it stands in the log and in `sessions`
        #[arg(value_parser = sessions::session_id)]
        id: String,
        #[command(flatten)]
        at: At,
    },
    /// Let the running gateway close its sessions one after the other, and end; does not wait for it
    Drain {
        #[command(flatten)]
        at: At,
    },
    /// Have the running gateway read its configuration and certificates anew
    Reload {
        #[command(flatten)]
        at: At,
    },
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/tidegate/tidegate.toml")]
    config: PathBuf,
}

/// A running gateway.
#[derive(Debug, clap::Args)]
struct At {
    /// Its admin listener: ADDRESS:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180", value_parser = admin_address)]
    admin: AdminListen,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
}

fn admin_address(text: &str) -> Result<AdminListen, String> {
    match config::admin_address(text)? {
        AdminListen::Off => Err("expected an address with its port, or unix:/PATH".to_owned()),
        address => Ok(address),
    }
}

/// Does what the command line says. `launch` starts the workers.
pub fn main(launch: impl FnOnce(Launch) -> Result<Box<dyn Workers>, String>) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let done = match arguments.command {
        Command::Run { file } => return run(&file.config, launch),
        Command::Check { file, effective } => check(&file.config, effective),
        Command::Status { at } => status::show(&at.admin, at.json),
        Command::Sessions { at } => sessions::sessions(&at.admin, at.json),
        Command::Kick { id, at } => sessions::kick(&at.admin, &id, at.json),
        Command::Drain { at } => sessions::drain(&at.admin, at.json),
        Command::Reload { at } => reload::reload(&at.admin, at.json),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut text);
            print(&text)
        }
        Command::Man => {
            let mut text = Vec::new();
            match clap_mangen::Man::new(Arguments::command()).render(&mut text) {
                Ok(()) => print(&text),
                Err(error) => Err(ExitError::os(format!("can't write the manual page ({error})"))),
            }
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.say(),
    }
}

fn run(path: &Path, launch: impl FnOnce(Launch) -> Result<Box<dyn Workers>, String>) -> ExitCode {
    let program = Program::as_started();
    let program = program.inspect_err(|error| eprintln!("tidegate: SIGUSR2 will not work here ({error})"));
    crate::control::run::run_program(path, program.ok(), launch)
}

/// Prints what clap says: help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(USAGE),
    }
}

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

fn check(path: &Path, effective: bool) -> Result<(), ExitError> {
    let loaded = load::load(path).map_err(|failure| {
        let stop = exit::failure(path, &failure);
        // of a configuration that was read, anything wrong is a wrong configuration
        if matches!(failure, Failure::Problems { .. }) { ExitError { code: CONFIG, ..stop } } else { stop }
    })?;
    for warning in loaded.warnings.iter().map(ToString::to_string).chain(unresolved(&loaded)) {
        eprintln!("{}: warning: {warning}", path.display());
    }
    if effective {
        return print(config::to_toml(&loaded.written).as_bytes());
    }
    let names = loaded.facts().into_iter().flat_map(|facts| facts.names).collect::<Vec<_>>();
    let listen = loaded.config.gateway.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (names, listen) = (names.join(", "), listen.join(", "));
    print(format!("{}: good: serves {names} on {listen}\n", path.display()).as_bytes())
}

/// Host names that can't be resolved now. They may be later, so a start does not depend on them.
fn unresolved(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let manager =
        ("stream_manager.url", config.stream_manager.url.host.as_str(), config.stream_manager.url.port);
    let names = config.origins.names.iter().map(|name| ("origins.names", name.as_str(), config.origins.port));
    let lost = |(key, host, port): (&str, &str, u16)| {
        let error = (host, port).to_socket_addrs().err()?;
        Some(format!("{key}: found {host}, which does not resolve now ({error}); look at the name or at DNS"))
    };
    std::iter::once(manager).chain(names).filter_map(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
