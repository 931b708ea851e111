//! The members by id.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use parking_lot::RwLock;
use synapse_protocol::SocketId;

use super::dense::Dense;
use super::member::Member;

const SHARDS: usize = 16;

/// The members of a namespace, in shards by id, each walked as a dense vector.
pub(super) struct MemberShards<M> {
    shards: [RwLock<Dense<M>>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl<M: Member> MemberShards<M> {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::new(Dense::new())),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Returns the other member that has this id, if there is one, and then does nothing.
    pub(super) fn insert(&self, member: &M) -> Result<(), M> {
        let mut shard = self.shard(member.id()).write();
        if let Some(other) = shard.find(member.id())
            && !std::ptr::eq(other.memberships(), member.memberships())
        {
            return Err(other.clone());
        }
        shard.insert(member);
        Ok(())
    }

    pub(super) fn remove(&self, member: &M) -> bool {
        self.shard(member.id()).write().remove(member)
    }

    pub(super) fn has(&self, member: &M) -> bool {
        self.shard(member.id()).read().has(member)
    }

    pub(super) fn find(&self, id: SocketId) -> Option<M> {
        self.shard(id).read().find(id).cloned()
    }

    pub(super) fn each(&self, mut each: impl FnMut(&M)) {
        self.shards
            .iter()
            .for_each(|shard| shard.read().iter().for_each(&mut each));
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, id: SocketId) -> &RwLock<Dense<M>> {
        &self.shards[(self.hasher.hash_one(id) >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
impl<M: Member> MemberShards<M> {
    pub(super) fn capacity(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().capacity())
            .sum()
    }

    /// Nobody with this id comes or goes while this is held.
    pub(super) fn hold(&self, id: SocketId) -> impl Sized + '_ {
        self.shard(id).read()
    }

    /// Whether somebody is about to come or go.
    pub(super) fn is_awaited(&self, id: SocketId) -> bool {
        self.shard(id).is_locked_exclusive()
    }
}
