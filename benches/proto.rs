//! What the readers cost for one session, each beside a floor: the same bytes copied, or the same answer known.
//!
//! `cargo bench --no-default-features --bench proto`. No sockets here; the relay has its own bench.

#![allow(clippy::unwrap_used)] // inputs are written here

use std::net::IpAddr;

use divan::{Bencher, black_box};
use tidegate::proto::admission::{self, AdmissionRules};
use tidegate::proto::answer;
use tidegate::proto::body::Body;
use tidegate::proto::check::param_rules;
use tidegate::proto::frame::{FrameRules, Scanner, Side};
use tidegate::proto::head::{self, BodyLength, HeadLimits};
use tidegate::proto::one_step::OneStep;
use tidegate::proto::params::ConnectionParams;
use tidegate::proto::target::{self, Route};
use tidegate::proto::whip::{Method, Request};

fn main() {
    divan::main();
}

/// A stream of masked client frames with payloads of `size`, at least 64 KiB of it.
fn frames(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match size {
        0..126 => frame.push(0x80 | u8::try_from(size).expect("short")),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(size).expect("medium").to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + size, b'x');
    frame.repeat((64 * 1024_usize).div_ceil(frame.len()))
}

#[divan::bench(args = [64, 256, 1024, 65_536])]
fn scan(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(size);
    let rules = FrameRules { message_max: 1 << 20, extensions: false };
    bencher.counter(divan::counter::ItemsCount::new(bytes.len().div_ceil(size))).bench(|| {
        Scanner::new(Side::Client, rules).scan(black_box(&bytes), false).expect("legal frames").frames
    });
}

#[divan::bench(args = [64, 256, 1024, 65_536])]
fn scan_in_segments(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(size);
    let rules = FrameRules { message_max: 1 << 20, extensions: false };
    bencher.counter(divan::counter::ItemsCount::new(bytes.len().div_ceil(size))).bench(|| {
        let mut scanner = Scanner::new(Side::Client, rules);
        bytes.chunks(1460).map(|piece| scanner.scan(piece, false).expect("legal frames").frames).sum::<u32>()
    });
}

/// The floor of the scanner: the same bytes copied once.
#[divan::bench(args = [64, 256, 1024, 65_536])]
fn scan_floor_copy(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(size);
    let mut out = vec![0; bytes.len()];
    bencher.counter(divan::counter::ItemsCount::new(bytes.len().div_ceil(size))).bench_local(|| {
        out.copy_from_slice(black_box(&bytes));
        out[0]
    });
}

/// What Chromium sends to open the vendor's signalling.
const UPGRADE: &str = "GET /streammanager/?id=stream1&host=10.0.0.5&app=live HTTP/1.1\r\n\
    Host: edge.example.net\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://edge.example.net\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const LIMITS: HeadLimits = HeadLimits { head_size_max: 16 << 10, target_size_max: 6 << 10, headers_max: 100 };

const EVENT: &str = "/streammanager/api/4.0/event/live/room1/stream1?action=subscribe&region=us-east-1&strict=true&endpoints=2";

/// With a digest token, as round-trip authentication sends it.
const QUERY: &str = "id=stream1&region=us-east&strict=true&username=u&password=p&\
    token=stream1%3Auser%3Astreamer%3Akey1%3Dvalue1%3Aapp%3A1234567891%3A\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef&host=10.0.0.5&app=live&context=room1";

const ANSWER: &str = r#"{"name":"stream1","scope":"/live","serverAddress":"10.0.0.5","region":"us-east-1"}"#;

/// The floor: these bytes copied once.
fn copy(bencher: Bencher<'_, '_>, text: &str) {
    let mut room = vec![0; text.len()];
    bencher.counter(divan::counter::BytesCount::of_str(text)).bench_local(|| {
        room.copy_from_slice(black_box(text.as_bytes()));
        black_box(&mut room);
    });
}

mod heads {
    use super::*;

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, UPGRADE);
    }

    #[divan::bench]
    fn request(bencher: Bencher<'_, '_>) {
        let bytes = divan::counter::BytesCount::of_str(UPGRADE);
        bencher
            .counter(bytes)
            .bench(|| head::request(black_box(UPGRADE.as_bytes()), 0, &LIMITS).unwrap().unwrap().1);
    }

    /// One byte at a time: what a slow client costs in all.
    #[divan::bench]
    fn request_dripping(bencher: Bencher<'_, '_>) {
        let bytes = UPGRADE.as_bytes();
        bencher.counter(divan::counter::BytesCount::of_str(UPGRADE)).bench(|| {
            (1..=bytes.len())
                .filter(|&end| head::request(black_box(&bytes[..end]), end - 1, &LIMITS).is_ok())
                .count()
        });
    }

    #[divan::bench]
    fn response(bencher: Bencher<'_, '_>) {
        let bytes = divan::counter::BytesCount::of_str(SWITCHING);
        bencher
            .counter(bytes)
            .bench(|| head::response(black_box(SWITCHING.as_bytes()), 0, &LIMITS).unwrap().unwrap().1);
    }
}

