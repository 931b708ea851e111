//! Connects to the Redis of `REDIS_URL`, waits until delivery through it is proven, and says how long a message takes.
//!
//! `REDIS_URL=redis://localhost:6379 cargo run -p synapse-redis --example connect`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::time::Duration;

use synapse_redis::{RedisAdapter, RedisOptions, RedisSettings};

const WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("REDIS_URL").map_err(|_| "REDIS_URL is not set")?;
    let settings = RedisSettings::from_url("REDIS_URL", &url)?;
    println!("connecting to {}", settings.address());
    let adapter = RedisAdapter::start(settings, RedisOptions::default());
    if tokio::time::timeout(WAIT, adapter.ready()).await.is_err() {
        return Err(adapter.status().last_error.unwrap_or_default().into());
    }
    println!(
        "proven, there and back in {:?}",
        adapter.status().round_trip.unwrap_or_default()
    );
    adapter.close().await;
    Ok(())
}
