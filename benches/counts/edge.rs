//! Cases of a worker: TLS records in and out, and stored answers.

use super::measured::records::{BareCipher, BareHandshake, Pair, RECORDS_MAX, SIZES, Settings, TAG};
use super::measured::{memory, sample::*};
use super::{Cases, TIMES, WARM_UP_TIMES};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use tidegate::oracles::pieces::answer_from_memory;
use tidegate::proto::admission;
use tidegate::shared::answers::CacheLookup;
use tidegate::shared::answers::Key;

pub(super) fn add(cases: &mut Cases) {
    // before any case that makes keys and certificates: their lengths vary, and so would the state of the allocator
    answers(cases);
    hellos(cases);
    for size in SIZES {
        let label = if size < 1024 { format!("{size}B") } else { format!("{}KiB", size / 1024) };
        records_in(cases, &format!("tls_in/{label}"), size);
        records_out(cases, &format!("tls_out/{label}"), size);
    }
}

/// The expensive half of a full handshake: making a connection and answering a ClientHello.
fn hellos(cases: &mut Cases) {
    cases.add("tls_hello/full.crypto", || {
        let handshake = BareHandshake::new();
        move || {
            black_box(handshake.run());
        }
    });
    cases.add("tls_hello/full", || {
        let settings = Settings::new();
        let hellos: Vec<_> = (0..WARM_UP_TIMES + TIMES).map(|_| settings.hello()).collect();
        let mut hellos = hellos.into_iter();
        move || {
            let mut hello = hellos.next().expect("enough ClientHellos");
            drop(black_box(settings.answer(black_box(&mut hello))));
        }
    });
}

/// One record for each unit, decrypted in place.
fn records_in(cases: &mut Cases, name: &str, size: usize) {
    cases.copy(name, vec![b'x'; size]);
    cases.add(format!("{name}.aead"), move || {
        let key = BareCipher::new();
        // the payload of a record ends with one byte for its content type
        let mut sealed = vec![b'x'; size + 1 + TAG];
        key.seal(&mut sealed);
        let mut records = vec![sealed; WARM_UP_TIMES + TIMES].into_iter();
        move || {
            let mut record = records.next().expect("enough records");
            black_box(key.open(black_box(&mut record)));
            std::mem::forget(record);
        }
    });
    cases.add(name, move || {
        let mut pair = Pair::new(&Settings::new());
        let records: Vec<_> = (0..WARM_UP_TIMES + TIMES).map(|_| pair.message(size)).collect();
        let (mut records, mut out) = (records.into_iter(), Vec::new());
        move || {
            let mut record = records.next().expect("enough records");
            let fed = pair.gateway.feed(black_box(&mut record), &mut out, |plain| {
                black_box(plain);
            });
            fed.expect("a valid record");
            std::mem::forget(record);
        }
    });
}

/// One payload for each unit, encrypted as a record into the buffer of the core.
fn records_out(cases: &mut Cases, name: &str, size: usize) {
    cases.copy(name, vec![b'x'; size]);
    cases.add(format!("{name}.aead"), move || {
        let (key, mut record) = (BareCipher::new(), vec![b'x'; size + 1 + TAG]);
        move || key.seal(black_box(&mut record))
    });
    cases.add(name, move || {
        let mut pair = Pair::new(&Settings::new());
        let (plain, mut out) = (vec![b'x'; size], vec![0; RECORDS_MAX]);
        move || {
            black_box(pair.gateway.encrypt(black_box(&plain), &mut out).expect("a large enough buffer"));
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
        answer_from_memory(&memory::answers(), EVENT, SESSION, PAGE).expect("a stored answer"),
    );
    cases.add("memory/answer", || {
        let answers = memory::answers();
        move || {
            drop(black_box(
                answer_from_memory(&answers, black_box(EVENT), SESSION, PAGE).expect("a stored answer"),
            ));
        }
    });
    // the check of a client's `host`
    cases.add("memory/learned_node", || {
        let (nodes, rules) = (memory::nodes(), admission_rules());
        move || {
            let learned = nodes.is_learned(black_box(NODE.ip()));
            black_box(admission::admit(&rules, NODE.ip(), learned).expect("learned"));
        }
    });
}
