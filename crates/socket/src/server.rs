//! The server an application begins with.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::RwLock;
use serde::Serialize;
use synapse_adapter::{AdapterFactory, RoomLimits, bus};
use synapse_engine::{
    Connection, ConnectionError, Engine, EngineConfig, EngineService, RequestHead, Stats,
};
use synapse_protocol::socket::{Limits as PacketLimits, SerializeError};
use synapse_protocol::{CloseReason, SessionId};
use tokio::runtime::Handle;

use crate::broadcast::Broadcaster;
use crate::client::Client;
use crate::hooks::Hooks;
use crate::local::Local;
use crate::namespace::{Namespace, NamespaceInner};
use crate::parser::Parser;
use crate::request::RequestLimits;
use crate::rooms::IntoRooms;

/// How long a closing server waits for its clients to be told.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What one client may cost an application.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// Rooms.
    pub rooms: RoomLimits,
    /// Packets.
    pub packets: PacketLimits,
    /// Namespaces that one client may be in at a time. Default: 64. Further ones are refused with a `connect_error`.
    pub namespaces_max: usize,
    /// Events of one socket that may wait for the client's answer. Default: 10,000. Further ones fail.
    pub pending_acks_max: usize,
    /// Handlers of one client that may be under way, those not counted that wait for an answer of the client itself. Default: 1,000.
    /// Nothing more of what the client sends is handled until some have ended.
    pub running_handlers_max: usize,
    /// Requests to other servers, which the application makes and not a client.
    pub requests: RequestLimits,
    /// Packets, attachments not counted, that a client may send each second, and as many at once after a pause. Default: no limit.
    /// Nothing more of what the client sends is handled until it may send again; so it is held up and loses nothing.
    pub events_per_second: Option<NonZeroU32>,
    /// Bytes of packets and attachments that a client may send each second, and as many at once after a pause. Default: no limit. The
    /// outcome is the same; a packet that is larger is handled and paid for afterwards.
    pub bytes_per_second: Option<NonZeroU32>,
    /// The attachments of a packet have to arrive within this time. Default: 2 min, in which 10 MB come by less than a megabit per second.
    /// A client whose do not is closed with the reason `forced close`. Time in which we have held the client up does not count.
    pub attachment_timeout: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            rooms: RoomLimits::default(),
            packets: PacketLimits::default(),
            namespaces_max: 64,
            pending_acks_max: 10_000,
            running_handlers_max: 1_000,
            requests: RequestLimits::default(),
            events_per_second: None,
            bytes_per_second: None,
            attachment_timeout: Duration::from_secs(120),
        }
    }
}

/// A Socket.IO server. Cloning it is cheap, and every clone is the same server.
#[derive(Clone)]
pub struct Server {
    engine: Engine<Application>,
}

/// What a server is made of.
///
#[doc = include_str!("options.md")]
#[derive(Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct ServerBuilder {
    pub(crate) config: EngineConfig,
    limits: SocketLimits,
    parser: Parser,
    adapter: Option<Arc<dyn AdapterFactory>>,
    pub(crate) hooks: Hooks,
}

impl ServerBuilder {
    /// How clients are served, all of it. The methods for single options change what was set before, so this comes first.
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// What a client may cost.
    pub fn limits(mut self, limits: SocketLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How packets are written. Default: [`Parser::Json`]. Clients have to be set to the same.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// What joins this server to others. Without one it serves alone.
    pub fn adapter(mut self, adapter: Arc<dyn AdapterFactory>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// The server, with its main namespace.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Server {
        let application = Application(Arc::new(ServerInner {
            namespaces: RwLock::default(),
            adapter: self.adapter.unwrap_or_else(bus::alone),
            limits: self.limits,
            parser: self.parser,
            hooks: self.hooks,
            runtime: Handle::current(),
        }));
        application.0.namespace("/");
        Server {
            engine: Engine::new(self.config, Arc::new(application)),
        }
    }
}

impl Server {
    /// Begins a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The namespace of that name, which exists from then on. A missing leading slash is added.
    pub fn of(&self, name: &str) -> Namespace {
        Namespace::new(self.inner().namespace(name))
    }

    /// Sends an event to everyone in the main namespace, on all servers.
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.of("/").emit(event, data)
    }

    /// The members of rooms of the main namespace.
    pub fn to(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.of("/").to(rooms)
    }

