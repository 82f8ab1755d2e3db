//! Stored answers of the stream manager. moka keeps them until they expire, are used up, or one of their nodes fails.

use crate::config;
use crate::proto::millis::Millis;
use crate::shared::clock::Clock;
use crate::shared::counters::UseCount;
use crate::shared::nodes::Nodes;
use arc_swap::ArcSwap;
use moka::Expiry;
use moka::sync::Cache;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The key of a question: the exact target as the client wrote it. Equal keys are equal questions.
pub type Key = Arc<str>;

/// What an entry of the cache needs besides the key, the body, the content type and the nodes of its answer, in bytes,
/// approximately.
const ENTRY_OVERHEAD: usize = 256;

/// One answer of the stream manager, passed on to clients unchanged.
#[derive(Debug)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Value of its `Content-Type`.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The nodes that it names.
    pub nodes: Vec<IpAddr>,
    /// How long it may be kept; `None`: not at all, only the sessions that wait for it get it.
    pub fresh: Option<Duration>,
    /// How often it may be given out.
    pub uses: UseCount,
    /// When it was made, on the clock of [`Answers::now`].
    pub made: Millis,
}

impl Answer {
    /// Whether it says that there is no such stream: status 404 or 400.
    pub const fn is_missing(&self) -> bool {
        matches!(self.status, 404 | 400)
    }

    /// How much longer it may be kept at `now`; zero when that time is over.
    pub fn ttl_left(&self, now: Millis) -> Duration {
        self.fresh.unwrap_or_default().saturating_sub(Duration::from_millis(now.saturating_sub(self.made)))
    }
}

/// The result of a lookup in the stored answers.
#[derive(Debug)]
pub enum CacheLookup {
    /// A usable answer; one of its uses was taken.
    Hit(Arc<Answer>),
    /// No answer is stored under this key.
    Miss,
    /// An answer that was dropped: one of its nodes failed, or its uses were up.
    Invalidated,
}

/// The stored answers, for all workers and control.
pub struct Answers {
    /// Replaced by a cache of another size when a reload asks for one.
    cache: ArcSwap<Cache<Key, Arc<Answer>>>,
    nodes: Arc<Nodes>,
    clock: Clock,
    /// How often the stream managers became others.
    generation: AtomicU64,
}

/// Expires an answer when it may no longer be kept.
struct ByFreshness(Clock);

impl Expiry<Key, Arc<Answer>> for ByFreshness {
    fn expire_after_create(&self, _: &Key, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Some(answer.ttl_left(self.0.now()))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        answer: &Arc<Answer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(answer.ttl_left(self.0.now()))
    }
}

fn cache(capacity: u64, clock: Clock) -> Cache<Key, Arc<Answer>> {
    Cache::builder()
        .max_capacity(capacity)
        .weigher(|key: &Key, answer: &Arc<Answer>| weigh(key, answer))
        .expire_after(ByFreshness(clock))
        .build()
}

