//! One coarse timing wheel for the heartbeats and waits of all sessions.
//!
//! A timer for each session would double the CPU of idle ones. Entries are ids, not connections: a session that is over costs 16 bytes
//! until its slot comes round, and nothing is kept alive.

use std::sync::atomic::{AtomicU64, Ordering};
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
/// A wheel that is so many ticks behind was held up, and so was everything else.
const TICKS_BEHIND_MAX: u64 = 4;
/// Most time that sessions get to read what came while everything was held up.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Wheel {
    tick_millis: u64,
    slots: Box<[Mutex<Vec<SessionId>>]>,
    /// The first tick whose slot has not been taken yet.
    next: AtomicU64,
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
            next: AtomicU64::new(0),
        }
    }

    /// Has the session looked at when `at` has come. A moment beyond the wheel's horizon is looked at early, which does no harm.
    pub(crate) fn insert(&self, id: SessionId, at: Timestamp, now: Timestamp) {
        let ticks_from_now = (at.as_millis().saturating_sub(now.as_millis()) / self.tick_millis
            + 1)
        .min(SLOTS as u64 - 1);
        let wanted = now.as_millis() / self.tick_millis + ticks_from_now;
        loop {
            // `now` may be a while ago. A slot that has been taken meanwhile comes round only after the whole wheel.
            let tick = wanted.max(self.next.load(Ordering::Acquire));
            let mut slot = self.slot(tick).lock();
            if self.next.load(Ordering::Acquire) <= tick {
                slot.push(id);
                return;
            }
        }
    }

    fn slot(&self, tick: u64) -> &Mutex<Vec<SessionId>> {
        &self.slots[usize::try_from(tick % SLOTS as u64).unwrap_or_default()]
    }

    /// Told before the slot is locked, so that whoever locks it afterwards knows.
    fn take(&self, tick: u64) -> Vec<SessionId> {
        self.next.store(tick + 1, Ordering::Release);
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
    let forget = ForgetSessions(core);
    let mut next_tick = 0;
    loop {
        interval.tick().await;
        let Some(core) = forget.0.upgrade() else {
            return;
        };
        let tick_now = || core.clock.now().as_millis() / tick_millis;
        let behind = tick_now().saturating_sub(next_tick);
        if behind > TICKS_BEHIND_MAX {
            // Pongs have come meanwhile that nobody has read. Whoever is missed before they are is missed without reason.
            let catch_up = Duration::from_millis(behind.saturating_mul(tick_millis));
            tokio::time::sleep(catch_up.min(CATCH_UP_MAX)).await;
        }
        let current = tick_now();
        // A worker that was held up for longer than the wheel is round has every slot due.
        next_tick = next_tick.max(current.saturating_sub(SLOTS as u64 - 1));
        while next_tick <= current {
            turn_slot(&core, next_tick).await;
            next_tick += 1;
        }
    }
}

/// Sessions that wait to be told their end keep the engine, which keeps them: without a wheel, nobody would forget them.
struct ForgetSessions(Weak<Core>);

impl Drop for ForgetSessions {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.sessions.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel() -> Wheel {
        Wheel::new(&Timing::default())
    }

    fn at(wheel: &Wheel, tick: u64) -> Timestamp {
        Timestamp::from_millis(tick * wheel.tick_millis)
    }

    /// The ticks of the next round in which a session is looked at.
    fn looks(wheel: &Wheel, from: u64) -> Vec<u64> {
        (from..from + SLOTS as u64)
            .filter(|tick| !wheel.take(*tick).is_empty())
            .collect()
    }

    #[test]
    fn a_session_is_looked_at_when_its_moment_has_come_and_not_before() {
        for (ahead, expected) in [(0, 11), (1, 12), (99, 110), (100_000, 10 + 1023)] {
            let wheel = wheel();
            let id = SessionId::from_random([7; 15]);
            wheel.insert(id, at(&wheel, 10 + ahead), at(&wheel, 10));
            assert_eq!(looks(&wheel, 10), [expected], "{ahead}");
        }
    }

    /// Official suites ping every 300 ms and wait 200 ms: whoever is looked at much later than asked for misses their deadlines. Every moment of a
    /// second is tried, and none comes early or later than two ticks.
    #[test]
    fn short_heartbeats_are_met_within_a_few_milliseconds() {
        for (interval, timeout, late_max) in [(300, 200, 8), (25_000, 20_000, 500), (20, 10, 4)] {
            let timing = Timing {
                ping_interval: Duration::from_millis(interval),
                ping_timeout: Duration::from_millis(timeout),
                ..Timing::default()
            };
            let wheel = Wheel::new(&timing);
            for phase in 0..1_000 {
                let wanted = phase + interval;
                wheel.insert(
                    SessionId::from_random([7; 15]),
                    Timestamp::from_millis(wanted),
                    Timestamp::from_millis(phase),
                );
                let first = phase / wheel.tick_millis;
                let looked = (first..first + SLOTS as u64)
                    .find(|tick| !std::mem::take(&mut *wheel.slot(*tick).lock()).is_empty())
                    .map(|tick| tick * wheel.tick_millis);
                let late = looked.and_then(|at| at.checked_sub(wanted));
                assert!(
                    late.is_some_and(|late| late <= late_max),
                    "{interval} ms from {phase} on: looked at {looked:?}"
                );
            }
        }
    }

    /// A thread may be held up between asking for the time and adding its session.
    #[test]
    fn a_moment_that_has_passed_meanwhile_is_the_next_one() {
        let wheel = wheel();
        for tick in 0..20 {
            wheel.take(tick);
        }
        let id = SessionId::from_random([7; 15]);
        wheel.insert(id, at(&wheel, 12), at(&wheel, 10));
        assert_eq!(looks(&wheel, 20), [20]);
    }

    #[test]
    fn a_wheel_that_turns_meanwhile_loses_nobody() {
        const SESSIONS: u64 = 20_000;
        let wheel = wheel();
        let turned = AtomicU64::new(0);
        let found = std::thread::scope(|scope| {
            let adding: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..SESSIONS {
                            let now = at(&wheel, turned.load(Ordering::Relaxed));
                            wheel.insert(SessionId::from_random([7; 15]), now, now);
                        }
                    })
                })
                .collect();
            let mut found = 0;
            let mut tick = 0;
            while adding.iter().any(|adding| !adding.is_finished()) {
                found += wheel.take(tick).len();
                tick += 1;
                turned.store(tick, Ordering::Relaxed);
            }
            // Whoever is left is looked at within a few ticks, not after a whole round.
            (tick..tick + 4).fold(found, |found, tick| found + wheel.take(tick).len())
        });
        assert_eq!(found as u64, 3 * SESSIONS);
    }
}
