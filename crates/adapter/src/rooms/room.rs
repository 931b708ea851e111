//! One room.

use std::sync::Arc;

use parking_lot::RwLock;

use super::dense::Dense;
use super::member::Member;

/// A room and its members. It begins with a member and is gone when the last one leaves: whoever finds it empty came too late and
/// looks for its successor. So a room needs no flag, and nothing but its own lock, to tell whether it is still in the table.
pub(super) struct Room<M> {
    name: Arc<str>,
    members: RwLock<Dense<M>>,
}

/// What came of joining.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joining {
    Joined,
    AlreadyIn,
    /// The room had emptied.
    Gone,
}

/// What came of leaving.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Left,
    NotIn,
    /// The last member has left, the room is to be taken out of the table.
    Emptied,
}

impl<M> Room<M> {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<M: Member> Room<M> {
    pub(super) fn with(name: &str, first: &M) -> Self {
        let mut members = Dense::new();
        members.insert(first);
        Self {
            name: name.into(),
            members: RwLock::new(members),
        }
    }

    pub(super) fn join(&self, member: &M) -> Joining {
        let mut members = self.members.write();
        if members.is_empty() {
            Joining::Gone
        } else if members.insert(member) {
            Joining::Joined
        } else {
            Joining::AlreadyIn
        }
    }

    pub(super) fn leave(&self, member: &M) -> Leaving {
        let mut members = self.members.write();
        if !members.remove(member) {
            Leaving::NotIn
        } else if members.is_empty() {
            Leaving::Emptied
        } else {
            Leaving::Left
        }
    }

    pub(super) fn has(&self, member: &M) -> bool {
        self.members.read().has(member)
    }

    pub(super) fn each(&self, each: impl FnMut(&M)) {
        self.members.read().iter().for_each(each);
    }
}

#[cfg(test)]
impl<M> Room<M> {
    /// Nobody joins or leaves while this is held.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.members.read()
    }

    /// Whether somebody is about to join or leave.
    pub(super) fn is_awaited(&self) -> bool {
        self.members.is_locked_exclusive()
    }
}
