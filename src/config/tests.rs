//! Unit tests of the reader: defaults, all problems at once, and that a printed configuration reads back.

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
    assert_eq!(config.origins.upgrade_timeout, Duration::from_millis(1500));
    assert_eq!((config.websocket.message_max, config.websocket.lifetime), (Some(65536), None));
    assert_eq!((config.limits.sessions, config.limits.new_per_ip), (Some(100_000), None));
    assert_eq!((config.limits.head_size, config.limits.target_size), (16384, 6144));
    assert_eq!((config.cors.allow_origins, config.cors.allow_missing), (AllowOrigins::SameHost, true));
    assert_eq!(config.log.redact.len(), 7);
    assert_eq!(config.admin.listen, AdminListen::Tcp("127.0.0.1:9180".parse().expect("address")));
    assert_eq!((config.stream_manager.ca, config.stream_manager.authorization), (None, None));
}

#[test]
fn every_problem_is_found_at_once_with_its_line() {
    let text = "[gateway]\nworkers = \"all\"\npinn = true\n\n[origins]\nport = 0\nnetworks = [\n  \"10.0.0.1/8\",\n  \
                \"x\",\n]\n[websocket]\nidle = 10\n[tsl]\n";
    let found: Vec<_> = problems(text).into_iter().map(|p| (p.line, p.key)).collect();
    let wanted = [
        (1, "tls.certificates"),
        (1, "stream_manager.url"),
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
        ("log", "access = \"\"", "\"stderr\""),
        ("admin", "listen = \"unix:relative\"", "\"off\""),
        ("admin", "listen = \"127.0.0.1:443\"", "a port of its own"),
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
        read(&MINIMAL.replace("http://10.0.0.2:5080", text)).expect("a good configuration").stream_manager.url
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
    ] {
        let text = MINIMAL.replace("http://10.0.0.2:5080", wrong);
        assert_eq!(problems(&text)[0].key, "stream_manager.url", "{wrong}");
    }
}

