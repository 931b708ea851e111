//! What rooms are made of.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use synapse_protocol::SocketId;

use super::room::Room;

/// A socket, as rooms see it: in practice an `Arc`, so that a clone is the same member and costs one atomic increment.
pub trait Member: Clone + Send + Sync + 'static {
    /// The id, which names the member's own room.
    fn id(&self) -> SocketId;

    /// The rooms it is in. Every clone gives the same place in memory, which tells members apart.
    fn memberships(&self) -> &Memberships<Self>;
}

/// The rooms that a member is in. Lives in the member and is changed by [`Rooms`](super::Rooms) only.
///
/// Nothing is allocated while it is in no room but its own.
pub struct Memberships<M>(Mutex<Standing<M>>);

impl<M> Default for Memberships<M> {
    fn default() -> Self {
        Self(Mutex::new(Standing(None)))
    }
}

impl<M> Memberships<M> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Standing<M>> {
        self.0.lock()
    }

    #[cfg(test)]
    pub(super) fn are_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// In no room, in some, or gone: one pointer wide, so that a million members at rest pay 16 bytes each.
pub(super) struct Standing<M>(Option<Box<Stand<M>>>);

type RoomList<M> = SmallVec<[Arc<Room<M>>; 3]>;

enum Stand<M> {
    In(RoomList<M>),
    Left,
}

impl<M> Standing<M> {
    pub(super) fn has_left(&self) -> bool {
        matches!(self.0.as_deref(), Some(Stand::Left))
    }

    pub(super) fn rooms(&self) -> &[Arc<Room<M>>] {
        match self.0.as_deref() {
            Some(Stand::In(rooms)) => rooms,
            Some(Stand::Left) | None => &[],
        }
    }

    /// The caller has checked that the member has not left.
    pub(super) fn push(&mut self, room: Arc<Room<M>>) {
        match self
            .0
            .get_or_insert_with(|| Box::new(Stand::In(RoomList::new())))
            .as_mut()
        {
            Stand::In(rooms) => rooms.push(room),
            Stand::Left => debug_assert!(false, "a member that has left joins nothing"),
        }
    }

    pub(super) fn forget(&mut self, room: &Arc<Room<M>>) {
        let Some(Stand::In(rooms)) = self.0.as_deref_mut() else {
            return;
        };
        // By address: a thousand pointers in a row are compared faster than one name is looked up.
        if let Some(at) = rooms.iter().position(|other| Arc::ptr_eq(other, room)) {
            rooms.remove(at);
        }
        if rooms.is_empty() {
            self.0 = None;
        } else if rooms.len() * 4 < rooms.capacity() {
            rooms.shrink_to_fit();
        }
    }

    /// Returns the rooms to leave.
    pub(super) fn leave_for_good(&mut self) -> RoomList<M> {
        match self.0.replace(Box::new(Stand::Left)).map(|stand| *stand) {
            Some(Stand::In(rooms)) => rooms,
            Some(Stand::Left) | None => RoomList::new(),
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Arc, Member, Memberships, SocketId};

    /// A member that is nothing else.
    #[derive(Clone)]
    pub(in crate::rooms) struct Someone(Arc<(SocketId, Memberships<Self>)>);

    pub(in crate::rooms) fn someone(number: u64) -> Someone {
        let mut id = [0; 15];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Someone(Arc::new((
            SocketId::from_random(id),
            Memberships::default(),
        )))
    }

    impl Someone {
        pub(in crate::rooms) fn holders(&self) -> usize {
            Arc::strong_count(&self.0)
        }
    }

    impl Member for Someone {
        fn id(&self) -> SocketId {
            self.0.0
        }

        fn memberships(&self) -> &Memberships<Self> {
            &self.0.1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_small_at_rest() {
        assert!(size_of::<Memberships<Arc<()>>>() <= 16);
        assert!(size_of::<Stand<Arc<()>>>() <= 40);
    }
    #[test]
    fn nothing_is_kept_after_the_last_room() {
        let member = testing::someone(1);
        let rooms: Vec<_> = (0..100)
            .map(|number| Arc::new(Room::with(&number.to_string(), &member)))
            .collect();
        let mut standing = member.memberships().lock();
        rooms.iter().for_each(|room| standing.push(room.clone()));
        rooms[1..].iter().for_each(|room| standing.forget(room));
        assert!(matches!(standing.0.as_deref(), Some(Stand::In(list)) if !list.spilled()));
        standing.forget(&rooms[0]);
        assert!(standing.0.is_none());
    }
}
