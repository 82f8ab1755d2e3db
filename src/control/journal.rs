//! Whether stderr is the journal of systemd, and how lines tell it their level.
//!
//! systemd names the stream that it has connected in `JOURNAL_STREAM`, as the numbers of its device and inode (systemd.exec(5)).
//! A process whose stderr was redirected since then has the variable too, so the numbers are compared. The journal notes the
//! time of every line itself, and reads the level from a prefix `<N>` (sd-daemon(3)).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use tracing::Level;

/// The prefix that tells the journal a level (sd-daemon(3)): its numbers are those of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix(u8);

impl Prefix {
    /// The prefix of the errors with which the program ends.
    pub(crate) const ERROR: Self = Self(3);

    /// The prefix of a log line of this level.
    pub(crate) const fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::ERROR,
            Level::WARN => Self(4),
            Level::INFO => Self(6),
            Level::DEBUG | Level::TRACE => Self(7),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// Whether stderr is the stream to the journal. It is looked at once: stderr stays what it was at the start.
pub(crate) fn is_stderr() -> bool {
    static IS_STDERR: OnceLock<bool> = OnceLock::new();
    *IS_STDERR.get_or_init(|| {
        std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_file(&stream, io::stderr()).unwrap_or(false))
    })
}

/// Whether a value of `JOURNAL_STREAM` names this open file. It fails if the file can't be looked at.
fn is_file(stream: &str, file: impl AsFd) -> io::Result<bool> {
    let numbers = stream.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    let Some((Ok(device), Ok(inode))) = numbers else { return Ok(false) };
    let metadata = File::from(file.as_fd().try_clone_to_owned()?).metadata()?;
    Ok((metadata.dev(), metadata.ino()) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journal() {
        let [(one, _one_end), (other, _other_end)] = [(); 2].map(|()| io::pipe().expect("a pipe"));
        let file = File::from(one.as_fd().try_clone_to_owned().expect("another descriptor"));
        let metadata = file.metadata().expect("its metadata");
        let stream = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_file(&stream, &one).expect("an open file"));
        assert!(!is_file(&stream, &other).expect("an open file"), "stderr was redirected");
        for stream in ["", ":", "1", "a:b", "1:2:3", &format!("{stream}:"), &format!(" {stream}")] {
            assert!(!is_file(stream, &one).expect("an open file"), "{stream:?}");
        }
    }

    #[test]
    fn levels_have_the_numbers_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(|level| Prefix::of(level).to_string()), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }
}
