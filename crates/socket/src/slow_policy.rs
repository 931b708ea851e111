//! Which events a slow client may lose, declared by their names.

use std::sync::OnceLock;

use hashbrown::HashMap;
use parking_lot::RwLock;
use synapse_engine::{Delivery, LatestKey};
use synapse_protocol::socket::Arguments;

/// What becomes of an event while its client does not keep up: from the moment that its connection takes no more until everything that
/// waits has gone out. Clients that keep up get every event, [`Volatile`](Self::Volatile) ones excepted.
///
/// Declared with [`Namespace::slow_policy`](crate::Namespace::slow_policy). Whatever is dropped, it is whole events with their
/// attachments, never connects, disconnects, acks and pings, and never an event that waits for an ack.
///
/// | event | policy |
/// | --- | --- |
/// | each counts: chat messages, orders | `Close`: the client reconnects and catches up |
/// | a stream of which the newest part matters: log lines, measurements | `DropOldest` |
/// | a state that is sent whole each time: a score, a status | `KeepLatest` |
/// | the same for many things: prices by symbol, cursors by user | `KeepLatestBy` the argument that names the thing |
/// | of interest only at this instant: typing notices, audio levels | `Volatile` |
///
/// ```no_run
/// use synapse_socket::{Server, SlowPolicy};
///
/// # fn example(io: Server) {
/// let market = io.of("/market");
/// market.slow_policy("price", SlowPolicy::KeepLatestBy(0)); // emit("price", ("ACME", 17.5))
/// market.slow_policy("log", SlowPolicy::DropOldest);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// The event waits. A client for which more than [`Limits::outbox_bytes_max`](crate::Limits::outbox_bytes_max) waits is closed with
    /// the reason `transport error`. What all events get that nothing is declared for.
    #[default]
    Close,
    /// The event waits. When more than [`Limits::droppable_bytes_max`](crate::Limits::droppable_bytes_max) waits of what may be dropped,
    /// the oldest of it is.
    DropOldest,
    /// A newer event of this name takes the place of the one that waits, and so may overtake what was sent between them. Otherwise like
    /// [`DropOldest`](Self::DropOldest), after all events of that policy.
    KeepLatest,
    /// The same for each value of one argument: `KeepLatestBy(0)` by the first argument after the name. Values are compared as they
    /// stand in the packet, as JSON text; events without that argument replace each other.
    KeepLatestBy(usize),
    /// The event is dropped while anything else waits, as with [`Broadcaster::volatile`](crate::Broadcaster::volatile).
    Volatile,
}

/// What is declared in one namespace. Costs an atomic load for each event as long as that is nothing.
#[derive(Default)]
pub(crate) struct SlowPolicies(OnceLock<RwLock<HashMap<Box<str>, SlowPolicy>>>);

impl SlowPolicies {
    pub(crate) fn declare(&self, event: &str, policy: SlowPolicy) {
        let declared = self.0.get_or_init(RwLock::default);
        declared.write().insert(event.into(), policy);
    }

    /// The same, to be changed on its own.
    pub(crate) fn copy(&self) -> Self {
        let declared = self.0.get().map(|declared| declared.read().clone());
        Self(declared.map_or_else(OnceLock::new, |declared| RwLock::new(declared).into()))
    }

    pub(crate) fn delivery(&self, namespace: &str, arguments: &Arguments) -> Delivery {
        let Some(declared) = self.0.get() else {
            return Delivery::Kept;
        };
        let event = arguments.event_name();
        let policy = declared.read().get(&*event).copied().unwrap_or_default();
        match policy {
            SlowPolicy::Close => Delivery::Kept,
            SlowPolicy::DropOldest => Delivery::DropOldest,
            SlowPolicy::KeepLatest => {
                Delivery::KeepLatest(LatestKey::of(&(namespace, &event, None::<&str>)))
            }
            SlowPolicy::KeepLatestBy(index) => {
                let key = (namespace, &event, arguments.argument(index));
                Delivery::KeepLatest(LatestKey::of(&key))
            }
            SlowPolicy::Volatile => Delivery::Volatile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_changed_on_its_own() {
        let original = declared();
        let copy = original.copy();
        copy.declare("line", SlowPolicy::Volatile);
        original.declare("typing", SlowPolicy::Close);
        for (policies, line, typing) in [
            (&original, Delivery::DropOldest, Delivery::Kept),
            (&copy, Delivery::Volatile, Delivery::Volatile),
        ] {
            assert_eq!(delivery(policies, "/", r#"["line"]"#), line);
            assert_eq!(delivery(policies, "/", r#"["typing"]"#), typing);
        }
        let nothing = SlowPolicies::default().copy();
        assert_eq!(delivery(&nothing, "/", r#"["line"]"#), Delivery::Kept);
    }

    fn declared() -> SlowPolicies {
        let policies = SlowPolicies::default();
        policies.declare("score", SlowPolicy::KeepLatest);
        policies.declare("price", SlowPolicy::KeepLatestBy(0));
        policies.declare("line", SlowPolicy::DropOldest);
        policies.declare("typing", SlowPolicy::Volatile);
        policies.declare("order", SlowPolicy::Volatile);
        policies.declare("order", SlowPolicy::Close);
        policies
    }

    fn delivery(policies: &SlowPolicies, namespace: &str, json: &'static str) -> Delivery {
        let arguments = Arguments::from_validated(json.into(), Vec::new());
        policies.delivery(namespace, &arguments)
    }

    #[test]
    fn an_event_is_delivered_as_its_name_is_declared() {
        let policies = declared();
        for (json, expected) in [
            (r#"["line",1]"#, Delivery::DropOldest),
            (r#"["typing"]"#, Delivery::Volatile),
            (r#"["order"]"#, Delivery::Kept),
            (r#"["other"]"#, Delivery::Kept),
            ("[]", Delivery::Kept),
        ] {
            assert_eq!(delivery(&policies, "/", json), expected, "{json}");
        }
        let nothing = SlowPolicies::default();
        assert_eq!(delivery(&nothing, "/", r#"["line"]"#), Delivery::Kept);
    }

    #[test]
    fn events_replace_each_other_by_namespace_name_and_the_argument_that_is_declared() {
        let policies = declared();
        let same = |left, right| delivery(&policies, "/", left) == delivery(&policies, "/", right);
        assert!(same(r#"["score",1]"#, r#"["score",2]"#));
        assert!(same(r#"["price","A",1]"#, r#"["price","A",2]"#));
        assert!(same(r#"["price"]"#, r#"["price"]"#));
        assert!(!same(r#"["price","A",1]"#, r#"["price","B",1]"#));
        assert!(!same(r#"["price","A"]"#, r#"["score","A"]"#));
        let elsewhere = delivery(&policies, "/other", r#"["score",1]"#);
        assert_ne!(elsewhere, delivery(&policies, "/", r#"["score",1]"#));
    }
}
