//! A namespace: its sockets, its handlers and its way to the other servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::Serialize;
use smallvec::SmallVec;
use synapse_adapter::{
    Adapter, Broadcast, ClusterMessage, Flags, OnReply, Rooms, Target, Transport,
};
use synapse_engine::{Batch, Delivery, Frames};
use synapse_protocol::socket::{Arguments, Outgoing, SerializeError};
use synapse_protocol::{CloseReason, SocketId};
use tokio::runtime::Handle;

use crate::broadcast::Broadcaster;
use crate::detached::run_detached;
use crate::handler::{BoxedHandler, Handler};
use crate::middleware::{BoxedMiddleware, Middleware};
use crate::parser::Parser;
use crate::request::PendingRequests;
use crate::rooms::IntoRooms;
use crate::server::SocketLimits;
use crate::server_event::{BoxedServerHandler, ServerEvent};
use crate::slow_policy::{SlowPolicies, SlowPolicy};
use crate::socket::{BoxedDisconnectHandler, Socket, boxed_disconnect_handler};

/// A namespace of the server. Cloning it is cheap, and every clone is the same namespace.
#[derive(Clone)]
pub struct Namespace(Arc<NamespaceInner>);

pub(crate) struct NamespaceInner {
    name: Box<str>,
    limits: SocketLimits,
    parser: Parser,
    rooms: Rooms<Socket>,
    handlers: RwLock<Handlers>,
    adapter: OnceLock<Arc<dyn Adapter>>,
    ack_ids: AtomicU64,
    pending_requests: PendingRequests,
    slow_policies: SlowPolicies,
    runtime: Handle,
}

#[derive(Default)]
struct Handlers {
    connect: SmallVec<[BoxedHandler; 1]>,
    middlewares: Vec<BoxedMiddleware>,
    events: HashMap<Box<str>, SmallVec<[BoxedHandler; 1]>>,
    disconnecting: Vec<BoxedDisconnectHandler>,
    disconnected: Vec<BoxedDisconnectHandler>,
    server_events: HashMap<Box<str>, Vec<BoxedServerHandler>>,
}

impl Namespace {
    pub(crate) fn new(inner: Arc<NamespaceInner>) -> Self {
        Self(inner)
    }

    pub(crate) fn inner(&self) -> &Arc<NamespaceInner> {
        &self.0
    }

    /// The name, with its leading slash.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Registers a middleware: clients join only if all of them agree, one after the other in the order of their registration.
    pub fn use_middleware<P>(&self, middleware: impl Middleware<P>) {
        self.0
            .handlers
            .write()
            .middlewares
            .push(middleware.into_boxed().0);
    }

    /// Registers a handler that runs for each client that has joined. It takes the [`Socket`] and whatever else it needs of the handshake.
    pub fn on_connect<P>(&self, handler: impl Handler<P>) {
        self.0.handlers.write().connect.push(handler.into_boxed().0);
    }

    /// Registers a handler of an event, for all sockets of the namespace. It costs nothing per client.
    pub fn on<P>(&self, event: &str, handler: impl Handler<P>) {
        self.0
            .handlers
            .write()
            .events
            .entry(event.into())
            .or_default()
            .push(handler.into_boxed().0);
    }

    /// Registers a handler that runs for each socket that is about to be disconnected: it still is in its rooms until the handler first
    /// waits.
    pub fn on_disconnecting<F, R>(&self, handler: F)
    where
        F: Fn(Socket, CloseReason) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.0
            .handlers
            .write()
            .disconnecting
            .push(boxed_disconnect_handler(handler));
    }

    /// Registers a handler that runs for each socket that has been disconnected.
    pub fn on_disconnect<F, R>(&self, handler: F)
    where
        F: Fn(Socket, CloseReason) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.0
            .handlers
            .write()
            .disconnected
            .push(boxed_disconnect_handler(handler));
    }

    /// Registers a handler of an event that other servers send to their peers, which are never clients.
    pub fn on_server_side<F, R>(&self, event: &str, handler: F)
    where
        F: Fn(ServerEvent) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let handler: BoxedServerHandler = Arc::new(move |event| Box::pin(handler(event)));
        self.0
            .handlers
            .write()
            .server_events
            .entry(event.into())
            .or_default()
            .push(handler);
    }

    /// Declares what becomes of an event of this name that is sent to a client which does not keep up. The last declaration of a name counts.
    ///
    /// It concerns the clients of this server, wherever the event was sent: what travels between servers says nothing about it, so every
    /// server declares the same.
    ///
    /// ```no_run
    /// # async fn example(io: synapse_socket::Server) {
    /// use synapse_socket::SlowPolicy;
    ///
    /// let game = io.of("/game");
    /// // Of each player, a slow client gets the last position only.
    /// game.slow_policy("moved", SlowPolicy::KeepLatestBy(0));
    /// let _ = game.to("arena").emit("moved", ("player 7", 120, 80));
    /// # }
    /// ```
    pub fn slow_policy(&self, event: &str, policy: SlowPolicy) {
        self.0.slow_policies.declare(event, policy);
    }

    /// Sends an event to the other servers themselves, never to clients and never to this server.
    pub fn server_side_emit<T: Serialize>(
        &self,
        event: &str,
        data: T,
    ) -> Result<(), SerializeError> {
        self.0
            .publish(&ClusterMessage::ServerSideEmit(Arguments::event(
                event, &data,
            )?));
        Ok(())
    }

    /// Everyone in the namespace, on all servers.
    pub fn broadcast(&self) -> Broadcaster {
        Broadcaster::new(Arc::clone(&self.0))
    }

    /// The members of rooms.
    pub fn to(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.broadcast().to(rooms)
    }

    /// Everyone but the members of rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.broadcast().except(rooms)
    }

    /// Everyone on this server.
    pub fn local(&self) -> Broadcaster {
        self.broadcast().local()
    }

    /// Sends an event to everyone in the namespace, on all servers.
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.broadcast().emit(event, data)
    }

    /// The socket with this id, if it is on this server.
    pub fn socket(&self, id: SocketId) -> Option<Socket> {
        self.0.rooms.find(id)
    }

    /// How many sockets are on this server.
    pub fn socket_count(&self) -> usize {
        self.0.rooms.len()
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Namespace({})", self.name())
    }
}

