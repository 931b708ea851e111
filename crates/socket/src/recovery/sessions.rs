//! What is kept of clients that are away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};
use synapse_adapter::Target;
use synapse_protocol::id::IdText;
use synapse_protocol::{PrivateId, SocketId};

use super::history::History;
use super::offset::Position;
use super::options::ConnectionStateRecovery;
use super::tracked::Sent;

/// A socket whose client is away.
pub(crate) struct Session {
    pub(super) pid: PrivateId,
    pub(super) id: SocketId,
    /// The rooms it was in, without its own.
    pub(super) rooms: Vec<Arc<str>>,
    /// How they came to be its rooms.
    pub(super) history: History,
    /// The client has received whatever was for it up to here, even if it says less.
    pub(super) since: Position,
    /// What was sent to it.
    pub(super) sent: Sent,
    /// The newest packet when the connection was lost.
    pub(super) ended: Position,
    pub(super) ended_at: Instant,
    pub(super) data: Map<String, Value>,
}

/// The sessions of one namespace, bounded by time and number: the oldest go.
pub(super) struct Sessions {
    by_pid: HashMap<PrivateId, Session>,
    ids: HashSet<SocketId>,
    /// How many of them are in each room.
    rooms: HashMap<Arc<str>, usize>,
    /// In the order of their ends. Sessions that have been taken leave their places behind for a while.
    ends: VecDeque<(Instant, PrivateId)>,
    keep_for: Duration,
    sessions_max: usize,
}

impl Sessions {
    pub(super) fn new(options: &ConnectionStateRecovery) -> Self {
        Self {
            by_pid: HashMap::new(),
            ids: HashSet::new(),
            rooms: HashMap::new(),
            ends: VecDeque::new(),
            keep_for: options.max_disconnection_duration,
            sessions_max: options.sessions_max,
        }
    }

    pub(super) fn keep(&mut self, session: Session) {
        self.ends.push_back((session.ended_at, session.pid));
        self.ids.insert(session.id);
        for room in &session.rooms {
            *self.rooms.entry(Arc::clone(room)).or_default() += 1;
        }
        let before = self.by_pid.insert(session.pid, session);
        debug_assert!(
            before.is_none(),
            "a private id belongs to one socket at a time"
        );
        while self.by_pid.len() > self.sessions_max {
            self.forget_oldest();
        }
        if self.ends.len() > 2 * self.by_pid.len() + SPARE_MAX {
            let by_pid = &self.by_pid;
            self.ends.retain(|(ended_at, pid)| {
                by_pid
                    .get(pid)
                    .is_some_and(|session| session.ended_at == *ended_at)
            });
        }
    }

    /// The session, if its client is not too late. It is not kept any longer.
    pub(super) fn take(&mut self, pid: PrivateId, now: Instant) -> Option<Session> {
        let session = self.by_pid.remove(&pid)?;
        self.forget(&session);
        (now.saturating_duration_since(session.ended_at) <= self.keep_for).then_some(session)
    }

    /// The session of that client and of no later one with the same private id.
    pub(super) fn find(&mut self, pid: PrivateId, ended_at: Instant) -> Option<&mut Session> {
        self.by_pid
            .get_mut(&pid)
            .filter(|session| session.ended_at == ended_at)
    }

