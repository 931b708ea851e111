//! The engine as a tower service: answers handshakes, polls, posts and upgrades, on our own listener or inside a user's app.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SET_COOKIE, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::upgrade::OnUpgrade;
use synapse_protocol::SessionId;
use synapse_protocol::engine::v3::PayloadKind;
use synapse_protocol::engine::{Jsonp, Session, Version, decode_jsonp_body};
use synapse_protocol::websocket::{Agreement, Decoder, Opcode, Role, put_frame};

use crate::addresses::Place;
use crate::admission::Admitted;
use crate::application::Application;
use crate::compression::{Encoding, compress};
use crate::config::EngineConfig;
use crate::connection::{Connection, TransportKind};
use crate::core::Core;
use crate::dialect::Dialect;
use crate::driver::Driver;
use crate::polling::{Payload, PollRequest, Polling, PostRequest};
use crate::refusal::{Refused, answer, empty};
use crate::request::RequestHead;
use crate::state::Link;
use crate::stream::{ReadHalf, WebSocketStream};
use crate::upgrade::{self, Accept, Refusal};
use crate::verify::{Verified, verify};
use crate::{Body, BoxError};

const TEXT: &str = "text/plain; charset=UTF-8";
const BYTES: &str = "application/octet-stream";
const XSS_PROTECTION: HeaderName = HeaderName::from_static("x-xss-protection");

/// Answers the requests of one engine. Cloning it is cheap; every clone speaks for the same engine.
pub struct EngineService<A> {
    pub(crate) core: Arc<Core>,
    pub(crate) application: Arc<A>,
}

impl<A> Clone for EngineService<A> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            application: Arc::clone(&self.application),
        }
    }
}

