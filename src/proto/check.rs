//! Oracles: for each reader one function that takes any bytes and asserts what must always hold.
//!
//! Unit tests feed them from a printed seed, `tests/corpus.rs` feeds them the committed corpora, and the fuzz targets feed
//! them everything else. Always compiled, so that no feature can be forgotten; nothing that serves calls them.

use std::net::IpAddr;

use super::admission::{self, AdmissionRules, Network};
use super::answer::{self, Answer, FreshnessRules};
use super::head::{self, HeadFault, HeadLimits};
use super::params::{ConnectionParams, Host, ParamRules};
use super::target::{self, EventKind, Keep, Route};

pub mod reference;

/// Limits small enough that short inputs reach them.
const LIMITS: HeadLimits = HeadLimits { head_size_max: 512, target_size_max: 96, headers_max: 12 };

/// A head gives the same answer wherever it is cut, and its length is within what was given.
pub fn head(bytes: &[u8]) {
    cut_anywhere(bytes, |bytes, seen| head::request(bytes, seen, &LIMITS));
    cut_anywhere(bytes, |bytes, seen| head::response(bytes, seen, &LIMITS));
    if let Ok(Some((request, used))) = head::request(bytes, 0, &LIMITS) {
        assert!(bytes[..used].ends_with(b"\r\n\r\n"), "a head ends with a blank line");
        assert!(used <= LIMITS.head_size_max && request.target.len() <= LIMITS.target_size_max);
        assert!(
            request.target.starts_with('/') && request.target.bytes().all(|byte| byte.is_ascii_graphic())
        );
        assert!(!request.host.is_empty() && request.minor <= 1);
        let again = head::request(&bytes[..used], 0, &LIMITS);
        assert_eq!(again, Ok(Some((request, used))), "what follows a head changes nothing in it");
    }
}

/// Feeds a reader byte by byte and all at once: both ways the same verdict.
fn cut_anywhere<'b, T: PartialEq + std::fmt::Debug>(
    bytes: &'b [u8],
    read: impl Fn(&'b [u8], usize) -> Result<Option<(T, usize)>, HeadFault>,
) {
    let whole = read(bytes, 0);
    for cut in 1..=bytes.len() {
        let part = read(&bytes[..cut], cut - 1);
        if part != Ok(None) {
            assert_eq!(part, whole, "cut at {cut}");
            return;
        }
    }
    assert_eq!(whole, Ok(None), "byte by byte it never came to a verdict");
}

/// A route is found only where a slow second look finds it too, and only plain questions are kept.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(route) = target::route(text) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    for segment in reference::path_segments(path).expect("an admitted path has one reading only") {
        assert!(!matches!(segment.as_slice(), b"." | b".."));
    }
    match route {
        Route::TwoStep { suffix, query: given } => {
            assert_eq!(format!("/streammanager{suffix}"), path);
            assert_eq!(given, query);
            assert!(suffix != "/api" && !suffix.starts_with("/api/"));
        }
        Route::Event(event) => {
            let segments: Vec<&str> = path.split('/').collect();
            assert_eq!(segments[..3], ["", "streammanager", "api"]);
            assert!(["1.0", "2.0", "3.0", "3.1", "4.0"].contains(&segments[3]) && segments[4] == "event");
            assert_eq!((event.target, event.name), (text, segments[5..].join("/").as_str()));
            assert_eq!(event.keep.found(), reference::may_be_kept(event.kind, query), "{text}");
            assert!(event.kind != EventKind::Other || event.keep == Keep::Never);
            assert!(event.keep.found() || !event.missing_keepable());
        }
    }
}

/// The rules under which [`params`] compares; those of the vectors.
pub fn param_rules() -> ParamRules {
    ParamRules {
        apps: vec!["live".into(), "webrtc".into()],
        names: vec!["node1.example.net".into()],
        ..ParamRules::default()
    }
}

/// Connection parameters come out as the plain reference has them. The first line is the path's suffix, the rest the
/// query.
pub fn params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (suffix, query) = text.split_once('\n').unwrap_or(("/", text));
    let rules = param_rules();
    let ours = ConnectionParams::read(suffix, query, &rules);
    let theirs = reference::read(suffix, query, &rules);
    let ours_plain = ours.as_ref().map(|params| (params.host.clone(), params.origin_target.clone()));
    assert_eq!(ours_plain.map_err(|refusal| *refusal), theirs, "suffix {suffix:?}, query {query:?}");
    let Ok(params) = ours else { return };
    assert!(params.origin_target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    assert!(params.origin_target.starts_with(&format!("/{}/", params.scope)));
    if let Host::Address(address) = params.host {
        admission(address);
    }
}

