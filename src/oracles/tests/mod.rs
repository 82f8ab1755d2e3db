//! The oracles over random input: meaningful pieces, put together by a seed that a failure prints.

use super::*;
use crate::oracles::cut::LIMITS;
use crate::oracles::params::admission;
use crate::proto::http::head as heads;
use crate::proto::red5::answer::Answer;
use crate::proto::red5::params::ConnectionParams;
use crate::proto::red5::route::{self, Route};
use std::net::IpAddr;

mod routes;
mod signalling;

/// A random generator (xorshift) whose seed repeats a failure.
struct Dice(u64);

impl Dice {
    /// Starts from the seed in `TIDEGATE_SEED`, or from a fixed one, and prints it.
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

    /// A start with up to `max` pieces behind it, in some cases with one byte changed, removed or doubled.
    fn input(&mut self, start: &str, pieces: &[&str], max: usize) -> Vec<u8> {
        let mut input = start.as_bytes().to_vec();
        for _ in 0..self.roll(max + 1) {
            input.extend_from_slice(pieces[self.roll(pieces.len())].as_bytes());
        }
        if !input.is_empty() && self.roll(4) == 0 {
            let at = self.roll(input.len());
            match self.roll(3) {
                0 => input[at] = self.roll(256) as u8,
                1 => drop(input.remove(at)),
                _ => input.insert(at, input[at]),
            }
        }
        input
    }
}

/// Calls an oracle with `rounds` inputs: a start with up to `max` pieces behind it. `is_accepted` says which of them the
/// reader accepts; it has to be more than 500, since input that is refused at once tests little.
fn play(
    rounds: usize,
    starts: &[&str],
    pieces: &[&str],
    max: usize,
    oracle: fn(&[u8]),
    is_accepted: impl Fn(&[u8]) -> bool,
) {
    let (mut dice, mut accepted) = (Dice::new(), 0);
    for _ in 0..rounds {
        let start = starts[dice.roll(starts.len())];
        let input = dice.input(start, pieces, max);
        oracle(&input);
        accepted += usize::from(is_accepted(&input));
    }
    assert!(accepted > 500, "expected more than 500 accepted inputs, found {accepted}");
}

#[test]
fn connection_params_are_read_by_the_rules() {
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
        "&host",
        "&app",
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
        let Ok(Some((suffix, query))) = std::str::from_utf8(&input).map(|text| text.split_once('\n')) else {
            continue;
        };
        accepted += usize::from(ConnectionParams::read(suffix, query, &param_rules()).is_ok());
    }
    assert!(accepted > 1_000, "expected more than 1,000 accepted inputs, found {accepted}");
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
        "User-Agent: a\tb c \r\n",
        "Authorization: Bearer x\r\n",
        "Origin:https://a.example\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Content-Type: application/sdp\r\n",
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
    play(20_000, &starts, &pieces, 10, head, |input| {
        matches!(heads::request(input, 0, &LIMITS), Ok(Some(_)))
    });
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
        "/as/v1/streams/stream/ng1/subscribe/live/s",
        "/as/v1/streams/stream/ng1/publish/live",
        "/as/v1/proxy/ws/publish/live/s",
        "/as/v1/proxy/whip/live/s",
        "/as/v1/",
        "/live/whep/endpoint/s",
        "/live/whip",
        "/streammanager/whip/resource/s",
    ];
    play(40_000, &starts, &pieces, 6, target, |input| {
        let text = std::str::from_utf8(input).unwrap_or_default();
        matches!(route::route(text), Ok(Route::Event(event)) if event.keep.found())
    });
}

#[test]
fn an_answer_names_the_nodes_in_it() {
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
        "\"server\\u0041ddress\":\"10.0.0.\\u0038\"",
        "\"\\ud800\"",
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
    play(40_000, &starts, &pieces, 6, answer, |input| {
        let body = input.split(|&byte| byte == b'\n').nth(1).unwrap_or_default();
        let answer = crate::proto::red5::answer::read(200, Some("application/json"), body);
        matches!(answer, Answer::Found { nodes } if !nodes.is_empty())
    });
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
