//! The server an application begins with.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
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
use crate::namespace::{Namespace, Setup};
use crate::namespaces::Namespaces;
use crate::parent::{Matches, NamespaceRequest, ParentNamespace};
use crate::parser::Parser;
use crate::recovery::{ConnectionStateRecovery, Surroundings};
use crate::request::RequestLimits;
use crate::rooms::IntoRooms;
use crate::state::States;
use crate::typed::EventType;

/// How long a closing server waits for its clients to be told.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What one client may cost an application.
///
/// ```
/// use std::num::NonZeroU32;
/// use synapse_socket::{RoomLimits, Server, SocketLimits};
///
/// let builder = Server::builder().limits(SocketLimits {
///     events_per_second: NonZeroU32::new(50),
///     rooms: RoomLimits { rooms_per_socket_max: 20, ..RoomLimits::default() },
///     ..SocketLimits::default()
/// });
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// Rooms.
    pub rooms: RoomLimits,
    /// Packets.
    pub packets: PacketLimits,
    /// Namespaces that one client may be in at a time. Default: 64. Further ones are refused with a `connect_error`.
    pub namespaces_max: usize,
    /// Children of all [`ParentNamespace`]s together. Default: 10,000. Further ones are refused with a `connect_error`.
    pub child_namespaces_max: usize,
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
            child_namespaces_max: 10_000,
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
///
/// What it does by itself, such as [`emit`](Self::emit) and [`to`](Self::to), concerns the main namespace; handlers and middlewares are registered with
/// a [`Namespace`], the main one being `of("/")`.
///
/// ```no_run
/// use synapse_socket::{Data, Refusal, Reply, Server, Socket, listen, serve};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let io = Server::builder().build();
/// io.of("/").on("say", |socket: Socket, Data(text): Data<String>| async move {
///     socket.broadcast().emit("said", text)?;
///     Ok::<_, Refusal>(Reply("delivered"))
/// });
///
/// let listener = listen("0.0.0.0:3000".parse()?)?;
/// let limits = io.config().limits;
/// serve(listener, io.service(), limits, std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    engine: Engine<Application>,
}

