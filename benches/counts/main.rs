//! The cases whose instructions are counted: each is prepared, warmed up, and then run [`TIMES`] times inside
//! [`counted_work`].
//!
//! `benches/counts.sh` runs this program under callgrind, which counts only inside that function and writes a dump each
//! time the function returns: the n-th dump belongs to the n-th name that this program prints. With a name as argument it
//! runs only that case, for a profiler. As far as possible, no case depends on a clock, a seed or an address;
//! `docs/performance.md` names the exceptions.

mod edge;
mod reader;

#[path = "../measured/mod.rs"]
mod measured;

use std::hint::black_box;

// the allocator of the gateway
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a case runs before it is counted, so that all buffers and maps have reached their size.
const WARM_UP_TIMES: usize = 64;

/// How often a case runs while it is counted: often enough that work which a clock triggers now and then (maintenance of the
/// stored answers, the allocator returning pages) is a negligible part.
const TIMES: usize = 1024;

/// A piece of work that can be repeated.
type Work = Box<dyn FnMut()>;

/// A name, and a function that prepares the work. A name with a dot is a floor: copying the same bytes, or less.
type Case = (String, Box<dyn FnOnce() -> Work>);

/// The cases, in the order in which they are counted.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    /// Adds a case. `prepare` is called immediately before the case runs, so that cases do not influence each other.
    fn add<W: FnMut() + 'static>(&mut self, name: impl Into<String>, prepare: impl FnOnce() -> W + 'static) {
        self.0.push((name.into(), Box::new(|| Box::new(prepare()))));
    }

    /// Adds the floor of a case that reads or writes these bytes: copying them once.
    fn copy(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.add(format!("{name}.copy"), move || {
            let mut copy = vec![0; bytes.len()];
            move || black_box(&mut copy).copy_from_slice(black_box(&bytes))
        });
    }
}

/// The function in which callgrind counts.
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
        for _ in 0..WARM_UP_TIMES {
            work();
        }
        counted_work(&mut work);
        println!("case {name}");
    }
}
