//! The rooms by name.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::RwLock;

use super::member::Member;
use super::room::{Joining, Leaving, Room};

const SHARDS: usize = 16;

/// The rooms of a namespace, in shards by name.
///
/// A room is never locked under its shard's lock: during a large broadcast a join waits for its room, and if it held the shard
/// as well, every other room of the shard would wait with it.
pub(super) struct RoomTable<M> {
    shards: [RwLock<HashTable<Arc<Room<M>>>>; SHARDS],
    /// Keyed SipHash, because clients choose the names.
    hasher: RandomState,
}

impl<M: Member> RoomTable<M> {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
        }
    }

    /// The room of that name. It may empty at any moment and then has nobody to walk.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Room<M>>> {
        self.look_up(self.hash(name), name)
    }

    /// Returns the room, `None` if the member was in it already.
    pub(super) fn join(&self, name: &str, member: &M) -> Option<Arc<Room<M>>> {
        let hash = self.hash(name);
        loop {
            let found = self.look_up(hash, name);
            if let Some(room) = &found {
                match room.join(member) {
                    Joining::Joined => return found,
                    Joining::AlreadyIn => return None,
                    Joining::Gone => (),
                }
            }
            if let Some(room) = self.create(hash, name, member, found.as_ref()) {
                return Some(room);
            }
        }
    }

    /// Returns whether the member was in the room.
    pub(super) fn leave(&self, room: &Arc<Room<M>>, member: &M) -> bool {
        match room.leave(member) {
            Leaving::Left => true,
            Leaving::NotIn => false,
            Leaving::Emptied => {
                self.take_out(room);
                true
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.shards
            .iter()
            .flat_map(|shard| {
                shard
                    .read()
                    .iter()
                    .map(|room| Arc::clone(room.name()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn look_up(&self, hash: u64, name: &str) -> Option<Arc<Room<M>>> {
        self.shard(hash)
            .read()
            .find(hash, |room| **room.name() == *name)
            .cloned()
    }

    /// Puts a room with its first member in the place of `gone`, the room found there a moment ago. Returns `None` if another
    /// thread has put one there meanwhile.
    fn create(
        &self,
        hash: u64,
        name: &str,
        first: &M,
        gone: Option<&Arc<Room<M>>>,
    ) -> Option<Arc<Room<M>>> {
        let room = Arc::new(Room::with(name, first));
        let mut shard = self.shard(hash).write();
        match shard.entry(
            hash,
            |room| **room.name() == *name,
            |room| self.hash(room.name()),
        ) {
            Entry::Vacant(place) => {
                place.insert(Arc::clone(&room));
            }
            Entry::Occupied(mut place) => {
                if !gone.is_some_and(|gone| Arc::ptr_eq(gone, place.get())) {
                    return None;
                }
                *place.get_mut() = Arc::clone(&room);
            }
        }
        Some(room)
    }

    fn take_out(&self, room: &Arc<Room<M>>) {
        let hash = self.hash(room.name());
        let mut shard = self.shard(hash).write();
        // A join may have put a new room of this name in its place already.
        if let Ok(place) = shard.find_entry(hash, |other| Arc::ptr_eq(other, room)) {
            place.remove();
        }
        let (len, capacity) = (shard.len(), shard.capacity());
        if capacity > SPARE_MAX && len * 4 < capacity {
            shard.shrink_to(len * 2, |room| self.hash(room.name()));
        }
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<Room<M>>>> {
        // Bits in the middle, because the table uses both ends.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

/// Room for so many is kept when a shard empties; more is given back.
const SPARE_MAX: usize = 32;

#[cfg(test)]
impl<M> RoomTable<M> {
    pub(super) fn capacity(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().capacity())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::testing::someone;
    use super::*;

    #[test]
    fn a_room_that_has_emptied_is_replaced_and_taken_out_once() {
        let (table, [first, second]) = (RoomTable::new(), [someone(1), someone(2)]);
        let old = table.join("a", &first).expect("the room is new");
        // Another thread joins between the two steps of leaving.
        assert_eq!(old.leave(&first), Leaving::Emptied);
        assert_eq!(old.join(&second), Joining::Gone);
        let new = table.join("a", &second).expect("the old room is gone");
        assert!(!Arc::ptr_eq(&old, &new));
        table.take_out(&old);
        assert!(
            table
                .find("a")
                .is_some_and(|found| Arc::ptr_eq(&found, &new) && found.has(&second))
        );
        assert!(table.leave(&new, &second));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn whoever_comes_second_finds_the_room_of_the_first() {
        let (table, [first, second]) = (RoomTable::new(), [someone(1), someone(2)]);
        let room = table.join("a", &first).expect("the room is new");
        // Both had looked before there was one.
        assert!(table.create(table.hash("a"), "a", &second, None).is_none());
        assert!(
            table
                .join("a", &second)
                .is_some_and(|found| Arc::ptr_eq(&found, &room))
        );
        assert!(table.join("a", &second).is_none());
    }
}
