//! `--watch`: a table that is shown again and again. On a terminal it is redrawn in its place, elsewhere each one is appended.

use crate::control::cli::output::{self, is_terminal, size};
use crate::control::cli::table;
use crate::control::exit::ExitError;
use serde_json::{Value, json};
use std::fmt::Write;
use std::thread;
use std::time::{Duration, SystemTime};

/// Time between two tables.
const INTERVAL: Duration = Duration::from_secs(2);

/// How a command shows its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    pub(crate) json: bool,
    pub(crate) watch: bool,
}

/// Asks with `ask`, and shows the answer as JSON, or as the lines that `draw` makes of it for this width; once, or for ever with
/// `--watch`. While it watches, a gateway that does not answer is asked again. It fails if the first answer can't be had, and
/// returns when the reader of its output is gone.
pub(crate) fn show(
    show: Show,
    ask: impl Fn() -> Result<Value, ExitError>,
    draw: impl Fn(&Value, usize) -> Vec<String>,
) -> Result<(), ExitError> {
    let mut answer: Result<_, ExitError> = Ok(ask()?);
    loop {
        let text = match (show.json, &answer) {
            (true, Ok(answer)) => format!("{answer}\n"),
            (true, Err(error)) => format!("{}\n", json!({ "error": error.text })),
            (false, answer) if show.watch && is_terminal() => {
                let (width, height) = size();
                screen(&lines(answer, &draw, width), height)
            }
            (false, answer) => {
                let heading = if show.watch { format!("{}\n", now()) } else { String::new() };
                let end = if show.watch { "\n" } else { "" };
                let width = if is_terminal() { size().0 } else { table::WIDTH };
                lines(answer, &draw, width).iter().fold(heading, |text, line| text + line + "\n") + end
            }
        };
        if !output::is_printed(text.as_bytes())? || !show.watch {
            return Ok(());
        }
        thread::sleep(INTERVAL);
        answer = ask();
    }
}

fn lines(
    answer: &Result<Value, ExitError>,
    draw: impl Fn(&Value, usize) -> Vec<String>,
    width: usize,
) -> Vec<String> {
    match answer {
        Ok(answer) => draw(answer, width),
        Err(error) => table::wrapped(&error.text, width),
    }
}

/// The lines at the top of the screen, without what stood there before; those that do not fit are counted.
fn screen(lines: &[String], height: usize) -> String {
    // with the line of the time; the last line of the screen stays free, so that nothing scrolls
    let room = height.saturating_sub(2).max(1);
    let mut text = format!("\x1b[H{}, every {} s\x1b[K\n", now(), INTERVAL.as_secs());
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    for line in &lines[..shown] {
        let _ = writeln!(text, "{line}\x1b[K");
    }
    if shown < lines.len() {
        let _ = writeln!(text, "{} lines more\x1b[K", lines.len() - shown);
    }
    text + "\x1b[J"
}

/// The time in UTC.
fn now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_holds_what_fits_and_counts_the_rest() {
        let lines = ["a", "b", "c", "d"].map(str::to_owned);
        let all = screen(&lines, 6);
        assert!(all.starts_with("\x1b[H") && all.ends_with("d\x1b[K\n\x1b[J"), "{all:?}");
        let cut = screen(&lines, 5);
        assert!(cut.ends_with("\nb\x1b[K\n2 lines more\x1b[K\n\x1b[J"), "{cut:?}");
        assert_eq!(cut.matches('\n').count(), 4);
    }
}