impl<A, B> tower_service::Service<Request<B>> for EngineService<A>
where
    A: Application,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl<A: Application> EngineService<A> {
    async fn handle<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        if !is_answered(parts.uri.path(), &self.core.config) {
            return answer(StatusCode::NOT_FOUND, TEXT, "Not found");
        }
        if let Some(cors) = &self.core.config.cors
            && parts.method == Method::OPTIONS
        {
            let mut response = empty(StatusCode::NO_CONTENT);
            cors.apply_preflight(&parts.headers, response.headers_mut());
            return response;
        }
        let mut response = if upgrade::is_upgrade(&parts.headers) {
            self.handle_upgrade(&mut parts).await
        } else {
            self.handle_polling(&parts, body).await
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.add_headers(&parts.headers, response.headers_mut());
        }
        if matches!(
            response.status(),
            StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS
        ) {
            self.application.headers(&parts, response.headers_mut());
        }
        response
    }

    fn add_headers(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let agent = request
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        if agent.contains(";MSIE") || agent.contains("Trident/") {
            response.insert(XSS_PROTECTION, HeaderValue::from_static("0"));
        }
        if let Some(cors) = &self.core.config.cors {
            cors.apply(request, response);
        }
    }

    async fn handle_polling<B>(&self, parts: &Parts, body: B) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match verify(parts, false, &self.core.config, &self.core.sessions) {
            Err(refused) => self.refuse(parts, &refused).response(),
            Ok(Verified::Handshake(dialect)) => match self.open_polling(parts, &dialect).await {
                Ok(response) => response,
                Err(refused) => self.refuse(parts, &refused).response(),
            },
            Ok(Verified::Session {
                connection,
                dialect,
                ..
            }) => match parts.method {
                Method::GET => self.poll(connection, &dialect, &parts.headers).await,
                // A session that is over still tells its next poll so, but takes nothing more.
                Method::POST if connection.is_closed() => {
                    self.refuse(parts, &Refused::UnknownSession).response()
                }
                Method::POST => self.post(connection, &dialect, &parts.headers, body).await,
                // What the reference server answers to methods it has no use for.
                _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
            },
        }
    }

    pub(crate) fn refuse<'a>(&self, parts: &Parts, refused: &'a Refused) -> &'a Refused {
        self.count_refused(refused);
        self.application.refused(parts, &refused.to_error());
        refused
    }

    fn count_refused(&self, refused: &Refused) {
        self.core.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = %refused, "refused a request");
    }

    async fn open_polling(
        &self,
        parts: &Parts,
        dialect: &Dialect,
    ) -> Result<Response<Body>, Refused> {
        let Admitted { request, place } = self.admit(parts).await?;
        let id = self.session_id(&request).ok_or(Refused::Unavailable)?;
        let now = self.core.clock.now();
        let session =
            Session::open_polling(&self.core.config.timing, now).with_version(dialect.version, now);
        let connection = Connection::new(
            &self.core,
            id,
            request,
            session,
            Link::Polling(Box::<Polling>::default()),
        );
        connection.take_binary_as(dialect.binary);
        let client = self.application.open(&connection);
        let decoder = Decoder::new(Role::Server);
        let driver = Driver::new(Arc::clone(&connection), client, None, decoder, None);
        self.register(&connection, place)?;
        let open = format!("0{}", self.open_packet(id, TransportKind::Polling));
        self.core.runtime.spawn(driver);
        let mut frame = Vec::new();
        put_frame(&mut frame, Opcode::Text, open.as_bytes());
        let payload = Payload::new(&frame, connection.form(), true);
        let (body, content_type) = payload_body(payload, dialect.jsonp.as_ref());
        let mut response = answer(StatusCode::OK, content_type, body);
        let cookie = self.core.config.cookie.as_ref();
        if let Some(cookie) = cookie.and_then(|cookie| cookie.header(id)) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        self.application
            .initial_headers(parts, response.headers_mut());
        Ok(response)
    }

    /// Lets a session in that was admitted a while ago. Its driver is there already, so that the session ends with it if it is refused.
    fn register(&self, connection: &Arc<Connection>, place: Place) -> Result<(), Refused> {
        let limit = self.core.config.limits.sessions_max;
        self.core.sessions.insert(Arc::clone(connection), limit)?;
        place.keep();
        // An engine that closes either finds it in the table or has told before.
        if let Some(reason) = self.core.closing.get() {
            self.core.sessions.remove(connection);
            connection.close(*reason);
            return Err(Refused::Unavailable);
        }
        self.core.counters.opened.fetch_add(1, Ordering::Relaxed);
        let next = connection
            .lock()
            .session
            .poll_timeout(&self.core.config.timing);
        if let Some(at) = next {
            self.core
                .wheel
                .insert(connection.id(), at, self.core.clock.now());
        }
        Ok(())
    }

    /// The handshake's JSON: all five keys, in this order.
    fn open_packet(&self, id: SessionId, transport: TransportKind) -> String {
        let config = &self.core.config;
        let offers = |transport| config.transports.contains(transport);
        let upgrades = if transport != TransportKind::Polling || !config.allow_upgrades {
            "[]"
        } else {
            match (
                offers(TransportKind::WebSocket),
                offers(TransportKind::WebTransport),
            ) {
                (true, true) => r#"["websocket","webtransport"]"#,
                (true, false) => r#"["websocket"]"#,
                (false, true) => r#"["webtransport"]"#,
                (false, false) => "[]",
            }
        };
        format!(
            r#"{{"sid":"{}","upgrades":{},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            id.text().as_str(),
            upgrades,
            config.timing.ping_interval.as_millis(),
            config.timing.ping_timeout.as_millis(),
            config.limits.message_bytes_max,
        )
    }

    async fn poll(
        &self,
        connection: Arc<Connection>,
        dialect: &Dialect,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let Ok(poll) = PollRequest::start(connection) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let payload = match &dialect.jsonp {
            None => poll.await,
            Some(_) => poll.in_text().await,
        };
        let is_compressible = payload.is_compressible;
        let (payload, content_type) = payload_body(payload, dialect.jsonp.as_ref());
        let wanted = self.core.config.http_compression;
        let encoding = wanted
            .filter(|compression| is_compressible && payload.len() >= compression.threshold)
            .and_then(|_| Encoding::accepted(headers));
        let Some(encoding) = encoding else {
            return answer(StatusCode::OK, content_type, payload);
        };
        let (body, used) = compress(&self.core.runtime, payload, encoding).await;
        let mut response = answer(StatusCode::OK, content_type, body);
        if let Some(encoding) = used {
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, encoding.header());
        }
        response
    }

    async fn post<B>(
        &self,
        connection: Arc<Connection>,
        dialect: &Dialect,
        headers: &HeaderMap,
        body: B,
    ) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Ok(post) = PostRequest::start(connection) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let kind = match headers.get(CONTENT_TYPE) {
            Some(kind) if kind.as_bytes() == BYTES.as_bytes() => PayloadKind::Binary,
            Some(_) | None => PayloadKind::Text,
        };
        if kind == PayloadKind::Binary && dialect.version == Version::V4 {
            // Dropping the request closes the session: version 4 has no such bodies.
            return empty(StatusCode::BAD_REQUEST);
        }
        let limits = &self.core.config.limits;
        if announced_length(headers).is_some_and(|length| length > limits.message_bytes_max as u64)
        {
            post.refuse();
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let collect = Limited::new(body, limits.message_bytes_max).collect();
        match tokio::time::timeout(limits.request_body_timeout, collect).await {
            Ok(Ok(collected)) => {
                let bytes = collected.to_bytes();
                match &dialect.jsonp {
                    None => post.deliver(kind, bytes).await,
                    Some(_) => match decode_jsonp_body(&String::from_utf8_lossy(&bytes)) {
                        Some(payload) => {
                            post.deliver(PayloadKind::Text, payload.into()).await;
                        }
                        // A form without a payload says nothing.
                        None => post.refuse(),
                    },
                }
                answer(StatusCode::OK, "text/html", "ok")
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                post.refuse();
                let mut response = empty(StatusCode::PAYLOAD_TOO_LARGE);
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
            Ok(Err(_)) => empty(StatusCode::BAD_REQUEST),
            Err(_) => empty(StatusCode::REQUEST_TIMEOUT),
        }
    }

    async fn handle_upgrade(&self, parts: &mut Parts) -> Response<Body> {
        let verified = match verify(parts, true, &self.core.config, &self.core.sessions) {
            Ok(verified) => verified,
            Err(refused) => return self.refuse(parts, &refused).upgrade_response(),
        };
        let deflate = self.core.config.per_message_deflate;
        let accept = match upgrade::check(&parts.method, &parts.headers, deflate) {
            Ok(accept) => accept,
            Err(refusal) => return refuse_websocket(&refusal),
        };
        let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            return self.refuse(parts, &Refused::BadRequest).upgrade_response();
        };
        let mut response = switching_protocols(&accept);
        match verified {
            Verified::Handshake(dialect) => {
                let admitted = match self.admit(parts).await {
                    Ok(admitted) => admitted,
                    Err(refused) => return self.refuse(parts, &refused).upgrade_response(),
                };
                self.core.runtime.spawn(self.clone().open_websocket(
                    admitted,
                    dialect,
                    on_upgrade,
                    accept.deflate,
                ));
                self.application
                    .initial_headers(parts, response.headers_mut());
            }
            Verified::Session {
                connection,
                transport,
                dialect,
            } => {
                let started = transport == TransportKind::WebSocket
                    && self.core.config.allow_upgrades
                    && connection.lock().session.start_probe().is_ok();
                if !started {
                    return self.refuse(parts, &Refused::BadRequest).upgrade_response();
                }
                self.core.runtime.spawn(upgrade::probe(
                    connection,
                    transport,
                    dialect.binary,
                    upgrade::take_stream(on_upgrade),
                    accept.deflate,
                ));
            }
        }
        response
    }

    async fn open_websocket(
        self,
        admitted: Admitted,
        dialect: Dialect,
        on_upgrade: OnUpgrade,
        deflate: Option<Agreement>,
    ) {
        let Ok((stream, read)) = upgrade::take_stream(on_upgrade).await else {
            return;
        };
        // A task of its own: this one is as large as the handshake needs it, that one stays for as long as the session.
        let driver = self.start_stream(
            admitted,
            TransportKind::WebSocket,
            &dialect,
            stream,
            &read,
            deflate,
        );
        if let Some(driver) = driver {
            self.core.runtime.spawn(driver);
        }
    }

    pub(crate) fn start_stream(
        &self,
        Admitted { request, place }: Admitted,
        transport: TransportKind,
        dialect: &Dialect,
        stream: WebSocketStream,
        read: &Bytes,
        deflate: Option<Agreement>,
    ) -> Option<Driver<A::Client>> {
        let id = self.session_id(&request)?;
        let now = self.core.clock.now();
        let session = Session::open_websocket(&self.core.config.timing, now)
            .with_version(dialect.version, now);
        let (reader, link): (ReadHalf, Link) = stream.split();
        let connection = Connection::new(&self.core, id, request, session, link);
        connection.lock().streamed_by = transport;
        let open = format!("0{}", self.open_packet(id, transport));
        connection.take_binary_as(dialect.binary);
        connection.send_first(|out| put_frame(out, Opcode::Text, open.as_bytes()));
        if let Some(agreement) = deflate {
            connection.start_deflate(agreement);
        }
        let client = self.application.open(&connection);
        let leftover = (!read.is_empty()).then_some(&read[..]);
        let decoder = upgrade::decoder(deflate);
        let connected = Arc::clone(&connection);
        let driver = Driver::new(connected, client, Some(reader), decoder, leftover);
        if let Err(refused) = self.register(&connection, place) {
            self.count_refused(&refused);
            return None;
        }
        Some(driver)
    }

    fn session_id(&self, request: &RequestHead) -> Option<SessionId> {
        self.application
            .generate_id(request)
            .or_else(new_session_id)
    }
}

