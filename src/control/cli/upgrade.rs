//! `tidegate upgrade`: the running gateway hands its listeners to a new process of the binary that is installed now.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::print;
use crate::control::cli::target::Target;
use crate::control::exit::ExitError;
use std::time::Duration;

/// How long a hand-over may take: the new process may take 60 s to be ready and 5 s to serve.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(70);

/// Hands over and prints the id of the process that serves now. Fails with exit code 1 and the reason if the former one serves on.
pub(crate) fn upgrade(target: &Target, json: bool) -> Result<(), ExitError> {
    let (status, body) = client::send(target, Method::POST, "/api/upgrade", UPGRADE_TIMEOUT)?;
    if !status.is_success() {
        return Err(client::refused(status, &body));
    }
    if json {
        return print(&[&body[..], b"\n"].concat());
    }
    let answer = client::json(&body)?;
    let (pid, former, sessions) = (&answer["pid"], &answer["former_pid"], &answer["sessions"]);
    let window = &answer["window_seconds"];
    let text = format!(
        "process {pid} serves; process {former} keeps its {sessions} sessions for at most {window} s\n"
    );
    print(text.as_bytes())
}