/// What an answer counts against `answers.capacity`, in bytes: all memory that it holds, also where it is not used.
fn weigh(key: &Key, answer: &Arc<Answer>) -> u32 {
    let nodes = answer.nodes.capacity() * size_of::<IpAddr>();
    let content_type = answer.content_type.as_ref().map_or(0, String::capacity);
    let bytes = key.len() + answer.body.capacity() + content_type + nodes + ENTRY_OVERHEAD;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Answers {
    /// An empty cache, and the nodes that share its clock. `quarantine` is how long a node that failed is avoided; `None`: not at
    /// all.
    pub fn new(config: &config::Answers, quarantine: Option<Duration>) -> (Self, Arc<Nodes>) {
        let clock = Clock::start();
        let nodes = Arc::new(Nodes::new(clock, config, quarantine));
        let cache = ArcSwap::from_pointee(cache(config.capacity, clock));
        (Self { cache, nodes: nodes.clone(), clock, generation: AtomicU64::new(0) }, nodes)
    }

    /// Takes over `answers.capacity` of a newer configuration; stored answers stay.
    pub fn change(&self, config: &config::Answers) {
        let old = self.cache.load();
        if old.policy().max_capacity() == Some(config.capacity) {
            return;
        }
        let resized = cache(config.capacity, self.clock);
        for (key, answer) in old.iter() {
            resized.insert(Key::clone(&key), answer);
        }
        self.cache.store(Arc::new(resized));
    }

    /// Milliseconds on the clock by which answers age, never 0.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Looks up a key and takes one use of the answer that it finds.
    pub fn look(&self, key: &str) -> CacheLookup {
        let cache = self.cache.load();
        let Some(answer) = cache.get(key) else { return CacheLookup::Miss };
        if self.nodes.any_failed_since(&answer.nodes, answer.made) || !answer.uses.take() {
            cache.invalidate(key);
            return CacheLookup::Invalidated;
        }
        CacheLookup::Hit(answer)
    }

    /// The generation of the answers, which changes with [`Answers::forget_all`] and `Answers::retain`. A flight that began in an earlier one may
    /// answer only the questions that were asked in that one, and its answer is not kept.
    pub fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Stores an answer for as long as it may be kept; not at all if that is no time, or if its flight began in an earlier
    /// `generation`.
    pub fn keep(&self, key: Key, answer: &Arc<Answer>, generation: u64) {
        if answer.fresh.is_none_or(|fresh| fresh.is_zero()) || self.generation() != generation {
            return;
        }
        self.cache.load().insert(key.clone(), answer.clone());
        // looked at again: a `forget_all` or `retain` at the same time either removes the answer itself or is seen here
        if self.generation() != generation {
            self.forget(&key);
        }
    }

    /// Removes the answer to one question.
    pub fn forget(&self, key: &str) {
        self.cache.load().invalidate(key);
    }

    /// Begins a new generation with those stored answers that are to be kept.
    pub(crate) fn retain(&self, is_kept: impl Fn(&Answer) -> bool) {
        self.generation.fetch_add(1, SeqCst);
        let cache = self.cache.load();
        cache.iter().filter(|(_, answer)| !is_kept(answer)).for_each(|(key, _)| cache.invalidate(&**key));
    }

    /// Removes every answer. What is known of nodes stays.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.cache.load().invalidate_all();
    }

    /// How many answers are stored, approximately.
    pub fn count(&self) -> u64 {
        self.cache.load().entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_answer_counts_against_the_capacity() {
        const SIZE: usize = 100_000;
        let answer = || Answer {
            status: 200,
            content_type: None,
            body: Vec::new(),
            nodes: Vec::new(),
            fresh: None,
            uses: UseCount::new(1),
            made: 0,
        };
        let key: Key = "k".into();
        let with_body = Answer { body: vec![0; SIZE], ..answer() };
        let with_type = Answer { content_type: Some("t".repeat(SIZE)), ..answer() };
        let with_nodes = Answer { nodes: vec![[10, 0, 0, 1].into(); SIZE], ..answer() };
        let unused = Answer { body: Vec::with_capacity(SIZE), ..answer() };
        for heavy in [with_body, with_type, with_nodes, unused] {
            assert!(weigh(&key, &Arc::new(heavy)) as usize > SIZE);
        }
        assert!(weigh(&"k".repeat(SIZE).into(), &Arc::new(answer())) as usize > SIZE);
        assert!((weigh(&key, &Arc::new(answer())) as usize) < 1000);
    }

    #[test]
    fn an_answer_is_dropped_when_a_node_that_it_names_fails() {
        let text =
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = config::read(text).expect("a good configuration");
        let (answers, nodes) = Answers::new(&config.answers, None);
        let node: IpAddr = [10, 0, 0, 1].into();
        let answer = |uses| Answer {
            status: 200,
            content_type: None,
            body: Vec::new(),
            nodes: vec![node],
            fresh: Some(Duration::from_secs(60)),
            uses: UseCount::new(uses),
            made: answers.now(),
        };
        answers.keep("/a".into(), &Arc::new(answer(1)), 0);
        assert!(matches!(answers.look("/a"), CacheLookup::Hit(_)));
        assert!(matches!(answers.look("/a"), CacheLookup::Invalidated), "its one use is taken");
        answers.keep("/a".into(), &Arc::new(answer(9)), 0);
        nodes.mark_failed([10, 0, 0, 2].into());
        assert!(matches!(answers.look("/a"), CacheLookup::Hit(_)), "another node failed");
        nodes.mark_failed(node);
        assert!(matches!(answers.look("/a"), CacheLookup::Invalidated));
        assert!(matches!(answers.look("/a"), CacheLookup::Miss));
        answers.forget_all();
        answers.keep("/a".into(), &Arc::new(answer(9)), 0);
        assert!(
            matches!(answers.look("/a"), CacheLookup::Miss),
            "its flight began before all were forgotten"
        );
    }
}
