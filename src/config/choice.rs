//! Kinds of values that are a choice or a word: flags, closed sets, close codes, paths, tokens, secrets.

use crate::config::model::{
    AccessFormat, AccessLog, ApiVersion, Driver, Extensions, LogFormat, LogLevel, Secret, ShowSessions,
    TlsVersion, Workers,
};
use crate::config::value::{Count, Scalar, integer, quote, text};
use crate::proto::proxy_protocol::Versions;
use crate::proto::red5::query::is_group;
use crate::proto::red5::route::route;
use crate::proto::refusal::Refusal;
use std::marker::PhantomData;
use std::path::PathBuf;
use toml::de::DeValue;

/// `true` or `false`, without quotes.
pub(crate) struct Flag;

impl Scalar for Flag {
    type Value = bool;

    fn parse(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "true or false, without quotes".to_owned())
    }

    fn print(value: &bool) -> String {
        value.to_string()
    }
}

/// A closed set of words, each with the value that it stands for.
pub(crate) trait Words: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl<W: Words> Scalar for W {
    type Value = W;

    fn parse(value: &DeValue<'_>) -> Result<W, String> {
        let found = value.as_str();
        let word = W::ALL.iter().find(|(word, _)| Some(*word) == found);
        word.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = W::ALL.iter().map(|(word, _)| quote(word)).collect();
            format!("one of {}", words.join(", "))
        })
    }

    fn print(value: &W) -> String {
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

impl Words for AccessFormat {
    const ALL: &'static [(&'static str, Self)] = &[("fields", Self::Fields), ("combined", Self::Combined)];
}

impl Words for ShowSessions {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

/// `"cores"` or a number of workers.
pub(crate) struct WorkerCount;

impl Scalar for WorkerCount {
    type Value = Workers;

    fn parse(value: &DeValue<'_>) -> Result<Workers, String> {
        if value.as_str() == Some("cores") {
            return Ok(Workers::Cores);
        }
        let count = Count::<usize, 1, 1024>::parse(value).map(Workers::Count);
        count.map_err(|_| "\"cores\" or a whole number from 1 to 1024".to_owned())
    }

    fn print(value: &Workers) -> String {
        match value {
            Workers::Cores => quote("cores"),
            Workers::Count(count) => count.to_string(),
        }
    }
}

/// A close code that an endpoint may send (RFC 6455, 7.4) and that fits a gateway that goes away.
pub(crate) struct CloseCode;

impl Scalar for CloseCode {
    type Value = u16;

    fn parse(value: &DeValue<'_>) -> Result<u16, String> {
        integer(value)
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999))
            .ok_or_else(|| {
                "a close code that may be sent: 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999".to_owned()
            })
    }

    fn print(value: &u16) -> String {
        value.to_string()
    }
}

/// Path of a file, which need not exist.
pub(crate) struct File;

impl Scalar for File {
    type Value = PathBuf;

    fn parse(value: &DeValue<'_>) -> Result<PathBuf, String> {
        let expected = || "the path of a file".to_owned();
        let path = text(value, expected)?;
        if path.is_empty() || path.contains('\0') { Err(expected()) } else { Ok(path.into()) }
    }

    fn print(value: &PathBuf) -> String {
        quote(&value.to_string_lossy())
    }
}

/// A path of a request that no route of the gateway has.
pub(crate) struct FreePath;

/// Longest such path. It has to fit below the smallest `limits.target_size`.
const FREE_PATH_MAX: usize = 64;

impl Scalar for FreePath {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || {
            format!(
                "a path without a query that is no route of the gateway, such as \"/healthz\", at most \
                 {FREE_PATH_MAX} long"
            )
        };
        let path = text(value, expected)?;
        let is_free = !path.contains('?') && route(path) == Err(Refusal::NoSuchRoute);
        if path.len() <= FREE_PATH_MAX && is_free { Ok(path.to_owned()) } else { Err(expected()) }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// Another kind, or the empty text, which is read as `None`.
pub(crate) struct OrEmpty<S>(PhantomData<S>);

impl<S: Scalar> Scalar for OrEmpty<S> {
    type Value = Option<S::Value>;

    fn may_show(text: &str) -> bool {
        S::may_show(text)
    }

    fn parse(value: &DeValue<'_>) -> Result<Self::Value, String> {
        if value.as_str() == Some("") {
            return Ok(None);
        }
        S::parse(value).map(Some).map_err(|expected| format!("{expected}, or \"\" for none"))
    }

    fn print(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quote(""), S::print)
    }
}

/// `"off"`, `"stderr"`, or the path of a file.
pub(crate) struct Access;

impl Scalar for Access {
    type Value = AccessLog;

