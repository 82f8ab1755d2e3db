//! The table of all keys: name, kind and default of each. Reading, printing and the tests of the shipped files use it.

use crate::config::acme::{Contact, Directory, PublicName};
use crate::config::address::{Address, AdminAddress, App, HostName, Name, NodeOrigin, Pages, Prefix, Url};
use crate::config::certificate::{CERTIFICATE_KEYS, Certificates};
use crate::config::choice::{
    Access, CloseCode, File, Flag, FreePath, Group, Hidden, OrEmpty, Reference, Token, WorkerCount,
};
use crate::config::model::{
    AccessFormat, Acme, Admin, Answers, ApiVersion, Config, Cors, Driver, Extensions, Gateway, Limits, Log,
    LogFormat, LogLevel, Monitoring, Origins, ShowSessions, StreamManager, Tls, TlsVersion, WebSocket,
};
use crate::config::problem::{KnownKeys, Report};
use crate::config::value::{Count, Kind, List, OrOff, PerTime, Size, Span};
use crate::proto::http::head::FIELDS_MAX;
use crate::proto::proxy_protocol::Versions;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// One row of [`KEYS`]: a key that a configuration file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The table that it stands in, without brackets, such as `tls` or `tls.acme`.
    pub table: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// The default as TOML; for a required key, an example.
    pub default: &'static str,
    /// Whether a file has to write it.
    pub required: bool,
}

/// Keys that a later version will have: refused, but not as an unknown key, which would look like a spelling mistake.
const LATER: [&str; 2] = ["tls.ticket_keys", "origins.sealed"];

const KIB: u64 = 1024;
const MIB: u64 = KIB * KIB;

