//! From a QUIC connection to a session: the request, the stream, and the first packet on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use quinn::{ConnectionError, Incoming};
use serde_json::Value;
use synapse_protocol::engine::{Packet, Version, decode_packet};
use synapse_protocol::websocket::{Decoder, Limits, Message, Role};
use synapse_protocol::{SessionId, query_pairs};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use wtransport_proto::session::{SessionRequest, SessionResponse};

use super::h3::{H3Error, Session};
use super::stream::FrameStream;
use crate::application::Application;
use crate::config::EngineConfig;
use crate::connection::{Connection, TransportKind};
use crate::dialect::Dialect;
use crate::refusal::Refused;
use crate::request::PeerAddr;
use crate::service::{EngineService, is_answered};
use crate::stream::WebSocketStream;
use crate::upgrade;

/// A client that opens or takes over a session has nothing long to say before.
const FIRST_PACKET_BYTES_MAX: usize = 4096;

/// Why no session was opened. The client gets no more than the end of its connection, or a status.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("no session was opened in time")]
    Timeout,
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    H3(#[from] H3Error),
    #[error(transparent)]
    Stream(#[from] io::Error),
    #[error("the path is not the engine's")]
    NotFound,
    #[error("the first packet is not `0`")]
    BadFirstPacket,
    #[error("refused: {0}")]
    Refused(#[from] Refused),
}

/// What the first packet on the stream asks for.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// `0`: a session of its own.
    Open,
    /// `0{"sid":"…"}`: to take over a session that polls.
    Upgrade(SessionId),
}

/// Opens the session that a client comes for, or lets it take one over.
pub(super) async fn open<A: Application>(service: EngineService<A>, incoming: Incoming) {
    let peer = incoming.remote_address();
    let wait = service.core.config.timing.upgrade_timeout;
    let arrived = timeout(wait, arrive(&service, incoming)).await;
    let opened = match arrived.unwrap_or(Err(OpenError::Timeout)) {
        Ok(arrived) => go_on(&service, arrived).await,
        Err(error) => Err(error),
    };
    if let Err(error) = opened {
        tracing::debug!(%error, %peer, "failed to open a WebTransport session");
    }
}

/// A client that has said what it wants.
struct Arrived {
    request: Parts,
    stream: FrameStream,
    first: First,
    /// Frames behind the first one.
    rest: Bytes,
}

async fn arrive<A: Application>(
    service: &EngineService<A>,
    incoming: Incoming,
) -> Result<Arrived, OpenError> {
    let connection = incoming.await?;
    let peer = connection.remote_address();
    let (mut session, request) = Session::accept(connection).await?;
    let is_ours = |parts: &Parts| is_answered(parts.uri.path(), &service.core.config);
    let Some(parts) = parts(&request, peer).filter(is_ours) else {
        session.refuse(&SessionResponse::not_found()).await;
        return Err(OpenError::NotFound);
    };
    if let Err(refused) = check(&service.core.config, &parts) {
        session.refuse(&SessionResponse::forbidden()).await;
        return Err(service.refuse(&parts, &refused).clone().into());
    }
    session.respond(&SessionResponse::ok()).await?;
    let both = session.accept_stream().await?;
    let message_bytes_max = service.core.config.limits.message_bytes_max;
    let mut stream = FrameStream::new(session, both, message_bytes_max);
    let (first, rest) = read_first(&mut stream).await?;
    Ok(Arrived {
        request: parts,
        stream,
        first,
        rest,
    })
}

/// Whether the request may go on: its origin, and its query as far as it has one.
fn check(config: &EngineConfig, parts: &Parts) -> Result<(), Refused> {
    for (name, value) in query_pairs(parts.uri.query().unwrap_or_default()) {
        match (name.as_str(), value.as_str()) {
            ("transport", "webtransport") | ("EIO", "4") => (),
            ("transport", _) => return Err(Refused::UnknownTransport),
            ("EIO", _) => return Err(Refused::UnsupportedProtocolVersion),
            (_, _) => (),
        }
    }
    let is_allowed = config
        .cors
        .as_ref()
        .is_none_or(|cors| cors.allows(&parts.headers));
    if is_allowed {
        Ok(())
    } else {
        Err(Refused::Forbidden("Forbidden".to_owned()))
    }
}

/// The request as HTTP/1.1 would have it, so that applications find what they look for.
fn parts(request: &SessionRequest, peer: SocketAddr) -> Option<Parts> {
    let (mut parts, ()) = http::Request::get(request.path())
        .body(())
        .ok()?
        .into_parts();
    let authority = HeaderValue::from_str(request.authority()).ok()?;
    parts.headers.insert(HOST, authority);
    for (name, value) in request.headers().as_ref() {
        // What begins with a colon is the request line of HTTP/3.
        if !name.starts_with(':') {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            parts
                .headers
                .insert(name, HeaderValue::from_str(value).ok()?);
        }
    }
    parts.extensions.insert(PeerAddr(peer));
    Some(parts)
}

async fn read_first(stream: &mut FrameStream) -> Result<(First, Bytes), OpenError> {
    let limits = Limits {
        message_bytes_max: FIRST_PACKET_BYTES_MAX,
        fragments_max: 1,
    };
    let mut decoder = Decoder::new(Role::Server);
    let mut chunk = [0; 512];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let (taken, message) = decoder
            .decode(&mut chunk[..read], &limits)
            .map_err(|_| OpenError::BadFirstPacket)?;
        if let Some(message) = message {
            let first = first_of(&message).ok_or(OpenError::BadFirstPacket)?;
            return Ok((first, Bytes::copy_from_slice(&chunk[taken..read])));
        }
    }
}

