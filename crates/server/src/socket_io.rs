//! Socket.IO as this server runs it: an application without code of its own, which passes on what the relay's rules name.

use std::io;
use std::sync::Arc;

use synapse::adapter::AdapterFactory;
use synapse::{
    Arguments, Cors, EngineConfig, ForwardedHeader, Limits, Origins, PerMessageDeflate, Server,
    Socket, Timing, TrustedProxies,
};
use tokio::net::TcpListener;

use crate::config::{CorsOrigins, ProtocolConfig};
use crate::instance::Common;
use crate::relay::{Receivers, Relay, Rule};
use crate::router::{Router, Site};

/// The Socket.IO side of one server.
#[derive(Clone)]
pub(crate) struct SocketIo {
    server: Server,
}

impl SocketIo {
    /// A Socket.IO server with its relay, joined to others by `adapter` if there is one. Has to be called within a tokio runtime.
    pub(crate) fn new(common: &Common, adapter: Option<Arc<dyn AdapterFactory>>) -> Self {
        let builder = Server::builder()
            .config(engine_config(&common.protocol, &common.cors))
            .parser(common.protocol.parser);
        let server = match adapter {
            Some(adapter) => builder.adapter(adapter).build(),
            None => builder.build(),
        };
        install(&server, &common.relay);
        Self { server }
    }

    /// Clients that are connected to this server.
    pub(crate) fn connections(&self) -> usize {
        self.server.stats().sessions
    }

    /// Serves a listener, with the site in front, until `shutdown` resolves.
    pub(crate) fn serve(
        &self,
        listener: TcpListener,
        site: Arc<Site>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let limits = self.server.config().limits;
        synapse::serve(
            listener,
            Router::new(site, self.server.service()),
            limits,
            shutdown,
        )
    }

    /// Tells every client that the server ends, after what was sent to it before.
    pub(crate) async fn close(&self) {
        self.server.close().await;
    }
}

fn engine_config(protocol: &ProtocolConfig, cors: &CorsOrigins) -> EngineConfig {
    let ProtocolConfig {
        path,
        ping_interval,
        ping_timeout,
        max_http_buffer_size,
        parser: _,
        per_message_deflate,
        trusted_proxies,
        connections_per_address,
        allow_eio3,
    } = protocol.clone();
    let cors = match cors {
        CorsOrigins::Unset => None,
        CorsOrigins::Any => Some(Cors {
            origins: Origins::Any,
            ..Cors::default()
        }),
        // Whoever is named is trusted with cookies, which balancers use to keep a client at one server.
        CorsOrigins::List(origins) => Some(Cors {
            origins: Origins::List(origins.clone()),
            credentials: true,
            ..Cors::default()
        }),
    };
    EngineConfig {
        path,
        timing: Timing {
            ping_interval,
            ping_timeout,
            ..Timing::default()
        },
        limits: Limits {
            message_bytes_max: max_http_buffer_size,
            connections_per_address_max: connections_per_address,
            ..Limits::default()
        },
        cors,
        per_message_deflate: per_message_deflate.then(PerMessageDeflate::default),
        trusted_proxies: (!trusted_proxies.is_empty()).then_some(TrustedProxies {
            networks: trusted_proxies,
            header: ForwardedHeader::XForwardedFor,
        }),
        allow_eio3,
        ..EngineConfig::default()
    }
}

fn install(server: &Server, relay: &Relay) {
    for Rule {
        namespace,
        event,
        receivers,
    } in relay.rules()
    {
        let namespace = server.of(namespace);
        match receivers {
            Receivers::Everyone => namespace.on(event, async |socket: Socket, event: Arguments| {
                to_everyone(&socket, event)
            }),
            Receivers::Rooms => namespace.on(event, async |socket: Socket, event: Arguments| {
                to_rooms(&socket, event)
            }),
        };
    }
}

fn to_everyone(socket: &Socket, event: Arguments) {
    socket.broadcast().emit_arguments(event);
}

fn to_rooms(socket: &Socket, event: Arguments) {
    let rooms = socket.rooms();
    // No rooms would mean everyone.
    if !rooms.is_empty() {
        socket.to(rooms).emit_arguments(event);
    }
}