/// The name of a table in a file, for a section of [`keys!`]: its own, or for a table inside another one the dotted path.
const fn table(section: &'static str) -> &'static str {
    match section.as_bytes() {
        b"acme" => "tls.acme",
        _ => section,
    }
}

/// Makes three things of one table of keys: the list [`KEYS`], the reader of the whole file, and the printer.
macro_rules! keys {
    ($($section:ident: $Section:ident { $($key:ident: $kind:ty = $how:ident $text:literal),+ $(,)? })+) => {
        /// Every key that a configuration file may hold, in the order of `docs/configuration.md`.
        pub const KEYS: &[Key] = &[$($(Key {
            table: table(stringify!($section)),
            name: stringify!($key),
            default: $text,
            required: keys!(@required $how),
        }),+),+];

        const TABLES: &[&str] = &[$(table(stringify!($section))),+];

        /// Reads every table. Where a value is wrong, its default takes the place, so that the rest is read too; the report
        /// then has a problem, and the configuration must not be used.
        pub(crate) fn read(root: &DeTable<'_>, report: &mut Report<'_>) -> Config {
            $(let $section = $Section {
                $($key: one::<$kind>(root, row(table(stringify!($section)), stringify!($key)), report),)+
            };)+
            Config { $($section),+ }
        }

        /// Prints every key, defaults included.
        pub(crate) fn write(config: &Config) -> String {
            let mut out = String::new();
            $(
                let blank = if out.is_empty() { "" } else { "\n" };
                out += &format!("{blank}[{}]\n", table(stringify!($section)));
                $(out += &format!(
                    "{} = {}\n",
                    stringify!($key),
                    <$kind as Kind>::write(&config.$section.$key),
                );)+
            )+
            out
        }
    };
    (@required default) => { false };
    (@required required) => { true };
}

keys! {
    gateway: Gateway {
        listen: List<Address> = default r#"["0.0.0.0:443", "[::]:443"]"#,
        workers: WorkerCount = default r#""cores""#,
        pin: Flag = default "true",
        driver: Driver = default r#""auto""#,
        proxy_protocol: OrOff<Versions> = default r#""off""#,
        trusted_proxies: List<Prefix> = default "[]",
        keep_alive: Span = default r#""75s""#,
        drain: Span = default r#""30s""#,
        upgrade_drain: Span = default r#""1h""#,
        drain_close_code: CloseCode = default "1001",
        health_path: OrEmpty<FreePath> = default r#""""#,
    }
    tls: Tls {
        min_version: TlsVersion = default r#""1.2""#,
        handshake_timeout: Span = default r#""5s""#,
        certificates: Certificates = required
            r#"[{ chain = "/etc/tidegate/fullchain.pem", key = "/etc/tidegate/privkey.pem" }]"#,
    }
    acme: Acme {
        names: List<PublicName> = default "[]",
        contact: OrEmpty<Contact> = default r#""""#,
        directory: Directory = default r#""https://acme-v02.api.letsencrypt.org/directory""#,
        ca: OrEmpty<File> = default r#""""#,
        storage: File = default r#""/var/lib/tidegate/acme""#,
    }
    stream_manager: StreamManager {
        url: Url = required r#""http://10.0.0.2:5080""#,
        timeout: Span = default r#""3s""#,
        api: ApiVersion = default r#""4.0""#,
        node_group: OrEmpty<Group> = default r#""""#,
        ca: OrEmpty<File> = default r#""""#,
        authorization: OrEmpty<Hidden> = default r#""""#,
    }
    answers: Answers {
        capacity: Size<u64, { 64 * KIB }, { 64 * KIB * MIB }> = default r#""64MiB""#,
        broadcast_ttl: Span = default r#""3s""#,
        subscribe_ttl: Span = default r#""1s""#,
        subscribe_uses: Count<u32, 1, 1_000_000_000> = default "50",
        missing_ttl: Span = default r#""250ms""#,
        learned_ttl: Span = default r#""15m""#,
        waiters: Count<usize, 1, 1_000_000_000> = default "10000",
        body_max: Size<usize, KIB, { KIB * MIB }> = default r#""4MiB""#,
    }
    origins: Origins {
        port: Count<u16, 1, 65535> = default "5080",
        apps: List<App> = default r#"["live"]"#,
        depth: Count<usize, 1, 16> = default "4",
        networks: List<Prefix> = default "[]",
        learned: Flag = default "true",
        strict: Flag = default "false",
        names: List<Name> = default "[]",
        connect_timeout: Span = default r#""1500ms""#,
        upgrade_timeout: Span = default r#""4s""#,
        answer_timeout: Span = default r#""30s""#,
        attempts: Count<u32, 1, 10> = default "3",
        quarantine: OrOff<Span> = default r#""5s""#,
        subprotocol: OrEmpty<Token> = default r#""json""#,
        origin_header: NodeOrigin = default r#""none""#,
        extensions: Extensions = default r#""strip""#,
    }
    websocket: WebSocket {
        message_max: OrOff<Size<u64, 125, { 64 * KIB * MIB }>> = default r#""64KiB""#,
        ping_interval: OrOff<Span> = default r#""15s""#,
        pong_timeout: Span = default r#""10s""#,
        idle: OrOff<Span> = default r#""off""#,
        lifetime: OrOff<Span> = default r#""off""#,
        close_timeout: Span = default r#""5s""#,
    }
    limits: Limits {
        sessions: OrOff<Count<usize, 1, 1_000_000_000>> = default "100000",
        sessions_per_ip: OrOff<Count<usize, 1, 1_000_000_000>> = default "1000",
        new_per_ip: OrOff<PerTime> = default r#""off""#,
        handshakes: OrOff<Count<usize, 1, 1_000_000_000>> = default "2000",
        requests_per_ip: OrOff<PerTime> = default r#""off""#,
        head_timeout: Span = default r#""5s""#,
        head_size: Size<usize, KIB, MIB> = default r#""16KiB""#,
        target_size: Size<usize, 64, MIB> = default r#""6KiB""#,
        headers: Count<usize, 8, { FIELDS_MAX as u64 }> = default "100",
        body_max: Size<usize, KIB, { KIB * MIB }> = default r#""256KiB""#,
        body_timeout: Span = default r#""10s""#,
    }
    cors: Cors {
        allow_origins: Pages = default "[]",
        allow_headers: List<Token> = default "[]",
        allow_credentials: Flag = default "false",
        allow_missing: Flag = default "true",
    }
    log: Log {
        level: LogLevel = default r#""info""#,
        format: LogFormat = default r#""text""#,
        access: Access = default r#""off""#,
        access_format: AccessFormat = default r#""fields""#,
        redact: List<Token> = default
            r#"["password", "token", "username", "user", "accessToken", "ice-credential", "ice-username"]"#,
    }
    monitoring: Monitoring {
        listen: OrOff<Address> = default r#""127.0.0.1:9180""#,
        names: List<HostName> = default "[]",
        sessions: ShowSessions = default r#""auto""#,
        ready_without_manager: OrOff<Span> = default r#""off""#,
    }
    admin: Admin {
        listen: AdminAddress = default r#""auto""#,
        token: OrEmpty<Reference> = default r#""""#,
    }
}

/// The row of a key.
fn row(table: &str, name: &str) -> &'static Key {
    KEYS.iter()
        .find(|key| key.table == table && key.name == name)
        .expect("the macro asks only for its own keys")
}

