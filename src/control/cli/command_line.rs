//! The command line: `run`, `check`, the commands for a running gateway, and what packagers need.

use crate::config::{self, AdminListen, Problem};
use crate::control::cli::output::print;
use crate::control::cli::{reload, sessions, status};
use crate::control::exit::{self, CONFIG, ExitError, USAGE};
use crate::control::start::load::{self, Carried, Failure, Loaded};
use crate::control::stream_manager::dns::{self, Unresolved};
use crate::proto::admission::{AdmissionRules, admit_configured};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::collections::HashSet;
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
    let loaded = load::load(path, &Carried::default()).map_err(|failure| {
        let error = exit::failure(path, &failure);
        // `run` ends with another code if only files are missing; for `check` that is a wrong configuration too
        if matches!(failure, Failure::Problems { .. }) { ExitError { code: CONFIG, ..error } } else { error }
    })?;
    let mut warnings: Vec<_> = loaded.warnings.iter().cloned().chain(name_warnings(&loaded)).collect();
    warnings.sort_by_key(|warning| warning.line);
    for warning in &warnings {
        eprintln!("{}:{}: warning: {warning}", path.display(), warning.line);
    }
    if effective {
        return print(config::to_toml(&loaded.written).as_bytes());
    }
    let mut names = loaded.facts().into_iter().flat_map(|facts| facts.names).collect::<Vec<_>>();
    // those without a certificate yet
    names.extend(loaded.config.acme.names.iter().cloned());
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let listen = loaded.config.gateway.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (names, listen) = (names.join(", "), listen.join(", "));
    let result = match warnings.len() {
        0 => "good".to_owned(),
        1 => "can start, with the warning above".to_owned(),
        count => format!("can start, with the {count} warnings above"),
    };
    print(format!("{}: {result}: serves {names} on {listen}\n", path.display()).as_bytes())
}

/// A warning for each configured name that does not resolve now, or only to addresses that are never dialled. It may resolve
/// otherwise later, so a start does not depend on it.
fn name_warnings(loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let origins = &config.origins;
    let resolved = dns::resolve(config);
    // a node name is an entry of a list, which may have a line of its own
    let key = |key: &str, name: &str| {
        let index = origins.names.iter().position(|node| key == dns::NODES_KEY && node == name);
        index.map_or_else(|| key.to_owned(), |index| format!("{key}.{index}"))
    };
    let mut warnings = Vec::new();
    for Unresolved { key: table, name, error } in &resolved.unresolved {
        let found = format!("{name}, which does not resolve now ({error})");
        warnings.push(loaded.problem(&key(table, name), found, "a name that DNS knows".to_owned()));
    }
    let rules = AdmissionRules {
        networks: origins.networks.clone(),
        learned: origins.learned,
        strict: origins.strict,
        own: resolved.self_addresses,
        port: origins.port,
    };
    for (name, addresses) in &resolved.names {
        let denied = addresses.iter().all(|address| admit_configured(&rules, *address).is_err());
        if let (true, Some(address)) = (denied, addresses.first()) {
            let found = format!("{name}, which resolves to {address}, and that is never dialled");
            let expected =
                "a name of a node (an address of this machine has to be an entry of origins.networks too)";
            warnings.push(loaded.problem(&key(dns::NODES_KEY, name), found, expected.to_owned()));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
