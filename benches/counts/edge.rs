//! Cases of a worker: records in and out, and answers from the memory.

use super::measured::records::{Bare, Exchange, Pair, ROOM, SIZES, Settings, TAG};
use super::measured::{memory, sample::*};
use super::{Cases, TIMES, WARM};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use tidegate::oracles::pieces::answer_from_memory;
use tidegate::proto::admission;
use tidegate::shared::answers::CacheLookup;
use tidegate::shared::answers::Key;

pub(super) fn add(cases: &mut Cases) {
    // before anything makes keys and certificates: their lengths are a matter of luck, and the allocator remembers them
    answers(cases);
    hellos(cases);
    for size in SIZES {
        let label = if size < 1024 { format!("{size}B") } else { format!("{}KiB", size / 1024) };
        records_in(cases, &format!("tls_in/{label}"), size);
        records_out(cases, &format!("tls_out/{label}"), size);
    }
}

/// The dear half of a full handshake: a connection made, a ClientHello answered.
fn hellos(cases: &mut Cases) {
    cases.add("tls_hello/full.crypto", || {
        let exchange = Exchange::new();
        move || {
            black_box(exchange.once());
        }
    });
    cases.add("tls_hello/full", || {
        let settings = Settings::new();
        let hellos: Vec<_> = (0..WARM + TIMES).map(|_| settings.hello()).collect();
        let mut hellos = hellos.into_iter();
        move || {
            let mut hello = hellos.next().expect("enough of them");
            drop(black_box(settings.answer(black_box(&mut hello))));
        }
    });
}

/// One record for each unit, opened in place as it came.
fn records_in(cases: &mut Cases, name: &str, size: usize) {
    cases.copy(name, vec![b'x'; size]);
    cases.add(format!("{name}.aead"), move || {
        let key = Bare::new();
        // a record ends with the type of its content
        let mut sealed = vec![b'x'; size + 1 + TAG];
        key.seal(&mut sealed);
        let mut records = vec![sealed; WARM + TIMES].into_iter();
        move || {
            let mut record = records.next().expect("enough of them");
            black_box(key.open(black_box(&mut record)));
            std::mem::forget(record);
        }
    });
    cases.add(name, move || {
        let mut pair = Pair::new(&Settings::new());
        let records: Vec<_> = (0..WARM + TIMES).map(|_| pair.message(size)).collect();
        let (mut records, mut out) = (records.into_iter(), Vec::new());
        move || {
            let mut record = records.next().expect("enough of them");
            let fed = pair.gateway.feed(black_box(&mut record), &mut out, |plain| {
                black_box(plain);
            });
            fed.expect("a right record");
            std::mem::forget(record);
        }
    });
}

/// One payload for each unit, written as a record into the buffer of the core.
fn records_out(cases: &mut Cases, name: &str, size: usize) {
    cases.copy(name, vec![b'x'; size]);
    cases.add(format!("{name}.aead"), move || {
        let (key, mut record) = (Bare::new(), vec![b'x'; size + 1 + TAG]);
        move || key.seal(black_box(&mut record))
    });
    cases.add(name, move || {
        let mut pair = Pair::new(&Settings::new());
        let (plain, mut out) = (vec![b'x'; size], vec![0; ROOM]);
        move || {
            black_box(pair.gateway.encrypt(black_box(&plain), &mut out).expect("room"));
        }
    });
}

fn answers(cases: &mut Cases) {
    cases.add("memory/hit.map", || {
        let map = HashMap::from([(Key::from(EVENT), Arc::new(ANSWER.to_owned()))]);
        move || drop(black_box(map.get(black_box(EVENT)).cloned()))
    });
    cases.add("memory/hit", || {
        let answers = memory::answers();
        move || match answers.look(black_box(EVENT)) {
            CacheLookup::Hit(answer) => drop(black_box(answer)),
            look => unreachable!("{look:?}"),
        }
    });
    cases.copy(
        "memory/answer",
        answer_from_memory(&memory::answers(), EVENT, SESSION, PAGE).expect("remembered"),
    );
    cases.add("memory/answer", || {
        let answers = memory::answers();
        move || {
            drop(black_box(
                answer_from_memory(&answers, black_box(EVENT), SESSION, PAGE).expect("remembered"),
            ));
        }
    });
    // what a client's `host` goes through
    cases.add("memory/learned_node", || {
        let (nodes, rules) = (memory::nodes(), admission_rules());
        move || {
            let learned = nodes.is_learned(black_box(NODE.ip()));
            black_box(admission::admit(&rules, NODE.ip(), learned).expect("learned"));
        }
    });
}