/// Reads one key, or takes its default where the key is missing or wrong.
fn one<K: Kind>(root: &DeTable<'_>, key: &'static Key, report: &mut Report<'_>) -> K::Value {
    let path = format!("{}.{}", key.table, key.name);
    let written = table_of(root, key.table).and_then(|table| table.get(key.name));
    if let Some(value) = written {
        report.note_line(&path, &value.span());
    } else if key.required && !is_replaced(root, key) {
        let expected = format!("this required key, for example {} = {}", key.name, key.default);
        report.add_at_key(&path, "nothing", expected);
    }
    let read = written.and_then(|value| K::read(value, &path, report));
    read.unwrap_or_else(|| match key.required && is_replaced(root, key) {
        true => value_of::<K>(key, "[]"),
        false => value_of::<K>(key, key.default),
    })
}

/// The table of this name in the whole file; a dot stands between a table and one inside it.
fn table_of<'r, 'i>(root: &'r DeTable<'i>, name: &str) -> Option<&'r DeTable<'i>> {
    name.split('.').try_fold(root, |table, part| table.get(part)?.get_ref().as_table())
}

/// Whether a required key may be missing because another one stands in for it: names in `[tls.acme]` for certificates in files.
fn is_replaced(root: &DeTable<'_>, key: &Key) -> bool {
    (key.table, key.name) == ("tls", "certificates")
        && table_of(root, "tls.acme").is_some_and(|acme| acme.contains_key("names"))
}

/// The value that a text of this program stands for: a default, or the empty list.
fn value_of<K: Kind>(key: &'static Key, text: &'static str) -> K::Value {
    let value = DeValue::parse(text).expect("defaults are TOML: a test reads every one");
    K::read(&value, key.name, &mut Report::new(text)).expect("defaults are valid: a test reads every one")
}

/// Adds a problem for every table and key that is not known, and for what should be a table and is none.
pub(crate) fn find_unknown(root: &DeTable<'_>, report: &mut Report<'_>) {
    for (name, value) in root {
        let table = name.get_ref().as_ref();
        report.note_line(table, &name.span());
        if TABLES.contains(&table) {
            find_unknown_in(table, name, value, report);
        } else {
            report.add_unknown(table, &name.span());
        }
    }
}

/// The same inside the table `table`, which has this value.
fn find_unknown_in(
    table: &str,
    name: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) {
    report.note_line(table, &name.span());
    let Some(entries) = value.get_ref().as_table() else {
        let found = match value.get_ref() {
            // not shown, because it may hold a secret
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::String(_) => "a text".to_owned(),
            _ => report.excerpt(&value.span()),
        };
        report.add(table, &value.span(), found, format!("a table that begins with [{table}]"));
        return;
    };
    for (name, value) in entries {
        let path = format!("{table}.{}", name.get_ref());
        if TABLES.contains(&path.as_str()) {
            find_unknown_in(&path, name, value, report);
        } else if !KEYS.iter().any(|key| key.table == table && key.name == name.get_ref()) {
            report.add_unknown(&path, &name.span());
        }
    }
}

/// Every key and table that a file may hold, for [`Report::add_unknown`].
pub(crate) fn known() -> KnownKeys {
    let nested = CERTIFICATE_KEYS.iter().map(|key| format!("tls.certificates.{key}"));
    let paths = KEYS.iter().map(|key| format!("{}.{}", key.table, key.name)).chain(nested).collect();
    KnownKeys { tables: TABLES, paths, later: &LATER }
}

/// Every `table.key` that the text of a file writes, in no order: for tests of what the shipped files hold.
///
/// Fails where the text is no TOML.
pub fn written(text: &str) -> Result<Vec<String>, toml::de::Error> {
    let root: Spanned<DeTable<'_>> = DeTable::parse(text)?;
    let mut paths = Vec::new();
    for table in TABLES {
        let keys = table_of(root.get_ref(), table).into_iter().flat_map(|keys| keys.keys());
        let paths_here = keys.map(|key| format!("{table}.{}", key.get_ref()));
        paths.extend(paths_here.filter(|path| !TABLES.contains(&path.as_str())));
    }
    Ok(paths)
}
