//! Random configurations: what is printed reads back, and no text makes the reader panic.

use super::*;

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
        keep_alive: dice.span(),
        drain: dice.span(),
        upgrade_drain: dice.span(),
        drain_close_code: dice.pick(&[1000, 1013, 3000, 4999]),
        health_path: dice.maybe(|dice| dice.pick(&["/healthz", "/", "/a/b_c-d"]).to_owned()),
    };
    config.tls.min_version = dice.pick(&[TlsVersion::V1_2, TlsVersion::V1_3]);
    config.tls.certificates =
        vec![Certificate { chain: dice.path(), key: dice.path() }; 1 + dice.roll(3) as usize];
    let mut manager = |host: &str| ManagerUrl {
        https: dice.roll(2) == 0,
        host: host.into(),
        port: 1 + dice.roll(65535) as u16,
        prefix: dice.pick(&["", "/a", "/a/b-c/~d"]).into(),
    };
    let mut managers = vec![manager("a.example"), manager("10.0.0.1"), manager("::1")];
    managers.truncate(dice.roll(4) as usize);
    (config.stream_manager.urls, config.stream_manager.url) = match managers.is_empty() {
        true => {
            (Vec::new(), Some(ManagerUrl { https: true, host: "b".into(), port: 7, prefix: String::new() }))
        }
        false => (managers, None),
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
    config.limits.requests_per_ip = dice.maybe(|dice| Rate {
        count: 1 + dice.roll(1000) as u32,
        per: Duration::from_secs(dice.pick(&[1, 60, 3600])),
    });
    config.limits.head_size = dice.size(8192, 1 << 20) as usize;
    config.cors.allow_origins = dice.pick(&[
        AllowOrigins::SameHost,
        AllowOrigins::Any,
        AllowOrigins::Listed(vec!["https://a.example:8443".into(), "http://[::1]".into()]),
    ]);
    config.cors.allow_headers = dice.maybe(|dice| vec![dice.word()]).unwrap_or_default();
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
