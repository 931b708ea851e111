//! One coarse timing wheel for the heartbeats and waits of all sessions.
//!
//! A timer for each session would double the CPU of idle ones. Entries are ids, not connections: a session that is over costs 16 bytes
//! until its slot comes round, and nothing is kept alive.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use synapse_protocol::SessionId;
use synapse_protocol::engine::{Timestamp, Timing};
use tokio::time::MissedTickBehavior;

use crate::core::Core;

const SLOTS: usize = 1024;
/// Sessions handled before other tasks get their turn.
const SLICE: usize = 256;

pub(crate) struct Wheel {
    tick_millis: u64,
    slots: Box<[Mutex<Vec<SessionId>>]>,
}

impl Wheel {
    /// A wheel fine enough for these timings: a 25 s interval is met within a quarter of a second, one of 300 ms within a few ms.
    pub(crate) fn new(timing: &Timing) -> Self {
        let shortest = timing
            .ping_interval
            .min(timing.ping_timeout)
            .min(timing.connect_timeout);
        let tick_millis = u64::try_from(shortest.as_millis() / 50)
            .unwrap_or(u64::MAX)
            .clamp(2, 250);
        Self {
            tick_millis,
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Has the session looked at when `at` has come. A moment beyond the wheel's horizon is looked at early, which does no harm.
    pub(crate) fn insert(&self, id: SessionId, at: Timestamp, now: Timestamp) {
        let ticks_from_now = (at.as_millis().saturating_sub(now.as_millis()) / self.tick_millis
            + 1)
        .min(SLOTS as u64 - 1);
        let tick = now.as_millis() / self.tick_millis + ticks_from_now;
        self.slot(tick).lock().push(id);
    }

    fn slot(&self, tick: u64) -> &Mutex<Vec<SessionId>> {
        &self.slots[usize::try_from(tick % SLOTS as u64).unwrap_or_default()]
    }

    fn take(&self, tick: u64) -> Vec<SessionId> {
        std::mem::take(&mut *self.slot(tick).lock())
    }
}

/// Turns the wheel for as long as the engine is there.
pub(crate) async fn turn(core: Weak<Core>) {
    let Some(tick_millis) = core.upgrade().map(|core| core.wheel.tick_millis) else {
        return;
    };
    let mut interval = tokio::time::interval(Duration::from_millis(tick_millis));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_tick = 0;
    loop {
        interval.tick().await;
        let Some(core) = core.upgrade() else { return };
        let current = core.clock.now().as_millis() / tick_millis;
        // A worker that was held up for longer than the wheel is round has every slot due.
        next_tick = next_tick.max(current.saturating_sub(SLOTS as u64 - 1));
        while next_tick <= current {
            turn_slot(&core, next_tick).await;
            next_tick += 1;
        }
    }
}

async fn turn_slot(core: &Arc<Core>, tick: u64) {
    let due = core.wheel.take(tick);
    for slice in due.chunks(SLICE) {
        let now = core.clock.now();
        let mut batch = crate::batch::Batch::default();
        for id in slice {
            if let Some(connection) = core.sessions.find(*id) {
                connection.handle_timeout(now, &mut batch);
            }
        }
        drop(batch);
        tokio::task::yield_now().await;
    }
}
