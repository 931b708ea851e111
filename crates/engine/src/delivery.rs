//! How much a message matters while its client does not keep up.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

/// What becomes of a message while its client does not keep up, which is from the moment that its transport takes no more until everything
/// has gone out. A client that keeps up gets all of them, [`Volatile`](Self::Volatile) ones excepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// It waits. Over [`Limits::outbox_bytes_max`](crate::Limits::outbox_bytes_max) the session is closed.
    #[default]
    Kept,
    /// It goes out at once or not at all: it is dropped while anything else waits.
    Volatile,
    /// It waits, and over [`Limits::droppable_bytes_max`](crate::Limits::droppable_bytes_max) the oldest ones give way.
    DropOldest,
    /// The same, and a newer message of its key takes its place.
    KeepLatest(LatestKey),
}

/// What messages have in common that replace one another.
///
/// It stands for the value it was made of: a hash of 128 bits that nobody outside of the process can foresee, so that two values cannot be
/// taken for one another and a key needs no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestKey(u64, u64);

static HASHERS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);

impl LatestKey {
    /// The key of a value.
    pub fn of(value: &impl Hash) -> Self {
        let (first, second) = &*HASHERS;
        Self(first.hash_one(value), second.hash_one(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_its_value() {
        assert_eq!(LatestKey::of(&("a", "b")), LatestKey::of(&("a", "b")));
        assert_ne!(LatestKey::of(&("a", "b")), LatestKey::of(&("ab", "")));
        let LatestKey(first, second) = LatestKey::of(&1);
        assert_ne!(first, second, "two hashes, not one twice");
    }
}