#[test]
fn every_default_reads_back_as_itself() {
    for key in KEYS {
        if key.name != "certificates" && key.name != "url" {
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

/// A small random generator (xorshift): the same configurations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| value(self))
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }
    fn span(&mut self) -> Duration {
        let unit = self.pick(&[1, 1000, 60_000, 3_600_000]);
        Duration::from_millis((1 + self.roll(8760)) * unit)
    }
    fn size(&mut self, least: u64, most: u64) -> u64 {
        let unit = self.pick(&[1, 1000, 1024, 1 << 20]);
        (self.roll(5000) * unit).clamp(least, most)
    }
    fn word(&mut self) -> String {
        (0..1 + self.roll(9)).map(|_| char::from(self.pick(b"abcxyzABC019_-."))).collect()
    }
    fn network(&mut self) -> IpNet {
        let network = if self.roll(2) == 0 {
            let prefix = self.roll(33) as u8;
            IpNet::new(IpAddr::V4((self.0 as u32).into()), prefix)
        } else {
            let prefix = 1 + self.roll(128) as u8;
            IpNet::new(IpAddr::V6((1 << 127 | u128::from(self.0) << 60).into()), prefix)
        };
        network.expect("a prefix that fits").trunc()
    }
    fn path(&mut self) -> PathBuf {
        format!("/{}{}", self.word(), self.pick(&["", "/ü \"'\\", "\t", "'''"])).into()
    }
}

/// Any configuration within the bounds of each key and of the checks across keys.
fn any(dice: &mut Dice) -> Config {
    let mut config = read(MINIMAL).expect("a good configuration");
    config.gateway = Gateway {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 1 + dice.roll(9000) as u16))],
        workers: dice.pick(&[Workers::Cores, Workers::Count(1), Workers::Count(1024)]),
        pin: dice.roll(2) == 0,
        driver: dice.pick(&[Driver::Auto, Driver::IoUring, Driver::Epoll]),
        proxy_protocol: dice.pick(&[None, Some(Versions::V1), Some(Versions::V2), Some(Versions::Any)]),
        trusted_proxies: vec![dice.network()],
        drain: dice.span(),
        drain_close_code: dice.pick(&[1000, 1013, 3000, 4999]),
        health_path: dice.maybe(|dice| dice.pick(&["/healthz", "/", "/a/b_c-d"]).to_owned()),
    };
    config.tls.min_version = dice.pick(&[TlsVersion::V1_2, TlsVersion::V1_3]);
    config.tls.certificates =
        vec![Certificate { chain: dice.path(), key: dice.path() }; 1 + dice.roll(3) as usize];
    config.stream_manager.url = ManagerUrl {
        https: dice.roll(2) == 0,
        host: dice.pick(&["a.example", "10.0.0.1", "::1"]).into(),
        port: 1 + dice.roll(65535) as u16,
        prefix: dice.pick(&["", "/a", "/a/b-c/~d"]).into(),
    };
    config.stream_manager.ca = dice.maybe(Dice::path);
    config.stream_manager.authorization =
        dice.maybe(|dice| Secret(dice.pick(&["env:A_B", "file:/run/x", "***"]).into()));
    config.answers.capacity = dice.size(64 << 10, 64 << 30);
    config.answers.learned_ttl = dice.span().max(Duration::from_secs(3));
    config.answers.body_max = dice.size(1 << 10, 1 << 30) as usize;
    config.answers.waiters = 1 + dice.roll(1_000_000) as usize;
    config.origins.networks.clear();
    for network in (0..1 + dice.roll(4)).map(|_| dice.network()).collect::<Vec<_>>() {
        if !config.origins.networks.contains(&network) {
            config.origins.networks.push(network);
        }
    }
    config.origins.strict = dice.roll(2) == 0;
    config.origins.learned = config.origins.strict || dice.roll(2) == 0;
    config.origins.subprotocol = dice.maybe(Dice::word);
    config.origins.origin_header = dice.pick(&[
        OriginHeader::None,
        OriginHeader::Node,
        OriginHeader::Client,
        OriginHeader::Fixed("http://a:81".into()),
    ]);
    config.websocket = WebSocket {
        message_max: dice.maybe(|dice| dice.size(125, 64 << 30)),
        ping_interval: dice.maybe(Dice::span),
        pong_timeout: dice.span(),
        idle: dice.maybe(Dice::span),
        lifetime: dice.maybe(Dice::span),
        close_timeout: dice.span(),
    };
    config.limits.sessions = dice.maybe(|dice| 1 + dice.roll(1 << 20) as usize);
    config.limits.new_per_ip = dice.maybe(|dice| Rate {
        count: 1 + dice.roll(1000) as u32,
        per: Duration::from_secs(dice.pick(&[1, 60, 3600])),
    });
    config.limits.head_size = dice.size(8192, 1 << 20) as usize;
    config.cors.allow_origins = dice.pick(&[
        AllowOrigins::SameHost,
        AllowOrigins::Any,
        AllowOrigins::Listed(vec!["https://a.example:8443".into(), "http://[::1]".into()]),
    ]);
    config.log.access = dice.pick(&[AccessLog::Off, AccessLog::Stderr]);
    config.log.redact = dice.maybe(|dice| vec![dice.word()]).unwrap_or_default();
    config.admin.listen = dice.pick(&[AdminListen::Off, AdminListen::Unix("/a b".into())]);
    config
}

#[test]
fn a_printed_configuration_reads_back_to_the_same_values() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..2000 {
        let config = any(&mut dice);
        let printed = to_toml(&config);
        assert_eq!(read(&printed).as_ref(), Ok(&config), "{printed}");
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let mut dice = Dice(7);
    let whole = to_toml(&any(&mut dice));
    for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
        let _ = read(&whole[..cut]);
    }
    for _ in 0..2000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..3 {
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] = dice.pick(b"\0\"'[]{}=,.#\n-09aZ/\\");
        }
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
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
