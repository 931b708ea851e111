//! A namespace: its sockets, its handlers and its way to the other servers.

mod listening;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;
use synapse_adapter::{
    Adapter, Broadcast, ClusterMessage, Flags, OnReply, Rooms, Target, Transport,
};
use synapse_engine::{Batch, Delivery, Frames};
use synapse_protocol::SocketId;
use synapse_protocol::socket::{Arguments, Outgoing, SerializeError};
use tokio::runtime::Handle;

use crate::broadcast::Broadcaster;
use crate::detached::run_detached;
use crate::handler::{BoxedHandler, Handler};
use crate::listeners::Listeners;
use crate::middleware::{BoxedMiddleware, Middleware};
use crate::namespaces::Namespaces;
use crate::parent::Parent;
use crate::parser::Parser;
use crate::recovery::{ConnectionStateRecovery, Recovery, Surroundings, without_offset};
use crate::request::PendingRequests;
use crate::rooms::IntoRooms;
use crate::server::SocketLimits;
use crate::server_event::{BoxedServerHandler, ServerEvent};
use crate::slow_policy::{SlowPolicies, SlowPolicy};
use crate::socket::Socket;
use crate::state::States;
use crate::typed::EventType;

/// A namespace of the server. Cloning it is cheap, and every clone is the same namespace. A handler gets its own as a parameter.
///
/// ```no_run
/// use synapse_socket::{Data, Namespace, Refusal, Server, Socket};
///
/// # fn example(io: Server) -> Result<(), Refusal> {
/// let chat = io.of("/chat");
/// chat.on_connect(|socket: Socket| async move {
///     socket.join("lobby")?;
///     Ok::<(), Refusal>(())
/// });
/// chat.on("shout", |namespace: Namespace, Data(text): Data<String>| async move {
///     namespace.emit("shouted", text)?;
///     Ok::<(), Refusal>(())
/// });
/// chat.to("lobby").emit("opening hours", "until ten")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Namespace(Arc<NamespaceInner>);

pub(crate) struct NamespaceInner {
    name: Box<str>,
    setup: Setup,
    /// What a child knows of where it comes from.
    origin: Option<Origin>,
    rooms: Rooms<Socket>,
    handlers: ArcSwap<Handlers>,
    changing: Mutex<()>,
    /// Whether some of the handlers want to see what goes out.
    has_taps: AtomicBool,
    adapter: OnceLock<Arc<dyn Adapter>>,
    ack_ids: AtomicU64,
    recovery: Option<Recovery>,
    pending_requests: PendingRequests,
    slow_policies: SlowPolicies,
}

/// What all namespaces of a server have in common.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) limits: SocketLimits,
    pub(crate) parser: Parser,
    pub(crate) states: Arc<States>,
    pub(crate) recovery: Option<(ConnectionStateRecovery, Surroundings)>,
    pub(crate) runtime: Handle,
}

/// Whom a broadcast has reached.
#[derive(Default)]
pub(crate) struct Reached {
    batch: Batch,
    /// Those to which listeners want to see what goes out.
    tapped: Vec<Socket>,
}

struct Origin {
    parent: Weak<Parent>,
    namespaces: Weak<Namespaces>,
    /// Sockets that are in it or on their way, which is counted with the table of namespaces locked.
    users: AtomicUsize,
}

