//! The open sessions by their ids, in shards so that connects on several workers do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;
use synapse_protocol::SessionId;

use crate::connection::Connection;

const SHARDS: usize = 16;

#[derive(Default)]
pub(crate) struct SessionTable {
    /// Only the connections: each knows its id, and a million keys beside them would be 16 MB for nothing.
    shards: [RwLock<HashTable<Arc<Connection>>>; SHARDS],
    hasher: DefaultHashBuilder,
    count: AtomicUsize,
}

impl SessionTable {
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<Connection>>> {
        // The table itself uses the lowest and the highest bits of the hash.
        &self.shards[usize::try_from(hash >> 40).unwrap_or_default() % SHARDS]
    }

    /// Returns false, and does nothing, when there are `max` sessions already.
    pub(crate) fn insert(&self, connection: Arc<Connection>, max: usize) -> bool {
        let counted = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then(|| count + 1)
            });
        if counted.is_err() {
            return false;
        }
        let hash = self.hasher.hash_one(connection.id());
        let mut shard = self.shard(hash).write();
        shard.insert_unique(hash, connection, |connection| {
            self.hasher.hash_one(connection.id())
        });
        true
    }

    pub(crate) fn remove(&self, id: SessionId) {
        let hash = self.hasher.hash_one(id);
        // Dropped after the shard's lock: the last reference to a connection may go with it.
        let removed = match self
            .shard(hash)
            .write()
            .find_entry(hash, |connection| connection.id() == id)
        {
            Ok(entry) => Some(entry.remove().0),
            Err(_) => None,
        };
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Arc<Connection>> {
        let hash = self.hasher.hash_one(id);
        self.shard(hash)
            .read()
            .find(hash, |connection| connection.id() == id)
            .cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Forgets every session.
    pub(crate) fn clear(&self) {
        for connection in self.all() {
            self.remove(connection.id());
        }
    }

    /// Every session at this moment.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.read().iter().cloned().collect::<Vec<_>>())
            .collect()
    }
}