    /// Everyone of the main namespace but the members of rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.of("/").except(rooms)
    }

    /// The tower service that answers clients: give it to [`serve`](crate::serve) or mount it in an app under its path.
    ///
    /// What Node calls `io.engine.use(middleware)` is a layer around it, which sees every request, upgrades included:
    ///
    /// ```
    /// use http::{HeaderValue, Request, Response};
    /// use synapse_socket::{Body, Server};
    /// use tower::{Service, ServiceBuilder};
    ///
    /// # fn app<B>(io: &Server) -> impl Service<Request<B>, Response = Response<Body>>
    /// # where B: http_body::Body<Data: Send, Error: Into<synapse_socket::BoxError>> + Send + 'static {
    /// let service = ServiceBuilder::new()
    ///     .map_request(|mut request: Request<_>| {
    ///         request.headers_mut().remove("x-internal");
    ///         request
    ///     })
    ///     .map_response(|mut response: Response<Body>| {
    ///         response.headers_mut().insert("x-frame-options", HeaderValue::from_static("DENY"));
    ///         response
    ///     })
    ///     .service(io.service());
    /// # service
    /// # }
    /// ```
    pub fn service(&self) -> EngineService<Application> {
        self.engine.service()
    }

    /// Counts of this server.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// What the server runs on.
    pub fn config(&self) -> &EngineConfig {
        self.engine.config()
    }

    /// Closes the server: further clients are refused, what was sent before goes out, every client is told, then the cluster is left.
    /// Sockets end with the reason `server shutting down`.
    pub async fn close(&self) {
        let left = self
            .engine
            .close(CloseReason::ServerShuttingDown, CLOSE_WAIT)
            .await;
        if left > 0 {
            tracing::warn!(
                clients = left,
                "clients were still connected when the server closed"
            );
        }
        let namespaces: Vec<_> = self.inner().namespaces.read().values().cloned().collect();
        for namespace in namespaces {
            namespace.detach();
        }
    }

    fn inner(&self) -> &Arc<ServerInner> {
        &self.engine.application().0
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.engine.config().path)
    }
}

pub(crate) struct ServerInner {
    namespaces: RwLock<HashMap<Box<str>, Arc<NamespaceInner>>>,
    adapter: Arc<dyn AdapterFactory>,
    pub(crate) limits: SocketLimits,
    pub(crate) parser: Parser,
    hooks: Hooks,
    runtime: Handle,
}

impl ServerInner {
    pub(crate) fn find_namespace(&self, name: &str) -> Option<Arc<NamespaceInner>> {
        self.namespaces.read().get(name).cloned()
    }

    fn namespace(&self, name: &str) -> Arc<NamespaceInner> {
        let name = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("/{name}")
        };
        if let Some(namespace) = self.find_namespace(&name) {
            return namespace;
        }
        let mut namespaces = self.namespaces.write();
        let namespace = namespaces.entry_ref(name.as_str()).or_insert_with(|| {
            let namespace = Arc::new(NamespaceInner::new(
                &name,
                self.limits,
                self.parser,
                self.runtime.clone(),
            ));
            let local = Arc::new(Local(Arc::downgrade(&namespace)));
            namespace.attach(self.adapter.attach(&name, local));
            namespace
        });
        Arc::clone(namespace)
    }
}

/// The server as its engine sees it.
pub struct Application(Arc<ServerInner>);

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Application")
    }
}

impl synapse_engine::Application for Application {
    type Client = Client;

    async fn allow(&self, request: &RequestHead) -> Result<(), String> {
        self.0.hooks.allow(request).await
    }

    fn generate_id(&self, request: &RequestHead) -> Option<SessionId> {
        self.0.hooks.generate_id(request)
    }

    fn initial_headers(&self, request: &Parts, headers: &mut HeaderMap) {
        self.0.hooks.initial_headers(request, headers);
    }

    fn headers(&self, request: &Parts, headers: &mut HeaderMap) {
        self.0.hooks.headers(request, headers);
    }

    fn refused(&self, request: &Parts, error: &ConnectionError) {
        self.0.hooks.refused(request, error);
    }

    fn open(&self, connection: &Arc<Connection>) -> Client {
        Client::new(Arc::clone(&self.0), Arc::clone(connection))
    }
}
