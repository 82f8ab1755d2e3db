//! Answers of the stream manager: remembered in moka, asked for once.
//!
//! A hit is taken on the worker. A miss joins the worker's flight for that key, or starts one; the flight asks the control
//! thread, which has one flight for each key of the whole process. So a question goes out once, a wake crosses threads
//! once for each worker, and a caller who leaves takes nobody down, since nothing in the air belongs to a caller.

use crate::config;
use crate::proto::millis::millis;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::counters::UseCount;
use arc_swap::ArcSwap;
use futures_channel::{mpsc, oneshot};
use moka::Expiry;
use moka::sync::Cache;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The exact target as the client wrote it.
pub type Key = Arc<str>;

/// What the stream manager said: passed on unchanged.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
    /// Nodes that it names.
    pub nodes: Vec<IpAddr>,
    /// How long it may be kept; `None` means that it is for those waiting only.
    pub fresh: Option<Duration>,
    /// How often it may be given out.
    pub uses: UseCount,
    /// On the clock of [`Answers::now`].
    pub made: u64,
}

impl Answer {
    /// A value that says "there is none": 404 and 400.
    pub const fn is_missing(&self) -> bool {
        matches!(self.status, 404 | 400)
    }

    /// How much longer it is fresh.
    pub fn ttl_left(&self, now: u64) -> Duration {
        self.fresh.unwrap_or_default().saturating_sub(Duration::from_millis(now.saturating_sub(self.made)))
    }
}

/// What a flight brought home. Cheap to hand to many.
pub type Outcome = Result<Arc<Answer>, Refusal>;

/// How an answer was come by; the words of `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    Miss,
    Collapsed,
    Bypass,
}

/// An outcome and how it was come by.
pub type Reply = (CacheStatus, Outcome);

/// A question on its way to the control thread.
#[derive(Debug)]
pub struct Question {
    pub key: Key,
    pub kind: EventKind,
    /// Says whether equal questions may share an answer, and what of it may be kept.
    pub keep: Keep,
    pub reply: oneshot::Sender<Reply>,
}

/// A look into the memory.
#[derive(Debug)]
pub enum CacheLookup {
    Hit(Arc<Answer>),
    Miss,
    /// There was one, but its node refused a dial, or its uses were up.
    Invalidated,
}

/// The memory of answers and of the nodes that they named.
pub struct Answers {
    /// Of another size after a reload that asks for one.
    cache: ArcSwap<Cache<Key, Arc<Answer>>>,
    /// Until when each node that was named may be dialled, on the clock of [`Answers::now`].
    learned: Cache<IpAddr, u64>,
    refused: Cache<IpAddr, u64>,
    last_refused: AtomicU64,
    times: Arc<Times>,
    ask: mpsc::UnboundedSender<Question>,
    epoch: Instant,
}

/// How long things are remembered, in milliseconds, as configured now. What was remembered earlier keeps its time.
#[derive(Debug, Default)]
struct Times {
    learned: AtomicU64,
    refused: AtomicU64,
    /// How long a node that refused is avoided; not at all for 0.
    quarantine: AtomicU64,
}

impl Times {
    fn change(&self, config: &config::Answers, quarantine: Option<Duration>) {
        let quarantine = quarantine.unwrap_or_default();
        let longest = config.broadcast_ttl.max(config.subscribe_ttl).max(config.missing_ttl);
        // lists live a second whatever is configured: remember a refusal at least as long as any answer
        let refused = (longest.max(Duration::from_secs(1)) * 2).max(quarantine);
        for (time, now) in
            [(&self.learned, config.learned_ttl), (&self.refused, refused), (&self.quarantine, quarantine)]
        {
            time.store(millis(now), Relaxed);
        }
    }
}

/// Nodes that may be learned at the most: a stream manager gone mad must not fill the memory.
const LEARNED_MAX: u64 = 65_536;

/// As long as an answer is still fresh, on the clock of [`Answers::now`].
struct ByFreshness(Instant);

impl Expiry<Key, Arc<Answer>> for ByFreshness {
    fn expire_after_create(&self, _: &Key, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Some(answer.ttl_left(now_since(self.0)))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        a: &Arc<Answer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(a.ttl_left(now_since(self.0)))
    }
}

