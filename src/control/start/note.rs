//! The text of a hand-over: which descriptors a gateway leaves open for its successor, in an environment variable.
//!
//! The text is the number of its format, then entries separated by one blank. In format 2 the predecessor waits for the
//! acknowledgement of its successor before it gives the listeners away; in format 1 (tidegate 0.1.0) it does not. This version
//! reads both and writes format 2, which 0.1.0 refuses: then the running process serves on. An entry names a descriptor that
//! stays open over the exec:
//!
//! | entry | descriptor |
//! |---|---|
//! | `own=7` | a listening socket that a gateway opened |
//! | `unit=8` | a listening socket of a socket unit, which systemd keeps as well |
//! | `admin=5` | a listener for operators: the one of `[monitoring]` or of `[admin]`, which the address tells |
//! | `report=9:4711` | the control pipe to the predecessor, and the predecessor's process id |
//! | `past=10:4242` | the control pipe to an older process that still drains, and its process id |
//!
//! The entry `step` tells the first process of a new binary to start the second one (see
//! [`inherited`](crate::control::start::inherited)). Later versions may add kinds of entries: a process closes the descriptors of
//! kinds that it does not know.

use std::fmt::Write as _;
use std::os::fd::RawFd;

/// The environment variable that carries the text.
pub const FD_ENV: &str = "TIDEGATE_HANDOVER";
/// Whether the predecessor waits for an acknowledgement: what the number of the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Format 1: the predecessor gives the listeners away together with its `go`.
    WithoutAck,
    /// Format 2: the predecessor keeps the listeners until the successor acknowledges, and then says `main`.
    WithAck,
}

impl Format {
    const fn number(self) -> &'static str {
        match self {
            Self::WithoutAck => "1",
            Self::WithAck => "2",
        }
    }
}

/// A note: its format, whether it has the entry `step`, and all other entries.
#[derive(Debug, PartialEq, Eq)]
pub struct Note<'n> {
    pub format: Format,
    pub step: bool,
    pub entries: Vec<FdEntry<'n>>,
}

/// One entry: what the descriptor is, its number, and the process id that belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct FdEntry<'n> {
    pub kind: &'n str,
    pub number: RawFd,
    pub pid: Option<u32>,
}

/// Writes the text for a process that starts with exactly these descriptors. `step` is whether it is the first process of a new
/// binary.
pub fn write(format: Format, step: bool, entries: &[FdEntry<'_>]) -> String {
    let mut note = format.number().to_owned();
    if step {
        note.push_str(" step");
    }
    for FdEntry { kind, number, pid } in entries {
        let _ = match pid {
            Some(pid) => write!(note, " {kind}={number}:{pid}"),
            None => write!(note, " {kind}={number}"),
        };
    }
    note
}

/// Reads the text. `None` if the format is another one, if an entry is malformed, or if a descriptor is named twice or is one of
/// the standard ones (0 to 2).
pub fn read(note: &str) -> Option<Note<'_>> {
    let mut words = note.split(' ');
    let number = words.next()?;
    let format = [Format::WithoutAck, Format::WithAck].into_iter().find(|one| one.number() == number)?;
    let (mut step, mut entries) = (false, Vec::new());
    for word in words {
        if word == "step" {
            step = true;
            continue;
        }
        let (kind, value) = word.split_once('=')?;
        let (number, pid) = match value.split_once(':') {
            Some((number, pid)) => (number, Some(pid.parse().ok()?)),
            None => (value, None),
        };
        let number = number.parse().ok().filter(|number| *number > 2)?;
        if entries.iter().any(|entry: &FdEntry<'_>| entry.number == number) {
            return None;
        }
        entries.push(FdEntry { kind, number, pid });
    }
    Some(Note { format, step, entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_note_reads_back() {
        let entries = || {
            vec![
                FdEntry { kind: "own", number: 7, pid: None },
                FdEntry { kind: "report", number: 9, pid: Some(4711) },
            ]
        };
        let note = write(Format::WithAck, true, &entries());
        assert_eq!(note, "2 step own=7 report=9:4711", "other versions read it");
        let expected = |format, step| Some(Note { format, step, entries: entries() });
        assert_eq!(read(&note), expected(Format::WithAck, true));
        let note = write(Format::WithAck, false, &entries());
        assert_eq!(note, "2 own=7 report=9:4711");
        assert_eq!(read(&note), expected(Format::WithAck, false));
        assert_eq!(
            read("1 step own=7 report=9:4711"),
            expected(Format::WithoutAck, true),
            "of tidegate 0.1.0"
        );
        assert_eq!(write(Format::WithoutAck, false, &entries()), "1 own=7 report=9:4711");
    }

    #[test]
    fn an_entry_of_a_later_version_is_read_and_a_malformed_note_is_refused() {
        let later = FdEntry { kind: "lantern", number: 12, pid: None };
        let format = Format::WithAck;
        assert_eq!(read("2 lantern=12"), Some(Note { format, step: false, entries: vec![later] }));
        for note in
            ["", "3 own=7", "2 own", "2 own=", "2 own=-1", "2 own=2", "1 own=7 unit=7", "1 own=7:x", "1  "]
        {
            assert_eq!(read(note), None, "{note:?}");
        }
    }
}
