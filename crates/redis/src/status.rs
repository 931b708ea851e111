//! What the adapter says about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Whether events reach other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisState {
    /// Delivery has never been proven since the start; attempts go on.
    Connecting,
    /// A probe went out on the publishing connection and came back on the subscribed one, with every channel confirmed.
    Connected,
    /// Delivery was proven once and is lost; attempts go on. Also the state after the adapter was closed.
    Disconnected,
}

/// The adapter at one instant. Holds no secret.
#[derive(Clone, Debug)]
pub struct RedisStatus {
    /// Whether delivery is proven.
    pub state: RedisState,
    /// When that state began.
    pub since: SystemTime,
    /// How long the last probe took through Redis and back; `None` unless connected.
    pub round_trip: Option<Duration>,
    /// How often delivery was lost and proven again.
    pub reconnects: u64,
    /// What went wrong last and what to check; `None` from the proof of delivery until something goes wrong again, which includes a message
    /// that Redis refused.
    pub last_error: Option<String>,
    /// Messages that Redis has confirmed.
    pub published: u64,
    /// Messages that were given up before they were sent: pushed out of the full queue, too long, refused by Redis, or left at the close.
    pub dropped: u64,
    /// Messages that were written to a connection that died before Redis confirmed them. They may have arrived and are not sent again.
    pub unconfirmed: u64,
    /// Messages that came in for namespaces and rooms of this server.
    pub received: u64,
    /// Messages for rooms that are not here, told by the name of their channel and never decoded.
    pub discarded_unheard: u64,
    /// Messages that were not what their channel carries, or were over the limit.
    pub malformed: u64,
    /// Messages that wait to be published.
    pub queued: usize,
    /// Namespaces that are attached.
    pub namespaces: usize,
}

/// Everything that is only ever counted.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) published: Counter,
    pub(crate) dropped: Counter,
    pub(crate) unconfirmed: Counter,
    pub(crate) received: Counter,
    pub(crate) discarded_unheard: Counter,
    pub(crate) malformed: Counter,
}

/// One number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
