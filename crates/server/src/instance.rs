//! One running server: its listener, its Socket.IO, its pages, its way to others, and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand::distr::Alphanumeric;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::bundle::{Bundle, BundleError};
use crate::config::{CorsOrigins, ProtocolConfig};
use crate::health::Health;
use crate::link::Link;
use crate::pages::{Facts, Pages};
use crate::relay::Relay;
use crate::router::Site;
use crate::socket_io::SocketIo;

/// A server that accepts clients.
pub(crate) struct Instance {
    health: Arc<Health>,
    socket_io: SocketIo,
    link: Link,
    shutdown: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
}

/// What distinguishes one server from another of the same process.
pub(crate) struct Plan {
    /// Name of the server.
    pub(crate) server_id: String,
    /// Its way to others.
    pub(crate) link: Link,
    /// The port of the other server of a demo.
    pub(crate) sibling: Option<u16>,
}

/// What servers of one process have in common.
pub(crate) struct Common {
    /// Events that are passed on.
    pub(crate) relay: Relay,
    /// Foreign pages that may connect.
    pub(crate) cors: CorsOrigins,
    /// Path, heartbeat and sizes.
    pub(crate) protocol: ProtocolConfig,
    /// Whether `/ready` follows Redis.
    pub(crate) ready_needs_redis: bool,
    /// The official client.
    pub(crate) bundle: Bundle,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "port {port} is in use on {host}: end the other program, or choose another port with PORT or --port"
    )]
    PortInUse { host: String, port: u16 },
    #[error("HOST: {host} cannot be resolved ({error})")]
    Resolve { host: String, error: io::Error },
    #[error("failed to listen on {host} port {port}: {error}")]
    Listen {
        host: String,
        port: u16,
        error: io::Error,
    },
    #[error(
        "the second server of the demo needs the port after {0}, and there is none: choose a lower one with PORT or --port"
    )]
    NoSecondPort(u16),
    #[error("SYNAPSE_CLIENT_DIR: {0}")]
    Bundle(#[from] BundleError),
    #[error("failed to watch for signals: {0}")]
    Signals(io::Error),
}

/// How long sessions get for their goodbye, requests under way included.
const CLOSE_WAIT: Duration = Duration::from_secs(7);
/// How long the way to other servers gets for what is left to be sent.
const LINK_WAIT: Duration = Duration::from_secs(2);

impl Instance {
    /// Starts to serve on a listener.
    pub(crate) fn start(listener: TcpListener, common: &Common, plan: Plan) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let Plan {
            server_id,
            link,
            sibling,
        } = plan;
        let socket_io = SocketIo::new(common, link.factory());
        let health = {
            let (link, socket_io) = (link.clone(), socket_io.clone());
            Health::new(
                server_id.clone(),
                common.ready_needs_redis,
                move || link.health(),
                move || socket_io.connections(),
            )
        };
        let path = common.protocol.path.clone();
        let pages = Pages::new(&Facts {
            server_id: &server_id,
            port: address.port(),
            sibling,
            relay: &common.relay.to_string(),
            path: &path,
        });
        let site = Site {
            path,
            health: Arc::clone(&health),
            pages,
            bundle: common.bundle.clone(),
        };
        let (shutdown, mut stopping) = watch::channel(false);
        let serving = tokio::spawn(socket_io.serve(listener, Arc::new(site), async move {
            // An error means that the instance is gone, which is a reason to stop as well.
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
        tracing::info!(server = server_id, url = url(address), relay = %common.relay, "Synapse {} is listening", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            health,
            socket_io,
            link,
            shutdown,
            serving,
        })
    }

    /// The way to other servers.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Refuses further clients, tells those that are here after what was sent to them before, stops listening, and leaves the other
    /// servers. Ends within ten seconds.
    pub(crate) async fn stop(self) {
        self.health.stop();
        let clients = self.socket_io.connections();
        tracing::info!(clients, "stopping");
        let goodbye = async {
            // The listener stays open meanwhile: a client between two polls has to come back for what is still to be delivered.
            self.socket_io.close().await;
            self.shutdown.send_replace(true);
            self.serving.await
        };
        match timeout(CLOSE_WAIT, goodbye).await {
            Ok(Ok(Ok(()))) => (),
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the listener failed"),
            Ok(Err(error)) => tracing::error!(%error, "the task of the listener failed"),
            Err(_) => tracing::warn!(
                clients = self.socket_io.connections(),
                "requests were still under way"
            ),
        }
        if timeout(LINK_WAIT, self.link.close()).await.is_err() {
            tracing::warn!("the way to other servers did not close in time");
        }
    }
}

/// Listens on the first address of a host that can be listened on.
pub(crate) async fn listen(host: &str, port: u16) -> Result<TcpListener, StartError> {
    let resolve = |error| StartError::Resolve {
        host: host.to_owned(),
        error,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in lookup_host((host, port)).await.map_err(resolve)? {
        match synapse::listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    let host = host.to_owned();
    if last.kind() == io::ErrorKind::AddrInUse {
        return Err(StartError::PortInUse { host, port });
    }
    Err(StartError::Listen {
        host,
        port,
        error: last,
    })
}

/// A name for a server that was given none.
pub(crate) fn random_server_id() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(12)
        .map(char::from)
        .collect()
}

/// Where a person on this machine finds a listener.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_differ() {
        let names: std::collections::HashSet<String> =
            (0..100).map(|_| random_server_id()).collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| name.len() == 12));
    }

    #[test]
    fn urls_can_be_opened_here() {
        for (address, expect) in [
            ("0.0.0.0:3000", "http://localhost:3000"),
            ("[::]:3000", "http://localhost:3000"),
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(url(address.parse().unwrap()), expect);
        }
    }
}
