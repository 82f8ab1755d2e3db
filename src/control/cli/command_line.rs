//! The command line: `run`, `check`, the commands for a running gateway, and what packagers need.

use crate::config::{self, AdminListen};
use crate::control::cli::output::print;
use crate::control::cli::{reload, sessions, status};
use crate::control::exit::{self, CONFIG, ExitError, USAGE};
use crate::control::start::load::{self, Failure, Loaded};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// TLS gateway for Red5 Pro clusters: clients connect by TLS, nodes are dialled without it
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = false, subcommand_required = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain and exit with code 0
    Run {
        #[command(flatten)]
        file: File,
    },
    /// Check everything that a start needs except the ports, and print every problem
    Check {
        #[command(flatten)]
        file: File,
        /// Print the configuration with all defaults and with masked secrets
        #[arg(long)]
        effective: bool,
    },
    /// Show the state of the running gateway: phase, sessions, workers, certificates
    Status {
        #[command(flatten)]
        target: Target,
    },
    /// List the sessions of the running gateway
    Sessions {
        #[command(flatten)]
        target: Target,
    },
    /// End one session of the running gateway; a WebSocket gets a Close
    Kick {
        /// The session's id, as `tidegate sessions` and the log show it
        #[arg(value_parser = sessions::session_id)]
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Tell the running gateway to close its sessions one after the other and to exit; does not wait for that
    Drain {
        #[command(flatten)]
        target: Target,
    },
    /// Tell the running gateway to read its configuration and certificates again; waits for the result
    Reload {
        #[command(flatten)]
        target: Target,
    },
    /// Print the completion script for a shell
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

/// Which running gateway, and in which form its answer is printed.
#[derive(Debug, clap::Args)]
struct Target {
    /// The gateway's admin listener: ADDRESS:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180", value_parser = admin_address)]
    admin: AdminListen,
    /// Print JSON for scripts
    #[arg(long)]
    json: bool,
}

/// Reads the value of `--admin`.
fn admin_address(text: &str) -> Result<AdminListen, String> {
    match config::admin_address(text)? {
        AdminListen::Off => Err("expected an address with its port, or unix:/PATH".to_owned()),
        address => Ok(address),
    }
}

/// What is left to do after the command line was read.
#[derive(Debug)]
pub enum Action {
    /// `tidegate run`: serve with the configuration at this path.
    Run(PathBuf),
    /// Any other command is done: end with this code.
    Exit(ExitCode),
}

/// Reads the command line and does what it says, except to serve.
pub fn main() -> Action {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return Action::Exit(usage(&error)),
    };
    let done = match arguments.command {
        Command::Run { file } => return Action::Run(file.config),
        Command::Check { file, effective } => check(&file.config, effective),
        Command::Status { target } => status::show(&target.admin, target.json),
        Command::Sessions { target } => sessions::sessions(&target.admin, target.json),
        Command::Kick { id, target } => sessions::kick(&target.admin, &id, target.json),
        Command::Drain { target } => sessions::drain(&target.admin, target.json),
        Command::Reload { target } => reload::reload(&target.admin, target.json),
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
    Action::Exit(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.print(),
    })
}

/// Prints what clap reports. Help and version are not errors.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(USAGE),
    }
}

/// Loads the configuration at `path` and prints what it serves, or with `effective` all values. Warnings go to stderr. Fails with
/// exit code 78 for a configuration with problems, and 71 for one that can't be read.
fn check(path: &Path, effective: bool) -> Result<(), ExitError> {
    let loaded = load::load(path).map_err(|failure| {
        let error = exit::failure(path, &failure);
        // `run` ends with another code if only files are missing; for `check` that is a wrong configuration too
        if matches!(failure, Failure::Problems { .. }) { ExitError { code: CONFIG, ..error } } else { error }
    })?;
    for warning in loaded.warnings.iter().map(ToString::to_string).chain(unresolved_names(&loaded)) {
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

/// A warning for each configured name that does not resolve now. It may resolve later, so a start does not depend on it.
fn unresolved_names(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let manager =
        ("stream_manager.url", config.stream_manager.url.host.as_str(), config.stream_manager.url.port);
    let names = config.origins.names.iter().map(|name| ("origins.names", name.as_str(), config.origins.port));
    let warning = |(key, host, port): (&str, &str, u16)| {
        let error = (host, port).to_socket_addrs().err()?;
        Some(format!("{key}: {host} does not resolve now ({error}); check the name or DNS"))
    };
    std::iter::once(manager).chain(names).filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
