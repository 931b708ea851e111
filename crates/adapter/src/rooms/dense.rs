//! Members in a row.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use synapse_protocol::SocketId;

use super::member::Member;

/// A set of members that is walked as a vector and changed in constant time. Which members are equal is a matter of their place in
/// memory, not of their ids.
pub(super) struct Dense<M> {
    members: Vec<M>,
    /// Where in `members` each is; only for more than a few, since most rooms are small.
    index: Option<Box<Index>>,
}

struct Index {
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// So many are searched one by one.
const SMALL: usize = 8;

/// Room for so many is kept when members leave; more is given back.
const SPARE_MAX: usize = 32;

impl<M: Member> Dense<M> {
    pub(super) const fn new() -> Self {
        Self {
            members: Vec::new(),
            index: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, M> {
        self.members.iter()
    }

    pub(super) fn find(&self, id: SocketId) -> Option<&M> {
        self.place(id, |member| member.id() == id)
            .map(|at| &self.members[at])
    }

    pub(super) fn has(&self, member: &M) -> bool {
        self.place_of(member).is_some()
    }

    /// Returns `false` if the member was there already.
    pub(super) fn insert(&mut self, member: &M) -> bool {
        if self.has(member) {
            return false;
        }
        self.members.push(member.clone());
        match &mut self.index {
            Some(index) => index.add(&self.members, self.members.len() - 1),
            None if self.members.len() > SMALL => {
                self.index = Some(Box::new(Index::of(&self.members)))
            }
            None => (),
        }
        true
    }

    /// Returns `false` if the member was not there.
    pub(super) fn remove(&mut self, member: &M) -> bool {
        let Some(at) = self.place_of(member) else {
            return false;
        };
        if let Some(index) = &mut self.index {
            index.swap_remove(&self.members, at);
        }
        // The caller has a clone, so this one is not the last and nothing else is dropped here.
        self.members.swap_remove(at);
        self.give_back();
        true
    }

    fn place_of(&self, member: &M) -> Option<usize> {
        self.place(member.id(), |other| {
            std::ptr::eq(other.memberships(), member.memberships())
        })
    }

    fn place(&self, id: SocketId, mut is: impl FnMut(&M) -> bool) -> Option<usize> {
        match &self.index {
            Some(index) => {
                let hash = index.hasher.hash_one(id);
                index
                    .places
                    .find(hash, |&at| is(&self.members[at as usize]))
                    .map(|&at| at as usize)
            }
            None => self.members.iter().position(is),
        }
    }

    fn give_back(&mut self) {
        let len = self.members.len();
        if len <= SMALL / 2 {
            self.index = None;
        }
        if self.members.capacity() > SPARE_MAX && len * 4 < self.members.capacity() {
            self.members.shrink_to(len * 2);
            if let Some(index) = &mut self.index {
                index.places.shrink_to(len * 2, |&at| {
                    index.hasher.hash_one(self.members[at as usize].id())
                });
            }
        }
    }
}

impl Index {
    fn of<M: Member>(members: &[M]) -> Self {
        let mut index = Self {
            places: HashTable::with_capacity(members.len() * 2),
            hasher: DefaultHashBuilder::default(),
        };
        (0..members.len()).for_each(|at| index.add(members, at));
        index
    }

    fn add<M: Member>(&mut self, members: &[M], at: usize) {
        let hash = |at: usize| self.hasher.hash_one(members[at].id());
        let place = u32::try_from(at).expect("there are fewer than 2^32 sockets on a server");
        self.places
            .insert_unique(hash(at), place, |&at| hash(at as usize));
    }

    /// `at` goes, and the last takes its place.
    fn swap_remove<M: Member>(&mut self, members: &[M], at: usize) {
        let hash = |at: usize| self.hasher.hash_one(members[at].id());
        let last = members.len() - 1;
        let entry = self
            .places
            .find_entry(hash(at), |&place| place as usize == at);
        let (place, _) = entry.expect("every member is in the index").remove();
        if at != last {
            let moved = self
                .places
                .find_mut(hash(last), |&place| place as usize == last);
            *moved.expect("every member is in the index") = place;
        }
    }
}

#[cfg(test)]
impl<M> Dense<M> {
    pub(super) fn capacity(&self) -> usize {
        self.members.capacity()
            + self
                .index
                .as_ref()
                .map_or(0, |index| index.places.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::member::testing::{Someone, someone};

    /// Checks every member by all ways in.
    fn check(dense: &Dense<Someone>, members: &[Someone]) {
        assert_eq!(dense.len(), members.len());
        for member in members {
            assert!(dense.has(member));
            assert_eq!(dense.find(member.id()).map(Member::id), Some(member.id()));
        }
        let mut walked: Vec<SocketId> = dense.iter().map(Member::id).collect();
        let mut expected: Vec<SocketId> = members.iter().map(Member::id).collect();
        walked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(walked, expected);
    }

    #[test]
    fn members_are_found_while_it_grows_and_shrinks() {
        let mut members: Vec<Someone> = (0..100).map(someone).collect();
        let mut dense = Dense::new();
        for (count, member) in members.iter().enumerate() {
            assert!(!dense.has(member));
            assert!(dense.insert(member));
            assert!(!dense.insert(member));
            check(&dense, &members[..=count]);
        }
        // From the front, the middle and the end in turn.
        for round in 0..100 {
            let member = members.remove([0, members.len() / 2, members.len() - 1][round % 3]);
            assert!(dense.remove(&member));
            assert!(!dense.remove(&member));
            assert!(!dense.has(&member) && dense.find(member.id()).is_none());
            check(&dense, &members);
        }
        assert!(dense.is_empty());
    }

    #[test]
    fn memory_is_given_back() {
        let members: Vec<Someone> = (0..10_000).map(someone).collect();
        let mut dense = Dense::new();
        for member in &members {
            dense.insert(member);
        }
        assert!(dense.capacity() >= 20_000);
        for member in &members[20..] {
            dense.remove(member);
        }
        assert!(dense.capacity() <= 200, "{}", dense.capacity());
        for member in &members[..20] {
            dense.remove(member);
        }
        assert!(dense.capacity() <= SPARE_MAX, "{}", dense.capacity());
    }

    #[test]
    fn members_of_one_id_are_told_apart() {
        let (first, second) = (someone(1), someone(1));
        let mut dense = Dense::new();
        assert!(dense.insert(&first));
        assert!(!dense.has(&second));
        assert!(!dense.remove(&second));
        assert!(dense.insert(&second));
        assert!(dense.remove(&first));
        assert!(dense.has(&second));
    }
}
