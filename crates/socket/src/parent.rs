//! Namespaces that come into being when a client asks for them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synapse_engine::Connection;
use synapse_protocol::socket::{Arguments, SerializeError};

use crate::handler::Handler;
use crate::handshake::Handshake;
use crate::listeners::ListenerId;
use crate::middleware::Middleware;
use crate::namespace::{Namespace, NamespaceInner};
use crate::namespaces::Namespaces;
use crate::parent_broadcast::ParentBroadcaster;
use crate::rooms::IntoRooms;
use crate::server_event::ServerEvent;
use crate::slow_policy::SlowPolicy;
use crate::socket::Socket;
use crate::typed::{EventHandler, EventType};

/// What namespaces have in common that come into being when a client asks for them: its children. Made by
/// [`Server::of_regex`](crate::Server::of_regex) and [`Server::of_matching`](crate::Server::of_matching).
///
/// A child takes over the handlers and middlewares that its parent has at that moment; those that are registered later are for later
/// children. Children are namespaces like others: they know nothing of each other, and a server without them knows them not.
///
/// ```no_run
/// use synapse_socket::{Namespace, Reply, Server, Socket};
///
/// # fn example(io: Server) -> Result<(), Box<dyn std::error::Error>> {
/// let rooms = io.of_regex(r"^/room-\d+$")?;
/// rooms.on("say", |socket: Socket, namespace: Namespace| async move {
///     let _ = socket.broadcast().emit("said", namespace.name());
///     Reply("delivered")
/// });
/// rooms.emit("opening hours", "until ten")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ParentNamespace {
    parent: Arc<Parent>,
    namespaces: Arc<Namespaces>,
}

/// A client's wish for a namespace that there is not.
#[derive(Clone)]
pub struct NamespaceRequest {
    name: Arc<str>,
    auth: Option<Arc<str>>,
    connection: Arc<Connection>,
}

/// Decides whether a namespace comes into being.
pub(crate) type Matcher =
    Box<dyn Fn(NamespaceRequest) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

pub(crate) enum Matches {
    Pattern(Regex),
    Function(Matcher),
}

pub(crate) struct Parent {
    matches: Matches,
    /// Has the handlers that a child begins with. No client is ever in it.
    template: Namespace,
}

impl ParentNamespace {
    pub(crate) fn new(namespaces: Arc<Namespaces>, matches: Matches) -> Self {
        let template = NamespaceInner::new("/*", namespaces.setup().clone());
        let parent = Arc::new(Parent {
            matches,
            template: Namespace::new(Arc::new(template)),
        });
        namespaces.add_parent(Arc::clone(&parent));
        Self { parent, namespaces }
    }

    /// The children that there are on this server at this moment.
    pub fn children(&self) -> Vec<Namespace> {
        let children = self.namespaces.children_of(&self.parent);
        children.into_iter().map(Namespace::new).collect()
    }

    /// Registers a middleware of later children. See [`Namespace::use_middleware`].
    pub fn use_middleware<P>(&self, middleware: impl Middleware<P>) {
        self.parent.template.use_middleware(middleware);
    }

    /// Registers a handler that runs for each client that has joined a later child. See [`Namespace::on_connect`].
    pub fn on_connect<P>(&self, handler: impl Handler<P>) {
        self.parent.template.on_connect(handler);
    }

    /// Registers a handler of an event, for later children. See [`Namespace::on`].
    pub fn on<P>(&self, event: &str, handler: impl Handler<P>) -> ListenerId {
        self.parent.template.on(event, handler)
    }

    /// Registers a handler of an event that has a type of its own, for later children. See [`Namespace::on_event`].
    pub fn on_event<E: EventType, P>(&self, handler: impl EventHandler<E, P>) -> ListenerId {
        self.parent.template.on_event(handler)
    }

