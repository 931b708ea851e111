//! The UDP socket that clients of WebTransport come to.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::Semaphore;

use super::certificate::Certificate;
use super::session;
use crate::application::Application;
use crate::config::Timing;
use crate::connection::TransportKind;
use crate::service::EngineService;

/// One socket serves every client, so bursts of all of them have to fit in; the kernel may allow less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Streams that a client may have open: the one that asks for the session and the one of its packets, and as many to spare.
const BIDI_STREAMS_MAX: u32 = 4;
/// HTTP/3 takes three, for settings and header compression; browsers open others to see whether they are ignored.
const UNI_STREAMS_MAX: u32 = 8;
/// Engine.IO has no use for datagrams, but browsers insist that they could be sent.
const DATAGRAM_BYTES: usize = 2048;
/// Bytes of a client that are kept before it has been looked at.
const INCOMING_BYTES: u64 = 16 * 1024;
/// Browsers give a QUIC connection up after 30 s without a packet, and so do routers.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// QUIC gives a client up only after Engine.IO should have.
const IDLE_MARGIN: Duration = Duration::from_secs(10);
/// How long clients that were told may take to go once the listener stops.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// What one client may cost over QUIC, beyond what every session may.
#[derive(Clone, Copy, Debug)]
pub struct QuicLimits {
    /// Most clients whose session is being opened. Default: 1,024. Further ones are refused; from half of it on, a client has to prove
    /// its address first.
    pub opening_max: u32,
    /// Bytes that a client may send before they have been read. Default: 256 KiB. It waits then, so a connection of long latency gets
    /// this much in each round trip.
    pub receive_bytes_max: u32,
    /// Bytes that are sent before the client has confirmed them. Default: 256 KiB. What is more waits in the outbox.
    pub send_bytes_max: u32,
}

impl Default for QuicLimits {
    fn default() -> Self {
        Self {
            opening_max: 1_024,
            receive_bytes_max: 256 * 1024,
            send_bytes_max: 256 * 1024,
        }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The engine's settings leave WebTransport out.
    #[error("webtransport is not among the transports of the engine")]
    NotOffered,
    /// The certificate cannot be used, or the key is not its own.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] quinn::rustls::Error),
    /// The address cannot be listened on.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A UDP socket with a certificate, whose clients belong to one engine. Made by [`listen`].
pub struct Listener<A> {
    endpoint: Endpoint,
    service: EngineService<A>,
    limits: QuicLimits,
}

/// Listens on an address for the clients of a service, with the certificate that they are shown.
///
/// ```no_run
/// # use synapse_engine::{Application, EngineService, webtransport::{self, Certificate}};
/// # async fn example<A: Application>(service: EngineService<A>) -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = Certificate::from_pem(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// let listener = webtransport::listen("[::]:443".parse()?, &certificate, service)?;
/// listener.serve(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a tokio runtime.
pub fn listen<A: Application>(
    address: SocketAddr,
    certificate: &Certificate,
    service: EngineService<A>,
) -> Result<Listener<A>, ListenError> {
    let config = &service.core.config;
    if !config.transports.contains(TransportKind::WebTransport) {
        return Err(ListenError::NotOffered);
    }
    let limits = config.quic;
    let config = server_config(certificate, &config.timing, limits)?;
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        Some(config),
        bind(address)?,
        Arc::new(TokioRuntime),
    )?;
    Ok(Listener {
        endpoint,
        service,
        limits,
    })
}

impl<A: Application> Listener<A> {
    /// The address, with the port that was chosen if none was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Shows another certificate to those who come from now on.
    pub fn replace_certificate(&self, certificate: &Certificate) -> Result<(), ListenError> {
        let timing = &self.service.core.config.timing;
        let config = server_config(certificate, timing, self.limits)?;
        self.endpoint.set_server_config(Some(config));
        Ok(())
    }

    /// Opens sessions until `shutdown` resolves. Then further clients are refused, and those that are there get up to five seconds to end:
    /// so let `shutdown` close the engine, which tells them.
    pub async fn serve(&self, shutdown: impl Future<Output = ()>) {
        let opening_max = self.limits.opening_max as usize;
        let opening = Arc::new(Semaphore::new(opening_max));
        let mut shutdown = pin!(shutdown);
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                () = &mut shutdown => break,
            };
            let Some(incoming) = incoming else { break };
            let is_crowded = opening.available_permits() <= opening_max / 2;
            if is_crowded && incoming.may_retry() && !incoming.remote_address_validated() {
                // Whoever sends from an address that is not its own never sees what it has to come back with.
                let _ = incoming.retry();
            } else if let Ok(permit) = Arc::clone(&opening).try_acquire_owned() {
                let service = self.service.clone();
                tokio::spawn(async move {
                    session::open(service, incoming).await;
                    drop(permit);
                });
            } else {
                tracing::debug!(peer = %incoming.remote_address(), "refused a client: too many are being opened");
                incoming.refuse();
            }
        }
        self.endpoint.set_server_config(None);
        if tokio::time::timeout(SHUTDOWN_WAIT, self.endpoint.wait_idle())
            .await
            .is_err()
        {
            tracing::warn!("clients were still connected when the listener stopped");
        }
    }
}

impl<A> std::fmt::Debug for Listener<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({:?})", self.endpoint.local_addr().ok())
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // `::` then takes IPv4 as well.
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

fn server_config(
    certificate: &Certificate,
    timing: &Timing,
    limits: QuicLimits,
) -> Result<ServerConfig, ListenError> {
    let mut transport = TransportConfig::default();
    let idle = timing.ping_interval + timing.ping_timeout + IDLE_MARGIN;
    transport
        .max_concurrent_bidi_streams(BIDI_STREAMS_MAX.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(limits.receive_bytes_max.into())
        .receive_window(VarInt::from_u32(limits.receive_bytes_max.saturating_mul(2)))
        .send_window(limits.send_bytes_max.into())
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(0)
        // A time too long for QUIC to write is none.
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        .keep_alive_interval(Some(KEEP_ALIVE));
    let mut config = ServerConfig::with_crypto(Arc::new(certificate.tls_config()?));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(limits.opening_max as usize)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES * u64::from(limits.opening_max));
    Ok(config)
}