    /// Forgets those whose clients are too late.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((ended_at, _)) = self.ends.front()
            && now.saturating_duration_since(*ended_at) > self.keep_for
        {
            self.forget_oldest();
        }
        if self.by_pid.capacity() > SPARE_MAX && self.by_pid.len() * 4 < self.by_pid.capacity() {
            self.by_pid.shrink_to(self.by_pid.len() * 2);
            self.ids.shrink_to(self.ids.len() * 2);
            self.rooms.shrink_to(self.rooms.len() * 2);
            self.ends.shrink_to(self.ends.len() * 2);
        }
    }

    /// Whether there is one with that id.
    pub(super) fn has_id(&self, id: SocketId) -> bool {
        self.ids.contains(&id)
    }

    /// Whether one of them is in the room, its own included.
    pub(super) fn has_room(&self, room: &str) -> bool {
        self.rooms.contains_key(room) || room.parse().is_ok_and(|id| self.has_id(id))
    }

    /// Whether one of them may be meant.
    pub(super) fn may_be_in(&self, target: &Target) -> bool {
        if target.rooms.is_empty() {
            !self.by_pid.is_empty()
        } else {
            target.rooms.iter().any(|room| self.has_room(room))
        }
    }

    /// Forgets the oldest, or the place of one that has gone.
    fn forget_oldest(&mut self) {
        if let Some((ended_at, pid)) = self.ends.pop_front()
            && self.find(pid, ended_at).is_some()
            && let Some(session) = self.by_pid.remove(&pid)
        {
            self.forget(&session);
        }
    }

    fn forget(&mut self, session: &Session) {
        self.ids.remove(&session.id);
        for room in &session.rooms {
            if let Some(count) = self.rooms.get_mut(room) {
                *count -= 1;
                if *count == 0 {
                    self.rooms.remove(room);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_pid.len()
    }
}

/// Room for so many is kept when sessions go; more is given back.
const SPARE_MAX: usize = 64;

/// The rooms of one socket at one time.
pub(super) struct Membership<'a> {
    id: SocketId,
    own: IdText,
    rooms: HashSet<&'a str>,
}

impl<'a> Membership<'a> {
    pub(super) fn new(id: SocketId, rooms: &'a [Arc<str>]) -> Self {
        Self {
            id,
            own: id.text(),
            rooms: rooms.iter().map(AsRef::as_ref).collect(),
        }
    }

    pub(super) fn id(&self) -> SocketId {
        self.id
    }

    pub(super) fn is_in(&self, room: &str) -> bool {
        *room == *self.own || self.rooms.contains(room)
    }

    pub(super) fn join(&mut self, room: &'a str) {
        self.rooms.insert(room);
    }

    pub(super) fn leave(&mut self, room: &str) {
        self.rooms.remove(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn session(number: u8, rooms: &[&str], ended_at: Instant) -> Session {
        Session {
            pid: PrivateId::from_random([number; 15]),
            id: SocketId::from_random([number; 15]),
            rooms: rooms.iter().map(|room| Arc::from(*room)).collect(),
            history: History::default(),
            since: Position::default(),
            sent: Sent::default(),
            ended: Position::default(),
            ended_at,
            data: Map::new(),
        }
    }

    fn sessions(sessions_max: usize) -> Sessions {
        Sessions::new(&ConnectionStateRecovery {
            max_disconnection_duration: 10 * SECOND,
            sessions_max,
            ..ConnectionStateRecovery::default()
        })
    }

    fn pid(number: u8) -> PrivateId {
        PrivateId::from_random([number; 15])
    }

    #[test]
    fn a_session_is_taken_once_and_in_time() {
        let (mut sessions, start) = (sessions(10), Instant::now());
        sessions.keep(session(1, &["a"], start));
        sessions.keep(session(2, &["a"], start));
        assert!(sessions.take(pid(1), start + 10 * SECOND).is_some());
        assert!(sessions.take(pid(1), start).is_none());
        assert!(sessions.has_room("a"));
        assert!(sessions.take(pid(2), start + 11 * SECOND).is_none());
        assert!(!sessions.has_room("a") && !sessions.has_id(SocketId::from_random([2; 15])));
    }

    #[test]
    fn rooms_are_awaited_while_somebody_was_in_them() {
        let (mut sessions, start) = (sessions(10), Instant::now());
        let everyone = Target::default();
        assert!(!sessions.may_be_in(&everyone));
        sessions.keep(session(1, &["a"], start));
        let own = SocketId::from_random([1; 15]).to_string();
        for (room, expected) in [("a", true), ("b", false), (&own, true)] {
            assert_eq!(sessions.has_room(room), expected, "{room}");
        }
        assert!(sessions.may_be_in(&everyone));
        sessions.expire(start + 11 * SECOND);
        assert!(!sessions.may_be_in(&everyone) && !sessions.has_room("a"));
        assert!(sessions.rooms.is_empty() && sessions.ids.is_empty() && sessions.ends.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut sessions, start) = (sessions(2), Instant::now());
        for number in 1..=3 {
            sessions.keep(session(number, &[], start));
        }
        assert!(sessions.take(pid(1), start).is_none());
        assert!(sessions.take(pid(2), start).is_some());
        assert!(sessions.take(pid(3), start).is_some());
    }

    #[test]
    fn clients_that_come_and_go_leave_nothing_behind() {
        let (mut sessions, start) = (sessions(10), Instant::now());
        for n in 0..10_000 {
            sessions.keep(session(1, &["a", "b"], start + SECOND * n / 10_000));
            assert!(sessions.take(pid(1), start).is_some());
        }
        assert!(sessions.ends.len() <= SPARE_MAX + 1);
        // The places of those that have been taken are not those of later ones.
        sessions.keep(session(1, &[], start + 5 * SECOND));
        sessions.expire(start + 12 * SECOND);
        assert_eq!(sessions.len(), 1);
    }
}
