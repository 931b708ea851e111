//! Events for the children of a parent namespace.

use std::time::Duration;

use serde::Serialize;
use synapse_protocol::socket::{Arguments, SerializeError};

use crate::broadcast::Broadcaster;
use crate::rooms::IntoRooms;
use crate::typed::EventType;

/// Whom an event is for in the children of a [`ParentNamespace`](crate::ParentNamespace) that there were when it was made. Like a
/// [`Broadcaster`], but it only sends: sockets are asked for, moved and disconnected in one namespace at a time.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct ParentBroadcaster(Vec<Broadcaster>);

impl ParentBroadcaster {
    pub(crate) fn new(children: Vec<Broadcaster>) -> Self {
        Self(children)
    }

    /// Adds the members of rooms. A socket in several of them gets one copy.
    pub fn to(self, rooms: impl IntoRooms) -> Self {
        let rooms: Vec<_> = rooms.into_rooms().collect();
        self.map(|child| child.to(&*rooms))
    }

    /// Leaves out the members of rooms.
    pub fn except(self, rooms: impl IntoRooms) -> Self {
        let rooms: Vec<_> = rooms.into_rooms().collect();
        self.map(|child| child.except(&*rooms))
    }

    /// Only sockets of this server.
    pub fn local(self) -> Self {
        self.map(Broadcaster::local)
    }

    /// Drops the event for every client that cannot take it at this instant.
    pub fn volatile(self) -> Self {
        self.map(Broadcaster::volatile)
    }

    /// Asks for or against compression, where it is configured.
    pub fn compress(self, compress: bool) -> Self {
        self.map(|child| child.compress(compress))
    }

    /// How long other servers wait for answers; travels with the event.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|child| child.timeout(timeout))
    }

    /// Sends an event: a tuple gives several arguments, `()` none, anything else one.
    pub fn emit<T: Serialize>(self, event: &str, data: T) -> Result<(), SerializeError> {
        self.emit_arguments(&Arguments::event(event, &data)?);
        Ok(())
    }

    /// Sends an event that has a type of its own.
    pub fn emit_event<E: EventType + Serialize>(self, event: &E) -> Result<(), SerializeError> {
        self.emit(E::NAME, event)
    }

    /// Sends an event that is encoded already, its name first.
    pub fn emit_arguments(self, arguments: &Arguments) {
        for child in self.0 {
            child.emit_arguments(arguments.clone());
        }
    }

    fn map(self, change: impl FnMut(Broadcaster) -> Broadcaster) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }
}
