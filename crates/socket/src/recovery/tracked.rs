//! What a socket carries for its recovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use synapse_engine::Frames;
use synapse_protocol::PrivateId;

use super::history::History;
use super::offset::Position;
use super::store::Restored;

/// A socket's part of recovery. All of it is read and written under the lock of the namespace's [`Recovery`](super::Recovery); the locks
/// in it are never waited for.
pub(crate) struct Tracked {
    pub(super) pid: PrivateId,
    pub(super) recovered: bool,
    /// [`Sent`], changed for each receiver of a broadcast.
    last: AtomicU64,
    quiet_from: AtomicU64,
    quiet_to: AtomicU64,
    pub(super) past: Mutex<Past>,
}

/// What is known of the packets that were sent to a socket, without a list of them.
///
/// A client that has received the last one has missed nothing, however long ago that was. A client that has not may have received the one
/// before it very long ago, when the packets between the two, which were for others, are forgotten. So the last time of quiet is noted that
/// was longer than a packet may be missed. There is at most one such time between two packets that a client in time may miss, and a
/// shorter one lies within the time that packets are kept, which is twice as long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// The last packet that was sent to the socket.
    pub(super) last: Position,
    /// Nothing was sent to it after this packet ...
    quiet_from: Position,
    /// ... up to this.
    quiet_to: Position,
}

impl Sent {
    /// Everything up to a place has been sent.
    pub(super) fn starting(at: Position) -> Self {
        Self {
            last: at,
            ..Self::default()
        }
    }

    /// A packet is sent after those up to `settled` can be missed no longer.
    pub(super) fn mark_sent(&mut self, position: Position, settled: Position) {
        if self.last <= settled {
            self.quiet_from = self.last;
            self.quiet_to = Position(position.0.saturating_sub(1));
        }
        self.last = position;
    }

    /// From where on the client may have missed something, if it has received everything up to `seen` and the connection was lost at
    /// `ended`.
    pub(super) fn missed_from(&self, seen: Position, ended: Position) -> Position {
        if seen >= self.last {
            ended
        } else if seen >= self.quiet_from {
            seen.max(self.quiet_to)
        } else {
            seen
        }
    }
}

#[derive(Default)]
pub(super) struct Past {
    /// See [`Session`](super::sessions::Session).
    pub(super) since: Position,
    pub(super) history: History,
    /// What a client that is back gets when it is let in.
    pub(super) restored: Option<Box<Restored<Arc<Frames>>>>,
}

impl Tracked {
    pub(super) fn fresh(pid: PrivateId) -> Self {
        Self {
            pid,
            recovered: false,
            last: AtomicU64::new(0),
            quiet_from: AtomicU64::new(0),
            quiet_to: AtomicU64::new(0),
            past: Mutex::default(),
        }
    }

    pub(super) fn restored(restored: Restored<Arc<Frames>>) -> Self {
        Self {
            pid: restored.session.pid,
            recovered: true,
            last: AtomicU64::new(0),
            quiet_from: AtomicU64::new(0),
            quiet_to: AtomicU64::new(0),
            past: Mutex::new(Past {
                restored: Some(Box::new(restored)),
                ..Past::default()
            }),
        }
    }

    /// Whether the socket was restored and nothing is missing.
    pub(crate) fn is_recovered(&self) -> bool {
        self.recovered
    }

    /// A packet is sent to the socket.
    pub(super) fn mark_sent(&self, position: Position, settled: Position) {
        let mut sent = self.sent();
        sent.mark_sent(position, settled);
        self.set_sent(sent);
    }

    pub(super) fn sent(&self) -> Sent {
        let load = |place: &AtomicU64| Position(place.load(Ordering::Relaxed));
        Sent {
            last: load(&self.last),
            quiet_from: load(&self.quiet_from),
            quiet_to: load(&self.quiet_to),
        }
    }

    pub(super) fn set_sent(&self, sent: Sent) {
        self.last.store(sent.last.0, Ordering::Relaxed);
        self.quiet_from.store(sent.quiet_from.0, Ordering::Relaxed);
        self.quiet_to.store(sent.quiet_to.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_missed_something_since_the_last_quiet_at_the_most() {
        let mut sent = Sent::starting(Position(5));
        let from = |sent: &Sent, seen| sent.missed_from(Position(seen), Position(50)).0;
        assert_eq!(from(&sent, 5), 50);
        sent.mark_sent(Position(10), Position(4));
        assert_eq!((from(&sent, 5), from(&sent, 10)), (5, 50));
        sent.mark_sent(Position(20), Position(12));
        for (seen, expected) in [(5, 5), (9, 9), (10, 19), (15, 19), (19, 19), (20, 50)] {
            assert_eq!(from(&sent, seen), expected, "{seen}");
        }
        sent.mark_sent(Position(30), Position(12));
        for (seen, expected) in [(10, 19), (20, 20), (29, 29), (30, 50)] {
            assert_eq!(from(&sent, seen), expected, "{seen}");
        }
    }

    #[test]
    fn a_tracked_socket_costs_little() {
        assert!(size_of::<Tracked>() <= 128, "{}", size_of::<Tracked>());
    }
}
