//! Tests of the reader: defaults, every problem at once, and that what is printed reads back.

use super::*;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const LEAST: &str = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
                     [[tls.certificates]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n";

fn problems(text: &str) -> Vec<Problem> {
    read(text).expect_err("this text is wrong")
}

/// The problem of one line put below the two required keys.
fn problem(table: &str, line: &str) -> Problem {
    let text = match LEAST.contains(&format!("[{table}]")) {
        true => LEAST.replacen(&format!("[{table}]\n"), &format!("[{table}]\n{line}\n"), 1),
        false => format!("{LEAST}[{table}]\n{line}\n"),
    };
    let mut problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn loads(table: &str, line: &str) -> Config {
    read(&format!("{LEAST}[{table}]\n{line}\n")).expect("this line is right")
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = read(LEAST).expect("two required keys are enough");
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
fn a_text_that_is_no_toml_is_a_problem_with_a_line() {
    let problems = problems("[gateway]\npin = true\npin = false\n[log\n");
    assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [3, 4], "{problems:?}");
    assert!(problems[0].found.contains("duplicate key"), "{}", problems[0]);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
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
        assert_eq!(problem.right, format!("the nearest known key is {key}"));
        assert!(!problem.to_string().contains("hunter2"));
    }
    assert!(problem("origins", "zzz = 1").right.starts_with("the tables are"));
    assert_eq!(problem("admim", "").right, "the nearest known key is admin");
    let text = LEAST.replace("chain", "chian");
    let found = problems(&text);
    assert_eq!((found[0].line, found[0].key.as_str()), (3, "tls.certificates.chain"));
    assert_eq!(found[1].right, "the nearest known key is tls.certificates.chain");
}

#[test]
fn keys_that_wait_for_their_issue_are_refused_by_name() {
    for (table, line) in [("tls", "ticket_keys = \"\""), ("origins", "sealed = true")] {
        assert_eq!(problem(table, line).found, "a key not yet supported by this version");
    }
}

#[test]
fn values_of_each_kind_say_what_would_be_right() {
    let wrong = [
        ("gateway", "listen = [\"443\"]", "\"0.0.0.0:443\""),
        ("gateway", "listen = [\"0.0.0.0:443\", \"0.0.0.0:443\"]", "name it once"),
        ("gateway", "listen = []", "at least one address"),
        ("gateway", "listen = [\"10.0.0.1:443\", \"0.0.0.0:443\"]", "the wildcard alone"),
        ("gateway", "workers = 0", "1 to 1024"),
        ("gateway", "proxy_protocol = \"v3\"", "\"v1\", \"v2\", \"any\""),
        ("gateway", "proxy_protocol = \"any\"", "the balancers in front"),
        ("gateway", "trusted_proxies = [\"10.0.0.1/8\"]", "right is \"10.0.0.0/8\""),
        ("gateway", "drain = 30", "with its unit"),
        ("gateway", "drain = \"0s\"", "\"1ms\""),
        ("gateway", "drain = \"9999999h\"", "\"8760h\""),
        ("gateway", "drain_close_code = 1005", "may be sent"),
        ("tls", "min_version = 1.2", "\"1.2\", \"1.3\""),
        ("answers", "capacity = \"64\"", "with its unit"),
        ("answers", "capacity = \"99999999999999999999GiB\"", "from \"64KiB\""),
        ("answers", "broadcast_ttl = \"1h\"", "at most learned_ttl"),
        ("origins", "port = 65536", "1 to 65535"),
        ("origins", "depth = -1", "1 to 16"),
        ("origins", "apps = [\"StreamManager\"]", "app of your nodes"),
        ("origins", "apps = [\"..\"]", "path segment"),
        ("origins", "networks = [\"10.1.2.3/8\"]", "right is \"10.0.0.0/8\", or \"10.1.2.3\" alone"),
        ("origins", "networks = [\"fd00::1/8\"]", "right is \"fd00::/8\""),
        ("origins", "networks = [\"::ffff:10.0.0.1\"]", "right is IPv4 as itself, such as \"10.0.0.1\""),
        ("origins", "networks = [\"10.0.0.0/33\"]", "from 0 to 32"),
        ("origins", "networks = [\"010.0.0.0/8\"]", "an address or a prefix"),
        ("origins", "names = [\"10.0.0.1\"]", "belong to origins.networks"),
        ("origins", "names = [\"node.0x7f\"]", "a host name"),
        ("origins", "strict = true", "inside networks"),
        ("origins", "learned = false", "ever be dialled"),
        ("origins", "subprotocol = \"a b\"", "a word"),
        ("origins", "origin_header = \"no\\r\\nne\"", "\"client\""),
        ("websocket", "message_max = \"off \"", "or \"off\""),
        ("websocket", "pong_timeout = \"off\"", "a duration"),
        ("limits", "new_per_ip = \"+5/s\"", "a rate"),
        ("limits", "target_size = \"16KiB\"", "less than head_size"),
        ("cors", "allow_origins = [\"https://A.example/\"]", "right is \"https://a.example\""),
        ("cors", "allow_origins = [\"https://a.example:443\"]", "right is \"https://a.example\""),
        ("cors", "allow_origins = [\"*\", \"https://a.example\"]", "stands alone"),
        ("log", "access = \"\"", "\"stderr\""),
        ("admin", "listen = \"unix:relative\"", "\"off\""),
        ("admin", "listen = \"127.0.0.1:443\"", "a port of its own"),
        ("stream_manager", "authorization = \"env:\"", "env:NAME"),
        ("stream_manager", "node_group = \"..\"", "a name of letters"),
        ("stream_manager", "node_group = \"default\"", "a name of letters"),
    ];
    let none = problems("tls.certificates = []\nstream_manager.url = \"http://a\"");
    assert!(none[0].right.starts_with("right is at least one"), "{none:?}");
    for (table, line, right) in wrong {
        let problem = problem(table, line);
        assert!(problem.right.contains(right), "{line}: {problem}");
    }
}

#[test]
fn secrets_stay_out_of_problems_and_of_what_is_printed() {
    let shown = problem("stream_manager", "authorization = \"hunter2\\u0007\"");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let table = "[stream_manager]";
    assert!(LEAST.contains(table) && LEAST.contains("\"http://10.0.0.2:5080\""), "{LEAST}");
    for wrong in [
        LEAST.replace("10.0.0.2", "me:hunter2@10.0.0.2"),
        LEAST.replace("5080", "5080/?token=hunter2"),
        LEAST.replace("\"http://10.0.0.2:5080\"", "[\"http://me:hunter2@10.0.0.2:5080\"]"),
        LEAST.replacen(table, "[stream_manager]\nauthorization = [\"hunter2\"]", 1),
        LEAST.replacen(table, "[stream_manager]\nauthorization = { basic = \"hunter2\" }", 1),
        LEAST.replacen(table, "[[stream_manager]]\nauthorization = \"hunter2\"", 1),
        format!("stream_manager = [{{ authorization = \"hunter2\" }}]\n{}", LEAST.replace(table, "[x]")),
        format!("stream_manager = \"http://me:hunter2@a\"\n{}", LEAST.replace(table, "[x]")),
    ] {
        let shown: Vec<_> = problems(&wrong).iter().map(ToString::to_string).collect();
        assert!(!shown.concat().contains("hunter2"), "{shown:?}");
    }

    let text = LEAST.replacen('\n', "\nauthorization = \"Basic hunter2\"\n", 1);
    let config = read(&text).expect("a plain secret is right");
    let printed = to_toml(&config) + &format!("{config:?}");
    assert!(printed.contains("authorization = \"***\"") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn values_are_read_as_meant() {
    assert_eq!(
        loads("limits", "new_per_ip = \"600/m\"").limits.new_per_ip.map(|r| (r.count, r.per.as_secs())),
        Some((600, 60))
    );
    assert_eq!(loads("limits", "head_size = \"20KB\"").limits.head_size, 20_000);
    assert_eq!(loads("limits", "sessions = 0x10").limits.sessions, Some(16));
    assert_eq!(loads("origins", "subprotocol = \"\"").origins.subprotocol, None);
    assert_eq!(loads("origins", "names = [\"Node1.Example\"]").origins.names, ["node1.example"]);
    assert_eq!(loads("admin", "listen = \"unix:/run/a\"").admin.listen, AdminListen::Unix("/run/a".into()));
    assert_eq!(loads("cors", "allow_origins = [\"*\"]").cors.allow_origins, AllowOrigins::Anyone);
    let url =
        |text: &str| read(&LEAST.replace("http://10.0.0.2:5080", text)).expect("right").stream_manager.url;
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
        let text = LEAST.replace("http://10.0.0.2:5080", wrong);
        assert_eq!(problems(&text)[0].key, "stream_manager.url", "{wrong}");
    }
}

#[test]
fn every_default_of_the_table_reads_alone() {
    for key in KEYS {
        if key.name != "certificates" && key.name != "url" {
            loads_again(key);
        }
    }
    assert_eq!(written(&to_toml(&read(LEAST).expect("right"))).expect("TOML").len(), KEYS.len());
}

fn loads_again(key: &Key) {
    let line = format!("{} = {}\n", key.name, key.default);
    let text = match LEAST.contains(&format!("[{}]\n", key.table)) {
        true => LEAST.replacen(&format!("[{}]\n", key.table), &format!("[{}]\n{line}", key.table), 1),
        false => format!("[{}]\n{line}{LEAST}", key.table),
    };
    assert_eq!(read(&text), read(LEAST), "{line}");
}

/// A small generator (xorshift): the same configurations in every run, without another dependency.
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
    fn network(&mut self) -> Network {
        if self.roll(2) == 0 {
            let prefix = self.roll(33) as u8;
            let bits = (self.0 as u32) & !u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Network { address: IpAddr::V4(bits.into()), prefix }
        } else {
            let prefix = 1 + self.roll(128) as u8;
            let bits = 1 << 127 | u128::from(self.0) << 60;
            Network {
                address: IpAddr::V6((bits & !u128::MAX.checked_shr(prefix.into()).unwrap_or(0)).into()),
                prefix,
            }
        }
    }
    fn path(&mut self) -> PathBuf {
        format!("/{}{}", self.word(), self.pick(&["", "/ü \"'\\", "\t", "'''"])).into()
    }
}

/// Any configuration within the bounds of each key and of the checks across keys.
fn any(dice: &mut Dice) -> Config {
    let mut config = read(LEAST).expect("right");
    config.gateway = Gateway {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 1 + dice.roll(9000) as u16))],
        workers: dice.pick(&[Workers::Cores, Workers::Count(1), Workers::Count(1024)]),
        pin: dice.roll(2) == 0,
        driver: dice.pick(&[Driver::Auto, Driver::IoUring, Driver::Epoll]),
        proxy_protocol: dice.pick(&[None, Some(Versions::V1), Some(Versions::V2), Some(Versions::Any)]),
        trusted_proxies: vec![dice.network()],
        drain: dice.span(),
        upgrade_drain: dice.span(),
        drain_close_code: dice.pick(&[1000, 1013, 3000, 4999]),
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
        AllowOrigins::Anyone,
        AllowOrigins::Listed(vec!["https://a.example:8443".into(), "http://[::1]".into()]),
    ]);
    config.log.access = dice.pick(&[AccessLog::Off, AccessLog::Stderr]);
    config.log.redact = dice.maybe(|dice| vec![dice.word()]).unwrap_or_default();
    config.admin.listen = dice.pick(&[AdminListen::Off, AdminListen::Unix("/a b".into())]);
    config
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..2000 {
        let config = any(&mut dice);
        let printed = to_toml(&config);
        assert_eq!(read(&printed).as_ref(), Ok(&config), "{printed}");
    }
}

#[test]
fn nothing_that_is_written_makes_the_reader_panic() {
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
fn lines_of_keys_can_be_asked_for_later() {
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
    assert_eq!(locate(text, "tls.certificates.1.none"), 6, "an entry's own line");
}

#[test]
fn no_more_fields_can_be_allowed_than_are_read() {
    let most = crate::proto::http::head::FIELDS_MAX;
    let table = |headers: usize| format!("[limits]\nheaders = {headers}\n");
    let wrong = |headers| {
        read(&table(headers)).expect_err("the rest is missing").iter().any(|p| p.key == "limits.headers")
    };
    assert!(!wrong(most) && wrong(most + 1));
}