fn first_of(message: &Message<'_>) -> Option<First> {
    let Message::Text(text) = message else {
        return None;
    };
    match decode_packet(text).ok()? {
        Packet::Open("") => Some(First::Open),
        Packet::Open(data) => {
            let data: Value = serde_json::from_str(data).ok()?;
            let sid = data.get("sid")?.as_str()?;
            sid.parse().ok().map(First::Upgrade)
        }
        Packet::Close
        | Packet::Ping(_)
        | Packet::Pong(_)
        | Packet::Message(_)
        | Packet::Upgrade
        | Packet::Noop => None,
    }
}

/// Goes on with what the client wants; it is told by the end of its connection if it cannot be.
async fn go_on<A: Application>(
    service: &EngineService<A>,
    arrived: Arrived,
) -> Result<(), OpenError> {
    let Arrived {
        request,
        stream,
        first,
        rest,
    } = arrived;
    let runtime = &service.core.runtime;
    let transport = TransportKind::WebTransport;
    let stream = WebSocketStream::Boxed(Box::new(stream));
    let refuse = |refused| service.refuse(&request, &refused).clone();
    match first {
        First::Open => {
            let admitted = service.admit(&request).await.map_err(refuse)?;
            if let Some(driver) =
                service.start_stream(admitted, transport, &Dialect::V4, stream, &rest, None)
            {
                runtime.spawn(driver);
            }
        }
        First::Upgrade(id) => {
            let connection = upgradable(service, id).map_err(refuse)?;
            let opened = std::future::ready(Ok::<_, io::Error>((stream, rest)));
            runtime.spawn(upgrade::probe(
                connection,
                transport,
                Dialect::V4.binary,
                opened,
                None,
            ));
        }
    }
    Ok(())
}

/// The session of that id, which is being probed from then on.
fn upgradable<A>(service: &EngineService<A>, id: SessionId) -> Result<Arc<Connection>, Refused> {
    let core = &service.core;
    let connection = core.sessions.find(id).ok_or(Refused::UnknownSession)?;
    // Version 3 is older than WebTransport.
    let started = core.config.allow_upgrades
        && connection.version() == Version::V4
        && connection.lock().session.start_probe().is_ok();
    if started {
        Ok(connection)
    } else {
        Err(Refused::BadRequest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_packet_with_or_without_a_session_id_comes_first() {
        let id = SessionId::from_random([7; 15]);
        let upgrade = format!("0{{\"sid\":\"{}\"}}", id.text().as_str());
        for (text, expected) in [
            ("0", Some(First::Open)),
            (upgrade.as_str(), Some(First::Upgrade(id))),
            ("", None),
            ("1", None),
            ("2probe", None),
            ("40", None),
            ("5", None),
            ("0x", None),
            ("0null", None),
            ("0{}", None),
            (r#"0{"sid":1}"#, None),
            (r#"0{"sid":"__proto__"}"#, None),
        ] {
            assert_eq!(first_of(&Message::Text(text)), expected, "{text}");
        }
        assert_eq!(first_of(&Message::Binary(b"0")), None);
    }
}
