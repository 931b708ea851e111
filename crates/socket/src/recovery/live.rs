//! The sockets that are here, by their private ids.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use synapse_protocol::PrivateId;

/// Sockets by the private id that each of them knows, which is not stored a second time.
pub(super) struct Live<S> {
    sockets: HashTable<S>,
    hasher: DefaultHashBuilder,
}

/// What has a private id.
pub(super) trait Private {
    /// The id.
    fn private_id(&self) -> PrivateId;
}

impl<S> Default for Live<S> {
    fn default() -> Self {
        Self {
            sockets: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<S: Private> Live<S> {
    /// Whoever had the id before is replaced.
    pub(super) fn insert(&mut self, socket: S) {
        let pid = socket.private_id();
        self.remove(pid);
        let hasher = &self.hasher;
        self.sockets
            .insert_unique(hasher.hash_one(pid), socket, |other| {
                hasher.hash_one(other.private_id())
            });
    }

    pub(super) fn find(&self, pid: PrivateId) -> Option<&S> {
        self.sockets
            .find(self.hasher.hash_one(pid), |other| other.private_id() == pid)
    }

    pub(super) fn remove(&mut self, pid: PrivateId) {
        let found = self
            .sockets
            .find_entry(self.hasher.hash_one(pid), |other| other.private_id() == pid);
        if let Ok(place) = found {
            place.remove();
        }
        let (len, capacity) = (self.sockets.len(), self.sockets.capacity());
        if capacity > SPARE_MAX && len * 4 < capacity {
            let hasher = &self.hasher;
            self.sockets
                .shrink_to(len * 2, |other| hasher.hash_one(other.private_id()));
        }
    }
}

/// Room for so many is kept when sockets go; more is given back.
const SPARE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    impl Private for (PrivateId, u32) {
        fn private_id(&self) -> PrivateId {
            self.0
        }
    }

    fn pid(number: u32) -> PrivateId {
        let mut random = [0; 15];
        random[..4].copy_from_slice(&number.to_be_bytes());
        PrivateId::from_random(random)
    }

    #[test]
    fn sockets_are_found_replaced_and_removed() {
        let mut live = Live::default();
        for number in 0..1_000 {
            live.insert((pid(number), 1));
        }
        live.insert((pid(7), 2));
        assert_eq!(live.find(pid(7)), Some(&(pid(7), 2)));
        assert_eq!(live.sockets.len(), 1_000);
        for number in 0..1_000 {
            live.remove(pid(number));
            live.remove(pid(number));
        }
        assert_eq!(live.find(pid(7)), None);
        assert!(live.sockets.capacity() <= 2 * SPARE_MAX);
    }
}
