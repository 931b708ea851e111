//! A server to attack, in this process.

use std::net::SocketAddr;
use std::time::Duration;

use synapse_socket::{Arguments, Data, EngineConfig, Server, Socket, listen, serve};

use crate::client::Client;
use crate::wait::eventually;

/// A server on a free port of the loopback interface. It ends with its runtime.
#[derive(Clone, Debug)]
pub struct Host {
    /// The server.
    pub io: Server,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The default configuration, except that a closed polling session does not stay in the table for the tests' lifetime.
pub fn quick_config() -> EngineConfig {
    let mut config = EngineConfig::default();
    config.limits.close_timeout = Duration::from_millis(100);
    config
}

impl Host {
    /// Serves with the configuration for tests.
    pub fn start() -> Self {
        Self::with(quick_config())
    }

    /// Serves with a configuration.
    pub fn with(config: EngineConfig) -> Self {
        Self::serve(Server::builder().config(config).build())
    }

    /// Serves a server. Its main namespace answers `echo` with an event of the same name and arguments, and `join` joins a room.
    pub fn serve(io: Server) -> Self {
        let main = io.of("/");
        main.on("echo", |socket: Socket, event: Arguments| async move {
            socket.emit_arguments(&event)
        });
        main.on(
            "join",
            |socket: Socket, Data(room): Data<String>| async move {
                // A refused room is a test's own affair.
                let _ = socket.join(room);
            },
        );
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let limits = io.config().limits;
        tokio::spawn(serve(
            listener,
            io.service(),
            limits,
            std::future::pending(),
        ));
        Self { io, address }
    }

    /// Sockets in the main namespace.
    pub fn socket_count(&self) -> usize {
        self.io.of("/").socket_count()
    }

    /// Waits until this many sessions are open, with as many sockets in the main namespace.
    pub async fn settled(&self, sessions: usize) {
        let state = || (self.io.stats().sessions, self.socket_count());
        eventually(&format!("{sessions} sessions to be left"), || {
            state() == (sessions, sessions)
        })
        .await;
    }

    /// A client that looks on while others attack.
    pub async fn bystander(&self) -> Client {
        let mut client = Client::join(self.address).await;
        client.echo("before").await;
        client
    }

    /// The attack is over: the bystander is served, and nothing of the attackers is left.
    pub async fn check(&self, bystander: &mut Client) {
        bystander.echo("after").await;
        self.settled(1).await;
    }
}
