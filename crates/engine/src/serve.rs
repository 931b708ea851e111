//! Our own accept loop: plain TCP connections, each served by hyper until it becomes a WebSocket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower_service::Service;

use crate::Body;
use crate::config::Limits;
use crate::request::PeerAddr;

/// Connections the kernel keeps for us while a burst of them comes in.
const BACKLOG: i32 = 16_384;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long requests under way may take once the server stops.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// Listens on an address, with a backlog for many clients that come at once. Port 0 takes a free one; `[::]` takes IPv4 as well.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let listener = synapse_engine::listen("127.0.0.1:0".parse().expect("an address"))?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the address cannot be listened on, for instance because it is in use.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `::` then takes IPv4 as well.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves every connection of a listener until `shutdown` resolves, then lets requests that are under way end. WebSockets are not
/// waited for: they are the engine's to close, which is best done inside of `shutdown`, so that clients between two polls still get their last
/// packets. Requests that are under way then get 5 s.
///
/// Of the limits, those of a request's head and [`unread_timeout`](Limits::unread_timeout) are in force here; the others are the engine's own.
///
/// ```no_run
/// # use synapse_engine::{Application, Engine, EngineConfig, listen, serve};
/// # use synapse_protocol::CloseReason;
/// # async fn terminated() {}
/// # async fn example<A: Application>(engine: Engine<A>) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = listen("0.0.0.0:3000".parse()?)?;
/// let shutdown = async {
///     terminated().await;
///     engine.close(CloseReason::ServerShuttingDown, std::time::Duration::from_secs(5)).await;
/// };
/// serve(listener, engine.service(), engine.config().limits, shutdown).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// None at present: what fails at accepting a connection is tried again, which is logged.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.request_head_timeout)
        .max_headers(limits.request_headers_max)
        .max_buf_size(limits.request_head_bytes_max.max(8192));
    // Connections hear from the sender that it is time to end; the sender hears from them that the last one is gone.
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let service = TowerToHyperService::new(WithPeer {
            inner: service.clone(),
            peer,
        });
        let connection = http
            .serve_connection(TokioIo::new(prepare(stream, &limits)), service)
            .with_upgrades();
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let stop = async { drop(stopping.wait_for(|stop| *stop).await) };
            let served = tokio::select! {
                served = &mut connection => served,
                () = stop => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, %peer, "failed to serve a connection");
            }
        });
    }
    drop((listener, stopping));
    stop.send_replace(true);
    if tokio::time::timeout(SHUTDOWN_WAIT, stop.closed())
        .await
        .is_err()
    {
        tracing::warn!("requests were still under way when the server stopped");
    }
    Ok(())
}

fn prepare(stream: TcpStream, limits: &Limits) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    // A client that reads nothing of a large answer would otherwise keep it in our memory for as long as it likes: neither HTTP nor a
    // heartbeat ends that, and the kernel does it without a timer of ours.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(limits.unread_timeout))
    {
        tracing::debug!(%error, "failed to set TCP_USER_TIMEOUT");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = limits;
    stream
}

/// Whether an accept failed because of the connection that came, not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Tells the service who is at the other end.
#[derive(Clone)]
struct WithPeer<S> {
    inner: S,
    peer: SocketAddr,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for WithPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(PeerAddr(self.peer));
        self.inner.call(request)
    }
}
