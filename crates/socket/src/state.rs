//! What an application shares between its handlers.

use std::any::{Any, TypeId};

use hashbrown::HashMap;

/// A value that was given to [`ServerBuilder::state`](crate::ServerBuilder::state), as a parameter of handlers and middlewares. It is found
/// by its type and cloned, so what is large or changes belongs into an `Arc`.
///
/// When the server has no value of that type, the handler is not called: the fault is logged as an error, and the client is told `internal
/// error`.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use synapse_socket::{Reply, Server, State};
///
/// async fn count(State(visits): State<Arc<AtomicU64>>) -> Reply<u64> {
///     Reply(visits.fetch_add(1, Ordering::Relaxed))
/// }
///
/// # async fn example() {
/// let io = Server::builder().state(Arc::new(AtomicU64::new(0))).build();
/// io.of("/").on("count", count);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

/// At most one value of each type.
#[derive(Default)]
pub(crate) struct States(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    pub(crate) fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_type_counts() {
        let mut states = States::default();
        assert_eq!(states.get::<u8>(), None);
        states.insert(1_u8);
        states.insert(2_u16);
        states.insert(3_u8);
        assert_eq!(
            (states.get::<u8>(), states.get::<u16>()),
            (Some(3), Some(2))
        );
        assert_eq!(states.get::<u32>(), None);
    }
}
