//! Cases of `proto`: heads, targets, parameters, rewritten heads, frames, admission.

use super::Cases;
use super::measured::sample::*;
use std::hint::black_box;
use std::net::IpAddr;
use tidegate::oracles::param_rules;
use tidegate::proto::admission;
use tidegate::proto::http::head;
use tidegate::proto::red5::answer;
use tidegate::proto::red5::one_step::OneStep;
use tidegate::proto::red5::params::ConnectionParams;
use tidegate::proto::red5::route;
use tidegate::proto::red5::route::Route;
use tidegate::proto::red5::whip;
use tidegate::proto::websocket::frame::{FrameRules, Scanner, Side};
use tidegate::proto::websocket::upgrade::Negotiated;

pub(super) fn add(cases: &mut Cases) {
    heads(cases);
    targets(cases);
    rewriting(cases);
    answers(cases);
    admissions(cases);
    frames_of_clients(cases);
}

fn heads(cases: &mut Cases) {
    for (name, head) in
        [("head/script", SMALL.to_owned()), ("head/browser", UPGRADE.to_owned()), ("head/cookies", large())]
    {
        cases.copy(name, head.clone());
        cases.add(name, move || {
            move || {
                let read = head::request(black_box(head.as_bytes()), 0, &LIMITS);
                black_box(read.expect("legal").expect("whole"));
            }
        });
    }
    // one byte at a time: the whole cost of a slow client
    cases.add("head/browser_dripping", || {
        || {
            let bytes = UPGRADE.as_bytes();
            for end in 1..=bytes.len() {
                let read = head::request(black_box(&bytes[..end]), end - 1, &LIMITS);
                black_box(read.expect("legal"));
            }
        }
    });
    cases.copy("head/switching", SWITCHING);
    cases.add("head/switching", || {
        || {
            let read = head::response(black_box(SWITCHING.as_bytes()), 0, &LIMITS);
            black_box(read.expect("legal").expect("whole"));
        }
    });
}

fn targets(cases: &mut Cases) {
    cases.copy("target/event", EVENT);
    for (name, text) in [("target/event", EVENT), ("target/two_step", TWO_STEP)] {
        cases.add(name, move || {
            move || {
                black_box(route::route(black_box(text)).expect("a route"));
            }
        });
    }
    cases.copy("params/token", QUERY);
    for (name, query) in [("params/plain", PLAIN_QUERY), ("params/token", QUERY)] {
        let rules = param_rules();
        cases.add(name, move || {
            move || {
                black_box(ConnectionParams::read(black_box("/"), black_box(query), &rules).expect("legal"));
            }
        });
    }
    cases.copy("one_step/question", ONE_STEP);
    cases.add("one_step/question", || {
        let rules = param_rules();
        move || {
            let Ok(Route::OneStep(route)) = route::route(black_box(ONE_STEP)) else { unreachable!() };
            black_box(OneStep::read(&route, &rules, "").expect("legal").question());
        }
    });
    cases.copy("whip/post", WHIP);
    for (name, method, text) in
        [("whip/post", whip::Method::Post, WHIP), ("whip/patch", whip::Method::Patch, RESOURCE)]
    {
        cases.add(name, move || {
            let rules = param_rules();
            move || {
                let Ok(Route::Whip(route)) = route::route(black_box(text)) else { unreachable!() };
                let request = whip::Request::read(&route, method, &rules, "").expect("legal");
                black_box((request.node_target(), request.affinity_key()));
            }
        });
    }
}

/// The heads that the gateway writes to a node and to a client.
fn rewriting(cases: &mut Cases) {
    let read_params = |query| ConnectionParams::read("/", query, &param_rules()).expect("legal");
    for (name, query) in [("rewrite/upgrade", PLAIN_QUERY), ("rewrite/upgrade_token", QUERY)] {
        let upgrade = upgrade(read_params(query));
        cases.copy(name, upgrade.request(KEY, NODE, CLIENT));
        cases.add(name, move || move || drop(black_box(black_box(&upgrade).request(KEY, NODE, CLIENT))));
    }
    let upgrade = upgrade(read_params(PLAIN_QUERY));
    let agreed = Negotiated { protocol: None, extensions: None };
    cases.copy("rewrite/switching", upgrade.response(&agreed, SESSION));
    let answered = upgrade.clone();
    cases.add("rewrite/switching", move || {
        move || drop(black_box(black_box(&answered).response(&agreed, SESSION)))
    });
    cases.add("rewrite/check", move || {
        let read = head::response(SWITCHING.as_bytes(), 0, &LIMITS).expect("legal").expect("whole");
        move || drop(black_box(black_box(&upgrade).check(KEY, &read.0).expect("the right answer")))
    });
    cases.copy("rewrite/whip", whip_forward(&read(UPGRADE)).head());
    cases.add("rewrite/whip", || {
        let request = read(UPGRADE);
        move || drop(black_box(whip_forward(black_box(&request)).head()))
    });
}

fn answers(cases: &mut Cases) {
    let list = format!("[{}]", [ANSWER; 50].join(","));
    for (name, body) in [("answer/one", ANSWER.to_owned()), ("answer/list_of_50", list)] {
        cases.copy(name, body.clone());
        cases.add(name, move || {
            move || drop(black_box(answer::read(200, Some("application/json"), black_box(body.as_bytes()))))
        });
    }
}

/// Sixteen addresses for each unit: one alone takes too few instructions for a limit in percent.
fn admissions(cases: &mut Cases) {
    let addresses_of =
        |third| (0..16).map(move |last| IpAddr::from([192, 168, third, last])).collect::<Vec<_>>();
    cases.add("admission/listed_16.nothing", move || {
        let addresses = addresses_of(15);
        move || {
            for address in &addresses {
                black_box(*address);
            }
        }
    });
    for (name, third, learned) in [("admission/listed_16", 15, false), ("admission/learned_16", 99, true)] {
        cases.add(name, move || {
            let (rules, addresses) = (admission_rules(), addresses_of(third));
            move || {
                for address in &addresses {
                    black_box(admission::admit(&rules, black_box(*address), learned).expect("known"));
                }
            }
        });
    }
}

/// 64 KiB of frames in one piece, and in pieces of a packet's size.
fn frames_of_clients(cases: &mut Cases) {
    let rules = FrameRules { message_max: 1 << 20, extensions: false };
    let sizes = [("64B", 64), ("256B", 256), ("1KiB", 1024), ("64KiB", 65_536)];
    cases.copy("scan/64KiB", frames(65_536));
    for (label, size) in sizes {
        cases.add(format!("scan/{label}"), move || {
            let bytes = frames(size);
            move || {
                let mut scanner = Scanner::new(Side::Client, rules);
                black_box(scanner.scan(black_box(&bytes), false).expect("legal frames"));
            }
        });
    }
    for (label, size) in sizes {
        cases.add(format!("scan/{label}_in_packets"), move || {
            let bytes = frames(size);
            move || {
                let mut scanner = Scanner::new(Side::Client, rules);
                for packet in black_box(&bytes).chunks(1460) {
                    black_box(scanner.scan(packet, false).expect("legal frames"));
                }
            }
        });
    }
}
