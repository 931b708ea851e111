//! What can be asked of all servers, and done on them.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use synapse_adapter::{ClusterRequest, Response};
use synapse_protocol::socket::{Arguments, SerializeError};

use crate::broadcast::Broadcaster;
use crate::namespace::Namespace;
use crate::remote::RemoteSocket;
use crate::request::{Asking, Question, RequestError};
use crate::rooms::IntoRooms;
use crate::server::Server;

impl Broadcaster {
    /// The sockets, with what is known of them. For their ids alone, [`socket_ids`](Self::socket_ids) costs far less.
    ///
    /// # Errors
    /// [`RequestError::Incomplete`] with what has arrived, when a server has not answered within the [`timeout`](Self::timeout).
    ///
    /// ```no_run
    /// # use synapse_socket::Server;
    /// # async fn example(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    /// for socket in io.to("lobby").fetch_sockets().await? {
    ///     println!("{} of {} is in {:?}", socket.id(), socket.handshake().address, socket.rooms());
    ///     socket.emit("hello", socket.data::<serde_json::Value>()?)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_sockets(self) -> Result<Vec<RemoteSocket>, RequestError<Vec<RemoteSocket>>> {
        let (namespace, target, flags, is_local) = self.into_parts();
        let mut asking = Asking::begin(&namespace, Question::Sockets, flags.timeout)?;
        let mut snapshots = namespace.snapshots(&target);
        if is_local {
            asking.ask_nobody();
        } else {
            asking.ask_others(&ClusterRequest::Sockets(target));
        }
        while let Some(response) = asking.next().await {
            if let Response::Sockets(more) = response {
                snapshots.extend(more);
            }
        }
        // A socket is on one server, but a server may answer twice.
        let mut seen = HashSet::new();
        snapshots.retain(|snapshot| seen.insert(snapshot.id.clone()));
        let sockets = snapshots
            .into_iter()
            .map(|snapshot| RemoteSocket::new(namespace.clone(), snapshot))
            .collect();
        asking.end(sockets)
    }

    /// The ids of the sockets.
    ///
    /// # Errors
    /// [`RequestError::Incomplete`] with what has arrived, when a server has not answered within the [`timeout`](Self::timeout).
    pub async fn socket_ids(self) -> Result<HashSet<String>, RequestError<HashSet<String>>> {
        let (namespace, target, flags, is_local) = self.into_parts();
        let mut asking = Asking::begin(&namespace, Question::Sockets, flags.timeout)?;
        let mut ids: HashSet<String> = namespace.socket_ids(&target).into_iter().collect();
        if is_local {
            asking.ask_nobody();
        } else {
            asking.ask_others(&ClusterRequest::Ids(target));
        }
        while let Some(response) = asking.next().await {
            if let Response::Ids(more) = response {
                ids.extend(more);
            }
        }
        asking.end(ids)
    }
}

impl Namespace {
    /// The sockets of the namespace, on all servers: see [`Broadcaster::fetch_sockets`].
    pub async fn fetch_sockets(
        &self,
    ) -> Result<Vec<RemoteSocket>, RequestError<Vec<RemoteSocket>>> {
        self.broadcast().fetch_sockets().await
    }

    /// The ids of the namespace's sockets, on all servers: see [`Broadcaster::socket_ids`].
    pub async fn socket_ids(&self) -> Result<HashSet<String>, RequestError<HashSet<String>>> {
        self.broadcast().socket_ids().await
    }

