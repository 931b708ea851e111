//! What all sessions of one engine share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Set when the engine closes: handshakes are refused from then on.
    pub(crate) closing: AtomicBool,
}

/// Counts since the start. Read with [`Engine::stats`](crate::Engine::stats).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opened: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) upgraded: AtomicU64,
    pub(crate) overflowed: AtomicU64,
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
}

impl Core {
    pub(crate) fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            sessions: self.sessions.len(),
            opened: count(&self.counters.opened),
            refused: count(&self.counters.refused),
            upgraded: count(&self.counters.upgraded),
            overflowed: count(&self.counters.overflowed),
        }
    }
}
