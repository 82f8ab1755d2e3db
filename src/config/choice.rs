//! Kinds of values that are words: flags, closed sets, codes, paths, tokens, secrets.

use crate::config::model::{
    AccessLog, ApiVersion, Driver, Extensions, LogFormat, LogLevel, Secret, TlsVersion, Workers,
};
use crate::config::value::{Count, Scalar, integer, quote, text};
use crate::proto::proxy_protocol::Versions;
use crate::proto::red5::query::is_group;
use std::marker::PhantomData;
use std::path::PathBuf;
use toml::de::DeValue;

/// Yes or no.
pub(crate) struct Flag;

impl Scalar for Flag {
    type Value = bool;

    fn of(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "right is true or false, without quotes".to_owned())
    }

    fn write(value: &bool) -> String {
        value.to_string()
    }
}

/// A closed set of words.
pub(crate) trait Words: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl<W: Words> Scalar for W {
    type Value = W;

    fn of(value: &DeValue<'_>) -> Result<W, String> {
        let found = value.as_str();
        let word = W::ALL.iter().find(|(word, _)| Some(*word) == found);
        word.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = W::ALL.iter().map(|(word, _)| quote(word)).collect();
            format!("right is one of {}", words.join(", "))
        })
    }

    fn write(value: &W) -> String {
        let word = W::ALL.iter().find(|(_, known)| known == value);
        quote(word.map_or("", |(word, _)| word))
    }
}

impl Words for Driver {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("io_uring", Self::IoUring), ("epoll", Self::Epoll)];
}

impl Words for Versions {
    const ALL: &'static [(&'static str, Self)] = &[("v1", Self::V1), ("v2", Self::V2), ("any", Self::Any)];
}

impl Words for TlsVersion {
    const ALL: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

impl Words for ApiVersion {
    const ALL: &'static [(&'static str, Self)] = &[
        ("1.0", Self("1.0")),
        ("2.0", Self("2.0")),
        ("3.0", Self("3.0")),
        ("3.1", Self("3.1")),
        ("4.0", Self("4.0")),
    ];
}

impl Words for Extensions {
    const ALL: &'static [(&'static str, Self)] = &[("strip", Self::Strip), ("forward", Self::Forward)];
}

impl Words for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Words for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// `"cores"` or a number.
pub(crate) struct WorkerCount;

impl Scalar for WorkerCount {
    type Value = Workers;

    fn of(value: &DeValue<'_>) -> Result<Workers, String> {
        if value.as_str() == Some("cores") {
            return Ok(Workers::Cores);
        }
        let count = Count::<usize, 1, 1024>::of(value).map(Workers::Count);
        count.map_err(|_| "right is \"cores\" or a whole number from 1 to 1024".to_owned())
    }

    fn write(value: &Workers) -> String {
        match value {
            Workers::Cores => quote("cores"),
            Workers::Count(count) => count.to_string(),
        }
    }
}

/// A close code that may be sent (RFC 6455, 7.4) and that makes sense for a gateway that leaves.
pub(crate) struct CloseCode;

impl Scalar for CloseCode {
    type Value = u16;

    fn of(value: &DeValue<'_>) -> Result<u16, String> {
        integer(value)
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999))
            .ok_or_else(|| {
                "right is a code that may be sent: 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999"
                    .to_owned()
            })
    }

    fn write(value: &u16) -> String {
        value.to_string()
    }
}

/// Path of a file.
pub(crate) struct File;

impl Scalar for File {
    type Value = PathBuf;

    fn of(value: &DeValue<'_>) -> Result<PathBuf, String> {
        let right = || "right is the path of a file".to_owned();
        let path = text(value, right)?;
        if path.is_empty() || path.contains('\0') { Err(right()) } else { Ok(path.into()) }
    }

    fn write(value: &PathBuf) -> String {
        quote(&value.to_string_lossy())
    }
}

/// Another kind, where the empty text means none.
pub(crate) struct OrEmpty<S>(PhantomData<S>);

impl<S: Scalar> Scalar for OrEmpty<S> {
    type Value = Option<S::Value>;

    fn shown(text: &str) -> bool {
        S::shown(text)
    }

    fn of(value: &DeValue<'_>) -> Result<Self::Value, String> {
        if value.as_str() == Some("") {
            return Ok(None);
        }
        S::of(value).map(Some).map_err(|right| format!("{right}; or \"\" for none"))
    }

    fn write(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quote(""), S::write)
    }
}

/// `off`, `stderr`, or a file.
pub(crate) struct Access;

impl Scalar for Access {
    type Value = AccessLog;

    fn of(value: &DeValue<'_>) -> Result<AccessLog, String> {
        match value.as_str() {
            Some("off") => Ok(AccessLog::Off),
            Some("stderr") => Ok(AccessLog::Stderr),
            _ => File::of(value)
                .map(AccessLog::File)
                .map_err(|_| "right is \"off\", \"stderr\" or the path of a file".to_owned()),
        }
    }

    fn write(value: &AccessLog) -> String {
        match value {
            AccessLog::Off => quote("off"),
            AccessLog::Stderr => quote("stderr"),
            AccessLog::File(path) => <File as Scalar>::write(path),
        }
    }
}

/// A token of HTTP (RFC 9110, 5.6.2), as subprotocols and parameter names are.
pub(crate) struct Token;

impl Scalar for Token {
    type Value = String;

    fn of(value: &DeValue<'_>) -> Result<String, String> {
        let right = || "right is a word of letters, digits and any of !#$%&'*+-.^_`|~".to_owned();
        let token = text(value, right)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !token.is_empty() && token.bytes().all(fits) { Ok(token.to_owned()) } else { Err(right()) }
    }

    fn write(value: &String) -> String {
        quote(value)
    }
}

/// A node group of Stream Manager 2.0: it becomes a segment of a path.
pub(crate) struct Group;

impl Scalar for Group {
    type Value = String;

    fn of(value: &DeValue<'_>) -> Result<String, String> {
        let right = || "right is a name of letters, digits and any of ._-, at most 128 long".to_owned();
        let name = text(value, right)?;
        // `default` is what clients say when they name none
        if is_group(name) && name != "default" { Ok(name.to_owned()) } else { Err(right()) }
    }

    fn write(value: &String) -> String {
        quote(value)
    }
}

/// Something that is never shown. What `env:NAME` and `file:PATH` stand for is read by `control`; that they are written
/// well is checked here.
pub(crate) struct Hidden;

/// Whether a text only says where a secret is.
fn is_reference(text: &str) -> bool {
    text.strip_prefix("env:").is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }) || text.strip_prefix("file:").is_some_and(|path| !path.is_empty())
}

impl Scalar for Hidden {
    type Value = Secret;

    fn shown(_text: &str) -> bool {
        false
    }

    fn of(value: &DeValue<'_>) -> Result<Secret, String> {
        let right = || "right is a text without control characters, \"env:NAME\" or \"file:PATH\"".to_owned();
        let secret = text(value, right)?;
        let plain = !secret.starts_with("env:") && !secret.starts_with("file:");
        let printable = !secret.is_empty() && secret.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if printable && (plain || is_reference(secret)) {
            Ok(Secret(secret.to_owned()))
        } else {
            Err(right())
        }
    }

    fn write(value: &Secret) -> String {
        quote(if is_reference(&value.0) { &value.0 } else { "***" })
    }
}
