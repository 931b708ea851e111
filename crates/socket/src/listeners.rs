//! The lists of what listens to a socket, or to all sockets of a namespace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use smallvec::SmallVec;
use synapse_protocol::socket::{Arguments, is_reserved_event};

use crate::handler::BoxedHandler;
use crate::middleware::BoxedMiddleware;
use crate::socket::Socket;

/// Names what was registered with `on` and its kin, so that it can be taken off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

/// Sees what goes out to a socket.
pub(crate) type Tap = Arc<dyn Fn(&Socket, &Arguments) + Send + Sync>;

/// What is registered, with what it is called by.
#[derive(Clone)]
pub(crate) struct Listener<T> {
    pub(crate) id: ListenerId,
    call: T,
    is_once: bool,
}

/// Where in its list a listener goes.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    First,
    Last,
}

#[derive(Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) events: HashMap<Box<str>, SmallVec<[Listener<BoxedHandler>; 1]>>,
    pub(crate) any: Vec<Listener<BoxedHandler>>,
    pub(crate) any_outgoing: Vec<Listener<Tap>>,
    pub(crate) middlewares: Vec<Listener<BoxedMiddleware>>,
    pub(crate) disconnecting: Vec<Listener<BoxedHandler>>,
    pub(crate) disconnected: Vec<Listener<BoxedHandler>>,
    pub(crate) errors: Vec<Listener<BoxedHandler>>,
}

impl ListenerId {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl<T> Listener<T> {
    pub(crate) fn new(call: T) -> Self {
        Self {
            id: ListenerId::new(),
            call,
            is_once: false,
        }
    }

    pub(crate) fn once(call: T) -> Self {
        Self {
            is_once: true,
            ..Self::new(call)
        }
    }

    pub(crate) fn call(&self) -> &T {
        &self.call
    }
}

impl Place {
    pub(crate) fn insert<T>(self, list: &mut Vec<T>, item: T) {
        match self {
            Self::First => list.insert(0, item),
            Self::Last => list.push(item),
        }
    }
}

impl Listeners {
    /// Adds a handler of an event, unless it would never be called.
    pub(crate) fn on(&mut self, event: &str, handler: Listener<BoxedHandler>) {
        if is_reserved_event(event) {
            tracing::error!(
                event,
                "no client can send an event of this name; left its handler out"
            );
        } else {
            self.events.entry_ref(event).or_default().push(handler);
        }
    }

    /// Takes one off, whatever it listens to.
    pub(crate) fn off(&mut self, id: ListenerId) {
        self.events.retain(|_, handlers| {
            handlers.retain(|listener| listener.id != id);
            !handlers.is_empty()
        });
        self.any.retain(|listener| listener.id != id);
        self.any_outgoing.retain(|listener| listener.id != id);
        self.middlewares.retain(|listener| listener.id != id);
        self.disconnecting.retain(|listener| listener.id != id);
        self.disconnected.retain(|listener| listener.id != id);
        self.errors.retain(|listener| listener.id != id);
    }

    /// The handlers of an event. Those that are meant to run once are taken off.
    pub(crate) fn take_handlers(&mut self, event: &str) -> SmallVec<[BoxedHandler; 1]> {
        let Some(listeners) = self.events.get_mut(event) else {
            return SmallVec::new();
        };
        let handlers = calls(listeners);
        listeners.retain(|listener| !listener.is_once);
        if listeners.is_empty() {
            self.events.remove(event);
        }
        handlers
    }
}

/// What the listeners are called by.
pub(crate) fn calls<T: Clone, List: FromIterator<T>>(listeners: &[Listener<T>]) -> List {
    listeners
        .iter()
        .map(|listener| listener.call.clone())
        .collect()
}

pub(crate) fn ids<T>(listeners: &[Listener<T>]) -> Vec<ListenerId> {
    listeners.iter().map(|listener| listener.id).collect()
}

/// Shows what goes out. One that panics harms neither who sent it nor who else gets it.
pub(crate) fn run_taps(taps: &[Listener<Tap>], socket: &Socket, arguments: &Arguments) {
    for tap in taps {
        if catch_unwind(AssertUnwindSafe(|| (tap.call)(socket, arguments))).is_err() {
            tracing::error!("a listener of outgoing events panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener<BoxedHandler> {
        Listener::new(Arc::new(|_| Ok(Box::pin(async {}))))
    }

    #[test]
    fn every_listener_has_an_id_and_goes_by_it() {
        let mut listeners = Listeners::default();
        let (first, second, any) = (listener(), listener(), listener());
        let ids = [first.id, second.id, any.id];
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        listeners.on("e", first);
        listeners.on("e", second);
        listeners.any.push(any);
        listeners.off(ids[0]);
        assert_eq!(listeners.take_handlers("e").len(), 1);
        listeners.off(ids[2]);
        assert!(listeners.any.is_empty());
        listeners.off(ids[1]);
        assert!(
            listeners.events.is_empty(),
            "an event that nobody wants is forgotten"
        );
        listeners.off(ids[1]);
    }

    #[test]
    fn one_that_is_meant_to_run_once_is_taken_once() {
        let mut listeners = Listeners::default();
        listeners.on("e", Listener::once(listener().call));
        assert_eq!(listeners.take_handlers("other").len(), 0);
        assert_eq!(listeners.take_handlers("e").len(), 1);
        assert_eq!(listeners.take_handlers("e").len(), 0);
        assert!(listeners.events.is_empty());
    }
}
