//! What servers tell each other.

use std::time::Duration;

use smallvec::SmallVec;
use synapse_protocol::socket::Arguments;

/// The sockets an operation concerns: all of the namespace, or the union of `rooms`, less those in a room of `except`.
/// The id of a socket is the name of a room with that socket alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms whose members are meant; none means everyone in the namespace.
    pub rooms: SmallVec<[Box<str>; 1]>,
    /// Rooms whose members are left out.
    pub except: SmallVec<[Box<str>; 1]>,
}

/// How a broadcast is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Dropped for a client that cannot take it at this instant.
    pub volatile: bool,
    /// Asks for or against compression; `None` leaves it to the server.
    pub compress: Option<bool>,
    /// How long acks are waited for.
    pub timeout: Option<Duration>,
}

/// An event on its way to the members of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Who gets it.
    pub target: Target,
    /// How it is delivered.
    pub flags: Flags,
    /// The event: its name, then its arguments.
    pub arguments: Arguments,
}

/// What happens to the transport of a client whose socket is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The client keeps its connection and its other namespaces.
    Keep,
    /// The whole connection is closed.
    Close,
}

/// A message to every other server of the cluster, for one namespace, without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterMessage {
    /// Deliver an event.
    Broadcast(Broadcast),
    /// Make the sockets of the target join rooms.
    Join {
        /// Which sockets.
        target: Target,
        /// The rooms to join.
        rooms: Vec<Box<str>>,
    },
    /// Make the sockets of the target leave rooms.
    Leave {
        /// Which sockets.
        target: Target,
        /// The rooms to leave.
        rooms: Vec<Box<str>>,
    },
    /// Disconnect the sockets of the target.
    Disconnect {
        /// Which sockets.
        target: Target,
        /// What happens to their connections.
        transport: Transport,
    },
    /// An event for the servers themselves.
    ServerSideEmit(Arguments),
}
