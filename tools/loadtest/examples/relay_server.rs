//! A small Socket.IO server for the load generator to run against: `test_event` goes to every other client, `echo` is answered with
//! its own arguments.
//!
//! `cargo run --release -p synapse-loadtest --example relay_server -- 127.0.0.1:3000`

#![allow(clippy::print_stdout, reason = "a program that says where it listens")]

use std::io;
use std::net::SocketAddr;

use synapse_socket::{Ack, Arguments, Server, Socket, listen, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("127.0.0.1:3000")
        .parse()?;
    let listener = listen(address)?;
    println!(
        "listening on {}, pid {}",
        listener.local_addr()?,
        std::process::id()
    );
    run(Server::builder().build(), listener).await?;
    Ok(())
}

/// Serves the listener until the task is dropped.
pub(crate) async fn run(io: Server, listener: TcpListener) -> io::Result<()> {
    let root = io.of("/");
    root.on("test_event", async |socket: Socket, event: Arguments| {
        socket.broadcast().emit_arguments(event);
    });
    root.on("echo", async |event: Arguments, ack: Ack| {
        ack.send_arguments(&event.without_name());
    });
    let limits = io.config().limits;
    serve(listener, io.service(), limits, std::future::pending()).await
}