    fn parse(value: &DeValue<'_>) -> Result<AccessLog, String> {
        match value.as_str() {
            Some("off") => Ok(AccessLog::Off),
            Some("stderr") => Ok(AccessLog::Stderr),
            _ => File::parse(value)
                .map(AccessLog::File)
                .map_err(|_| "\"off\", \"stderr\" or the path of a file".to_owned()),
        }
    }

    fn print(value: &AccessLog) -> String {
        match value {
            AccessLog::Off => quote("off"),
            AccessLog::Stderr => quote("stderr"),
            AccessLog::File(path) => File::print(path),
        }
    }
}

/// A token of HTTP (RFC 9110, 5.6.2): subprotocols and names of parameters are such.
pub(crate) struct Token;

impl Scalar for Token {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a word of letters, digits and any of !#$%&'*+-.^_`|~".to_owned();
        let token = text(value, expected)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !token.is_empty() && token.bytes().all(fits) { Ok(token.to_owned()) } else { Err(expected()) }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// A node group of Stream Manager 2.0, which becomes a segment of a path.
pub(crate) struct Group;

impl Scalar for Group {
    type Value = String;

    fn parse(value: &DeValue<'_>) -> Result<String, String> {
        let expected = || "a name of letters, digits and any of ._-, at most 128 long".to_owned();
        let name = text(value, expected)?;
        // `default` is what a client sends that names no group
        if is_group(name) && name != "default" { Ok(name.to_owned()) } else { Err(expected()) }
    }

    fn print(value: &String) -> String {
        quote(value)
    }
}

/// What the text of a reference to a secret begins with.
const SCHEMES: [&str; 3] = ["env:", "file:", "credential:"];

/// Whether a text begins as a reference to a secret does.
fn looks_like_reference(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Whether a text only says where the secret is, so that it may be shown.
fn is_reference(text: &str) -> bool {
    let is_variable = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    // systemd.exec(5): a credential has the name of a file
    let is_credential = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        (1..=255).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(fits)
    };
    text.strip_prefix("env:").is_some_and(is_variable)
        || text.strip_prefix("file:").is_some_and(|path| !path.is_empty() && !path.contains('\0'))
        || text.strip_prefix("credential:").is_some_and(is_credential)
}

/// A secret of which the file only says where it is: `env:NAME`, `file:PATH` or `credential:NAME`. `control` reads it; only the
/// spelling is checked here.
pub(crate) struct Reference;

impl Scalar for Reference {
    type Value = Secret;

    /// Not shown, because the secret itself may stand there by mistake.
    fn may_show(_text: &str) -> bool {
        false
    }

    fn parse(value: &DeValue<'_>) -> Result<Secret, String> {
        let expected =
            || "where the secret is: \"env:NAME\", \"file:PATH\" or \"credential:NAME\"".to_owned();
        let reference = text(value, expected)?;
        if is_reference(reference) { Ok(Secret(reference.to_owned())) } else { Err(expected()) }
    }

    fn print(value: &Secret) -> String {
        Hidden::print(value)
    }
}

/// The private key of a certificate: the path of a file, or where the secret is.
pub(crate) struct KeySource;

impl Scalar for KeySource {
    type Value = PathBuf;

    fn parse(value: &DeValue<'_>) -> Result<PathBuf, String> {
        let expected = || "the path of a file, \"env:NAME\", \"file:PATH\" or \"credential:NAME\"".to_owned();
        let path = File::parse(value).map_err(|_| expected())?;
        let is_wrong = path.to_str().is_some_and(|text| looks_like_reference(text) && !is_reference(text));
        if is_wrong { Err(expected()) } else { Ok(path) }
    }

    fn print(value: &PathBuf) -> String {
        File::print(value)
    }
}

/// A secret, which no problem and no print shows. `control` reads what `env:NAME`, `file:PATH` and `credential:NAME` refer to;
/// only their spelling is checked here.
pub(crate) struct Hidden;

impl Scalar for Hidden {
    type Value = Secret;

    fn may_show(_text: &str) -> bool {
        false
    }

    fn parse(value: &DeValue<'_>) -> Result<Secret, String> {
        let expected = || {
            "a text without control characters, \"env:NAME\", \"file:PATH\" or \"credential:NAME\"".to_owned()
        };
        let secret = text(value, expected)?;
        let plain = !looks_like_reference(secret);
        let printable = !secret.is_empty() && secret.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if printable && (plain || is_reference(secret)) {
            Ok(Secret(secret.to_owned()))
        } else {
            Err(expected())
        }
    }

    fn print(value: &Secret) -> String {
        quote(if is_reference(&value.0) { &value.0 } else { "***" })
    }
}