/// Denied addresses stay denied whatever is learned and whatever prefix is listed.
fn admission(address: IpAddr) {
    let everything = ["0.0.0.0/0", "::/0"].map(|text| text.parse::<Network>().expect("a prefix"));
    let own = IpAddr::from([10, 9, 9, 9]);
    let rules = AdmissionRules {
        networks: everything.to_vec(),
        learned: true,
        strict: false,
        own: vec![own],
        port: 5080,
    };
    let admitted = admission::admit(&rules, address, true).is_ok();
    assert_eq!(admitted, admission::may_learn(&rules, address));
    assert_eq!(admitted, address != own && !reference::is_denied(address), "{address}");
}

/// An answer never panics, names only what stands in it, and is never kept longer than our own time.
pub fn answer(bytes: &[u8]) {
    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
    let rules = FreshnessRules { broadcast: SECOND, subscribe: SECOND, list: SECOND, missing: SECOND };
    let (cache_control, body) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (std::str::from_utf8(&bytes[..end]).ok(), &bytes[end + 1..]),
        None => (None, bytes),
    };
    for status in [200, 404, 500] {
        let answer = answer::read(status, Some("Application/JSON; charset=utf-8"), body);
        let fresh = answer.freshness(&rules, EventKind::Subscribe, Keep::Both, cache_control);
        assert!(fresh.is_none_or(|fresh| fresh <= SECOND && !fresh.is_zero()));
        assert_eq!(answer.freshness(&rules, EventKind::Subscribe, Keep::Never, cache_control), None);
        assert!(status != 500 || answer == Answer::Other);
        let nodes = match answer {
            Answer::Found { nodes } => Some(nodes),
            _ => None,
        };
        assert!(nodes.as_ref().is_none_or(|nodes| nodes.len() <= answer::NODES_MAX));
        // a tree can't hold all that is JSON: numbers out of range, halves of surrogate pairs
        if let (200, Some(expected)) = (status, reference::nodes(body)) {
            assert_eq!(nodes, Some(expected));
        }
    }
    assert_eq!(answer::read(200, Some("text/html"), body), Answer::Other);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Xorshift, so that a seed is all it takes to see a failure again.
    struct Dice(u64);

    impl Dice {
        /// Rolls from a seed that a failing test prints; `TIDEGATE_SEED` sets it.
        fn new() -> Self {
            let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
            let seed = seed.unwrap_or(0x7469_6465_6761_7465);
            println!("TIDEGATE_SEED={seed}");
            Self(seed)
        }

        fn roll(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % below as u64) as usize
        }

        /// Some pieces in a row, at times with a byte changed, removed or doubled.
        fn input(&mut self, start: &str, pieces: &[&str], most: usize) -> Vec<u8> {
            let mut input = start.as_bytes().to_vec();
            for _ in 0..self.roll(most + 1) {
                input.extend_from_slice(pieces[self.roll(pieces.len())].as_bytes());
            }
            if !input.is_empty() && self.roll(4) == 0 {
                let place = self.roll(input.len());
                match self.roll(3) {
                    0 => input[place] = self.roll(256) as u8,
                    1 => drop(input.remove(place)),
                    _ => input.insert(place, input[place]),
                }
            }
            input
        }
    }

    #[test]
    fn connection_params_are_what_the_rules_say() {
        let pieces = [
            "&",
            "&",
            "&",
            "=",
            "?",
            "host=10.0.0.5",
            "host=",
            "&app=live",
            "&app=live",
            "app=",
            "live",
            "/room1",
            "%2F",
            "&context=",
            "&context=room1",
            "..",
            "%2e",
            "%zz",
            "undefined",
            "null",
            "Host=",
            "ho%73t=1",
            "&id=s",
            "&x",
            "username=cluster%2Drestreamer",
            "&accessToken=x",
            "[::1]",
            "%5B",
            "fe80::1",
            "::ffff:1.2.3.4",
            "127.0.0.1",
            "10.0.0.256",
            "node1.example.net",
            "NODE1.example.net",
            ".",
            "0x7f",
            "%00",
            "%20",
            "+",
            "%C5%BB",
            "%ff",
            ";",
        ];
        let suffixes =
            ["\n", "/\n", "/room1/\n", "/room1\n", "//\n", "/a/b/c\n", "/%2e/\n", "/undefined/\n", "room\n"];
        let (mut dice, mut accepted) = (Dice::new(), 0);
        for _ in 0..40_000 {
            let mut start = suffixes[dice.roll(2 * suffixes.len()).saturating_sub(suffixes.len())].to_owned();
            if dice.roll(2) == 0 {
                start.push_str("host=10.0.0.5&app=live");
            }
            let input = dice.input(&start, &pieces, 8);
            params(&input);
            let Ok(Some((suffix, query))) = std::str::from_utf8(&input).map(|text| text.split_once('\n'))
            else {
                continue;
            };
            accepted += usize::from(ConnectionParams::read(suffix, query, &param_rules()).is_ok());
        }
        assert!(accepted > 1_000, "the inputs are too wild to mean anything: {accepted} accepted");
    }

    #[test]
    fn a_head_reads_the_same_wherever_it_is_cut() {
        let pieces = [
            "\r\n",
            "\r\n",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "\0",
            "Host: a.example\r\n",
            "Host: b\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: upgrade\r\n",
            "Upgrade: websocket\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            " folded\r\n",
            "Name : value\r\n",
            "X: \u{fc}\r\n",
            "body",
            "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        ];
        let starts = [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\n",
            "\r\nGET /x HTTP/1.0\r\nHost: a\r\n",
            "GET https://a.example/x HTTP/1.1\r\n",
            "HTTP/1.1 101 Switching\r\n",
            "HTTP/1.1 200 OK\r\n",
            "",
            "GET /0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        ];
        let (mut dice, mut accepted) = (Dice::new(), 0);
        for _ in 0..20_000 {
            let start = starts[dice.roll(starts.len())];
            let input = dice.input(start, &pieces, 10);
            head(&input);
            accepted += usize::from(matches!(head::request(&input, 0, &LIMITS), Ok(Some(_))));
        }
        assert!(accepted > 500, "the inputs are too wild to mean anything: {accepted} accepted");
    }

    #[test]
    fn a_route_has_one_reading_only() {
        let pieces = [
            "/",
            "/",
            "live",
            "/stream1",
            "/list",
            "/stats",
            "..",
            "%2e",
            "%2E%2e",
            "%2f",
            "%252f",
            "%5c",
            ";",
            "\\",
            "//",
            "admin",
            "?",
            "?action=subscribe",
            "?action=broadcast",
            "&region=us",
            "&strict=true",
            "&endpoints=2",
            "&x=1",
            "&transcode=true",
            "&transcode=false",
            "accessToken",
            "%",
            "#",
            "&action=broadcast",
            "&region=true",
        ];
        let starts = [
            "/streammanager",
            "/streammanager/api/4.0/event/live/s",
            "/streammanager/api/3.1/event/live/s?action=subscribe",
            "/streammanager/api/2.0/event/list",
            "/streammanager/api/",
            "/streammanager/api/1.0/event",
        ];
        let (mut dice, mut kept) = (Dice::new(), 0);
        for _ in 0..40_000 {
            let start = starts[dice.roll(starts.len())];
            let input = dice.input(start, &pieces, 6);
            target(&input);
            let text = std::str::from_utf8(&input).unwrap_or_default();
            kept += usize::from(matches!(target::route(text), Ok(Route::Event(event)) if event.keep.found()));
        }
        assert!(kept > 500, "the inputs are too wild to mean anything: {kept} kept");
    }

    #[test]
    fn an_answer_names_what_stands_in_it() {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "{\"serverAddress\":\"10.0.0.5\"}",
            ",{\"serverAddress\":\"2001:db8::5\"}",
            "\"serverAddress\":\"10.0.0.6\"",
            "\"x\":{\"serverAddress\":\"10.0.0.7\"}",
            "\"serverAddress\":",
            "null",
            "1e999",
            "-1",
            "\"name\":\"s\",",
            "true",
            "\"\\u00e9\"",
            " ",
        ];
        let starts = [
            "max-age=1\n",
            "no-store\n",
            "\n",
            "\n[{\"serverAddress\":\"10.0.0.5\"},",
            "\n{\"serverAddress\":\"::1\"}",
            "\n{\"serverAddress\":\"::1\",",
            "\n{",
        ];
        let (mut dice, mut found) = (Dice::new(), 0);
        for _ in 0..40_000 {
            let start = starts[dice.roll(starts.len())];
            let input = dice.input(start, &pieces, 6);
            answer(&input);
            let body = input.split(|&byte| byte == b'\n').nth(1).unwrap_or_default();
            let answer = answer::read(200, Some("application/json"), body);
            found += usize::from(matches!(answer, Answer::Found { nodes } if !nodes.is_empty()));
        }
        assert!(found > 500, "the inputs are too wild to mean anything: {found} found");
    }

    #[test]
    fn denied_addresses_stay_denied() {
        let mut dice = Dice::new();
        let firsts =
            [0_u16, 0x64, 0x2001, 0x2002, 0xfe80, 0xfebf, 0xfec0, 0xff02, 0xfd00, 0xfd20, 0xffff, 0x3fff];
        let next = [0_u16, 0, 0, 1, 0xff9b, 0xffff, 0xec2, 0xce, 0xdb8, 0x254];
        for _ in 0..20_000 {
            let octets = [0, 10, 127, 169, 100, 168, 192, 224, 239, 240, 255][dice.roll(11)];
            let rest = [0_u8, 1, 9, 63, 100, 129, 192, 200, 254, 255, 16];
            let mut one = || rest[dice.roll(rest.len())];
            admission(IpAddr::from([octets, one(), one(), one()]));
            let mut segments = [0; 8];
            segments[0] = firsts[dice.roll(firsts.len())];
            for segment in &mut segments[1..] {
                *segment = next[dice.roll(next.len())];
            }
            admission(IpAddr::from(segments));
        }
    }
}
