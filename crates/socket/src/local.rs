//! A namespace as other servers see it.

use std::sync::{Arc, Weak};

use synapse_adapter::{
    Broadcast, LocalNamespace, OnAck, OnReply, SocketSnapshot, Target, Transport,
};
use synapse_protocol::socket::Arguments;

use crate::namespace::NamespaceInner;
use crate::socket::Socket;

/// Held by the adapter, which the namespace holds: so it does not keep the namespace alive.
pub(crate) struct Local(pub(crate) Weak<NamespaceInner>);

impl Local {
    fn with<R>(&self, gone: R, call: impl FnOnce(&Arc<NamespaceInner>) -> R) -> R {
        match self.0.upgrade() {
            Some(namespace) => call(&namespace),
            None => gone,
        }
    }
}

impl LocalNamespace for Local {
    fn has_room(&self, room: &str) -> bool {
        self.with(false, |namespace| namespace.has_room(room))
    }

    fn broadcast(&self, broadcast: &Broadcast) {
        self.with((), |namespace| namespace.deliver(broadcast));
    }

    fn broadcast_with_ack(&self, broadcast: &Broadcast, on_ack: OnAck) -> usize {
        self.with(0, |namespace| namespace.deliver_with_ack(broadcast, on_ack))
    }

    fn join(&self, target: &Target, rooms: &[Box<str>]) {
        self.with((), |namespace| namespace.join_all(target, rooms));
    }

    fn leave(&self, target: &Target, rooms: &[Box<str>]) {
        self.with((), |namespace| namespace.leave_all(target, rooms));
    }

    fn disconnect(&self, target: &Target, transport: Transport) {
        self.with((), |namespace| namespace.disconnect_all(target, transport));
    }

    fn sockets(&self, target: &Target) -> Vec<SocketSnapshot> {
        self.with(Vec::new(), |namespace| namespace.snapshots(target))
    }

    fn ids(&self, target: &Target) -> Vec<String> {
        self.with(Vec::new(), |namespace| namespace.socket_ids(target))
    }

    fn rooms(&self) -> Vec<String> {
        self.with(Vec::new(), |namespace| namespace.rooms().room_names())
    }

    fn server_side_emit(&self, arguments: Arguments, on_reply: Option<OnReply>) {
        self.with((), |namespace| {
            namespace.handle_server_event(arguments, on_reply)
        });
    }
}

impl NamespaceInner {
    /// Describes the target's sockets here.
    pub(crate) fn snapshots(&self, target: &Target) -> Vec<SocketSnapshot> {
        self.rooms().members(target).iter().map(snapshot).collect()
    }

    /// The ids of the target's sockets here.
    pub(crate) fn socket_ids(&self, target: &Target) -> Vec<String> {
        let mut ids = Vec::new();
        self.rooms()
            .select(target, |socket| ids.push(socket.id().to_string()));
        ids
    }
}

fn snapshot(socket: &Socket) -> SocketSnapshot {
    let id = socket.client_id();
    let rooms = std::iter::once(id.clone())
        .chain(socket.rooms().iter().map(|room| room.to_string()))
        .collect();
    SocketSnapshot {
        id,
        handshake: socket.handshake().to_json().to_string(),
        rooms,
        data: serde_json::Value::Object(socket.data()).to_string(),
    }
}
