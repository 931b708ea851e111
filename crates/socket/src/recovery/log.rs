//! What was sent in the last minutes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use synapse_adapter::Target;
use synapse_protocol::SocketId;

use super::offset::Position;
use super::options::ConnectionStateRecovery;
use super::sessions::Membership;

/// Packets in the order they were sent, bounded by time, number and bytes: the oldest go.
pub(super) struct Log<F> {
    packets: VecDeque<Packet<F>>,
    head: Position,
    settled: Position,
    bytes: usize,
    missed_for: Duration,
    packets_max: usize,
    bytes_max: usize,
}

/// One packet that was sent.
pub(super) struct Packet<F> {
    pub(super) audience: Audience,
    pub(super) frames: F,
    /// The length of the frames.
    pub(super) len: usize,
    sent_at: Instant,
}

/// Whom a packet was for.
#[derive(Clone, Debug)]
pub(crate) enum Audience {
    /// One socket.
    Socket(SocketId),
    /// The sockets of a target.
    Target(Target),
}

impl<F> Log<F> {
    /// `missed_for` is how long a packet may be missed by a client that is back in time. Packets are kept twice as long: see
    /// [`Sent`](super::tracked::Sent).
    pub(super) fn new(options: &ConnectionStateRecovery, missed_for: Duration) -> Self {
        Self {
            packets: VecDeque::new(),
            head: Position::default(),
            settled: Position::default(),
            bytes: 0,
            missed_for,
            packets_max: options.packets_max,
            bytes_max: options.packet_bytes_max,
        }
    }

    /// The place of the newest packet.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// The place of the newest packet that has been forgotten: of nothing up to it anything is known.
    pub(super) fn cut(&self) -> Position {
        Position(self.head.0 - self.packets.len() as u64)
    }

    /// The place of the newest packet that no client may still miss: those after it are not old, and known.
    pub(super) fn settled(&self) -> Position {
        self.settled.max(self.cut())
    }

    pub(super) fn append(&mut self, audience: Audience, frames: F, len: usize, now: Instant) {
        let packet = Packet {
            audience,
            frames,
            len,
            sent_at: now,
        };
        self.head = self.head.next();
        self.bytes += packet.bytes();
        self.packets.push_back(packet);
        self.expire(now);
        while self.packets.len() > self.packets_max || self.bytes > self.bytes_max {
            self.forget_oldest();
        }
    }

    /// Forgets what is too old to be missed.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.packets.front()
            && now.saturating_duration_since(oldest.sent_at) > 2 * self.missed_for
        {
            self.forget_oldest();
        }
        self.settled = self.settled();
        while let Some(next) = self.packets.get((self.settled.0 - self.cut().0) as usize)
            && now.saturating_duration_since(next.sent_at) > self.missed_for
        {
            self.settled = self.settled.next();
        }
        if self.packets.len() * 4 < self.packets.capacity() && self.packets.capacity() > SPARE_MAX {
            self.packets.shrink_to(self.packets.len() * 2);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.packets.pop_front() {
            self.bytes -= oldest.bytes();
        }
    }

    /// The packets after one place and up to another, of which none has been forgotten.
    pub(super) fn between(
        &self,
        after: Position,
        up_to: Position,
    ) -> impl DoubleEndedIterator<Item = (Position, &Packet<F>)> {
        let cut = self.cut().0;
        let index = |position: Position| position.0.saturating_sub(cut) as usize;
        let end = index(up_to).min(self.packets.len());
        let start = index(after).min(end);
        self.packets
            .range(start..end)
            .enumerate()
            .map(move |(at, packet)| (Position(cut + (start + at) as u64 + 1), packet))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Room for so many is kept when the log empties; more is given back.
const SPARE_MAX: usize = 64;

impl<F> Packet<F> {
    /// What it costs to keep it.
    fn bytes(&self) -> usize {
        let names = match &self.audience {
            Audience::Socket(_) => 0,
            Audience::Target(target) => target
                .rooms
                .iter()
                .chain(&target.except)
                .map(|name| name.len())
                .sum(),
        };
        size_of::<Self>() + self.len + names
    }
}

impl Audience {
    /// Whether somebody in these rooms is meant.
    pub(super) fn has(&self, membership: &Membership<'_>) -> bool {
        match self {
            Self::Socket(id) => membership.id() == *id,
            Self::Target(target) => {
                (target.rooms.is_empty() || target.rooms.iter().any(|room| membership.is_in(room)))
                    && !target.except.iter().any(|room| membership.is_in(room))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn log(packets_max: usize, packet_bytes_max: usize) -> Log<()> {
        let options = ConnectionStateRecovery {
            packets_max,
            packet_bytes_max,
            ..ConnectionStateRecovery::default()
        };
        Log::new(&options, 5 * SECOND)
    }

    fn append(log: &mut Log<()>, len: usize, now: Instant) {
        log.append(Audience::Target(Target::default()), (), len, now);
    }

    fn positions(log: &Log<()>, after: u64, up_to: u64) -> Vec<u64> {
        log.between(Position(after), Position(up_to))
            .map(|(position, _)| position.0)
            .collect()
    }

    #[test]
    fn the_oldest_go_by_number() {
        let (mut log, now) = (log(3, usize::MAX), Instant::now());
        for _ in 0..5 {
            append(&mut log, 1, now);
        }
        assert_eq!((log.head(), log.cut()), (Position(5), Position(2)));
        assert_eq!(positions(&log, 2, 5), [3, 4, 5]);
        assert_eq!(positions(&log, 3, 4), [4]);
        assert_eq!(positions(&log, 5, 5), [0; 0]);
        assert_eq!(positions(&log, 0, 9), [3, 4, 5]);
    }

    #[test]
    fn the_oldest_go_by_bytes_and_a_large_one_goes_at_once() {
        let (mut log, now) = (log(100, 900), Instant::now());
        append(&mut log, 400, now);
        append(&mut log, 400, now);
        assert_eq!(log.cut(), Position(1));
        append(&mut log, 2_000, now);
        assert_eq!((log.cut(), log.head()), (Position(3), Position(3)));
        assert_eq!(log.bytes(), 0);
    }

    #[test]
    fn the_oldest_go_by_time_and_leave_no_room_behind() {
        let (mut log, start) = (log(1_000, usize::MAX), Instant::now());
        for n in 0..1_000 {
            append(&mut log, 1, start + SECOND * (n / 500));
        }
        assert_eq!(log.settled(), Position(0));
        log.expire(start + 5 * SECOND + SECOND / 2);
        assert_eq!((log.cut(), log.settled()), (Position(0), Position(500)));
        log.expire(start + 10 * SECOND);
        assert_eq!((log.cut(), log.settled()), (Position(0), Position(1_000)));
        log.expire(start + 10 * SECOND + SECOND / 2);
        assert_eq!(log.cut(), Position(500));
        log.expire(start + 20 * SECOND);
        assert_eq!((log.cut(), log.bytes()), (Position(1_000), 0));
        assert!(log.packets.capacity() <= SPARE_MAX);
    }
}