mod targets {
    use super::*;

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, EVENT);
    }

    #[divan::bench]
    fn event() -> bool {
        target::route(black_box(EVENT)).is_ok()
    }

    #[divan::bench]
    fn two_step() -> bool {
        target::route(black_box("/streammanager/?id=stream1&host=10.0.0.5&app=live")).is_ok()
    }

    #[divan::bench]
    fn escaped_name() -> bool {
        target::route(black_box("/streammanager/api/4.0/event/live/a%20b%26c?action=subscribe")).is_ok()
    }
}

mod params {
    use super::*;

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, QUERY);
    }

    #[divan::bench]
    fn plain(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        let query = "id=stream1&host=10.0.0.5&app=live";
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(query), &rules).unwrap());
    }

    #[divan::bench]
    fn with_token(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(QUERY), &rules).unwrap());
    }

    /// The worst that the limits let through.
    #[divan::bench]
    fn many_pairs(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        let query = format!("host=10.0.0.5&app=live&{}", "%61%62%63%64=1&".repeat(62));
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(&query), &rules).unwrap());
    }
}

/// One request of each of today's clients: route, parameters, and what the node is asked.
mod requests {
    use super::*;

    const ONE_STEP: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1&region=us-east";
    const WHIP: &str = "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&transport=udp&\
        keyFramerate=3000&host=10.0.0.7";
    const RESOURCE: &str =
        "/as/v1/proxy/whip/live/stream1~00112233445566778899aabbccddeeff?nodeGroup=ng1&host=10.0.0.7";

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, WHIP);
    }

    #[divan::bench]
    fn one_step(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        bencher.bench(|| {
            let Ok(Route::OneStep(route)) = target::route(black_box(ONE_STEP)) else { unreachable!() };
            OneStep::read(&route, &rules, "").unwrap().question()
        });
    }

    fn whip(bencher: Bencher<'_, '_>, method: Method, target: &str) {
        let rules = param_rules();
        bencher.bench(|| {
            let Ok(Route::Whip(route)) = target::route(black_box(target)) else { unreachable!() };
            let request = Request::read(&route, method, &rules, "").unwrap();
            (request.node_target(), request.affinity_key())
        });
    }

    #[divan::bench]
    fn whip_post(bencher: Bencher<'_, '_>) {
        whip(bencher, Method::Post, WHIP);
    }

    #[divan::bench]
    fn whip_patch(bencher: Bencher<'_, '_>) {
        whip(bencher, Method::Patch, RESOURCE);
    }
}

/// An SDP of the size that browsers make, in chunks and in one piece.
mod bodies {
    use super::*;

    fn read(bencher: Bencher<'_, '_>, length: BodyLength, bytes: &[u8]) {
        bencher.counter(divan::counter::BytesCount::new(bytes.len())).bench(|| {
            let (mut body, mut used) = (Body::new(length, 1 << 18).unwrap(), 0);
            while !body.is_done() {
                used += body.next(black_box(&bytes[used..])).unwrap().used;
            }
            used
        });
    }

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, &"a".repeat(8000));
    }

    #[divan::bench]
    fn counted(bencher: Bencher<'_, '_>) {
        read(bencher, BodyLength::Length(8000), &[b'a'; 8000]);
    }

    #[divan::bench]
    fn chunked(bencher: Bencher<'_, '_>) {
        let sent = format!("{}0\r\n\r\n", format!("3e8\r\n{}\r\n", "a".repeat(1000)).repeat(8));
        read(bencher, BodyLength::Chunked, sent.as_bytes());
    }
}

mod answers {
    use super::*;

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, ANSWER);
    }

    #[divan::bench]
    fn object(bencher: Bencher<'_, '_>) {
        let bytes = divan::counter::BytesCount::of_str(ANSWER);
        bencher
            .counter(bytes)
            .bench(|| answer::read(200, Some("application/json"), black_box(ANSWER.as_bytes())));
    }

    #[divan::bench]
    fn list_of_1000(bencher: Bencher<'_, '_>) {
        let list = format!("[{}]", vec![ANSWER; 1000].join(","));
        let bytes = divan::counter::BytesCount::of_str(&list);
        bencher
            .counter(bytes)
            .bench(|| answer::read(200, Some("application/json"), black_box(list.as_bytes())));
    }
}

mod admissions {
    use super::*;

    fn rules() -> AdmissionRules {
        let networks = (0..16).map(|n| format!("192.168.{n}.0/24").parse().unwrap()).collect();
        let own = vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        AdmissionRules { networks, learned: true, strict: false, own, port: 5080 }
    }

    #[divan::bench]
    fn floor_nothing() -> IpAddr {
        black_box(IpAddr::from([10, 0, 0, 5]))
    }

    #[divan::bench]
    fn learned(bencher: Bencher<'_, '_>) {
        let rules = rules();
        bencher.bench(|| admission::admit(&rules, black_box(IpAddr::from([10, 0, 0, 5])), true).is_ok());
    }

    #[divan::bench]
    fn listed(bencher: Bencher<'_, '_>) {
        let rules = rules();
        bencher.bench(|| admission::admit(&rules, black_box(IpAddr::from([192, 168, 15, 5])), false).is_ok());
    }
}
