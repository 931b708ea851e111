//! A server that tells how much of its heap is in use: a line of bytes on each SIGUSR1. `scripts/bench.sh` asks it before and after clients came.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use synapse_budgets::{Counting, LIVE_BYTES};
use synapse_socket::{Limits, Server, listen, serve};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(3000);
    let io = Server::builder().build();
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let mut asked = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            println!("{}", LIVE_BYTES.load(Ordering::Relaxed));
        }
    });
    serve(
        listener,
        io.service(),
        Limits::default(),
        std::future::pending(),
    )
    .await
}
