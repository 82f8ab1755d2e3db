//! Measures parts of a worker without sockets: a handshake, TLS records in and out, a stored answer.
//!
//! `cargo bench --bench gateway`. Beside each bench is its floor, the least work that could do the same: the bare
//! cryptography of a handshake or a record, a copy of the record's bytes, a map without bounds, ages or threads. Parsers are
//! in `proto.rs`, the whole relay is in `relay.rs`.

mod measured;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use measured::{memory, sample};

fn main() {
    divan::main();
}

/// The expensive half of a full handshake: making a connection and answering a ClientHello.
mod hellos {
    use super::measured::records::{BareHandshake, Settings};
    use super::*;

    #[divan::bench]
    fn floor_crypto(bencher: Bencher<'_, '_>) {
        let handshake = BareHandshake::new();
        bencher.bench_local(|| handshake.run());
    }

    #[divan::bench]
    fn full(bencher: Bencher<'_, '_>) {
        let settings = Settings::new();
        bencher.with_inputs(|| settings.hello()).bench_local_refs(|hello| settings.answer(hello));
    }
}

/// One record at a time, as a relay of small messages sees them.
mod records {
    use super::measured::records::{BareCipher, Pair, RECORDS_MAX, SIZES, Settings, TAG};
    use super::*;
    use std::cell::RefCell;

    #[divan::bench(args = SIZES)]
    fn floor_copy(bencher: Bencher<'_, '_>, size: usize) {
        let (bytes, mut room) = (vec![b'x'; size], vec![0; size]);
        bencher
            .counter(BytesCount::new(size))
            .bench_local(|| black_box(&mut room).copy_from_slice(black_box(&bytes)));
    }

    #[divan::bench(args = SIZES)]
    fn floor_open(bencher: Bencher<'_, '_>, size: usize) {
        let (key, mut sealed) = (BareCipher::new(), vec![b'x'; size + 1 + TAG]);
        key.seal(&mut sealed);
        let inputs = bencher.counter(BytesCount::new(size)).with_inputs(|| sealed.clone());
        inputs.bench_local_refs(|record| key.open(record));
    }

    #[divan::bench(args = SIZES)]
    fn floor_seal(bencher: Bencher<'_, '_>, size: usize) {
        let (key, mut record) = (BareCipher::new(), vec![b'x'; size + 1 + TAG]);
        bencher.counter(BytesCount::new(size)).bench_local(|| key.seal(black_box(&mut record)));
    }

    #[divan::bench(args = SIZES)]
    fn incoming(bencher: Bencher<'_, '_>, size: usize) {
        let pair = RefCell::new(Pair::new(&Settings::new()));
        let inputs = bencher.counter(BytesCount::new(size)).with_inputs(|| pair.borrow_mut().message(size));
        inputs.bench_local_refs(|record| {
            let mut out = Vec::new();
            let fed = pair.borrow_mut().gateway.feed(record, &mut out, |plain| {
                black_box(plain);
            });
            fed.expect("a valid record");
        });
    }

    #[divan::bench(args = SIZES)]
    fn outgoing(bencher: Bencher<'_, '_>, size: usize) {
        let mut pair = Pair::new(&Settings::new());
        let (plain, mut out) = (vec![b'x'; size], vec![0; RECORDS_MAX]);
        bencher.counter(BytesCount::new(size)).bench_local(|| {
            pair.gateway.encrypt(black_box(&plain), &mut out).expect("a large enough buffer")
        });
    }
}

/// A stored answer to a question, and whether a node was learned.
mod memories {
    use super::sample::{ANSWER, EVENT, NODE, PAGE, SESSION, admission_rules};
    use super::*;
    use std::collections::HashMap;
    use std::sync::Arc;
    use tidegate::oracles::pieces::answer_from_memory;
    use tidegate::proto::admission;
    use tidegate::shared::answers::Key;

    #[divan::bench]
    fn floor_map(bencher: Bencher<'_, '_>) {
        let map = HashMap::from([(Key::from(EVENT), Arc::new(ANSWER.to_owned()))]);
        bencher.bench_local(|| map.get(black_box(EVENT)).cloned());
    }

    #[divan::bench]
    fn hit(bencher: Bencher<'_, '_>) {
        let answers = memory::answers();
        bencher.bench_local(|| answers.look(black_box(EVENT)));
    }

    #[divan::bench]
    fn answer(bencher: Bencher<'_, '_>) {
        let answers = memory::answers();
        bencher.bench_local(|| {
            answer_from_memory(&answers, black_box(EVENT), SESSION, PAGE).expect("a stored answer")
        });
    }

    #[divan::bench]
    fn learned_node(bencher: Bencher<'_, '_>) {
        let (nodes, rules) = (memory::nodes(), admission_rules());
        bencher.bench_local(|| {
            let learned = nodes.is_learned(black_box(NODE.ip()));
            admission::admit(&rules, NODE.ip(), learned).is_ok()
        });
    }
}