/// Until the moment that is remembered, on the clock of [`Answers::now`].
struct UntilThen(Instant);

impl UntilThen {
    fn left(&self, until: u64) -> Option<Duration> {
        Some(Duration::from_millis(until.saturating_sub(now_since(self.0))))
    }
}

impl Expiry<IpAddr, u64> for UntilThen {
    fn expire_after_create(&self, _: &IpAddr, until: &u64, _: Instant) -> Option<Duration> {
        self.left(*until)
    }

    fn expire_after_update(
        &self,
        _: &IpAddr,
        until: &u64,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.left(*until)
    }
}

/// For as long as refusals are remembered, from the last one.
struct SinceRefusal(Arc<Times>);

impl SinceRefusal {
    fn time(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.0.refused.load(Relaxed)))
    }
}

impl Expiry<IpAddr, u64> for SinceRefusal {
    fn expire_after_create(&self, _: &IpAddr, _: &u64, _: Instant) -> Option<Duration> {
        self.time()
    }

    fn expire_after_update(&self, _: &IpAddr, _: &u64, _: Instant, _: Option<Duration>) -> Option<Duration> {
        self.time()
    }
}

fn memory(capacity: u64, epoch: Instant) -> Cache<Key, Arc<Answer>> {
    Cache::builder()
        .max_capacity(capacity)
        .weigher(|key: &Key, answer: &Arc<Answer>| weigh(key, answer))
        .expire_after(ByFreshness(epoch))
        .build()
}

