//! What all sessions of one engine share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use synapse_protocol::CloseReason;
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::config::EngineConfig;
use crate::flusher::Flusher;
use crate::table::SessionTable;
use crate::wheel::Wheel;

pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) clock: Clock,
    pub(crate) sessions: SessionTable,
    pub(crate) flusher: Flusher,
    pub(crate) wheel: Wheel,
    pub(crate) counters: Counters,
    pub(crate) runtime: Handle,
    /// Why the engine closes, once it does: handshakes are refused from then on.
    pub(crate) closing: OnceLock<CloseReason>,
    /// Sessions that are over, while the application is told or the client still takes what was said last.
    ending: AtomicUsize,
    /// Handshakes that the application decides about.
    pub(crate) deciding: AtomicUsize,
}

/// One of the sessions that end, until it is dropped.
pub(crate) struct Ending(Arc<Core>);

impl Ending {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        core.ending.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(core))
    }

    /// One that waits for its client. There are at most as many as there may be sessions; a further one ends at once.
    pub(crate) fn linger(core: &Arc<Core>) -> Option<Self> {
        let lingering = Self::start(core);
        // The one whose task asks counts twice for now.
        let others = core.ending.load(Ordering::Acquire).saturating_sub(2);
        (others < core.config.limits.sessions_max).then_some(lingering)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts since the start. Read with [`Engine::stats`](crate::Engine::stats).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opened: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) upgraded: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) compressed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) replaced: AtomicU64,
    pub(crate) volatile_dropped: AtomicU64,
}

impl Counters {
    /// So many messages gave way in the outbox of a slow client.
    pub(crate) fn note_dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// What an engine has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Sessions that are open.
    pub sessions: usize,
    /// Sessions opened since the start.
    pub opened: u64,
    /// Handshakes refused since the start.
    pub refused: u64,
    /// Sessions that went from polling to WebSocket.
    pub upgraded: u64,
    /// Sessions closed because their client did not read and its outbox was full.
    pub overflowed: u64,
    /// Messages compressed; a broadcast counts once for all clients of the same window.
    pub compressed: u64,
    /// Messages that slow clients did not get because newer ones needed the room, each client counted for itself.
    pub dropped: u64,
    /// Messages that slow clients did not get because a newer one of the same key took their place.
    pub replaced: u64,
    /// Volatile messages dropped because something else waited for their client.
    pub volatile_dropped: u64,
}

impl Core {
    pub(crate) fn new(config: EngineConfig, runtime: Handle) -> Self {
        Self {
            wheel: Wheel::new(&config.timing),
            sessions: SessionTable::new(&config.limits),
            config,
            clock: Clock::start(),
            flusher: Flusher::default(),
            counters: Counters::default(),
            runtime,
            closing: OnceLock::new(),
            ending: AtomicUsize::new(0),
            deciding: AtomicUsize::new(0),
        }
    }

    /// Whether every session is over and every client has been told.
    pub(crate) fn is_idle(&self) -> bool {
        // In this order: a session begins to end before it leaves the table.
        self.sessions.len() == 0 && self.ending.load(Ordering::Acquire) == 0
    }

    pub(crate) fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            sessions: self.sessions.len(),
            opened: count(&self.counters.opened),
            refused: count(&self.counters.refused),
            upgraded: count(&self.counters.upgraded),
            overflowed: count(&self.counters.overflowed),
            compressed: count(&self.counters.compressed),
            dropped: count(&self.counters.dropped),
            replaced: count(&self.counters.replaced),
            volatile_dropped: count(&self.counters.volatile_dropped),
        }
    }
}