    /// Sends an event to everyone and waits for their answers: see [`Broadcaster::emit_with_ack`].
    pub async fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
    ) -> Result<Vec<R>, RequestError<Vec<R>>> {
        self.broadcast().emit_with_ack(event, data).await
    }

    /// The rooms of the namespace on all servers, the sockets' own included. Without a `timeout` it is
    /// [`RequestLimits::timeout`](crate::RequestLimits::timeout).
    ///
    /// # Errors
    /// [`RequestError::Incomplete`] with what has arrived, when a server has not answered in time.
    pub async fn all_rooms(
        &self,
        timeout: Option<Duration>,
    ) -> Result<HashSet<String>, RequestError<HashSet<String>>> {
        let namespace = self.inner();
        let mut asking = Asking::begin(namespace, Question::Rooms, timeout)?;
        let mut rooms: HashSet<String> = namespace.rooms().room_names().into_iter().collect();
        asking.ask_others(&ClusterRequest::Rooms);
        while let Some(response) = asking.next().await {
            if let Response::Rooms(more) = response {
                rooms.extend(more);
            }
        }
        asking.end(rooms)
    }

    /// How many servers have this namespace, this one included.
    ///
    /// # Errors
    /// [`RequestError::Incomplete`], with this one alone, when the cluster cannot be reached.
    pub async fn server_count(&self) -> Result<usize, RequestError<usize>> {
        let mut asking = Asking::begin(self.inner(), Question::Servers, None)?;
        asking.ask_others(&ClusterRequest::Servers);
        while asking.next().await.is_some() {}
        let others = asking.tally().servers.unwrap_or(0);
        asking.end(1 + others)
    }

    /// Sends an event to the other servers themselves and waits for what their handlers answer with: the first argument of each. A server without
    /// a handler answers with nothing, which is left out unless `R` can be nothing. Without a `timeout` it is
    /// [`RequestLimits::timeout`](crate::RequestLimits::timeout).
    ///
    /// # Errors
    /// [`RequestError::Incomplete`] with what has arrived, when a server has not answered in time. A Node server without a listener never
    /// answers.
    ///
    /// ```no_run
    /// # use synapse_socket::{RequestError, Server, ServerEvent};
    /// # async fn example(io: Server) {
    /// let here = io.of("/");
    /// io.of("/").on_server_side("load", move |event: ServerEvent| {
    ///     event.reply(here.socket_count());
    ///     async {}
    /// });
    /// let loads: Vec<usize> = io
    ///     .server_side_emit_with_ack("load", (), None)
    ///     .await
    ///     .unwrap_or_else(RequestError::into_partial);
    /// # }
    /// ```
    pub async fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Option<Duration>,
    ) -> Result<Vec<R>, RequestError<Vec<R>>> {
        let arguments = Arguments::event(event, &data)?;
        let mut asking = Asking::begin(self.inner(), Question::Replies, timeout)?;
        asking.ask_others(&ClusterRequest::ServerSideEmit(arguments));
        let mut answers = Vec::new();
        while let Some(response) = asking.next().await {
            let Response::Reply(reply) = response else {
                continue;
            };
            match reply.get_ack() {
                Ok(answer) => answers.push(answer),
                Err(_) if is_nothing(&reply) => (),
                Err(_) => asking.note_unreadable(),
            }
        }
        asking.end(answers)
    }

    /// Makes all sockets of the namespace join rooms, on all servers.
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        self.broadcast().sockets_join(rooms);
    }

    /// Makes all sockets of the namespace leave rooms, on all servers.
    pub fn sockets_leave(&self, rooms: impl IntoRooms) {
        self.broadcast().sockets_leave(rooms);
    }

    /// Puts all clients out of the namespace, on all servers; their connections stay.
    pub fn disconnect_sockets(&self) {
        self.broadcast().disconnect_sockets();
    }
}

/// Whether a server has answered that it has no answer. Some wires carry a first argument always.
fn is_nothing(reply: &Arguments) -> bool {
    matches!(reply.json(), "[]" | "[null]")
}

/// The main namespace's.
impl Server {
    /// The sockets of the main namespace, on all servers: see [`Broadcaster::fetch_sockets`].
    pub async fn fetch_sockets(
        &self,
    ) -> Result<Vec<RemoteSocket>, RequestError<Vec<RemoteSocket>>> {
        self.of("/").fetch_sockets().await
    }

    /// The ids of the main namespace's sockets, on all servers: see [`Broadcaster::socket_ids`].
    pub async fn socket_ids(&self) -> Result<HashSet<String>, RequestError<HashSet<String>>> {
        self.of("/").socket_ids().await
    }

    /// Sends an event to everyone in the main namespace and waits for their answers: see [`Broadcaster::emit_with_ack`].
    pub async fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
    ) -> Result<Vec<R>, RequestError<Vec<R>>> {
        self.of("/").emit_with_ack(event, data).await
    }

    /// How many servers there are, this one included: see [`Namespace::server_count`].
    pub async fn server_count(&self) -> Result<usize, RequestError<usize>> {
        self.of("/").server_count().await
    }

    /// Sends an event to the other servers themselves: see [`Namespace::server_side_emit`].
    pub fn server_side_emit<T: Serialize>(
        &self,
        event: &str,
        data: T,
    ) -> Result<(), SerializeError> {
        self.of("/").server_side_emit(event, data)
    }

    /// Sends an event to the other servers themselves and waits for their answers: see [`Namespace::server_side_emit_with_ack`].
    pub async fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Option<Duration>,
    ) -> Result<Vec<R>, RequestError<Vec<R>>> {
        self.of("/")
            .server_side_emit_with_ack(event, data, timeout)
            .await
    }

    /// Makes all sockets of the main namespace join rooms, on all servers.
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        self.of("/").sockets_join(rooms);
    }

    /// Makes all sockets of the main namespace leave rooms, on all servers.
    pub fn sockets_leave(&self, rooms: impl IntoRooms) {
        self.of("/").sockets_leave(rooms);
    }

    /// Puts all clients out of the main namespace, on all servers; their connections stay.
    pub fn disconnect_sockets(&self) {
        self.of("/").disconnect_sockets();
    }
}