/// An id that cannot be guessed; none when the system has no randomness to give.
fn new_session_id() -> Option<SessionId> {
    let mut random = [0; 15];
    match getrandom::fill(&mut random) {
        Ok(()) => Some(SessionId::from_random(random)),
        Err(error) => {
            tracing::error!(%error, "failed to draw a session id");
            None
        }
    }
}

/// The body of an answer and its type.
fn payload_body(payload: Payload, jsonp: Option<&Jsonp>) -> (Bytes, &'static str) {
    match (payload.kind, jsonp) {
        (PayloadKind::Binary, _) => (payload.bytes.into(), BYTES),
        (PayloadKind::Text, None) => (payload.bytes.into(), TEXT),
        (PayloadKind::Text, Some(jsonp)) => {
            let payload = String::from_utf8_lossy(&payload.bytes);
            (jsonp.script(&payload).into(), TEXT)
        }
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn refuse_websocket(refusal: &Refusal) -> Response<Body> {
    let mut response = match refusal {
        Refusal::Malformed => answer(StatusCode::BAD_REQUEST, "text/html", "Bad request"),
        Refusal::Version => {
            let mut response = answer(
                StatusCode::UPGRADE_REQUIRED,
                "text/html",
                "Upgrade Required",
            );
            response.headers_mut().insert(
                http::header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
            response
        }
    };
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn switching_protocols(accept: &Accept) -> Response<Body> {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(key) = HeaderValue::from_str(&accept.key) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    if let Some(agreement) = accept.deflate
        && let Ok(extensions) = HeaderValue::from_str(&agreement.to_string())
    {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, extensions);
    }
    response
}

/// Whether a path is the engine's: its own with a slash after it or, if that is wanted, without.
pub(crate) fn is_answered(path: &str, config: &EngineConfig) -> bool {
    let own = config.path.strip_suffix('/').unwrap_or(&config.path);
    path.strip_prefix(own).is_some_and(|rest| {
        rest.starts_with('/') || (rest.is_empty() && !config.add_trailing_slash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_answered_with_everything_below_it() {
        for (own, path, strict, lax) in [
            ("/socket.io", "/socket.io/", true, true),
            ("/socket.io", "/socket.io", false, true),
            ("/socket.io/", "/socket.io/", true, true),
            ("/socket.io/", "/socket.io", false, true),
            ("/socket.io", "/socket.io/more", true, true),
            ("/socket.io", "/socket.iox", false, false),
            ("/socket.io", "/socket", false, false),
            ("/socket.io", "/x/socket.io/", false, false),
            ("/socket.io", "/SOCKET.IO/", false, false),
            ("/a/b", "/a/b/", true, true),
            ("/", "/", true, true),
            ("/", "/x", true, true),
        ] {
            for (add_trailing_slash, expected) in [(true, strict), (false, lax)] {
                let config = EngineConfig {
                    path: own.to_owned(),
                    add_trailing_slash,
                    ..EngineConfig::default()
                };
                assert_eq!(is_answered(path, &config), expected, "{own} {path}");
            }
        }
    }
}
