//! The open sessions by their ids, in shards so that connects on several workers do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use synapse_protocol::SessionId;

use crate::connection::Connection;

const SHARDS: usize = 16;

#[derive(Default)]
pub(crate) struct SessionTable {
    shards: [RwLock<HashMap<SessionId, Arc<Connection>>>; SHARDS],
    count: AtomicUsize,
}

impl SessionTable {
    fn shard(&self, id: SessionId) -> &RwLock<HashMap<SessionId, Arc<Connection>>> {
        // Ids are random, so any of their bytes spreads them; the last character is as good as another.
        &self.shards[usize::from(id.text().as_bytes()[0]) % SHARDS]
    }

    pub(crate) fn insert(&self, connection: Arc<Connection>) {
        let id = connection.id();
        if self.shard(id).write().insert(id, connection).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, id: SessionId) {
        if self.shard(id).write().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Arc<Connection>> {
        self.shard(id).read().get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Every session at this moment.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }
}
