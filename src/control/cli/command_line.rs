//! The command line: which commands and options there are, and which code does each.

use crate::control::cli::drain::Drain;
use crate::control::cli::output::print;
use crate::control::cli::target::{CONFIG_FILE, Target, TargetOptions};
use crate::control::cli::{check, doctor, drain, manual, nodes, reload, sessions, status, upgrade, why};
use crate::control::exit::USAGE;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
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
        /// Check as this user, whose rights to files then count; only root may
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Look at this machine and at what the configuration needs of it, and say what to do about each finding
    Doctor {
        #[command(flatten)]
        file: File,
        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },
    /// Show the state of the running gateway: sessions, stream managers, nodes, ends and refusals, certificates
    Status {
        #[command(flatten)]
        target: TargetOptions,
    },
    /// List the sessions of the running gateway, or those that have ended
    Sessions {
        #[command(flatten)]
        filter: sessions::Filter,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// List the nodes as the running gateway sees them
    Nodes {
        /// Show the list every two seconds until it is interrupted
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Tell what happened in a session or a request, and why it ended
    Why {
        /// The id, as answers (X-Tidegate-Session), lists, logs and Closes show it
        #[arg(value_parser = sessions::session_id)]
        id: String,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// End one session of the running gateway; a WebSocket gets a Close
    Kick {
        /// The session's id, as `tidegate sessions` and the log show it
        #[arg(value_parser = sessions::session_id)]
        id: String,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Tell the running gateway to close its sessions one after the other and to exit
    Drain {
        /// Take back a drain that this command began: the gateway accepts again, and sessions that are left stay
        #[arg(long, conflicts_with = "wait")]
        undo: bool,
        /// Wait until the process has ended
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Tell the running gateway to read its configuration and certificates again; waits for the result
    Reload {
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Hand the listeners to a new process of the program that is installed now, and keep the sessions in the old one
    Upgrade {
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Print the completion script for a shell
    Completions {
        /// The shell that reads the script
        shell: clap_complete::Shell,
    },
    /// Print a manual page, in the form that man reads
    Man {
        /// The command whose page is printed; without one it is the page of tidegate itself
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
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
        Command::Check { file, effective, user } => check::check(&file.config, effective, user.as_deref()),
        Command::Doctor { file, json } => doctor::doctor(&file.config, json),
        Command::Status { target } => {
            Target::find(&target).and_then(|found| status::show(&found, target.json))
        }
        Command::Sessions { filter, target } => {
            Target::find(&target).and_then(|found| sessions::sessions(&found, &filter, target.json))
        }
        Command::Nodes { watch, target } => {
            Target::find(&target).and_then(|found| nodes::nodes(&found, target.json, watch))
        }
        Command::Why { id, target } => {
            Target::find(&target).and_then(|found| why::why(&found, &id, target.json))
        }
        Command::Kick { id, target } => {
            Target::find(&target).and_then(|found| sessions::kick(&found, &id, target.json))
        }
        Command::Drain { undo, wait, target } => {
            let what = match (undo, wait) {
                (true, _) => Drain::Undo,
                (false, true) => Drain::Wait,
                (false, false) => Drain::Begin,
            };
            Target::find(&target).and_then(|found| drain::drain(&found, what, target.json))
        }
        Command::Upgrade { target } => {
            Target::find(&target).and_then(|found| upgrade::upgrade(&found, target.json))
        }
        Command::Reload { target } => {
            Target::find(&target).and_then(|found| reload::reload(&found, target.json))
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut text);
            print(&text)
        }
        Command::Man { of } => manual::print_page(Arguments::command(), of.as_deref()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_manual_page_with_text() {
        let mut commands = Arguments::command();
        commands.build();
        let names =
            commands.get_subcommands().map(|command| command.get_name()).filter(|name| *name != "help");
        let without: Vec<_> = names.filter(|name| manual::page(name).is_none()).collect();
        assert_eq!(without, [""; 0], "write their pages in src/control/cli/manual/pages.rs");
    }
}
