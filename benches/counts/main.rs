//! What is counted: each case prepared, warmed up, and then done [`TIMES`] times inside [`counted_work`].
//!
//! `benches/counts.sh` runs this under callgrind, which counts inside that one function only and writes a dump at each of
//! its ends: the n-th dump belongs to the n-th name printed here. With a name as argument only that case is done, to be
//! profiled. Nothing in a case depends on a clock, a seed or an address, as far as that can be helped;
//! `docs/performance.md` says where it can't.

mod edge;
mod reader;

#[path = "../measured/mod.rs"]
mod measured;

use std::hint::black_box;

// as in the program
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a case is done before it is counted, so that everything that grows has grown.
const WARM: usize = 64;

/// How often it is done while it is counted: often enough that what a clock sets off now and then (the memory tidies up,
/// the allocator gives pages back) is lost among them.
const TIMES: usize = 1024;

/// A piece of work, ready to be done again and again.
type Work = Box<dyn FnMut()>;

/// A name, and what prepares the work. A name with a dot is a floor: the same bytes copied, or less than that.
type Case = (String, Box<dyn FnOnce() -> Work>);

/// Cases in the order in which they are counted.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    /// Adds a case; `prepare` is called right before, so that cases know nothing of each other.
    fn add<W: FnMut() + 'static>(&mut self, name: impl Into<String>, prepare: impl FnOnce() -> W + 'static) {
        self.0.push((name.into(), Box::new(|| Box::new(prepare()))));
    }

    /// The floor of a case that reads or writes these bytes: the same copied once.
    fn copy(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.add(format!("{name}.copy"), move || {
            let mut room = vec![0; bytes.len()];
            move || black_box(&mut room).copy_from_slice(black_box(&bytes))
        });
    }
}

/// Whatever happens in here is counted.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) {
    for _ in 0..TIMES {
        work();
    }
}

fn main() {
    let mut cases = Cases::default();
    cases.add("loop.nothing", || || {});
    reader::add(&mut cases);
    edge::add(&mut cases);
    println!("times {TIMES}");
    let only = std::env::args().nth(1);
    for (name, prepare) in cases.0 {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let mut work = prepare();
        for _ in 0..WARM {
            work();
        }
        counted_work(&mut work);
        println!("case {name}");
    }
}
