//! The open sessions by their ids, in shards so that connects on several workers do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::hash::BuildHasher as _;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;
use synapse_protocol::SessionId;

use crate::addresses::Addresses;
use crate::config::Limits;
use crate::connection::Connection;
use crate::refusal::Refused;

const SHARDS: usize = 16;

pub(crate) struct SessionTable {
    /// Only the connections: each knows its id, and a million keys beside them would be 16 MB for nothing.
    shards: [RwLock<HashTable<Arc<Connection>>>; SHARDS],
    hasher: DefaultHashBuilder,
    count: AtomicUsize,
    /// Whose they are.
    pub(crate) addresses: Addresses,
}

impl SessionTable {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            shards: Default::default(),
            hasher: DefaultHashBuilder::default(),
            count: AtomicUsize::new(0),
            addresses: Addresses::new(limits),
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<Connection>>> {
        // The table itself uses the lowest and the highest bits of the hash.
        &self.shards[usize::try_from(hash >> 40).unwrap_or_default() % SHARDS]
    }

    /// Does nothing when there are `max` sessions already, or one of this id: an id that the application makes may come twice.
    pub(crate) fn insert(&self, connection: Arc<Connection>, max: usize) -> Result<(), Refused> {
        let counted = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then(|| count + 1)
            });
        if counted.is_err() {
            return Err(Refused::Unavailable);
        }
        let id = connection.id();
        let hash = self.hasher.hash_one(id);
        let mut shard = self.shard(hash).write();
        let hash_of = |connection: &Arc<Connection>| self.hasher.hash_one(connection.id());
        match shard.entry(hash, |connection| connection.id() == id, hash_of) {
            Entry::Vacant(entry) => {
                entry.insert(connection);
                Ok(())
            }
            Entry::Occupied(_) => {
                self.count.fetch_sub(1, Ordering::Relaxed);
                Err(Refused::BadRequest)
            }
        }
    }

    /// Takes out this very connection, if it is in: one that was refused because of its id must not take out the one that has it.
    pub(crate) fn remove(&self, connection: &Connection) {
        let hash = self.hasher.hash_one(connection.id());
        // Dropped after the shard's lock: the last reference to a connection may go with it.
        let removed = match self
            .shard(hash)
            .write()
            .find_entry(hash, |found| std::ptr::eq(&**found, connection))
        {
            Ok(entry) => Some(entry.remove().0),
            Err(_) => None,
        };
        if let Some(connection) = removed {
            self.count.fetch_sub(1, Ordering::Relaxed);
            let address = connection.request().address();
            self.addresses.release(address.map(|address| address.ip()));
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
            self.remove(&connection);
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
