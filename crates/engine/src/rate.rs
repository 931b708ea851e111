//! How many of something may happen in a time.

use synapse_protocol::engine::Timestamp;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// So many a second in the long run, and so many at once. A token bucket: `burst` tokens that come back at the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back each second. Zero counts as one.
    pub per_second: u32,
    /// Tokens of a full bucket. Zero counts as one.
    pub burst: u32,
}

/// The tokens of one bucket, as the moment (in microseconds) at which it is full again. A new bucket is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// The bucket without one token; none when it is empty.
    pub(crate) fn take(self, rate: Rate, now: Timestamp) -> Option<Self> {
        let now = now.as_millis().saturating_mul(1000);
        let token = MICROS_PER_SECOND / u64::from(rate.per_second.max(1));
        let full_at = self.full_at.max(now) + token;
        (full_at - now <= token * u64::from(rate.burst.max(1))).then_some(Self { full_at })
    }

    pub(crate) fn is_full(self, now: Timestamp) -> bool {
        self.full_at <= now.as_millis().saturating_mul(1000)
    }

    pub(crate) fn to_micros(self) -> u64 {
        self.full_at
    }

    pub(crate) fn from_micros(full_at: u64) -> Self {
        Self { full_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many attempts at one moment succeed.
    fn taken(bucket: &mut Bucket, rate: Rate, attempts: usize, at: u64) -> usize {
        let now = Timestamp::from_millis(at);
        (0..attempts)
            .filter(|_| {
                let next = bucket.take(rate, now);
                *bucket = next.unwrap_or(*bucket);
                next.is_some()
            })
            .count()
    }

    #[test]
    fn a_burst_is_taken_at_once_and_the_rest_at_the_rate() {
        let rate = Rate {
            per_second: 10,
            burst: 5,
        };
        let mut bucket = Bucket::default();
        for (at, expected) in [(1_000, 5), (1_099, 0), (1_100, 1), (1_300, 2), (60_000, 5)] {
            assert_eq!(taken(&mut bucket, rate, 9, at), expected, "{at}");
        }
        assert!(!bucket.is_full(Timestamp::from_millis(60_499)));
        assert!(bucket.is_full(Timestamp::from_millis(60_500)));
    }

    #[test]
    fn extreme_rates_neither_panic_nor_lock_out_for_ever() {
        for (per_second, burst) in [(0, 0), (1, 1), (u32::MAX, u32::MAX)] {
            let rate = Rate { per_second, burst };
            let mut bucket = Bucket::default();
            assert!(taken(&mut bucket, rate, 3, 1_000) >= 1);
            assert!(taken(&mut bucket, rate, 3, 2_000) >= 1);
        }
    }
}
