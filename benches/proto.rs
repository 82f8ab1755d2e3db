//! Measures the parsers for one session, each beside a floor: a copy of the same bytes, or a constant result.
//!
//! `cargo bench --no-default-features --bench proto`. Uses no sockets. TLS and stored answers are in `gateway.rs`, the whole
//! relay is in `relay.rs`.

#![allow(clippy::unwrap_used)] // all inputs are constants and valid

#[allow(dead_code, unreachable_pub)] // shared with other benches
#[path = "measured/sample.rs"]
mod sample;

use std::net::IpAddr;

use divan::{Bencher, black_box};
use sample::*;
use tidegate::oracles::param_rules;
use tidegate::proto::admission;
use tidegate::proto::http::body::Body;
use tidegate::proto::http::head;
use tidegate::proto::http::head::BodyLength;
use tidegate::proto::red5::answer;
use tidegate::proto::red5::one_step::OneStep;
use tidegate::proto::red5::params::ConnectionParams;
use tidegate::proto::red5::route;
use tidegate::proto::red5::route::Route;
use tidegate::proto::red5::whip::{Method, Request};
use tidegate::proto::websocket::frame::{FrameRules, Scanner, Side};
use tidegate::proto::websocket::upgrade::Negotiated;

fn main() {
    divan::main();
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

/// The floor of the scanner: copying the same bytes once.
#[divan::bench(args = [64, 256, 1024, 65_536])]
fn scan_floor_copy(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(size);
    let mut out = vec![0; bytes.len()];
    bencher.counter(divan::counter::ItemsCount::new(bytes.len().div_ceil(size))).bench_local(|| {
        out.copy_from_slice(black_box(&bytes));
        out[0]
    });
}

/// The floor: copying the text once.
fn copy(bencher: Bencher<'_, '_>, text: &str) {
    let mut copied = vec![0; text.len()];
    bencher.counter(divan::counter::BytesCount::of_str(text)).bench_local(|| {
        copied.copy_from_slice(black_box(text.as_bytes()));
        black_box(&mut copied);
    });
}

mod heads {
    use super::*;

    /// The head of a script, of a browser, and of a browser with 3.4 KiB of cookies.
    #[derive(Debug)]
    enum Sender {
        Script,
        Browser,
        Cookies,
    }

    impl Sender {
        fn head(&self) -> String {
            match self {
                Self::Script => SMALL.to_owned(),
                Self::Browser => UPGRADE.to_owned(),
                Self::Cookies => large(),
            }
        }
    }

    #[divan::bench(args = [Sender::Script, Sender::Browser, Sender::Cookies])]
    fn floor_copy(bencher: Bencher<'_, '_>, from: &Sender) {
        copy(bencher, &from.head());
    }

    #[divan::bench(args = [Sender::Script, Sender::Browser, Sender::Cookies])]
    fn request(bencher: Bencher<'_, '_>, from: &Sender) {
        let head = from.head();
        bencher
            .counter(divan::counter::BytesCount::of_str(&head))
            .bench(|| head::request(black_box(head.as_bytes()), 0, &LIMITS).unwrap().unwrap().1);
    }

    /// One byte at a time: the whole cost of a slow client.
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
        route::route(black_box(EVENT)).is_ok()
    }

    #[divan::bench]
    fn two_step() -> bool {
        route::route(black_box(TWO_STEP)).is_ok()
    }

    #[divan::bench]
    fn escaped_name() -> bool {
        route::route(black_box("/streammanager/api/4.0/event/live/a%20b%26c?action=subscribe")).is_ok()
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
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(PLAIN_QUERY), &rules).unwrap());
    }

    #[divan::bench]
    fn with_token(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(QUERY), &rules).unwrap());
    }

    /// The most expensive query that the limits allow.
    #[divan::bench]
    fn many_pairs(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        let query = format!("host=10.0.0.5&app=live&{}", "%61%62%63%64=1&".repeat(62));
        bencher.bench(|| ConnectionParams::read(black_box("/"), black_box(&query), &rules).unwrap());
    }
}

/// One request of each kind of client: route, parameters, and the request to the node.
mod requests {
    use super::*;

    #[divan::bench]
    fn floor_copy(bencher: Bencher<'_, '_>) {
        copy(bencher, WHIP);
    }

    #[divan::bench]
    fn one_step(bencher: Bencher<'_, '_>) {
        let rules = param_rules();
        bencher.bench(|| {
            let Ok(Route::OneStep(route)) = route::route(black_box(ONE_STEP)) else { unreachable!() };
            OneStep::read(&route, &rules, "").unwrap().question()
        });
    }

    fn whip(bencher: Bencher<'_, '_>, method: Method, target: &str) {
        let rules = param_rules();
        bencher.bench(|| {
            let Ok(Route::Whip(route)) = route::route(black_box(target)) else { unreachable!() };
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

/// The heads that the gateway writes to a node and to a client.
mod rewriting {
    use super::*;

    /// A query with few parameters, and one with a digest token.
    const QUERIES: [&str; 2] = [PLAIN_QUERY, QUERY];

    #[divan::bench(args = [0, 1])]
    fn floor_copy(bencher: Bencher<'_, '_>, query: usize) {
        let params = ConnectionParams::read("/", QUERIES[query], &param_rules()).unwrap();
        copy(bencher, &String::from_utf8(upgrade(params).request(KEY, NODE, CLIENT)).unwrap());
    }

    #[divan::bench(args = [0, 1])]
    fn upgrade_for_node(bencher: Bencher<'_, '_>, query: usize) {
        let upgrade = upgrade(ConnectionParams::read("/", QUERIES[query], &param_rules()).unwrap());
        bencher.bench(|| black_box(&upgrade).request(KEY, NODE, CLIENT));
    }

    #[divan::bench]
    fn switching_for_client(bencher: Bencher<'_, '_>) {
        let upgrade = upgrade(ConnectionParams::read("/", PLAIN_QUERY, &param_rules()).unwrap());
        let agreed = Negotiated { protocol: None, extensions: None };
        bencher.bench(|| black_box(&upgrade).response(&agreed, SESSION));
    }

    #[divan::bench]
    fn whip_for_node(bencher: Bencher<'_, '_>) {
        let request = read(UPGRADE);
        bencher.bench(|| whip_forward(black_box(&request)).head());
    }
}

/// A body of the size of a browser's SDP, in chunks and in one piece.
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

    #[divan::bench]
    fn floor_nothing() -> IpAddr {
        black_box(IpAddr::from([10, 0, 0, 5]))
    }

    #[divan::bench]
    fn learned(bencher: Bencher<'_, '_>) {
        let rules = admission_rules();
        bencher.bench(|| admission::admit(&rules, black_box(IpAddr::from([10, 0, 0, 5])), true).is_ok());
    }

    #[divan::bench]
    fn listed(bencher: Bencher<'_, '_>) {
        let rules = admission_rules();
        bencher.bench(|| admission::admit(&rules, black_box(IpAddr::from([192, 168, 15, 5])), false).is_ok());
    }
}