    /// Registers a handler of every event that comes in, for later children. See [`Namespace::on_any`].
    pub fn on_any<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.parent.template.on_any(handler)
    }

    /// Registers a listener of every event that goes out, for later children. See [`Namespace::on_any_outgoing`].
    pub fn on_any_outgoing(
        &self,
        listener: impl Fn(&Socket, &Arguments) + Send + Sync + 'static,
    ) -> ListenerId {
        self.parent.template.on_any_outgoing(listener)
    }

    /// Registers a middleware of the events of later children. See [`Namespace::use_event_middleware`].
    pub fn use_event_middleware<P>(&self, middleware: impl Middleware<P>) -> ListenerId {
        self.parent.template.use_event_middleware(middleware)
    }

    /// Registers a handler of sockets that are about to be disconnected, for later children. See [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.parent.template.on_disconnecting(handler)
    }

    /// Registers a handler of sockets that have been disconnected, for later children. See [`Namespace::on_disconnect`].
    pub fn on_disconnect<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.parent.template.on_disconnect(handler)
    }

    /// Registers a handler of what goes wrong, for later children. See [`Namespace::on_error`].
    pub fn on_error<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.parent.template.on_error(handler)
    }

    /// Registers a handler of an event that other servers send to their peers, for later children. See [`Namespace::on_server_side`].
    pub fn on_server_side<F, R>(&self, event: &str, handler: F)
    where
        F: Fn(ServerEvent) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.parent.template.on_server_side(event, handler);
    }

    /// Declares what becomes of an event that is sent to a client which does not keep up, for later children. See
    /// [`Namespace::slow_policy`].
    pub fn slow_policy(&self, event: &str, policy: SlowPolicy) {
        self.parent.template.slow_policy(event, policy);
    }

    /// Takes off what was registered with this id, for later children. See [`Namespace::off`].
    pub fn off(&self, id: ListenerId) {
        self.parent.template.off(id);
    }

    /// Everyone in the children of this server, wherever they are connected: what a child sends goes to its own kind on all servers.
    pub fn broadcast(&self) -> ParentBroadcaster {
        let children = self.children();
        ParentBroadcaster::new(children.iter().map(Namespace::broadcast).collect())
    }

    /// The members of rooms of the children.
    pub fn to(&self, rooms: impl IntoRooms) -> ParentBroadcaster {
        self.broadcast().to(rooms)
    }

    /// Everyone in the children but the members of rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> ParentBroadcaster {
        self.broadcast().except(rooms)
    }

    /// Everyone in the children who is connected to this server.
    pub fn local(&self) -> ParentBroadcaster {
        self.broadcast().local()
    }

    /// Sends an event to everyone in the children.
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.broadcast().emit(event, data)
    }

    /// Sends an event that has a type of its own to everyone in the children.
    pub fn emit_event<E: EventType + Serialize>(&self, event: &E) -> Result<(), SerializeError> {
        self.emit(E::NAME, event)
    }
}

impl fmt::Debug for ParentNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parent.matches {
            Matches::Pattern(pattern) => write!(f, "ParentNamespace({pattern})"),
            Matches::Function(_) => f.write_str("ParentNamespace(..)"),
        }
    }
}

impl NamespaceRequest {
    pub(crate) fn new(name: &str, auth: Option<&str>, connection: Arc<Connection>) -> Self {
        Self {
            name: name.into(),
            auth: auth.map(Arc::from),
            connection,
        }
    }

    /// The name of the namespace, with its leading slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the client sent to prove itself, as a value; JSON's `null` when it sent nothing.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.handshake().auth()
    }

    /// What the client connects with.
    pub fn handshake(&self) -> Handshake<'_> {
        Handshake::new(self.connection.request(), self.auth.as_deref())
    }

    pub(crate) fn auth_text(&self) -> Option<&str> {
        self.auth.as_deref()
    }
}

/// Tells nothing of what the client sent to prove itself.
impl fmt::Debug for NamespaceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamespaceRequest({})", self.name)
    }
}

impl Parent {
    pub(crate) fn template(&self) -> &Namespace {
        &self.template
    }

    pub(crate) fn has_pattern_for(&self, name: &str) -> bool {
        match &self.matches {
            Matches::Pattern(pattern) => pattern.is_match(name),
            Matches::Function(_) => false,
        }
    }

    async fn agrees(&self, request: &NamespaceRequest) -> bool {
        match &self.matches {
            Matches::Pattern(pattern) => pattern.is_match(request.name()),
            Matches::Function(decide) => decide(request.clone()).await,
        }
    }
}

/// The first parent that agrees, in the order in which they were made.
pub(crate) async fn find_parent(
    parents: Vec<Arc<Parent>>,
    request: NamespaceRequest,
) -> Option<Arc<Parent>> {
    for parent in parents {
        if parent.agrees(&request).await {
            return Some(parent);
        }
    }
    None
}
