//! What servers ask each other.

use synapse_protocol::socket::Arguments;

use crate::adapter::SocketSnapshot;
use crate::message::{Broadcast, Target};

/// A question to every other server of the cluster, for one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    /// How many servers there are. Nobody has to answer: it is complete as soon as the adapter knows.
    Servers,
    /// The target's sockets. Each server answers with [`Response::Sockets`].
    Sockets(Target),
    /// The ids of the target's sockets, which costs far less than all of what is known of them. Each server answers with [`Response::Ids`].
    Ids(Target),
    /// The rooms, sockets' own included. Each server answers with [`Response::Rooms`].
    Rooms,
    /// An event for the servers themselves. Each server answers with [`Response::Reply`].
    ServerSideEmit(Arguments),
    /// An event for the target's sockets, whose acks are wanted. Each server answers with [`Response::Clients`], and then with a
    /// [`Response::Ack`] for each client that acknowledges.
    Broadcast(Broadcast),
}

/// What a server, or a client of it, answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The sockets of a server.
    Sockets(Vec<SocketSnapshot>),
    /// The ids of a server's sockets.
    Ids(Vec<String>),
    /// The rooms of a server.
    Rooms(Vec<String>),
    /// What a listener answered with; without arguments when the server has no listener. Adapters need carry the first argument only.
    Reply(Arguments),
    /// How many clients a server has asked.
    Clients(usize),
    /// What a client acknowledged with. Adapters need carry the first argument only.
    Ack(Arguments),
}

impl Response {
    /// What it takes in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let texts = |texts: &[String]| {
            texts
                .iter()
                .map(|text| text.len() + size_of::<String>())
                .sum()
        };
        match self {
            Self::Sockets(sockets) => sockets
                .iter()
                .map(|socket| {
                    let rooms: usize = texts(&socket.rooms);
                    size_of::<SocketSnapshot>()
                        + socket.id.len()
                        + socket.handshake.len()
                        + socket.data.len()
                        + rooms
                })
                .sum(),
            Self::Ids(names) | Self::Rooms(names) => texts(names),
            Self::Reply(arguments) | Self::Ack(arguments) => {
                let attachments: usize = arguments
                    .attachments()
                    .iter()
                    .map(|bytes| bytes.len())
                    .sum();
                size_of::<Self>() + arguments.json().len() + attachments
            }
            Self::Clients(_) => 0,
        }
    }
}