impl Answers {
    /// An empty memory, and the end where the control thread takes the questions.
    pub fn new(
        config: &config::Answers,
        quarantine: Option<Duration>,
    ) -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (ask, questions) = mpsc::unbounded();
        let epoch = Instant::now();
        let times = Arc::<Times>::default();
        times.change(config, quarantine);
        let learned = Cache::builder().max_capacity(LEARNED_MAX).expire_after(UntilThen(epoch)).build();
        let refused =
            Cache::builder().max_capacity(LEARNED_MAX).expire_after(SinceRefusal(times.clone())).build();
        let answers = Self {
            cache: ArcSwap::from_pointee(memory(config.capacity, epoch)),
            learned,
            refused,
            last_refused: AtomicU64::new(0),
            times,
            ask,
            epoch,
        };
        (answers, questions)
    }

    /// Other times from now on, and another size; what is remembered stays.
    pub fn change(&self, config: &config::Answers, quarantine: Option<Duration>) {
        self.times.change(config, quarantine);
        let old = self.cache.load();
        if old.policy().max_capacity() == Some(config.capacity) {
            return;
        }
        let other = memory(config.capacity, self.epoch);
        for (key, answer) in old.iter() {
            other.insert(Key::clone(&key), answer);
        }
        self.cache.store(Arc::new(other));
    }

    /// Milliseconds on this memory's clock, never 0.
    pub fn now(&self) -> u64 {
        now_since(self.epoch)
    }

    /// Looks a key up and takes one use of what is found.
    pub fn look(&self, key: &str) -> CacheLookup {
        let cache = self.cache.load();
        let Some(answer) = cache.get(key) else { return CacheLookup::Miss };
        if self.is_refused(&answer) || !answer.uses.take() {
            cache.invalidate(key);
            return CacheLookup::Invalidated;
        }
        CacheLookup::Hit(answer)
    }

    fn is_refused(&self, answer: &Answer) -> bool {
        self.last_refused.load(Relaxed) >= answer.made
            && answer
                .nodes
                .iter()
                .any(|node| self.refused.get(node).is_some_and(|refused| refused >= answer.made))
    }

    /// Forgets the answer to one question: it was of no use.
    pub fn forget(&self, key: &str) {
        self.cache.load().invalidate(key);
    }

    /// Forgets every answer. What is known of nodes stays.
    pub fn forget_all(&self) {
        self.cache.load().invalidate_all();
    }

    /// Keeps an answer as long as it is fresh.
    pub fn keep(&self, key: Key, answer: &Arc<Answer>) {
        if answer.fresh.is_some_and(|fresh| !fresh.is_zero()) {
            self.cache.load().insert(key, answer.clone());
        }
    }

    /// Whether a node refused a dial so lately that another one is better.
    pub fn is_quarantined(&self, node: IpAddr) -> bool {
        let quarantine = self.times.quarantine.load(Relaxed);
        self.refused.get(&node).is_some_and(|refused| self.now().saturating_sub(refused) < quarantine)
    }

    /// Whether any node is known that did not fail lately. Without one, asking again for another node is in vain.
    pub fn knows_healthy_node(&self) -> bool {
        self.learned.iter().any(|(node, _)| !self.is_quarantined(*node))
    }

    /// A node refused a dial: every answer that names it and was made before now is forgotten.
    pub fn refused(&self, node: IpAddr) {
        let now = self.now();
        self.refused.insert(node, now);
        self.last_refused.fetch_max(now, Relaxed);
    }

    /// The stream manager named this node: it may be dialled for `learned_ttl`.
    pub fn learn(&self, node: IpAddr) {
        self.learn_for(node, Duration::MAX);
    }

    /// The same for a shorter time, because somebody else was told of it a while ago.
    pub fn learn_for(&self, node: IpAddr, left: Duration) {
        let longest = self.times.learned.load(Relaxed);
        let left = millis(left).min(longest);
        let until = self.now().saturating_add(left);
        if self.learned.get(&node).is_none_or(|before| before < until) {
            self.learned.insert(node, until);
        }
    }

    /// All nodes that may be dialled because they were named, and for how long yet.
    pub fn learned(&self) -> Vec<(IpAddr, Duration)> {
        let now = self.now();
        let left = |until: u64| Duration::from_millis(until.saturating_sub(now));
        self.learned.iter().map(|(node, until)| (*node, left(until))).collect()
    }

    /// Whether the stream manager named this node lately.
    pub fn is_learned(&self, node: IpAddr) -> bool {
        self.learned.contains_key(&node)
    }

    /// Sends a question to the control thread. The receiver hears `Err` if the control thread is gone.
    pub fn ask(&self, key: Key, kind: EventKind, keep: Keep) -> oneshot::Receiver<Reply> {
        let (reply, outcome) = oneshot::channel();
        // a failed send drops `reply`, which the receiver sees
        let _ = self.ask.unbounded_send(Question { key, kind, keep, reply });
        outcome
    }

    /// How many answers and learned nodes are remembered.
    pub fn counts(&self) -> (u64, u64) {
        (self.cache.load().entry_count(), self.learned.entry_count())
    }
}

fn now_since(epoch: Instant) -> u64 {
    millis(epoch.elapsed()).saturating_add(1)
}

fn weigh(key: &Key, answer: &Arc<Answer>) -> u32 {
    let bytes = key.len() + answer.body.len() + answer.nodes.len() * 17 + 256;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_by_somebody_else_is_believed_no_longer_than_by_him() {
        let text = "answers.learned_ttl = \"10m\"\nstream_manager.url = \"http://10.0.0.2\"\n\
                    tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = config::read(text).expect("a good configuration");
        let (answers, _questions) = Answers::new(&config.answers, None);
        let nodes: [IpAddr; 3] = [1, 2, 3].map(|n| [10, 0, 0, n].into());
        answers.learn_for(nodes[0], Duration::from_millis(20));
        answers.learn_for(nodes[1], Duration::from_secs(86_400));
        answers.learn(nodes[2]);
        answers.learn_for(nodes[2], Duration::from_millis(20));
        let end = Instant::now() + Duration::from_secs(10);
        while answers.is_learned(nodes[0]) {
            assert!(Instant::now() < end, "its time is over");
            std::thread::yield_now();
        }
        assert!(answers.is_learned(nodes[1]) && answers.is_learned(nodes[2]));
        let mut left = answers.learned();
        left.sort();
        assert_eq!(left.iter().map(|(node, _)| *node).collect::<Vec<_>>(), nodes[1..]);
        assert!(left.iter().all(|(_, left)| *left <= Duration::from_secs(600)));
    }
}