/// What a server is made of.
///
/// ```no_run
/// use std::time::Duration;
/// use synapse_socket::{Cors, Origins, Server};
///
/// # async fn example() {
/// let io = Server::builder()
///     .ping_interval(Duration::from_secs(10))
///     .max_http_buffer_size(100_000)
///     .cors(Cors {
///         origins: Origins::List(vec!["https://app.example.com".to_owned()]),
///         credentials: true,
///         ..Cors::default()
///     })
///     .build();
/// # }
/// ```
///
#[doc = include_str!("options.md")]
#[derive(Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct ServerBuilder {
    pub(crate) config: EngineConfig,
    limits: SocketLimits,
    parser: Parser,
    adapter: Option<Arc<dyn AdapterFactory>>,
    states: States,
    cleanup_empty_child_namespaces: bool,
    recovery: Option<ConnectionStateRecovery>,
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

    /// What joins this server to others, such as the `RedisAdapter` of the crate `synapse-redis`, or a place on a
    /// [`Bus`](synapse_adapter::Bus). Without one it serves alone. Who starts an adapter also closes it, after [`Server::close`].
    ///
    /// ```no_run
    /// use synapse_adapter::Bus;
    /// use synapse_socket::Server;
    ///
    /// # async fn example() {
    /// let bus = Bus::new();
    /// let one = Server::builder().adapter(bus.node()).build();
    /// let two = Server::builder().adapter(bus.node()).build();
    /// let _ = one.emit("to clients of both", ());
    /// # }
    /// ```
    pub fn adapter(mut self, adapter: Arc<dyn AdapterFactory>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// A value that handlers and middlewares take as [`State`](crate::State). There is one of each type; a further one takes its place.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Whether a child of a [`ParentNamespace`] goes when its last socket leaves, or is refused. Default: false.
    pub fn cleanup_empty_child_namespaces(mut self, cleanup: bool) -> Self {
        self.cleanup_empty_child_namespaces = cleanup;
        self
    }

    /// Lets clients that lose their connection come back to their sockets: with the same id, rooms and data, and to what was sent meanwhile.
    /// Default: off.
    pub fn connection_state_recovery(mut self, recovery: ConnectionStateRecovery) -> Self {
        self.recovery = Some(recovery);
        self
    }

    /// The server, with its main namespace.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Server {
        let setup = Setup {
            limits: self.limits,
            parser: self.parser,
            states: Arc::new(self.states),
            recovery: self.recovery.map(|options| {
                let EngineConfig { timing, limits, .. } = &self.config;
                let surroundings = Surroundings {
                    unnoticed_for: timing.ping_interval.saturating_add(timing.ping_timeout),
                    replay_bytes_max: limits.outbox_bytes_max,
                };
                (options, surroundings)
            }),
            runtime: Handle::current(),
        };
        let adapter = self.adapter.unwrap_or_else(bus::alone);
        let namespaces = Namespaces::new(adapter, setup, self.cleanup_empty_child_namespaces);
        let application = Application(Arc::new(ServerInner {
            namespaces: Arc::new(namespaces),
            hooks: self.hooks,
        }));
        application.0.namespaces.of("/");
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

    /// The namespace of that name, which exists from then on. A missing leading slash is added. If the name fits the pattern of a
    /// [`ParentNamespace`], it is a child of that.
    pub fn of(&self, name: &str) -> Namespace {
        Namespace::new(self.inner().namespaces.of(name))
    }

    /// Makes namespaces come into being when a client asks for one whose name fits a pattern. The pattern may fit anywhere in the name, so
    /// it usually begins with `^` and ends with `$`. Its form is that of the [`regex`] crate.
    ///
    /// How many there may be is limited by [`SocketLimits::child_namespaces_max`].
    ///
    /// # Errors
    /// When the pattern cannot be read, or is too large for that crate.
    ///
    /// ```no_run
    /// use synapse_socket::{Namespace, Server};
    ///
    /// # fn example(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    /// let rooms = io.of_regex(r"^/room-\d+$")?;
    /// rooms.on_connect(|namespace: Namespace| async move {
    ///     println!("somebody joined {}", namespace.name());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_regex(&self, pattern: &str) -> Result<ParentNamespace, regex::Error> {
        Ok(self.parent(Matches::Pattern(regex::Regex::new(pattern)?)))
    }

    /// Makes namespaces come into being when a client asks for one that `decide` agrees to. Names begin with a slash. It is not asked about
    /// namespaces that there are. While it waits, other packets of the client are handled.
    ///
    /// How many there may be is limited by [`SocketLimits::child_namespaces_max`].
    ///
    /// ```no_run
    /// use synapse_socket::{NamespaceRequest, Server};
    ///
    /// # async fn is_member(_: &str, _: serde_json::Value) -> bool { true }
    /// # fn example(io: Server) {
    /// let teams = io.of_matching(|request: NamespaceRequest| async move {
    ///     match request.name().strip_prefix("/team/") {
    ///         Some(team) => is_member(team, request.auth().unwrap_or_default()).await,
    ///         None => false,
    ///     }
    /// });
    /// teams.on("hello", || async {});
    /// # }
    /// ```
    pub fn of_matching<F, R>(&self, decide: F) -> ParentNamespace
    where
        F: Fn(NamespaceRequest) -> R + Send + Sync + 'static,
        R: Future<Output = bool> + Send + 'static,
    {
        let decide = Box::new(move |request| Box::pin(decide(request)) as _);
        self.parent(Matches::Function(decide))
    }

    fn parent(&self, matches: Matches) -> ParentNamespace {
        ParentNamespace::new(Arc::clone(&self.inner().namespaces), matches)
    }

    /// Registers a function that is called with each namespace that has come into being. A client that comes at the same moment may be in
    /// before: what all clients of a child need is better registered with its [`ParentNamespace`].
    pub fn on_new_namespace(&self, hook: impl Fn(Namespace) + Send + Sync + 'static) {
        self.inner().namespaces.add_hook(hook);
    }

    /// Sends an event to everyone in the main namespace, on all servers.
    ///
    /// # Errors
    /// As with [`Socket::emit`](crate::Socket::emit).
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.of("/").emit(event, data)
    }

    /// Sends an event that has a type of its own to everyone in the main namespace, on all servers.
    pub fn emit_event<E: EventType + Serialize>(&self, event: &E) -> Result<(), SerializeError> {
        self.of("/").emit_event(event)
    }

    /// A value that was given to [`ServerBuilder::state`], by its type; none if there is none of it.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.inner().namespaces.setup().states.get()
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
    /// In an axum app it is the service of one route, the [`path`](ServerBuilder::path) with a slash at its end. A layer tells it who the client
    /// is, by a [`PeerAddr`](crate::PeerAddr).
    ///
    /// ```no_run
    /// use std::net::SocketAddr;
    ///
    /// use axum::Router;
    /// use axum::extract::{ConnectInfo, Request};
    /// use axum::middleware::{Next, from_fn};
    /// use axum::response::Response;
    /// use axum::routing::get;
    /// use synapse_socket::{PeerAddr, Server, listen};
    ///
    /// async fn tell_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    ///     request.extensions_mut().insert(PeerAddr(peer));
    ///     next.run(request).await
    /// }
    ///
    /// async fn run(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    ///     let app = Router::new()
    ///         .route("/hello", get(|| async { "hello" }))
    ///         .route_service("/socket.io/", io.service())
    ///         .layer(from_fn(tell_peer))
    ///         .into_make_service_with_connect_info::<SocketAddr>();
    ///     axum::serve(listen("0.0.0.0:3000".parse()?)?, app).await?;
    ///     Ok(())
    /// }
    /// ```
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
    /// Sockets end with the reason `server shutting down`. It takes 5 s at most; clients that are left then are counted in the log.
    ///
    /// The listener has to go on meanwhile: clients that poll come back for what is still to be delivered.
    ///
    /// ```no_run
    /// # use synapse_socket::{Server, listen, serve};
    /// # async fn terminated() {}
    /// # async fn example(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    /// let closed = async {
    ///     terminated().await;
    ///     io.close().await;
    /// };
    /// serve(listen("0.0.0.0:3000".parse()?)?, io.service(), io.config().limits, closed).await?;
    /// # Ok(())
    /// # }
    /// ```
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
        for namespace in self.inner().namespaces.all() {
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
    pub(crate) namespaces: Arc<Namespaces>,
    hooks: Hooks,
}

impl ServerInner {
    pub(crate) fn limits(&self) -> &SocketLimits {
        &self.namespaces.setup().limits
    }

    pub(crate) fn parser(&self) -> Parser {
        self.namespaces.setup().parser
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
