//! Events for many sockets.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use synapse_adapter::{Broadcast, ClusterMessage, Flags, Target, Transport};
use synapse_protocol::socket::{Arguments, SerializeError};

use crate::namespace::NamespaceInner;
use crate::rooms::IntoRooms;
use crate::typed::EventType;

/// Whom an event or an operation is for, on all servers of the cluster unless it is [`local`](Self::local). Each call narrows or widens a
/// copy; nothing happens before the last one.
///
/// ```no_run
/// use synapse_socket::{Refusal, Server, Socket};
///
/// # fn example(io: Server, socket: Socket) -> Result<(), Refusal> {
/// // Members of either room that are not in the third, each once.
/// io.to(["news", "sports"]).except("muted").emit("headline", "it rains")?;
/// // Members but this socket, and only who can take it at this instant.
/// socket.to("news").volatile().emit("typing", ())?;
/// // Kept, and used several times.
/// let players = io.of("/game").to("players");
/// players.clone().sockets_join("winners");
/// players.emit("end", ())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Broadcaster {
    namespace: Arc<NamespaceInner>,
    target: Target,
    flags: Flags,
    is_local: bool,
}

impl Broadcaster {
    pub(crate) fn new(namespace: Arc<NamespaceInner>) -> Self {
        Self {
            namespace,
            target: Target::default(),
            flags: Flags::default(),
            is_local: false,
        }
    }

    /// Adds the members of rooms. A socket in several of them gets one copy.
    pub fn to(mut self, rooms: impl IntoRooms) -> Self {
        for room in rooms.into_rooms() {
            if !self.target.rooms.contains(&room) {
                self.target.rooms.push(room);
            }
        }
        self
    }

    /// Leaves out the members of rooms.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        for room in rooms.into_rooms() {
            if !self.target.except.contains(&room) {
                self.target.except.push(room);
            }
        }
        self
    }

    /// Only sockets of this server.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Drops the event for every client that cannot take it at this instant.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Asks for or against compression, where it is configured ([`EngineConfig::per_message_deflate`](crate::EngineConfig::per_message_deflate),
    /// [`EngineConfig::http_compression`](crate::EngineConfig::http_compression)): without it, large messages are compressed.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = Some(compress);
        self
    }

    /// How long answers are waited for, by whatever asks for some: [`emit_with_ack`](Self::emit_with_ack) and
    /// [`fetch_sockets`](Self::fetch_sockets).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Sends an event: a tuple gives several arguments, `()` none, anything else one.
    ///
    /// # Errors
    /// As with [`Socket::emit`](crate::Socket::emit). Redis being away is no error: clients of this server get it, and the adapter counts the rest.
    pub fn emit<T: Serialize>(self, event: &str, data: T) -> Result<(), SerializeError> {
        self.emit_arguments(Arguments::event(event, &data)?);
        Ok(())
    }

    /// Sends an event that has a type of its own.
    pub fn emit_event<E: EventType + Serialize>(self, event: &E) -> Result<(), SerializeError> {
        self.emit(E::NAME, event)
    }

    /// Sends an event that is encoded already, its name first.
    pub fn emit_arguments(self, arguments: Arguments) {
        let broadcast = Broadcast {
            target: self.target,
            flags: self.flags,
            arguments,
        };
        self.namespace.deliver(&broadcast);
        if !self.is_local {
            self.namespace
                .publish(&ClusterMessage::Broadcast(broadcast));
        }
    }

    /// Makes the sockets join rooms.
    pub fn sockets_join(self, rooms: impl IntoRooms) {
        let rooms: Vec<Box<str>> = rooms.into_rooms().collect();
        self.namespace.join_all(&self.target, &rooms);
        self.publish_unless_local(|target| ClusterMessage::Join { target, rooms });
    }

    /// Makes the sockets leave rooms.
    pub fn sockets_leave(self, rooms: impl IntoRooms) {
        let rooms: Vec<Box<str>> = rooms.into_rooms().collect();
        self.namespace.leave_all(&self.target, &rooms);
        self.publish_unless_local(|target| ClusterMessage::Leave { target, rooms });
    }

    /// Puts the clients out of the namespace; their connections stay.
    pub fn disconnect_sockets(self) {
        self.disconnect(Transport::Keep);
    }

    /// Puts the clients out of all their namespaces and closes their connections.
    pub fn disconnect_clients(self) {
        self.disconnect(Transport::Close);
    }

    fn disconnect(self, transport: Transport) {
        self.namespace.disconnect_all(&self.target, transport);
        self.publish_unless_local(|target| ClusterMessage::Disconnect { target, transport });
    }

    pub(crate) fn into_parts(self) -> (Arc<NamespaceInner>, Target, Flags, bool) {
        (self.namespace, self.target, self.flags, self.is_local)
    }

    fn publish_unless_local(self, message: impl FnOnce(Target) -> ClusterMessage) {
        if !self.is_local {
            self.namespace.publish(&message(self.target));
        }
    }
}

impl std::fmt::Debug for Broadcaster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            namespace,
            target,
            flags,
            is_local,
        } = self;
        f.debug_struct("Broadcaster")
            .field("namespace", &namespace.name())
            .field("target", target)
            .field("flags", flags)
            .field("is_local", is_local)
            .finish()
    }
}
