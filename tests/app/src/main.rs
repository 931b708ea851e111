//! The test application: what official clients, and Node servers in the same cluster, are run against.
//!
//! It behaves like `tests/interop/reference-app.mjs`, which is its specification and runs on Node, and it is set by the same variables
//! of the environment.

mod api;
mod handlers;
mod options;
mod requests;
mod settings;
mod value;
#[cfg(feature = "webtransport")]
mod webtransport;

use std::error::Error;

use synapse_redis::{RedisAdapter, RedisOptions};
use synapse_socket::{Server, listen, serve};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::Settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_environment()?;
    let limits = settings.engine.limits;
    let redis = settings
        .redis
        .map(|redis| RedisAdapter::start(redis, RedisOptions::default()));

    let mut builder = Server::builder()
        .config(settings.engine)
        .parser(settings.parser)
        .state(api::Visits::default())
        .cleanup_empty_child_namespaces(true)
        .allow_request(|request| {
            request
                .header("x-refuse")
                .map_or(Ok(()), |message| Err(message.to_owned()))
        });
    builder = settings.options.apply(builder)?;
    if let Some(redis) = &redis {
        builder = builder.adapter(redis.clone());
    }
    if let Some(recovery) = settings.recovery {
        builder = builder.connection_state_recovery(recovery);
    }
    let io = builder.build();
    for name in ["/", "/custom", "/guarded", "/quiet"] {
        handlers::register(&io, name);
        requests::register(&io.of(name));
    }
    api::register(&io);
    api::register_dynamic(&io)?;
    handlers::guard(&io.of("/guarded"));

    let listener = listen(settings.address)?;
    if let Some(redis) = &redis {
        redis.ready().await;
    }
    #[cfg(feature = "webtransport")]
    let webtransport = webtransport::start(&io, listener.local_addr()?)?;
    announce(&format!("listening on {}", listener.local_addr()?.port()));

    let mut terminated = signal(SignalKind::terminate())?;
    let closed = async {
        terminated.recv().await;
        io.close().await;
    };
    serve(listener, io.service(), limits, closed).await?;
    #[cfg(feature = "webtransport")]
    webtransport.await?;
    Ok(())
}

/// The tests wait for such lines.
#[expect(clippy::print_stdout, reason = "the lines are this program's output")]
fn announce(line: &str) {
    println!("{line}");
}