/// What an application has registered. It is read at every event and changes hardly ever, so a change makes a new one.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) connect: Vec<BoxedHandler>,
    pub(crate) middlewares: Vec<BoxedMiddleware>,
    pub(crate) listeners: Listeners,
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

    /// Registers a middleware: clients join only if all of them agree, one after the other in the order of their registration. See
    /// [`Middleware`].
    pub fn use_middleware<P>(&self, middleware: impl Middleware<P>) {
        let middleware = middleware.into_boxed().0;
        self.0
            .change(|handlers| handlers.middlewares.push(middleware));
    }

    /// Registers a handler that runs for each client that has joined. It takes the [`Socket`] and whatever else it needs of the handshake.
    pub fn on_connect<P>(&self, handler: impl Handler<P>) {
        let handler = handler.into_boxed().0;
        self.0.change(|handlers| handlers.connect.push(handler));
    }

    /// Registers a handler of an event that other servers send to their peers, which are never clients.
    ///
    /// ```no_run
    /// # use synapse_socket::{Server, ServerEvent};
    /// # fn example(io: Server) {
    /// io.of("/").on_server_side("reload", |event: ServerEvent| async move {
    ///     println!("reload {:?}", event.data::<String>());
    /// });
    /// # }
    /// ```
    pub fn on_server_side<F, R>(&self, event: &str, handler: F)
    where
        F: Fn(ServerEvent) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let handler: BoxedServerHandler = Arc::new(move |event| Box::pin(handler(event)));
        self.0.change(|handlers| {
            let handlers = &mut handlers.server_events;
            handlers.entry_ref(event).or_default().push(handler);
        });
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
    ///
    /// # Errors
    /// As with [`Socket::emit`].
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
    ///
    /// # Errors
    /// As with [`Socket::emit`].
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.broadcast().emit(event, data)
    }

    /// Sends an event that has a type of its own to everyone in the namespace, on all servers.
    pub fn emit_event<E: EventType + Serialize>(&self, event: &E) -> Result<(), SerializeError> {
        self.broadcast().emit_event(event)
    }

    /// The socket with this id, if it is on this server. An id is parsed from its text with `text.parse::<SocketId>()`; what is for a socket
    /// on any server goes [`to`](Self::to) its id.
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
    pub(crate) fn new(name: &str, setup: Setup) -> Self {
        Self {
            name: name.into(),
            origin: None,
            rooms: Rooms::new(setup.limits.rooms),
            handlers: ArcSwap::default(),
            changing: Mutex::new(()),
            has_taps: AtomicBool::new(false),
            adapter: OnceLock::new(),
            ack_ids: AtomicU64::new(0),
            recovery: setup
                .recovery
                .as_ref()
                .map(|(options, surroundings)| Recovery::new(options, *surroundings)),
            pending_requests: PendingRequests::default(),
            slow_policies: SlowPolicies::default(),
            setup,
        }
    }

    /// A child, which begins with the handlers of its parent.
    pub(crate) fn new_child(
        name: &str,
        setup: Setup,
        parent: &Arc<Parent>,
        namespaces: &Arc<Namespaces>,
    ) -> Self {
        let template = &parent.template().0;
        Self {
            origin: Some(Origin {
                parent: Arc::downgrade(parent),
                namespaces: Arc::downgrade(namespaces),
                users: AtomicUsize::new(0),
            }),
            handlers: ArcSwap::new(template.handlers.load_full()),
            has_taps: AtomicBool::new(template.has_taps()),
            slow_policies: template.slow_policies.copy(),
            ..Self::new(name, setup)
        }
    }

    pub(crate) fn is_child_of(&self, parent: &Parent) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| std::ptr::eq(origin.parent.as_ptr(), parent))
    }

    /// A socket is on its way in.
    pub(crate) fn enter(&self) {
        if let Some(origin) = &self.origin {
            origin.users.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A socket that was on its way, or in, is gone. The last one may take the namespace with it.
    pub(crate) fn leave(&self) {
        if let Some(origin) = &self.origin
            && origin.users.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.clean_up();
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| origin.users.load(Ordering::Acquire) > 0)
            || self.recovery().is_some_and(Recovery::awaits_somebody)
    }

    pub(crate) fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Looks after its recovery for as long as it is there.
    pub(crate) fn keep_recovery(self: &Arc<Self>) {
        let Some(recovery) = &self.recovery else {
            return;
        };
        let (interval, namespace) = (recovery.sweep_interval(), Arc::downgrade(self));
        self.setup.runtime.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(namespace) = namespace.upgrade() else {
                    return;
                };
                namespace.recovery.iter().for_each(Recovery::expire);
                // The last client may have been away.
                if namespace.origin.is_some() && !namespace.is_used() {
                    namespace.clean_up();
                }
            }
        });
    }

    fn clean_up(&self) {
        let origin = self.origin.as_ref();
        if let Some(namespaces) = origin.and_then(|origin| origin.namespaces.upgrade()) {
            namespaces.clean(self);
        }
    }

    /// Whether a room is on this server.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        match &self.recovery {
            Some(recovery) => recovery.has_room(self, room),
            None => self.rooms.has_room(room),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limits(&self) -> &SocketLimits {
        &self.setup.limits
    }

    pub(crate) fn parser(&self) -> Parser {
        self.setup.parser
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
        &self.setup.runtime
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// What is registered at this moment, for as long as it takes to call it.
    pub(crate) fn handlers(&self) -> arc_swap::Guard<Arc<Handlers>> {
        self.handlers.load()
    }

    fn change(&self, change: impl FnOnce(&mut Handlers)) {
        let _changing = self.changing.lock();
        let mut handlers = Handlers::clone(&self.handlers.load());
        change(&mut handlers);
        let has_taps = !handlers.listeners.any_outgoing.is_empty();
        self.handlers.store(Arc::new(handlers));
        self.has_taps.store(has_taps, Ordering::Release);
    }

    pub(crate) fn has_taps(&self) -> bool {
        self.has_taps.load(Ordering::Acquire)
    }

    pub(crate) fn states(&self) -> &States {
        &self.setup.states
    }

    /// Sends to the other servers.
    pub(crate) fn publish(&self, message: &ClusterMessage) {
        if let Some(adapter) = self.adapter.get() {
            adapter.publish(message);
        }
    }

    /// A broadcast's frames, as its flags want them. `None` if it cannot be written.
    pub(crate) fn frames(&self, packet: &Outgoing<'_>, flags: &Flags) -> Option<Frames> {
        let frames = self.setup.parser.frames(packet)?;
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
        let delivery = if broadcast.flags.volatile {
            Delivery::Volatile
        } else {
            self.delivery(&broadcast.arguments)
        };
        let mut reached = Reached::default();
        match &self.recovery {
            Some(_) if delivery == Delivery::Volatile => {
                let arguments = without_offset(&broadcast.arguments);
                self.deliver_unkept(broadcast, &arguments, delivery, &mut reached);
            }
            Some(recovery) => recovery.deliver(self, broadcast, delivery, &mut reached),
            None => self.deliver_unkept(broadcast, &broadcast.arguments, delivery, &mut reached),
        }
        drop(reached.batch);
        // Listeners may do what they like, so none is called while anything is locked.
        for socket in reached.tapped {
            socket.show(&broadcast.arguments);
        }
    }

    fn deliver_unkept(
        &self,
        broadcast: &Broadcast,
        arguments: &Arguments,
        delivery: Delivery,
        reached: &mut Reached,
    ) {
        let packet = Outgoing::Event {
            namespace: &self.name,
            id: None,
            arguments,
        };
        if let Some(frames) = self.frames(&packet, &broadcast.flags) {
            self.fan_out(&broadcast.target, &frames, delivery, reached, |_| ());
        }
    }

    /// Sends to the target's sockets here, each of which is shown to `each`.
    pub(crate) fn fan_out(
        &self,
        target: &Target,
        frames: &Frames,
        delivery: Delivery,
        reached: &mut Reached,
        mut each: impl FnMut(&Socket),
    ) {
        let all_tapped = self.has_taps();
        self.rooms.select(target, |socket| {
            each(socket);
            socket.send_in_batch(frames, delivery, &mut reached.batch);
            if (all_tapped || socket.has_taps()) && socket.is_in() {
                reached.tapped.push(socket.clone());
            }
        });
    }

    /// Hands an event of another server to the handlers that wait for it. When there are none the sender is answered at once, so that it
    /// does not wait in vain.
    pub(crate) fn handle_server_event(&self, arguments: Arguments, reply: Option<OnReply>) {
        let handlers = self
            .handlers()
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
            run_detached(&self.setup.runtime, move || handler(event));
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
