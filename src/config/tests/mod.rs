//! Unit tests of the reader: defaults, all problems at once, and that a printed configuration reads back.

mod random;

use super::*;
use ipnet::IpNet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const MINIMAL: &str = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
                     [[tls.certificates]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n";

fn problems(text: &str) -> Vec<Problem> {
    read(text).expect_err("a wrong configuration")
}

/// The problem of one line put below the two required keys.
fn problem(table: &str, line: &str) -> Problem {
    let text = match MINIMAL.contains(&format!("[{table}]")) {
        true => MINIMAL.replacen(&format!("[{table}]\n"), &format!("[{table}]\n{line}\n"), 1),
        false => format!("{MINIMAL}[{table}]\n{line}\n"),
    };
    let mut problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn loads(table: &str, line: &str) -> Config {
    read(&format!("{MINIMAL}[{table}]\n{line}\n")).expect("a good configuration")
}

#[test]
fn two_required_keys_give_the_documented_defaults() {
    let config = read(MINIMAL).expect("two required keys suffice");
    assert_eq!(config.gateway.listen, ["0.0.0.0:443", "[::]:443"].map(|a| a.parse().expect("address")));
    assert_eq!((config.gateway.workers, config.gateway.drain_close_code), (Workers::Cores, 1001));
    assert_eq!(config.gateway.drain, Duration::from_secs(30));
    assert_eq!((config.answers.capacity, config.answers.missing_ttl), (64 << 20, Duration::from_millis(250)));
    assert_eq!((config.origins.port, config.origins.depth), (5080, 4));
    assert_eq!(config.origins.subprotocol.as_deref(), Some("json"));
    let origins = &config.origins;
    let timeouts = [origins.connect_timeout, origins.upgrade_timeout, origins.answer_timeout];
    assert_eq!(timeouts, [1500, 4000, 30_000].map(Duration::from_millis));
    assert_eq!((config.websocket.message_max, config.websocket.lifetime), (Some(65536), None));
    assert_eq!((config.limits.sessions, config.limits.new_per_ip), (Some(100_000), None));
    assert_eq!((config.limits.head_size, config.limits.target_size), (16384, 6144));
    assert_eq!((config.cors.allow_origins, config.cors.allow_missing), (AllowOrigins::SameHost, true));
    assert_eq!(config.log.redact.len(), 7);
    let monitoring = "127.0.0.1:9180".parse().expect("address");
    assert_eq!((config.admin.listen, config.monitoring.listen), (AdminListen::Auto, Some(monitoring)));
    assert_eq!((config.monitoring.sessions, config.admin.token), (ShowSessions::Auto, None));
    assert_eq!((config.stream_manager.ca, config.stream_manager.authorization), (None, None));
}

#[test]
fn every_problem_is_found_at_once_with_its_line() {
    let text = "[gateway]\nworkers = \"all\"\npinn = true\n\n[origins]\nport = 0\nnetworks = [\n  \"10.0.0.1/8\",\n  \
                \"x\",\n]\n[websocket]\nidle = 10\n[tsl]\n";
    let found: Vec<_> = problems(text).into_iter().map(|p| (p.line, p.key)).collect();
    let wanted = [
        (1, "tls.certificates"),
        (1, "stream_manager.urls"),
        (2, "gateway.workers"),
        (3, "gateway.pinn"),
        (6, "origins.port"),
        (8, "origins.networks"),
        (9, "origins.networks"),
        (12, "websocket.idle"),
        (13, "tsl"),
    ];
    assert_eq!(found, wanted.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn a_syntax_error_is_a_problem_with_a_line() {
    let problems = problems("[gateway]\npin = true\npin = false\n[log\n");
    assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [3, 4], "{problems:?}");
    assert!(problems[0].found.contains("duplicate key"), "{}", problems[0]);
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let nearest = [
        ("gateway", "wokers = 3", "gateway.workers"),
        ("origins", "upgrade_time_out = \"1s\"", "origins.upgrade_timeout"),
        ("gateway", "prot = 3", "origins.port"),
        ("limits", "sesions = 3", "limits.sessions"),
        ("stream_manager", "authorisation = \"hunter2\"", "stream_manager.authorization"),
        ("tls", "certificate = 1", "tls.certificates"),
    ];
    for (table, line, key) in nearest {
        let problem = problem(table, line);
        assert_eq!(problem.expected, format!("a known key (the nearest is {key})"));
        assert!(!problem.to_string().contains("hunter2"));
    }
    assert!(problem("origins", "zzz = 1").expected.starts_with("a known key (the tables are gateway, tls,"));
    assert_eq!(problem("admim", "").expected, "a known key (the nearest is admin)");
    let text = MINIMAL.replace("chain", "chian");
    let found = problems(&text);
    assert_eq!((found[0].line, found[0].key.as_str()), (3, "tls.certificates.chain"));
    assert_eq!(found[1].expected, "a known key (the nearest is tls.certificates.chain)");
}

#[test]
fn keys_of_later_versions_are_refused_as_not_supported() {
    for (table, line) in [("tls", "ticket_keys = \"\""), ("origins", "sealed = true")] {
        assert_eq!(problem(table, line).found, "a key that this version does not support yet");
    }
    let found = problem("gateway", "ticket_keys = \"\"").found;
    assert_eq!(found, "an unknown key (tls.ticket_keys is one that this version does not support yet)");
}

#[test]
fn a_wrong_value_of_each_kind_says_what_was_expected() {
    let wrong = [
        ("gateway", "listen = [\"443\"]", "\"0.0.0.0:443\""),
        ("gateway", "listen = [\"0.0.0.0:443\", \"0.0.0.0:443\"]", "each entry once"),
        ("gateway", "listen = []", "at least one address"),
        ("gateway", "listen = [\"10.0.0.1:443\", \"0.0.0.0:443\"]", "the wildcard alone"),
        ("gateway", "workers = 0", "1 to 1024"),
        ("gateway", "proxy_protocol = \"v3\"", "\"v1\", \"v2\", \"any\""),
        ("gateway", "proxy_protocol = \"any\"", "the load balancers in front"),
        ("gateway", "trusted_proxies = [\"10.0.0.1/8\"]", "\"10.0.0.0/8\", without bits"),
        ("gateway", "drain = 30", "with its unit"),
        ("gateway", "drain = \"0s\"", "\"1ms\""),
        ("gateway", "drain = \"9999999h\"", "\"8760h\""),
        ("gateway", "drain_close_code = 1005", "may be sent"),
        ("gateway", "health_path = \"healthz\"", "such as \"/healthz\""),
        ("gateway", "health_path = \"/healthz?x\"", "without a query"),
        ("gateway", "health_path = \"/streammanager\"", "no route of the gateway"),
        ("gateway", "health_path = \"/live/whip/endpoint/s\"", "no route of the gateway"),
        ("gateway", "health_path = \"/a/../b\"", "no route of the gateway"),
        ("tls", "min_version = 1.2", "\"1.2\", \"1.3\""),
        ("answers", "capacity = \"64\"", "with its unit"),
        ("answers", "capacity = \"99999999999999999999GiB\"", "from \"64KiB\""),
        ("answers", "broadcast_ttl = \"1h\"", "at most answers.learned_ttl (\"15m\")"),
        ("origins", "port = 65536", "1 to 65535"),
        ("origins", "depth = -1", "1 to 16"),
        ("origins", "apps = [\"StreamManager\"]", "app of your nodes"),
        ("origins", "apps = [\"..\"]", "path segment"),
        (
            "origins",
            "networks = [\"10.1.2.3/8\"]",
            "\"10.0.0.0/8\", without bits behind the prefix, or \"10.1.2.3\" alone",
        ),
        ("origins", "networks = [\"fd00::1/8\"]", "\"fd00::/8\", without bits"),
        ("origins", "networks = [\"::ffff:10.0.0.1\"]", "IPv4 in its own form, such as \"10.0.0.1\""),
        ("origins", "networks = [\"10.0.0.0/33\"]", "from 0 to 32"),
        ("origins", "networks = [\"010.0.0.0/8\"]", "an address or a prefix"),
        ("origins", "names = [\"10.0.0.1\"]", "belongs to origins.networks"),
        ("origins", "names = [\"node.0x7f\"]", "a host name"),
        ("origins", "strict = true", "the nodes in networks, or strict = false"),
        ("origins", "learned = false", "learned = true, or nodes in networks or names"),
        ("origins", "subprotocol = \"a b\"", "a word"),
        ("origins", "origin_header = \"no\\r\\nne\"", "\"client\""),
        ("websocket", "message_max = \"off \"", "or \"off\""),
        ("websocket", "pong_timeout = \"off\"", "a duration"),
        ("limits", "new_per_ip = \"+5/s\"", "a rate"),
        ("limits", "target_size = \"16KiB\"", "less than limits.head_size (\"16KiB\")"),
        ("cors", "allow_origins = [\"https://A.example/\"]", "\"https://a.example\", as browsers send it"),
        ("cors", "allow_origins = [\"https://a.example:443\"]", "\"https://a.example\", as browsers send it"),
        ("cors", "allow_origins = [\"*\", \"https://a.example\"]", "[\"*\"] alone"),
        ("cors", "allow_headers = [\"a b\"]", "a word"),
        ("cors", "allow_credentials = true\nallow_origins = [\"*\"]", "exact web origins"),
        ("cors", "allow_credentials = true\nallow_origins = [\"https://*.a.example\"]", "exact web origins"),
        ("cors", "allow_credentials = true\nallow_headers = [\"*\"]", "the names of the fields"),
        ("log", "access = \"\"", "\"stderr\""),
        ("admin", "listen = \"unix:relative\"", "\"off\""),
        ("admin", "listen = \"127.0.0.1:443\"\ntoken = \"env:T\"", "a port of its own"),
        ("admin", "listen = \"127.0.0.1:9180\"\ntoken = \"env:T\"", "a port of its own"),
        ("admin", "listen = \"127.0.0.1:9181\"", "admin.token beside the address"),
        ("admin", "token = \"hunter2\"", "where the secret is"),
        ("admin", "token = \"credential:../x\"", "credential:NAME"),
        ("monitoring", "listen = \"127.0.0.1:443\"", "a port of its own"),
        ("monitoring", "listen = \"unix:/run/a\"", "or \"off\""),
        ("monitoring", "names = [\"10.0.0.1\"]", "addresses may be asked in any case"),
        ("monitoring", "names = [\"gateway:9180\"]", "without a port"),
        ("monitoring", "sessions = true", "one of \"auto\", \"on\", \"off\""),
        ("stream_manager", "urls = [\"http://10.0.0.3\"]", "either urls, a list of stream managers, or url"),
        ("stream_manager", "authorization = \"credential:\"", "credential:NAME"),
        ("stream_manager", "authorization = \"env:\"", "env:NAME"),
        ("stream_manager", "node_group = \"..\"", "a name of letters"),
        ("stream_manager", "node_group = \"default\"", "a name of letters"),
    ];
    let none = problems("tls.certificates = []\nstream_manager.url = \"http://a\"");
    assert!(none[0].expected.starts_with("at least one [[tls.certificates]]"), "{none:?}");
    for (table, line, expected) in wrong {
        let problem = problem(table, line);
        assert!(problem.expected.contains(expected), "{line}: {problem}");
    }
}

#[test]
fn a_problem_prints_its_key_what_was_expected_and_what_was_found() {
    for (table, line, printed) in [
        (
            "origins",
            "attempts = \"x\"",
            "origins.attempts: expected a whole number from 1 to 10, found \"x\"",
        ),
        (
            "origins",
            "strickt = true",
            "origins.strickt: expected a known key (the nearest is origins.strict), found an unknown key",
        ),
        (
            "answers",
            "broadcast_ttl = \"1h\"",
            "answers.broadcast_ttl: expected at most answers.learned_ttl (\"15m\"), found \"1h\": nodes would be \
             forgotten before their answers",
        ),
    ] {
        assert_eq!(problem(table, line).to_string(), printed);
    }
    let text = problems("[tls\n")[0].to_string();
    assert!(text.starts_with("expected TOML (https://toml.io), found a syntax error ("), "{text}");
}

#[test]
fn no_problem_and_no_print_shows_a_secret() {
    let shown = problem("stream_manager", "authorization = \"hunter2\\u0007\"");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let table = "[stream_manager]";
    assert!(MINIMAL.contains(table) && MINIMAL.contains("\"http://10.0.0.2:5080\""), "{MINIMAL}");
    for wrong in [
        MINIMAL.replace("10.0.0.2", "me:hunter2@10.0.0.2"),
        MINIMAL.replace("5080", "5080/?token=hunter2"),
        MINIMAL.replace("\"http://10.0.0.2:5080\"", "[\"http://me:hunter2@10.0.0.2:5080\"]"),
        MINIMAL.replace("url = \"http://10.0.0.2:5080\"", "urls = \"http://me:hunter2@10.0.0.2:5080\""),
        MINIMAL.replace("url = \"http://10.0.0.2:5080\"", "urls = [\"http://a\", \"http://me:hunter2@b\"]"),
        MINIMAL.replacen(table, "[stream_manager]\nauthorization = [\"hunter2\"]", 1),
        MINIMAL.replacen(table, "[stream_manager]\nauthorization = { basic = \"hunter2\" }", 1),
        MINIMAL.replacen(table, "[[stream_manager]]\nauthorization = \"hunter2\"", 1),
        format!("stream_manager = [{{ authorization = \"hunter2\" }}]\n{}", MINIMAL.replace(table, "[x]")),
        format!("stream_manager = \"http://me:hunter2@a\"\n{}", MINIMAL.replace(table, "[x]")),
    ] {
        let shown: Vec<_> = problems(&wrong).iter().map(ToString::to_string).collect();
        assert!(!shown.concat().contains("hunter2"), "{shown:?}");
    }

    let text = MINIMAL.replacen('\n', "\nauthorization = \"Basic hunter2\"\n", 1);
    let config = read(&text).expect("a plain secret is accepted");
    let printed = to_toml(&config) + &format!("{config:?}");
    assert!(printed.contains("authorization = \"***\"") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn values_in_all_accepted_spellings_are_read() {
    assert_eq!(
        loads("limits", "new_per_ip = \"600/m\"").limits.new_per_ip.map(|r| (r.count, r.per.as_secs())),
        Some((600, 60))
    );
    assert_eq!(loads("limits", "head_size = \"20KB\"").limits.head_size, 20_000);
    assert_eq!(loads("limits", "sessions = 0x10").limits.sessions, Some(16));
    assert_eq!(loads("origins", "subprotocol = \"\"").origins.subprotocol, None);
    assert_eq!(loads("origins", "names = [\"Node1.Example\"]").origins.names, ["node1.example"]);
    let networks = "networks = [\"10.0.0.7/32\", \"10.0.0.0/8\", \"fd00::7\"]";
    let printed = to_toml(&loads("origins", networks));
    assert!(printed.contains("networks = [\"10.0.0.7\", \"10.0.0.0/8\", \"fd00::7\"]"), "{printed}");
    assert_eq!(loads("admin", "listen = \"unix:/run/a\"").admin.listen, AdminListen::Unix("/run/a".into()));
    assert_eq!(loads("cors", "allow_origins = [\"*\"]").cors.allow_origins, AllowOrigins::Any);
    let url = |text: &str| {
        read(&MINIMAL.replace("http://10.0.0.2:5080", text))
            .expect("a good configuration")
            .stream_manager
            .managers()[0]
            .clone()
    };
    let wanted = ManagerUrl { https: true, host: "sm.example".into(), port: 443, prefix: "/a/b".into() };
    assert_eq!(url("https://SM.example/a/b/"), wanted);
    assert_eq!((url("http://[fd00::2]:81").host.as_str(), url("http://[fd00::2]:81").port), ("fd00::2", 81));
    for wrong in [
        "ftp://a",
        "http://a/..",
        "http://a?b",
        "http://a:0",
        "http://1.2.3",
        "http://",
        "http://a//b",
        "a:5080",
        "http://a/streammanager/api",
        "http://a/streammanager/api/4.0/",
        "http://a/x/StreamManager",
        "https://a/as/v1",
        "https://a/x/as/v1/streams",
    ] {
        let text = MINIMAL.replace("http://10.0.0.2:5080", wrong);
        assert_eq!(problems(&text)[0].key, "stream_manager.url", "{wrong}");
    }
}

#[test]
fn stream_managers_are_a_list_or_one() {
    let with = |line: &str| MINIMAL.replace("url = \"http://10.0.0.2:5080\"", line);
    let managers = |line: &str| -> Vec<_> {
        let config = read(&with(line)).unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
        assert_eq!(read(&to_toml(&config)).as_ref(), Ok(&config), "{line}");
        config.stream_manager.managers().iter().map(ToString::to_string).collect()
    };
    assert_eq!(managers("url = \"http://a\"\nurls = []"), ["http://a:80"]);
    assert_eq!(
        managers("urls = [\"http://b\", \"https://a\"]\nurl = \"\""),
        ["http://b:80", "https://a:443"]
    );
    let first = |line: &str| problems(&with(line))[0].to_string();
    let many: Vec<_> = (0..17).map(|n| format!("\"http://a{n}\"")).collect();
    for (line, expected) in [
        ("", "stream_manager.urls: expected this required key"),
        ("urls = []", "stream_manager.urls: expected at least one stream manager"),
        ("url = \"\"", "stream_manager.urls: expected at least one stream manager"),
        ("urls = [\"http://a\", \"http://a:80\"]", "stream_manager.urls: expected each entry once"),
        ("urls = \"http://a\"", "stream_manager.urls: expected a list in brackets"),
        ("urls = [\"http://a\", \"b\"]", "stream_manager.urls: expected http or https"),
        (&format!("urls = [{}]", many.join(", ")), "stream_manager.urls: expected at most 16"),
    ] {
        let found = first(line);
        assert!(found.starts_with(expected), "{line}: {found}");
    }
}

#[test]
fn every_default_reads_back_as_itself() {
    for key in KEYS {
        if !["certificates", "urls", "url"].contains(&key.name) {
            is_default(key);
        }
    }
    assert_eq!(
        written(&to_toml(&read(MINIMAL).expect("a good configuration"))).expect("TOML").len(),
        KEYS.len()
    );
}

fn is_default(key: &Key) {
    let line = format!("{} = {}\n", key.name, key.default);
    let text = match MINIMAL.contains(&format!("[{}]\n", key.table)) {
        true => MINIMAL.replacen(&format!("[{}]\n", key.table), &format!("[{}]\n{line}", key.table), 1),
        false => format!("[{}]\n{line}{MINIMAL}", key.table),
    };
    assert_eq!(read(&text), read(MINIMAL), "{line}");
}

#[test]
fn the_line_of_any_key_is_found() {
    let text = "[tls]\nmin_version = \"1.3\"\n[[tls.certificates]]\nchain = \"a\"\nkey = \"b\"\n\
                [[tls.certificates]]\nchain = \"c\"\nkey = \"d\"\n";
    let keys = [
        ("tls.min_version", 2),
        ("tls.certificates.0.key", 5),
        ("tls.certificates.1.chain", 7),
        ("log.level", 1),
    ];
    for (key, line) in keys {
        assert_eq!(locate(text, key), line, "{key}");
    }
    assert_eq!(locate(text, "tls.certificates.1.none"), 6, "the line of the entry itself");
}

#[test]
fn limits_headers_allows_no_more_fields_than_are_read() {
    let most = crate::proto::http::head::FIELDS_MAX;
    let table = |headers: usize| format!("[limits]\nheaders = {headers}\n");
    let wrong = |headers| {
        read(&table(headers))
            .expect_err("required keys are missing")
            .iter()
            .any(|p| p.key == "limits.headers")
    };
    assert!(!wrong(most) && wrong(most + 1));
}
