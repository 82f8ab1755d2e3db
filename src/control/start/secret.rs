//! Secrets of which the configuration only says where they are: `env:NAME`, `file:PATH`, and `credential:NAME` for a file that
//! systemd provides below `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
//!
//! No problem that is reported from here quotes a secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Fewest characters of `admin.token`: with fewer it could be guessed.
const TOKEN_MIN: usize = 16;

/// What would be right instead of a file that can't be read for this reason.
pub(crate) fn readable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "a file that tidegate's user may read, in folders that it may enter"
        }
        io::ErrorKind::IsADirectory => "the path of a file, not of a folder",
        io::ErrorKind::InvalidData => "a file of text in UTF-8",
        _ => "the path of a file that is there",
    }
}

/// A secret that can't be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What the key has.
    pub(crate) found: String,
    /// What it needs.
    pub(crate) expected: String,
    /// A file can't be read, as opposed to a variable that is not set.
    pub(crate) is_file: bool,
}

/// Where a secret is.
pub(crate) enum Source {
    /// The value of this environment variable.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

/// Where the secret is that `text` refers to; `None` if it is no reference. Fails for a credential of a process that has no
/// credentials.
pub(crate) fn source(text: &str) -> Result<Option<Source>, Missing> {
    if let Some(name) = text.strip_prefix("env:") {
        return Ok(Some(Source::Variable(name.to_owned())));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(Some(Source::File(path.into())));
    }
    let Some(name) = text.strip_prefix("credential:") else { return Ok(None) };
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => Ok(Some(Source::File(Path::new(&folder).join(name)))),
        None => Err(Missing {
            found: format!("{text}, but this process has no credentials ($CREDENTIALS_DIRECTORY is not set)"),
            expected: format!("LoadCredential={name}:PATH in the unit, or file:PATH"),
            is_file: false,
        }),
    }
}

/// The file of a private key, as `tls.certificates` names it; `None` if an environment variable holds the key, or if nothing
/// does.
pub(crate) fn key_file(key: &Path) -> Option<PathBuf> {
    match key.to_str().map(source) {
        Some(Ok(Some(Source::File(path)))) => Some(path),
        Some(Ok(Some(Source::Variable(_))) | Err(_)) => None,
        Some(Ok(None)) | None => Some(key.to_owned()),
    }
}

/// The value that `text` refers to, without the line ends behind it; `text` itself if it is no reference.
pub(crate) fn read(text: &str) -> Result<String, Missing> {
    let value = match source(text)? {
        None => text.to_owned(),
        Some(Source::Variable(name)) => variable(&name)?,
        Some(Source::File(path)) => fs::read_to_string(&path).map_err(|error| Missing {
            found: format!("{text}, which can't be read ({error})"),
            expected: readable(&error).to_owned(),
            is_file: true,
        })?,
    };
    Ok(value.trim_end_matches(['\r', '\n']).to_owned())
}

/// The value of an environment variable.
pub(crate) fn variable(name: &str) -> Result<String, Missing> {
    std::env::var(name).map_err(|_| Missing {
        found: format!("env:{name}, which is not set"),
        expected: "a variable that is set".to_owned(),
        is_file: false,
    })
}

/// Reads `admin.token`. It has to be one that an HTTP field can hold (RFC 6750, 2.1), and too long to be guessed.
pub(crate) fn read_token(reference: &str) -> Result<String, Missing> {
    let token = read(reference)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.len() >= TOKEN_MIN && token.bytes().all(fits) {
        return Ok(token);
    }
    Err(Missing {
        found: format!("{reference}, which holds something else"),
        expected: format!(
            "one line of at least {TOKEN_MIN} letters, digits and any of -._~+/= (`openssl rand -hex 32` makes one)"
        ),
        is_file: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_file_and_a_weak_one_is_refused() {
        let path = std::env::temp_dir().join(format!("tidegate-token-{}", std::process::id()));
        let reference = format!("file:{}", path.display());
        let read = |content: &str| {
            fs::write(&path, content).expect("written");
            read_token(&reference)
        };
        assert_eq!(read("0123456789abcdef\n").as_deref(), Ok("0123456789abcdef"));
        for wrong in ["", "0123456789abcde\n", "0123456789abcdef\nmore", "0123456789 abcdef"] {
            let missing = read(wrong).expect_err(wrong);
            assert!(
                !missing.found.contains("012345") && missing.expected.contains("at least 16"),
                "{missing:?}"
            );
        }
        fs::remove_file(&path).expect("removed");
        let missing = read_token(&reference).expect_err("no file");
        assert!(missing.is_file && missing.found.contains("can't be read"), "{missing:?}");
        assert!(!read_token("env:TIDEGATE_TEST_NOT_SET").expect_err("not set").is_file);
    }
}
