//! Two servers in one process, so that a person sees within a minute how an event crosses from one to the other.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use synapse::adapter::AdapterFactory;
use synapse::adapter::bus::Bus;
use tokio::net::TcpListener;

use crate::config::RedisChoice;
use crate::instance::{self, Common, Instance, Plan, StartError};
use crate::link::Link;
use crate::local_redis::{self, LocalRedis};
use crate::stop::Signals;

/// What the demo is asked to be.
pub(crate) struct Demo {
    /// Address or host name to listen on.
    pub(crate) host: String,
    /// Port of the first server; the second takes the next one.
    pub(crate) port: u16,
    /// The Redis that is configured.
    pub(crate) redis: RedisChoice,
    /// First part of the servers' names; random ones when there is none.
    pub(crate) server_id: Option<String>,
}

/// What joins the two servers.
enum Joint {
    Configured(synapse::redis::RedisSettings),
    Local(LocalRedis),
    Bus { bus: Bus, reason: String },
}

/// How long the start waits for Redis before it shows the addresses all the same.
const PATIENCE: Duration = Duration::from_secs(3);

impl Demo {
    /// Runs both servers until a signal comes.
    pub(crate) async fn run(self, common: &Common, mut signals: Signals) -> Result<(), StartError> {
        let listeners = self.listen().await?;
        let joint = Joint::make(self.redis).await;
        let mut servers = Vec::new();
        let mut list = String::new();
        let ports = listeners
            .each_ref()
            .map(|listener| listener.local_addr().map_or(0, |address| address.port()));
        for (index, listener) in listeners.into_iter().enumerate() {
            let server_id = match &self.server_id {
                Some(name) => format!("{name}-{}", index + 1),
                None => instance::random_server_id(),
            };
            let _ = writeln!(
                list,
                "    http://localhost:{}   server {server_id}",
                ports[index]
            );
            let link = joint.link(&server_id);
            let plan = Plan {
                server_id,
                link,
                sibling: Some(ports[1 - index]),
            };
            let server =
                Instance::start(listener, common, plan).map_err(|error| StartError::Listen {
                    host: self.host.clone(),
                    port: ports[index],
                    error,
                })?;
            servers.push(server);
        }
        let mut proven = true;
        for server in &servers {
            proven &= server.link().proven(PATIENCE).await;
        }
        show(&format!(
            "\n  Two Synapse servers, {}:\n\n{list}\n  Open both, emit in one, and see it arrive in the other. Ctrl-C stops everything.\n\n",
            joint.describe(proven)
        ));

        let (signal, _) = signals.next().await;
        signals.force();
        tracing::info!(signal, "asked to stop");
        let mut servers = servers.into_iter();
        if let (Some(first), Some(second)) = (servers.next(), servers.next()) {
            tokio::join!(first.stop(), second.stop());
        }
        joint.end().await;
        tracing::info!("stopped");
        Ok(())
    }

    async fn listen(&self) -> Result<[TcpListener; 2], StartError> {
        let second = match self.port {
            0 => 0,
            port => port.checked_add(1).ok_or(StartError::NoSecondPort(port))?,
        };
        Ok([
            instance::listen(&self.host, self.port).await?,
            instance::listen(&self.host, second).await?,
        ])
    }
}

impl Joint {
    async fn make(choice: RedisChoice) -> Self {
        let settings = match choice {
            RedisChoice::On(settings) => return Self::Configured(settings),
            RedisChoice::Off(_) => local_redis::find(),
        };
        let Some(program) = settings else {
            return Self::Bus {
                bus: Bus::new(),
                reason: "no REDIS_URL is set and no redis-server is on the PATH".to_owned(),
            };
        };
        match LocalRedis::start(&program).await {
            Ok(redis) => Self::Local(redis),
            Err(error) => Self::Bus {
                bus: Bus::new(),
                reason: format!("{} did not start: {error}", program.display()),
            },
        }
    }

    fn link(&self, server_id: &str) -> Link {
        match self {
            Self::Configured(settings) => Link::redis(settings.clone(), server_id),
            Self::Local(redis) => Link::redis(redis.settings(), server_id),
            Self::Bus { bus, .. } => {
                let node: Arc<dyn AdapterFactory> = bus.node();
                Link::InProcess(node)
            }
        }
    }

    fn describe(&self, proven: bool) -> String {
        let unproven = if proven {
            ""
        } else {
            ", which is not reached yet"
        };
        match self {
            Self::Configured(settings) => {
                format!("joined by your Redis at {}{unproven}", settings.address())
            }
            Self::Local(redis) => format!(
                "joined by a Redis of their own at {}{unproven}",
                redis.settings().address()
            ),
            Self::Bus { reason, .. } => format!("joined inside this process ({reason})"),
        }
    }

    async fn end(self) {
        match self {
            Self::Configured(_) | Self::Bus { .. } => (),
            Self::Local(redis) => redis.stop().await,
        }
    }
}

/// Shows a text to the person at the terminal. Nobody there is no reason to fail.
fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
