//! From an HTTP request to a WebSocket: opening a session by it, or taking a polling session over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use synapse_protocol::engine::v3::BinaryForm;
use synapse_protocol::engine::{Packet, decode_packet};
use synapse_protocol::websocket::{
    self, Agreement, Decoder, Message, Opcode, PerMessageDeflate, Role, accept_key,
};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connection::{Connection, TransportKind};
use crate::state::Link;
use crate::stream::WebSocketStream;

/// How often a pending poll is answered while the client waits for it to end before it upgrades.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);
/// A probing client has nothing long to say.
const PROBE_BUFFER_BYTES: usize = 4096;

/// What a client needs to know to speak WebSocket with us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) key: String,
    /// How messages are compressed, if they are.
    pub(crate) deflate: Option<Agreement>,
}

/// Why a request is not a WebSocket handshake that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another version than 13.
    Version,
    /// Something else that RFC 6455 asks for is missing.
    Malformed,
}

/// Whether the request asks for any upgrade of its connection.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && has_token(headers, CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: http::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Checks the handshake of RFC 6455, section 4.2.1.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    deflate: Option<PerMessageDeflate>,
) -> Result<Accept, Refusal> {
    if method != Method::GET || !has_token(headers, UPGRADE, "websocket") {
        return Err(Refusal::Malformed);
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version.as_bytes() != b"13")
    {
        return Err(Refusal::Version);
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .ok_or(Refusal::Malformed)?;
    accept_key(key)
        .map(|key| Accept {
            key,
            deflate: deflate.and_then(|deflate| agree(deflate, headers)),
        })
        .map_err(|_| Refusal::Malformed)
}

fn agree(deflate: PerMessageDeflate, headers: &HeaderMap) -> Option<Agreement> {
    let offers = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
    // What is not text is as malformed as an empty header.
    deflate.accept(offers.map(|offer| offer.to_str().unwrap_or_default()))
}

/// The decoder of a connection that has agreed on this.
pub(crate) fn decoder(deflate: Option<Agreement>) -> Decoder {
    let decoder = Decoder::new(Role::Server);
    match deflate {
        Some(_) => decoder.with_deflate(),
        None => decoder,
    }
}

/// Takes the stream out of the HTTP server, with the bytes that it has read already. A TCP stream is taken as it is, however the
/// application accepted it, so that broadcasts can write it directly.
pub(crate) async fn take_stream(
    on_upgrade: OnUpgrade,
) -> Result<(WebSocketStream, Bytes), hyper::Error> {
    let upgraded = on_upgrade.await?;
    let parts = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (parts.io, parts.read_buf),
        // `axum::serve` and others let hyper-util find the version of HTTP first, which wraps the stream.
        Err(upgraded) => match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (parts.io, parts.read_buf),
            Err(upgraded) => return Ok((WebSocketStream::Boxed(boxed(upgraded)), Bytes::new())),
        },
    };
    let stream = parts.0.into_inner();
    // Without it a small packet waits for the acknowledgement of the one before, 40 ms and more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    Ok((WebSocketStream::Tcp(stream), parts.1))
}

fn boxed(upgraded: Upgraded) -> crate::stream::BoxedStream {
    Box::new(TokioIo::new(upgraded))
}

/// A WebSocket that takes a polling session over.
pub(crate) struct Handover {
    pub(crate) stream: WebSocketStream,
    pub(crate) decoder: Decoder,
    pub(crate) leftover: Option<Box<[u8]>>,
    pub(crate) deflate: Option<Agreement>,
}

/// The session has not gone over to the WebSocket.
struct ProbeFailed;

/// Lets a stream prove itself (`2probe`, `3probe`, `5`) and take the session over. If it does not, the session goes on polling.
pub(crate) async fn probe<E>(
    connection: Arc<Connection>,
    transport: TransportKind,
    binary: BinaryForm,
    opening: impl Future<Output = Result<(WebSocketStream, Bytes), E>>,
    deflate: Option<Agreement>,
) {
    let wait = connection.core().config.timing.upgrade_timeout;
    let attempt = async {
        let (stream, read) = opening.await.map_err(|_| ProbeFailed)?;
        Probe {
            connection: &connection,
            decoder: decoder(deflate),
            stream,
            deflate,
        }
        .run(read)
        .await
    };
    match timeout(wait, attempt).await {
        Ok(Ok(handover)) => take_over(&connection, transport, binary, handover),
        Ok(Err(ProbeFailed)) | Err(_) => connection.lock().session.abandon_probe(),
    }
}

