//! What decides about recovery.

use std::time::{Duration, Instant};

use synapse_adapter::Target;
use synapse_protocol::{PrivateId, SocketId};

use super::log::{Audience, Log};
use super::offset::{Offsets, Position, Seen};
use super::options::ConnectionStateRecovery;
use super::sessions::{Membership, Session, Sessions};
use super::tracked::Sent;

/// The log of a namespace and the sessions of the clients that are away. Owns no clock, no lock and no socket, and does not know what `F`, the
/// frames of a packet, are.
///
/// This is all that the hooks need of a place where sessions and packets are kept: `next_offset` and `append` for what is sent, `keep`,
/// `restore`, `complete` and `put_back` for clients that go and come.
pub(super) struct Store<F> {
    log: Log<F>,
    sessions: Sessions,
    offsets: Offsets,
    replay_bytes_max: usize,
    room_changes_max: usize,
}

/// What a server needs besides its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    /// How long a lost connection may go unnoticed.
    pub(crate) unnoticed_for: Duration,
    /// What one client may be sent at once.
    pub(crate) replay_bytes_max: usize,
}

/// A session that its client has come back to.
pub(crate) struct Restored<F> {
    pub(super) session: Session,
    /// From here on the client has missed what was for it.
    pub(super) from: Position,
    /// What it has missed, up to a place.
    pub(super) missed: Vec<F>,
    /// What was and is to be sent to it.
    pub(super) sent: Sent,
    up_to: Position,
    bytes: usize,
}

impl<F: Clone> Store<F> {
    /// The mark has to be random.
    pub(super) fn new(
        options: &ConnectionStateRecovery,
        surroundings: Surroundings,
        mark: u32,
    ) -> Self {
        let missed_for = options
            .max_disconnection_duration
            .saturating_add(surroundings.unnoticed_for);
        Self {
            log: Log::new(options, missed_for),
            sessions: Sessions::new(options),
            offsets: Offsets::new(mark),
            replay_bytes_max: surroundings.replay_bytes_max,
            room_changes_max: options.room_changes_max,
        }
    }

    /// The place of the newest packet.
    pub(super) fn head(&self) -> Position {
        self.log.head()
    }

    /// The place of the newest packet that has been forgotten.
    pub(super) fn cut(&self) -> Position {
        self.log.cut()
    }

    /// The place of the newest packet that no client may still miss.
    pub(super) fn settled(&self) -> Position {
        self.log.settled()
    }

    pub(super) fn room_changes_max(&self) -> usize {
        self.room_changes_max
    }

    /// The offset of the packet that is appended next.
    pub(super) fn next_offset(&self) -> String {
        self.offsets.write(self.head().next())
    }

    /// Notes what is sent, at once: nothing is sent between its offset and this. `len` is the length of its frames.
    pub(super) fn append(&mut self, audience: Audience, frames: F, len: usize, now: Instant) {
        self.log.append(audience, frames, len, now);
    }

    /// Whether a client that is away may be meant.
    pub(super) fn awaits(&self, target: &Target) -> bool {
        self.sessions.may_be_in(target)
    }

    pub(super) fn awaits_room(&self, room: &str) -> bool {
        self.sessions.has_room(room)
    }

    pub(super) fn awaits_socket(&self, id: SocketId) -> bool {
        self.sessions.has_id(id)
    }

    /// A client has gone.
    pub(super) fn keep(&mut self, mut session: Session, now: Instant) {
        self.expire(now);
        session.history.forget(self.cut());
        self.sessions.keep(session);
    }

    /// The session of a client that is away still.
    pub(super) fn kept(&mut self, pid: PrivateId, ended_at: Instant) -> Option<&mut Session> {
        self.sessions.find(pid, ended_at)
    }

    /// A client is back and says what it has received last. The session is its own from now on, or lost if something of what it has missed
    /// is lost.
    pub(super) fn restore(
        &mut self,
        pid: PrivateId,
        offset: Option<&str>,
        now: Instant,
    ) -> Option<Restored<F>> {
        let session = self.sessions.take(pid, now)?;
        let seen = match self.offsets.read(offset) {
            Seen::Nothing => session.since,
            // One from before this session tells that nothing of this session has been received.
            Seen::UpTo(position) if position <= self.head() => position.max(session.since),
            // Whatever it is, there was nothing to receive.
            Seen::UpTo(_) | Seen::Unknown if session.sent.last <= session.since => session.since,
            Seen::UpTo(_) | Seen::Unknown => return None,
        };
        let from = session.sent.missed_from(seen, session.ended);
        let is_known =
            from >= self.cut() && (from == session.ended || from >= session.history.known_after());
        if !is_known {
            return None;
        }
        let mut restored = Restored {
            up_to: session.ended,
            sent: session.sent,
            session,
            from,
            missed: Vec::new(),
            bytes: 0,
        };
        self.collect_before_the_end(&mut restored);
        self.collect_after_the_end(&mut restored);
        (restored.bytes <= self.replay_bytes_max).then_some(restored)
    }

    /// Adds what was sent since the session was restored. Returns whether all of it is known and not too much.
    pub(super) fn complete(&self, restored: &mut Restored<F>) -> bool {
        if restored.up_to < self.cut() {
            return false;
        }
        self.collect_after_the_end(restored);
        restored.bytes <= self.replay_bytes_max
    }

    /// A client has gone again before it was let in: the session is as it was.
    pub(super) fn put_back(&mut self, restored: Restored<F>, now: Instant) {
        self.sessions.keep(restored.session);
        self.expire(now);
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.log.expire(now);
        self.sessions.expire(now);
    }

    /// What was lost on the way: it was for the rooms of its time.
    fn collect_before_the_end(&self, restored: &mut Restored<F>) {
        let session = &restored.session;
        let mut membership = Membership::new(session.id, &session.rooms);
        let mut history = session.history.backwards();
        for (position, packet) in self.log.between(restored.from, session.ended).rev() {
            history.undo(&mut membership, position);
            if packet.audience.has(&membership) {
                restored.missed.push(packet.frames.clone());
                restored.bytes += packet.len;
            }
        }
        restored.missed.reverse();
    }

    fn collect_after_the_end(&self, restored: &mut Restored<F>) {
        let membership = Membership::new(restored.session.id, &restored.session.rooms);
        for (position, packet) in self.log.between(restored.up_to, self.head()) {
            if packet.audience.has(&membership) {
                restored.sent.last = position;
                restored.missed.push(packet.frames.clone());
                restored.bytes += packet.len;
            }
        }
        restored.up_to = self.head();
    }
}

impl<F> Restored<F> {
    pub(crate) fn id(&self) -> SocketId {
        self.session.id
    }
}
