//! The ready Synapse server: settings, log, pages, health, relay and a graceful end around the `synapse` library.

#![forbid(unsafe_code)]

mod bundle;
mod config;
mod demo;
mod health;
mod instance;
mod link;
mod local_redis;
mod log;
mod pages;
mod relay;
mod reply;
mod router;
mod settings;
mod socket_io;
mod stop;
mod timestamp;
mod values;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::bundle::Bundle;
use crate::config::Config;
use crate::demo::Demo;
use crate::instance::{Common, Instance, Plan, StartError};
use crate::link::Link;
use crate::settings::{Task, Written};
use crate::stop::Signals;

/// How long what is left of the runtime's tasks may take once everything has said goodbye.
const RUNTIME_WAIT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let (task, written) = match Written::read(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(read) => read,
        Err(error) => return explain(&error),
    };
    let config = match Config::from_written(&written) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    drop(written);
    log::start(&config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ended = runtime.block_on(run(task, config));
    runtime.shutdown_timeout(RUNTIME_WAIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(task: Task, config: Config) -> Result<(), StartError> {
    let signals = Signals::watch().map_err(StartError::Signals)?;
    let bundle = config
        .client_dir
        .as_deref()
        .map(Bundle::read)
        .transpose()?
        .unwrap_or_default();
    let Config {
        host,
        port,
        redis,
        cors,
        relay,
        server_id,
        ready_needs_redis,
        protocol,
        ..
    } = config;
    let common = Common {
        relay,
        cors,
        protocol,
        ready_needs_redis,
        bundle,
    };
    match task {
        Task::Demo => {
            Demo {
                host,
                port,
                redis,
                server_id,
            }
            .run(&common, signals)
            .await
        }
        Task::Serve => {
            let listener = instance::listen(&host, port).await?;
            let server_id = server_id.unwrap_or_else(instance::random_server_id);
            let link = Link::start(redis, &server_id);
            let plan = Plan {
                server_id,
                link,
                sibling: None,
            };
            let server = Instance::start(listener, &common, plan)
                .map_err(|error| StartError::Listen { host, port, error })?;
            serve(server, signals).await;
            Ok(())
        }
    }
}

async fn serve(server: Instance, mut signals: Signals) {
    let (signal, _) = signals.next().await;
    signals.force();
    tracing::info!(signal, "asked to stop");
    server.stop().await;
    tracing::info!("stopped");
}

/// Answers a wish for help, or says what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody who reads the help is no reason to fail.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // A URL in the wrong place would be repeated with its password.
    let text = settings::without_credentials(&error.to_string());
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "synapse: {error}");
    ExitCode::FAILURE
}
