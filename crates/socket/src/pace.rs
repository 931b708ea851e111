//! How fast one client may send.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::server::SocketLimits;

/// What may come at once after a pause: what may come in this time.
const BURST: Duration = Duration::from_secs(1);

/// What a client has sent of late. Exists from its first message on, and only where rates are limited.
pub(crate) struct Pace {
    events: Bucket,
    bytes: Bucket,
    /// Nothing more is handled until then.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            events: Bucket { full_at: now },
            bytes: Bucket { full_at: now },
            pause: None,
        }
    }

    /// Takes note of a message. It is handled in any case: what is too much delays the next one.
    pub(crate) fn note(
        &mut self,
        limits: &SocketLimits,
        events: usize,
        bytes: usize,
        now: Instant,
    ) {
        let free_at = [
            (&mut self.events, events, limits.events_per_second),
            (&mut self.bytes, bytes, limits.bytes_per_second),
        ]
        .into_iter()
        .filter_map(|(bucket, amount, rate)| Some(bucket.take(amount, rate?, now)))
        .max();
        if let Some(free_at) = free_at.filter(|free_at| *free_at > now) {
            if self.pause.is_none() {
                tracing::debug!(pause = ?free_at - now, "a client sends faster than it may");
            }
            self.pause = Some(Box::pin(sleep_until(free_at)));
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Wakes the task when the pause is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

/// A token bucket, kept as the moment at which it will be full again.
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Takes an amount, even if it is more than there is. Returns the moment from which there is something to take again.
    fn take(&mut self, amount: usize, per_second: NonZeroU32, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(amount as f64 / f64::from(per_second.get()));
        self.full_at = self.full_at.max(now) + cost;
        let one = Duration::from_secs_f64(1.0 / f64::from(per_second.get()));
        self.full_at + one.min(BURST) - BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_as_much_each_second() {
        let start = Instant::now();
        let mut bucket = Bucket { full_at: start };
        for n in 1..100 {
            assert!(bucket.take(1, RATE, start) <= start, "{n}");
        }
        for n in 1..=1_000 {
            let free_at = bucket.take(1, RATE, start);
            let expected = Duration::from_millis(10 * n);
            let difference = (free_at - start).abs_diff(expected);
            assert!(
                difference < Duration::from_micros(10),
                "{n}: {difference:?}"
            );
        }
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket { full_at: start };
        let free_at = bucket.take(1_000, RATE, start);
        assert_eq!(free_at - start, Duration::from_millis(9_010));
        let later = start + Duration::from_secs(3_600);
        assert!(bucket.take(1, RATE, later) <= later, "paid");
        assert!(
            bucket.take(50, RATE, later) <= later,
            "rest saves no more than a second's worth"
        );
        assert!(bucket.take(50, RATE, later) > later);
    }

    #[tokio::test]
    async fn the_slower_of_both_limits_counts() {
        let limits = SocketLimits {
            events_per_second: Some(RATE),
            bytes_per_second: NonZeroU32::new(1_000),
            ..SocketLimits::default()
        };
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note(&limits, 1, 900, start);
        assert!(!pace.is_paused());
        pace.note(&limits, 1, 149, start);
        assert!(pace.is_paused());
        std::future::poll_fn(|cx| pace.poll(cx)).await;
        assert!(!pace.is_paused());
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}