impl NamespaceInner {
    pub(crate) fn new(name: &str, limits: SocketLimits, parser: Parser, runtime: Handle) -> Self {
        Self {
            name: name.into(),
            limits,
            parser,
            rooms: Rooms::new(limits.rooms),
            handlers: RwLock::default(),
            adapter: OnceLock::new(),
            ack_ids: AtomicU64::new(0),
            pending_requests: PendingRequests::default(),
            slow_policies: SlowPolicies::default(),
            runtime,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limits(&self) -> &SocketLimits {
        &self.limits
    }

    pub(crate) fn parser(&self) -> Parser {
        self.parser
    }

    pub(crate) fn rooms(&self) -> &Rooms<Socket> {
        &self.rooms
    }

    /// Joins the namespace to the cluster; what came before is not published.
    pub(crate) fn attach(&self, adapter: Arc<dyn Adapter>) {
        if self.adapter.set(adapter).is_err() {
            tracing::error!(namespace = %self.name, "a namespace has been attached twice");
        }
    }

    pub(crate) fn detach(&self) {
        if let Some(adapter) = self.adapter.get() {
            adapter.close();
        }
    }

    pub(crate) fn adapter(&self) -> Option<&Arc<dyn Adapter>> {
        self.adapter.get()
    }

    pub(crate) fn pending_requests(&self) -> &PendingRequests {
        &self.pending_requests
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn push_handlers(&self, event: &str, handlers: &mut SmallVec<[BoxedHandler; 2]>) {
        if let Some(found) = self.handlers.read().events.get(event) {
            handlers.extend(found.iter().cloned());
        }
    }

    pub(crate) fn connect_handlers(&self) -> SmallVec<[BoxedHandler; 1]> {
        self.handlers.read().connect.clone()
    }

    pub(crate) fn middlewares(&self) -> Vec<BoxedMiddleware> {
        self.handlers.read().middlewares.clone()
    }

    pub(crate) fn disconnecting_handlers(&self) -> Vec<BoxedDisconnectHandler> {
        self.handlers.read().disconnecting.clone()
    }

    pub(crate) fn disconnect_handlers(&self) -> Vec<BoxedDisconnectHandler> {
        self.handlers.read().disconnected.clone()
    }

    /// Sends to the other servers.
    pub(crate) fn publish(&self, message: &ClusterMessage) {
        if let Some(adapter) = self.adapter.get() {
            adapter.publish(message);
        }
    }

    /// A broadcast's frames, as its flags want them. `None` if it cannot be written.
    pub(crate) fn frames(&self, packet: &Outgoing<'_>, flags: &Flags) -> Option<Frames> {
        let frames = self.parser.frames(packet)?;
        Some(match flags.compress {
            Some(false) => frames.uncompressed(),
            Some(true) | None => frames,
        })
    }

    /// What becomes of an event for clients that do not keep up. One that waits for an ack has no part in this.
    pub(crate) fn delivery(&self, arguments: &Arguments) -> Delivery {
        self.slow_policies.delivery(&self.name, arguments)
    }

    /// Delivers an event to the target's sockets here: encoded once, shared by all of them.
    pub(crate) fn deliver(&self, broadcast: &Broadcast) {
        let packet = Outgoing::Event {
            namespace: &self.name,
            id: None,
            arguments: &broadcast.arguments,
        };
        let Some(frames) = self.frames(&packet, &broadcast.flags) else {
            return;
        };
        let delivery = if broadcast.flags.volatile {
            Delivery::Volatile
        } else {
            self.delivery(&broadcast.arguments)
        };
        let mut batch = Batch::default();
        self.rooms.select(&broadcast.target, |socket| {
            socket.send_in_batch(&frames, delivery, &mut batch);
        });
    }

    /// Hands an event of another server to the handlers that wait for it. When there are none the sender is answered at once, so that it
    /// does not wait in vain.
    pub(crate) fn handle_server_event(&self, arguments: Arguments, reply: Option<OnReply>) {
        let handlers = self
            .handlers
            .read()
            .server_events
            .get(&*arguments.event_name())
            .cloned()
            .unwrap_or_default();
        if handlers.is_empty() {
            tracing::debug!(event = %arguments.event_name(), "no handler for a server-side event");
            if let Some(reply) = reply {
                reply(Arguments::default());
            }
            return;
        }
        let event = ServerEvent::new(arguments, reply);
        for handler in handlers {
            let event = event.clone();
            run_detached(&self.runtime, move || handler(event));
        }
    }

    pub(crate) fn join_all(&self, target: &Target, rooms: &[Box<str>]) {
        for socket in self.rooms.members(target) {
            if let Err(error) = socket.join(rooms) {
                tracing::debug!(socket = %socket.id(), %error, "failed to join a room");
            }
        }
    }

    pub(crate) fn leave_all(&self, target: &Target, rooms: &[Box<str>]) {
        for socket in self.rooms.members(target) {
            socket.leave(rooms);
        }
    }

    pub(crate) fn disconnect_all(&self, target: &Target, transport: Transport) {
        for socket in self.rooms.members(target) {
            match transport {
                Transport::Keep => socket.disconnect(),
                Transport::Close => socket.disconnect_client(),
            }
        }
    }
}
