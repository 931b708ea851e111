//! The options of a server under the names that Node's have.

use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use synapse_engine::{
    ConnectionError, Cookie, Cors, HttpCompression, PerMessageDeflate, RequestHead, TransportKind,
    TrustedProxies,
};
use synapse_protocol::SessionId;

use crate::hooks::AllowRequest;
use crate::server::ServerBuilder;

impl ServerBuilder {
    /// The path that is answered, with everything below it. Default: `/socket.io`. Node: `path`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.config.path = path.into();
        self
    }

    /// Whether the path needs its slash, as in `/socket.io/?EIO=4`. Default: true. With false, `/socket.io?EIO=4` is answered as well; other paths that
    /// begin with the same letters never are. Node: `addTrailingSlash`.
    pub fn add_trailing_slash(mut self, add: bool) -> Self {
        self.config.add_trailing_slash = add;
        self
    }

    /// The transports that are offered. Default: polling and WebSocket. Polling alone costs a request for each packet; without it, clients behind
    /// proxies that block WebSocket cannot connect. WebTransport takes the cargo feature `webtransport` and a listener of its own, as the example of
    /// that name shows. Node: `transports`.
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config.transports = transports.into_iter().collect();
        self
    }

    /// Whether a polling session may go on by WebSocket or WebTransport. Default: true. Node: `allowUpgrades`.
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.config.allow_upgrades = allow;
        self
    }

    /// Time between two pings. Default: 25 s. Shorter finds dead clients sooner and costs a packet each way. Node: `pingInterval`.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.timing.ping_interval = interval;
        self
    }

    /// Wait for the answer to a ping before the client counts as gone. Default: 20 s. Longer is kinder to mobile networks. Node: `pingTimeout`.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.config.timing.ping_timeout = timeout;
        self
    }

    /// A WebSocket that takes a polling session over has to prove itself within this time. Default: 10 s. The session goes on polling if it does not.
    /// Node: `upgradeTimeout`.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.config.timing.upgrade_timeout = timeout;
        self
    }

    /// A client has to join a namespace within this time. Default: 45 s. Shorter frees what clients hold that never join. Node: `connectTimeout`.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.timing.connect_timeout = timeout;
        self
    }

    /// Largest message of a client, in bytes. Default: 1,000,000. A larger body is answered 413, a larger WebSocket message closes with code 1009; as
    /// much memory as this may be held for each client. Node: `maxHttpBufferSize`.
    pub fn max_http_buffer_size(mut self, bytes: usize) -> Self {
        self.config.limits.message_bytes_max = bytes;
        self
    }

    /// When responses to polls are compressed, for clients that take gzip or deflate; none turns it off. Default: from 1,024 bytes on. Costs some 10 us of
    /// CPU a kilobyte, and a quarter of a megabyte for each thread that does it. What is sent without compression alone
    /// ([`Broadcaster::compress`](crate::Broadcaster::compress)) stays as it is. Node: `httpCompression`.
    pub fn http_compression(mut self, compression: impl Into<Option<HttpCompression>>) -> Self {
        self.config.http_compression = compression.into();
        self
    }

    /// Whether WebSocket messages are compressed for clients that offer it; none turns it off. Default: none. What it costs is told at
    /// [`PerMessageDeflate`]. Node: `perMessageDeflate`.
    pub fn per_message_deflate(mut self, deflate: impl Into<Option<PerMessageDeflate>>) -> Self {
        self.config.per_message_deflate = deflate.into();
        self
    }

    /// Whether clients of Socket.IO 2 are served, and those that poll by JSONP. Default: no. What it costs is told at
    /// [`EngineConfig::allow_eio3`](crate::EngineConfig::allow_eio3). Node: `allowEIO3`.
    pub fn allow_eio3(mut self, allow: bool) -> Self {
        self.config.allow_eio3 = allow;
        self
    }

    /// The cookie that a polling handshake sets, for balancers that keep a client at its server by it. Default: none. Node: `cookie`.
    ///
    /// # Panics
    /// When its name, path or domain cannot stand in a cookie.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        assert!(
            cookie.is_valid(),
            "{cookie:?} cannot be written as a cookie"
        );
        self.config.cookie = Some(cookie);
        self
    }

    /// Which foreign pages may connect. Default: none is named, so browsers let pages of other origins use WebSocket only. Unlike Node, which leaves
    /// it to browsers, the server refuses pages of other origins itself once some are named. Node: `cors`.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.config.cors = Some(cors);
        self
    }

    /// Proxies whose word about a client's address is taken, for the handshake and for limits. Default: none. Node leaves it to the application.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.config.trusted_proxies = Some(proxies);
        self
    }

    /// Decides which handshakes go on, before anything is opened for them. The text of a refusal is sent to the client with status 403. Default: all do.
    /// It must not wait: see [`allow_request_async`](Self::allow_request_async). Node: `allowRequest`.
    pub fn allow_request(
        mut self,
        decide: impl Fn(&RequestHead) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.allow_request = Some(AllowRequest::AtOnce(Box::new(decide)));
        self
    }

    /// Decides which handshakes go on, by asking others. The handshake waits, for at most
    /// [`allow_request_timeout`](crate::Limits::allow_request_timeout) (10 s), and is answered 503 after that; as many wait at a time as
    /// [`allow_requests_max`](crate::Limits::allow_requests_max) says. What the decision needs of the request is taken out before it begins to wait. Costs
    /// an allocation for each handshake. Node: `allowRequest`.
    ///
    /// ```
    /// # async fn is_known(token: &str) -> bool { !token.is_empty() }
    /// let builder = synapse_socket::Server::builder().allow_request_async(|request| {
    ///     let token = request.header("authorization").unwrap_or_default().to_owned();
    ///     async move { is_known(&token).await.then_some(()).ok_or("who are you?".to_owned()) }
    /// });
    /// # drop(builder);
    /// ```
    pub fn allow_request_async<F>(
        mut self,
        decide: impl Fn(&RequestHead) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let decide =
            move |request: &RequestHead| -> crate::hooks::Decision { Box::pin(decide(request)) };
        self.hooks.allow_request = Some(AllowRequest::Later(Box::new(decide)));
        self
    }

    /// Makes the ids of sessions, for balancers that find a server by them. Default: 120 random bits. Node: `generateId`, whose ids may be any text; here an
    /// id is 20 characters of base64url, which every session holds in 16 bytes.
    ///
    /// Whoever knows an id speaks as its client, so most of it has to be random; and none may be given twice. While its session is there, a second
    /// handshake with the same id is refused.
    ///
    /// ```
    /// use synapse_socket::{Server, SessionId};
    ///
    /// # fn random() -> [u8; 15] { [7; 15] }
    /// let server_number = 3;
    /// let builder = Server::builder().generate_id(move |_request| {
    ///     let mut bytes: [u8; 15] = random();
    ///     bytes[0] = server_number;
    ///     SessionId::from_random(bytes)
    /// });
    /// # drop(builder);
    /// ```
    pub fn generate_id(
        mut self,
        generate: impl Fn(&RequestHead) -> SessionId + Send + Sync + 'static,
    ) -> Self {
        self.hooks.generate_id = Some(Box::new(generate));
        self
    }

    /// Adds headers to the response of each handshake, by polling or by WebSocket. It must not wait. Node: the event `initial_headers`.
    ///
    /// ```
    /// let builder = synapse_socket::Server::builder().initial_headers(|_request, headers| {
    ///     headers.insert("x-server", "eu-1".parse().expect("a header"));
    /// });
    /// # drop(builder);
    /// ```
    pub fn initial_headers(
        mut self,
        add: impl Fn(&Parts, &mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.initial_headers = Some(Box::new(add));
        self
    }

    /// Adds headers to every response that is no refusal: handshakes (after [`initial_headers`](Self::initial_headers)), polls, posts and upgrades. It must
    /// not wait. Node: the event `headers`.
    pub fn headers(mut self, add: impl Fn(&Parts, &mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.hooks.headers = Some(Box::new(add));
        self
    }

    /// Is told of each request that is refused, to count or to log it. It must not wait. Node: the event `connection_error`.
    pub fn on_connection_error(
        mut self,
        tell: impl Fn(&Parts, &ConnectionError) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.connection_error = Some(Box::new(tell));
        self
    }
}
