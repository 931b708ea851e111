//! Which rooms a socket has joined and left.

use std::collections::VecDeque;
use std::sync::Arc;

use super::offset::Position;
use super::sessions::Membership;

/// The changes of one socket's rooms that some packet of the log lies before. With its rooms of now they tell its rooms at that packet.
#[derive(Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    /// What was before is not known any more.
    known_after: Position,
}

struct Change {
    /// The newest packet at that time.
    at: Position,
    room: Arc<str>,
    what: What,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The socket joined the room.
    Joined,
    /// The socket left the room.
    Left,
}

impl History {
    /// Where what is known of the rooms begins.
    pub(super) fn known_after(&self) -> Position {
        self.known_after
    }

    /// The oldest of more than `max` changes goes.
    pub(super) fn record(&mut self, at: Position, room: Arc<str>, what: What, max: usize) {
        self.changes.push_back(Change { at, room, what });
        while self.changes.len() > max {
            if let Some(oldest) = self.changes.pop_front() {
                self.known_after = oldest.at;
            }
        }
    }

    /// Forgets changes that no packet after this place lies before.
    pub(super) fn forget(&mut self, up_to: Position) {
        while self
            .changes
            .front()
            .is_some_and(|change| change.at <= up_to)
        {
            self.changes.pop_front();
        }
    }

    /// The changes, newest first.
    pub(super) fn backwards(&self) -> Backwards<'_> {
        Backwards(self.changes.iter().rev().peekable())
    }
}

/// Goes back in time.
pub(super) struct Backwards<'a>(
    std::iter::Peekable<std::iter::Rev<std::collections::vec_deque::Iter<'a, Change>>>,
);

impl<'a> Backwards<'a> {
    /// Undoes what happened after the packet at this place.
    pub(super) fn undo(&mut self, membership: &mut Membership<'a>, after: Position) {
        while let Some(change) = self.0.next_if(|change| change.at >= after) {
            match change.what {
                What::Joined => membership.leave(&change.room),
                What::Left => membership.join(&change.room),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synapse_protocol::SocketId;

    fn rooms_at(history: &History, now: &[Arc<str>], position: u64) -> String {
        let mut membership = Membership::new(SocketId::from_random([1; 15]), now);
        history
            .backwards()
            .undo(&mut membership, Position(position));
        ["a", "b"]
            .into_iter()
            .filter(|room| membership.is_in(room))
            .collect()
    }

    #[test]
    fn rooms_are_those_of_the_time() {
        let mut history = History::default();
        for (at, room, what) in [
            (2, "a", What::Joined),
            (4, "b", What::Joined),
            (4, "a", What::Left),
            (6, "a", What::Joined),
            (6, "a", What::Left),
        ] {
            history.record(Position(at), room.into(), what, 64);
        }
        let now = ["b".into()];
        for (position, expected) in [
            (1, ""),
            (2, ""),
            (3, "a"),
            (4, "a"),
            (5, "b"),
            (6, "b"),
            (7, "b"),
        ] {
            assert_eq!(rooms_at(&history, &now, position), expected, "{position}");
        }
        history.forget(Position(4));
        assert_eq!(history.changes.len(), 2);
        assert_eq!(history.known_after(), Position(0));
    }

    #[test]
    fn the_oldest_changes_go_and_are_known_to_be_missing() {
        let mut history = History::default();
        for at in 1..=5 {
            history.record(Position(at), "a".into(), What::Joined, 2);
        }
        assert_eq!(history.changes.len(), 2);
        assert_eq!(history.known_after(), Position(3));
        history.record(Position(6), "a".into(), What::Joined, 0);
        assert_eq!(history.known_after(), Position(6));
    }
}