fn take_over(
    connection: &Connection,
    transport: TransportKind,
    binary: BinaryForm,
    handover: Handover,
) {
    let mut state = connection.lock();
    if state.session.complete_upgrade().is_err() {
        return;
    }
    state.streamed_by = transport;
    connection.take_binary_as(binary);
    if let Link::Polling(polling) = &mut state.link {
        polling.handover = Some(Box::new(handover));
        polling.release_poll();
    }
    state.wake_task();
    drop(state);
    connection
        .core()
        .counters
        .upgraded
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

struct Probe<'a> {
    connection: &'a Connection,
    decoder: Decoder,
    stream: WebSocketStream,
    deflate: Option<Agreement>,
}

/// What the probing client said.
enum Said {
    Probe,
    Upgrade,
}

impl Probe<'_> {
    async fn run(mut self, read: Bytes) -> Result<Handover, ProbeFailed> {
        let mut buffer = read.to_vec();
        let Said::Probe = self.next(&mut buffer).await? else {
            return Err(ProbeFailed);
        };
        let mut answer = Vec::new();
        websocket::put_frame(&mut answer, Opcode::Text, b"3probe");
        self.stream
            .write_all(&answer)
            .await
            .map_err(|_| ProbeFailed)?;

        let mut noops = interval(NOOP_INTERVAL);
        noops.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let connection = self.connection;
        let answer_polls = async {
            loop {
                noops.tick().await;
                let mut state = connection.lock();
                if let Link::Polling(polling) = &mut state.link
                    && polling.has_poll()
                {
                    polling.release_poll();
                }
            }
        };
        let said = tokio::select! {
            said = self.next(&mut buffer) => said?,
            () = answer_polls => return Err(ProbeFailed),
        };
        match said {
            Said::Upgrade => {
                let leftover = (!buffer.is_empty()).then(|| buffer.into_boxed_slice());
                Ok(Handover {
                    stream: self.stream,
                    decoder: self.decoder,
                    leftover,
                    deflate: self.deflate,
                })
            }
            Said::Probe => Err(ProbeFailed),
        }
    }

    /// The next packet; `buffer` holds what was read and is not decoded yet. Only ever raced against the end of the whole probe.
    async fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Said, ProbeFailed> {
        let limits = websocket::Limits {
            message_bytes_max: PROBE_BUFFER_BYTES,
            fragments_max: 16,
        };
        loop {
            while !buffer.is_empty() {
                let mut pong = Vec::new();
                let (taken, said) = match self.decoder.decode(buffer, &limits) {
                    Err(error) => {
                        websocket::put_close(&mut pong, error.close_code(), "");
                        let _ = self.stream.write_all(&pong).await;
                        return Err(ProbeFailed);
                    }
                    Ok((taken, None)) => (taken, None),
                    Ok((taken, Some(message))) => (taken, interpret(&message, &mut pong)?),
                };
                buffer.drain(..taken);
                if !pong.is_empty() {
                    self.stream
                        .write_all(&pong)
                        .await
                        .map_err(|_| ProbeFailed)?;
                }
                if let Some(said) = said {
                    return Ok(said);
                }
            }
            let mut chunk = [0; 512];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Err(ProbeFailed),
                Ok(read) => buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

fn interpret(message: &Message<'_>, pong: &mut Vec<u8>) -> Result<Option<Said>, ProbeFailed> {
    match message {
        Message::Text(text) => match decode_packet(text) {
            Ok(Packet::Ping("probe")) => Ok(Some(Said::Probe)),
            Ok(Packet::Upgrade) => Ok(Some(Said::Upgrade)),
            Ok(
                Packet::Open(_)
                | Packet::Close
                | Packet::Ping(_)
                | Packet::Pong(_)
                | Packet::Message(_)
                | Packet::Noop,
            )
            | Err(_) => Err(ProbeFailed),
        },
        Message::Ping(data) => {
            websocket::put_frame(pong, Opcode::Pong, data);
            Ok(None)
        }
        Message::Pong(_) => Ok(None),
        Message::Binary(_) | Message::Close(_) => Err(ProbeFailed),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = headers(&GOOD);
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn the_handshake_of_the_rfc_is_answered() {
        assert!(is_upgrade(&headers(&GOOD)));
        let accept = check(&Method::GET, &headers(&GOOD), None).unwrap();
        assert_eq!(accept.key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn broken_handshakes_are_refused() {
        assert_eq!(
            check(&Method::POST, &headers(&GOOD), None),
            Err(Refusal::Malformed)
        );
        for (name, value, refusal) in [
            ("upgrade", "h2c", Refusal::Malformed),
            ("sec-websocket-version", "8", Refusal::Version),
            ("sec-websocket-key", "", Refusal::Malformed),
            ("sec-websocket-key", "short", Refusal::Malformed),
        ] {
            assert_eq!(
                check(&Method::GET, &with(name, value), None),
                Err(refusal),
                "{name}: {value}"
            );
        }
        assert!(!is_upgrade(&with("connection", "keep-alive")));
    }

    #[test]
    fn compression_is_agreed_on_only_where_it_is_configured_and_offered() {
        let offered = with(
            "sec-websocket-extensions",
            "permessage-deflate; server_max_window_bits=10",
        );
        let agreed = |headers: &HeaderMap, deflate| {
            let accept = check(&Method::GET, headers, deflate).unwrap();
            accept.deflate.map(|agreement| agreement.window_bits())
        };
        let configured = Some(PerMessageDeflate::default());
        assert_eq!(agreed(&offered, configured), Some(10));
        assert_eq!(agreed(&offered, None), None);
        assert_eq!(agreed(&headers(&GOOD), configured), None);
        let mut odd = offered;
        odd.append(
            "sec-websocket-extensions",
            HeaderValue::from_bytes(b"caf\xe9").unwrap(),
        );
        assert_eq!(agreed(&odd, configured), None);
    }

    /// The look of the heartbeat may come between the end of a probe's time and the timer of its task. A second probe must not begin then:
    /// the first one's task would end it.
    #[tokio::test]
    async fn a_probe_s_own_task_alone_ends_it() {
        let connection = crate::connection::testing::polling();
        assert_eq!(connection.lock().session.start_probe(), Ok(()));
        let core = connection.core();
        let late = core.clock.now().after(core.config.timing.upgrade_timeout);
        connection.handle_timeout(late, &mut crate::batch::Batch::default());
        assert!(connection.lock().session.start_probe().is_err());
        connection.lock().session.abandon_probe();
        assert_eq!(connection.lock().session.start_probe(), Ok(()));
    }

    /// The stream that an upgrade gives when hyper-util's server, which finds the version of HTTP by itself, has accepted the connection.
    #[tokio::test]
    async fn a_tcp_stream_is_taken_as_it_is_from_servers_that_wrap_it() {
        use http_body_util::Empty;
        use hyper::service::service_fn;
        use hyper_util::rt::TokioExecutor;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nrest")
            .await
            .unwrap();
        let (sender, mut taken) = tokio::sync::mpsc::channel(1);
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let (upgrade, sender) = (hyper::upgrade::on(&mut request), sender.clone());
            tokio::spawn(async move {
                sender
                    .send(take_stream(upgrade).await.unwrap())
                    .await
                    .is_ok()
            });
            let response = http::Response::builder()
                .status(101)
                .header("upgrade", "websocket")
                .header("connection", "upgrade");
            async move { response.body(Empty::<Bytes>::new()) }
        });
        let (accepted, _) = listener.accept().await.unwrap();
        let builder = auto::Builder::new(TokioExecutor::new());
        builder
            .serve_connection_with_upgrades(TokioIo::new(accepted), service)
            .await
            .unwrap();
        let (stream, read) = taken.recv().await.unwrap();
        assert!(matches!(stream, WebSocketStream::Tcp(_)));
        assert_eq!(&read[..], b"rest");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
}
