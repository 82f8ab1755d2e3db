//! Token buckets: how often something may happen in a time.

use crate::config::Rate;
use std::time::Instant;

/// A number that grows with time up to the count of a rate (token bucket).
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    /// When `tokens` was computed last.
    refilled: Instant,
}

impl Bucket {
    /// A bucket with all its tokens. Without a rate no address lacks a token, should a reload bring a rate.
    pub(crate) fn full(rate: Option<Rate>, now: Instant) -> Self {
        Self { tokens: rate.map_or(f64::INFINITY, |rate| f64::from(rate.count)), refilled: now }
    }

    /// The tokens at `now`.
    fn tokens(&self, rate: Rate, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        let gained = passed * f64::from(rate.count) / rate.per.as_secs_f64();
        (self.tokens + gained).min(f64::from(rate.count))
    }

    /// Takes one token; whether there was one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        *self = Self { tokens: self.tokens(rate, now), refilled: now.max(self.refilled) };
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }

    /// Whether it has all its tokens.
    pub(crate) fn is_full(&self, rate: Option<Rate>, now: Instant) -> bool {
        rate.is_none_or(|rate| self.tokens(rate, now) >= f64::from(rate.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tokens_come_back_with_time_and_never_exceed_the_rate() {
        let (rate, begin) = (Rate { count: 2, per: Duration::from_secs(1) }, Instant::now());
        let mut bucket = Bucket::full(Some(rate), begin);
        let mut takes = |millis| bucket.take(rate, begin + Duration::from_millis(millis));
        assert_eq!([0, 0, 0, 499, 500, 600].map(&mut takes), [true, true, false, false, true, false]);
        assert_eq!([9_000; 3].map(&mut takes), [true, true, false]);
        assert!(!bucket.is_full(Some(rate), begin + Duration::from_secs(9)));
        assert!(bucket.is_full(Some(rate), begin + Duration::from_secs(10)) && bucket.is_full(None, begin));
    }

    #[test]
    fn a_rate_that_comes_with_a_reload_finds_a_full_bucket() {
        let (rate, now) = (Rate { count: 1, per: Duration::from_secs(60) }, Instant::now());
        let mut bucket = Bucket::full(None, now);
        assert_eq!([bucket.take(rate, now), bucket.take(rate, now)], [true, false]);
    }
}
