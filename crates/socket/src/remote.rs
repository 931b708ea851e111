//! Sockets of any server of the cluster, as they were when they were asked for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use synapse_adapter::{Response, SocketSnapshot};
use synapse_protocol::socket::{Arguments, SerializeError};

use crate::ack::AckError;
use crate::broadcast::Broadcaster;
use crate::namespace::NamespaceInner;
use crate::rooms::IntoRooms;

/// A socket of any server of the cluster. What is known of it is of the moment when it was asked for; what is done with it reaches it
/// wherever it is, and nobody when it has gone. [`fetch_sockets`](crate::Broadcaster::fetch_sockets) gives them.
#[derive(Clone)]
pub struct RemoteSocket {
    namespace: Arc<NamespaceInner>,
    snapshot: SocketSnapshot,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Arc<NamespaceInner>, snapshot: SocketSnapshot) -> Self {
        Self {
            namespace,
            snapshot,
        }
    }

    /// Its id, which is also the name of its own room. A text, because other servers may make ids of another form than this one.
    pub fn id(&self) -> &str {
        &self.snapshot.id
    }

    /// The rooms it was in, its own included.
    pub fn rooms(&self) -> &[String] {
        &self.snapshot.rooms
    }

    /// What its client connected with. Parsed at each call.
    pub fn handshake(&self) -> RemoteHandshake {
        serde_json::from_str(&self.snapshot.handshake).unwrap_or_default()
    }

    /// What its server kept with it, as a value. Parsed at each call. A type that does not fit is an error, so what may be missing is an
    /// `Option`; a Node server may keep anything at all there.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.snapshot.data)
    }

    /// Sends an event to it.
    ///
    /// # Errors
    /// As with [`Socket::emit`](crate::Socket::emit).
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.broadcaster().emit(event, data)
    }

    /// Sends an event to it and waits for its answer. Only the first argument of an answer crosses servers. Without a `timeout` it is
    /// [`RequestLimits::timeout`](crate::RequestLimits::timeout).
    ///
    /// # Errors
    /// [`AckError`]: no answer in time, nobody has the socket any more, its answer does not fit, or too many requests are under way.
    pub async fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Option<Duration>,
    ) -> Result<R, AckError> {
        let mut broadcaster = self.broadcaster();
        if let Some(timeout) = timeout {
            broadcaster = broadcaster.timeout(timeout);
        }
        let (mut asking, _asked) = broadcaster.ask(Arguments::event(event, &data)?)?;
        while let Some(response) = asking.next().await {
            if let Response::Ack(ack) = response {
                return Ok(ack.get_ack()?);
            }
        }
        let tally = asking.tally();
        let all_know = tally.servers == Some(tally.servers_answered);
        if all_know && tally.clients == 0 {
            Err(AckError::Disconnected)
        } else {
            Err(AckError::TimedOut)
        }
    }

    /// Makes it join rooms.
    pub fn join(&self, rooms: impl IntoRooms) {
        self.broadcaster().sockets_join(rooms);
    }

    /// Makes it leave rooms.
    pub fn leave(&self, rooms: impl IntoRooms) {
        self.broadcaster().sockets_leave(rooms);
    }

    /// Puts its client out of the namespace; the connection stays.
    pub fn disconnect(&self) {
        self.broadcaster().disconnect_sockets();
    }

    /// Puts its client out of all namespaces and closes the connection.
    pub fn disconnect_client(&self) {
        self.broadcaster().disconnect_clients();
    }

    /// A broadcast to it alone, for what else a broadcast can do.
    pub fn broadcaster(&self) -> Broadcaster {
        Broadcaster::new(Arc::clone(&self.namespace)).to(self.id())
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteSocket({}, {})", self.namespace.name(), self.id())
    }
}

/// The handshake of a socket of any server. What a server does not tell is empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct RemoteHandshake {
    /// The request's headers, names in lower case.
    pub headers: Map<String, Value>,
    /// When the request came, as JavaScript writes dates.
    pub time: String,
    /// The peer's address as its server writes it; an IPv4 one may be mapped to IPv6.
    pub address: String,
    /// Whether the request came from a page of another origin.
    pub xdomain: bool,
    /// Whether the request came over TLS, as far as its server knows.
    pub secure: bool,
    /// When the request came, in milliseconds since 1970.
    pub issued: u64,
    /// Path and query as they were sent.
    pub url: String,
    /// The query's pairs, decoded.
    pub query: Map<String, Value>,
    /// What the client sent to prove itself.
    pub auth: Value,
}

impl RemoteHandshake {
    /// The peer's address, if it can be read; an IPv4 one is no longer mapped.
    pub fn ip(&self) -> Option<IpAddr> {
        let address: IpAddr = self.address.parse().ok()?;
        Some(address.to_canonical())
    }
}
