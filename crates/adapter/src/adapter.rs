//! The two sides of the way between servers.

use std::sync::Arc;

use synapse_protocol::socket::Arguments;

use crate::message::{Broadcast, ClusterMessage, Target, Transport};
use crate::request::ClusterRequest;
use crate::responses::Responder;

/// Makes the adapters of one server, one for each namespace.
pub trait AdapterFactory: Send + Sync + 'static {
    /// Joins `namespace` (with its leading slash) of this server to the cluster. `local` is called, from any thread and never
    /// concurrently for messages of one sender, for whatever other servers want of it.
    fn attach(&self, namespace: &str, local: Arc<dyn LocalNamespace>) -> Arc<dyn Adapter>;
}

/// One namespace's way to the other servers.
pub trait Adapter: Send + Sync + 'static {
    /// Sends to every other server. Never waits and never fails towards the caller: what cannot be sent is counted by the adapter.
    /// Messages of one caller arrive in the order of their calls. The own server is not among the receivers.
    fn publish(&self, message: &ClusterMessage);

    /// Asks every other server, in order with what is published. Never waits and never fails towards the caller: the adapter tells the
    /// responder how many servers there are to answer, hands it each answer, and forgets the request when nobody wants answers any more.
    /// A server that has left while it was asked may be waited for in vain, so the caller has a time limit.
    fn request(&self, request: &ClusterRequest, responder: &Responder);

    /// Leaves the cluster; nothing is delivered to the namespace afterwards.
    fn close(&self);
}

/// Receives the acks of a broadcast, each with the arguments that a client sent back. Called any number of times, from any thread.
pub type OnAck = Box<dyn Fn(Arguments) + Send + Sync>;

/// Receives the answer of a server-side event, at most once: the arguments that the listener answered with.
pub type OnReply = Box<dyn FnOnce(Arguments) + Send>;

/// One namespace of this server, as other servers see it. Everything here concerns the sockets of this server only.
pub trait LocalNamespace: Send + Sync + 'static {
    /// Whether a room (or a socket with that id) is on this server. Cheap: asked before a message is decoded.
    fn has_room(&self, room: &str) -> bool;

    /// Delivers an event to the target's sockets here.
    fn broadcast(&self, broadcast: &Broadcast);

    /// Delivers an event and reports each client's ack. Returns how many clients were asked. Acks that come after
    /// `flags.timeout` are dropped.
    fn broadcast_with_ack(&self, broadcast: &Broadcast, on_ack: OnAck) -> usize;

    /// Makes the target's sockets here join rooms.
    fn join(&self, target: &Target, rooms: &[Box<str>]);

    /// Makes the target's sockets here leave rooms.
    fn leave(&self, target: &Target, rooms: &[Box<str>]);

    /// Disconnects the target's sockets here.
    fn disconnect(&self, target: &Target, transport: Transport);

    /// Describes the target's sockets here.
    fn sockets(&self, target: &Target) -> Vec<SocketSnapshot>;

    /// The ids of the target's sockets here.
    fn ids(&self, target: &Target) -> Vec<String>;

    /// The rooms here, sockets' own rooms included.
    fn rooms(&self) -> Vec<String>;

    /// Hands an event to the server-side listeners. With `on_reply` the sender waits for an answer; when no listener takes the
    /// event, `on_reply` is called at once with empty arguments (`[]`), so that nobody waits for us in vain.
    fn server_side_emit(&self, arguments: Arguments, on_reply: Option<OnReply>);
}

/// A socket as other servers are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSnapshot {
    /// The socket's id.
    pub id: String,
    /// The handshake as a JSON object: headers, time, address, xdomain, secure, issued, url, query, auth.
    pub handshake: String,
    /// The rooms it is in, its own included.
    pub rooms: Vec<String>,
    /// The socket's data as JSON.
    pub data: String,
}
