//! WebTransport beside polling and WebSocket, on the same port: the one over UDP, the others over TCP.
//!
//! ```sh
//! cargo run -p synapse --features webtransport --example webtransport -- chain.pem key.pem
//! ```
//!
//! Browsers ask for a certificate that they trust, or for its hash: see `serverCertificateHashes` of their `WebTransport`, which clients set
//! in `transportOptions: { webtransport: { .. } }`. An app that mounts `io.service()` in another server, such as axum, adds the same listener.

use std::error::Error;
use std::net::SocketAddr;

use synapse::webtransport::Certificate;
use synapse::{Arguments, Server, Socket, TransportKind};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut files = std::env::args().skip(1);
    let (Some(chain), Some(key)) = (files.next(), files.next()) else {
        return Err("say the files of the certificate and of its key".into());
    };
    let certificate = Certificate::from_pem(&std::fs::read(chain)?, &std::fs::read(key)?)?;

    let io = Server::builder()
        .transports([
            TransportKind::Polling,
            TransportKind::WebSocket,
            TransportKind::WebTransport,
        ])
        .build();
    io.of("/")
        .on("echo", |socket: Socket, event: Arguments| async move {
            socket.emit_arguments(&event);
        });

    let address = SocketAddr::from(([0, 0, 0, 0], 3000));
    let tcp = synapse::listen(address)?;
    let udp = synapse::webtransport::listen(address, &certificate, io.service())?;

    // Both listeners end when the server has told its clients.
    let (closed, closing) = watch::channel(false);
    let until_closed = || {
        let mut closing = closing.clone();
        async move { drop(closing.wait_for(|closed| *closed).await) }
    };
    let end = async {
        drop(tokio::signal::ctrl_c().await);
        io.close().await;
        closed.send_replace(true);
    };
    let limits = io.config().limits;
    let (served, (), ()) = tokio::join!(
        synapse::serve(tcp, io.service(), limits, until_closed()),
        udp.serve(until_closed()),
        end,
    );
    Ok(served?)
}
