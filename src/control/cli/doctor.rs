//! `tidegate doctor`: prints what stands in the way of a gateway on this machine.

use crate::control::cli::output::print;
use crate::control::doctor::examine;
use crate::control::exit::{ExitError, NO};
use std::path::Path;

/// Examines the machine and prints all findings. Fails with exit code 1 if something stands in the way.
pub(crate) fn doctor(path: &Path, json: bool) -> Result<(), ExitError> {
    let report = examine(path);
    if json {
        let text = serde_json::to_vec(&report)
            .map_err(|error| ExitError::os(format!("can't write JSON ({error})")))?;
        print(&[&text[..], b"\n"].concat())?;
    } else {
        print(report.table().as_bytes())?;
    }
    let text = match report.problems() {
        0 => return Ok(()),
        1 => "1 problem stands in the way, and the line below it says what to do".to_owned(),
        count => format!("{count} problems stand in the way, and the line below each says what to do"),
    };
    Err(ExitError { code: NO, text })
}
