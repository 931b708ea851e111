//! How this server is joined to others, and what the log says about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synapse::adapter::AdapterFactory;
use synapse::redis::{RedisAdapter, RedisOptions, RedisSettings, RedisStatus};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::RedisChoice;
use crate::health::{RedisHealth, RedisState};

/// The way to other servers.
#[derive(Clone)]
pub(crate) enum Link {
    /// There is none.
    Alone,
    /// To the other servers of this process.
    InProcess(Arc<dyn AdapterFactory>),
    /// Through Redis.
    Redis {
        /// The adapter.
        adapter: Arc<RedisAdapter>,
        /// The task that tells the log about it.
        announcer: AbortHandle,
    },
}

impl Link {
    /// Starts what was configured and says so in the log.
    pub(crate) fn start(choice: RedisChoice, server: &str) -> Self {
        match choice {
            RedisChoice::On(settings) => Self::redis(settings, server),
            RedisChoice::Off(reason) => {
                tracing::info!(
                    server,
                    reason,
                    next = "serving the clients of this server only",
                    "{WITHOUT}"
                );
                Self::Alone
            }
        }
    }

    /// Starts the way through a Redis. It need not be there yet.
    pub(crate) fn redis(settings: RedisSettings, server: &str) -> Self {
        let address = settings.address();
        let adapter = RedisAdapter::start(settings, RedisOptions::default());
        let announcer =
            tokio::spawn(announce(Arc::clone(&adapter), server.to_owned(), address)).abort_handle();
        Self::Redis { adapter, announcer }
    }

    /// Waits until delivery is proven, for as long as `patience`. Without a Redis there is nothing to wait for.
    pub(crate) async fn proven(&self, patience: Duration) -> bool {
        match self {
            Self::Alone | Self::InProcess(_) => true,
            Self::Redis { adapter, .. } => {
                let mut changes = adapter.watch();
                let connected =
                    changes.wait_for(|state| *state == synapse::redis::RedisState::Connected);
                tokio::time::timeout(patience, connected)
                    .await
                    .is_ok_and(|state| state.is_ok())
            }
        }
    }

    /// What makes the adapters of the namespaces, if there are others to reach.
    pub(crate) fn factory(&self) -> Option<Arc<dyn AdapterFactory>> {
        match self {
            Self::Alone => None,
            Self::InProcess(factory) => Some(Arc::clone(factory)),
            Self::Redis { adapter, .. } => Some(Arc::<RedisAdapter>::clone(adapter)),
        }
    }

    /// How it is at this moment.
    pub(crate) fn health(&self) -> RedisHealth {
        match self {
            Self::Alone => RedisHealth::Disabled { joined: false },
            Self::InProcess(_) => RedisHealth::Disabled { joined: true },
            Self::Redis { adapter, .. } => {
                let status = adapter.status();
                RedisHealth::Configured {
                    state: state(&status),
                    since: status.since,
                    round_trip: status.round_trip,
                    reconnects: status.reconnects,
                    last_error: status.last_error,
                }
            }
        }
    }

    /// Leaves the other servers, after what waits for them has been sent.
    pub(crate) async fn close(&self) {
        match self {
            Self::Alone | Self::InProcess(_) => (),
            Self::Redis { adapter, announcer } => {
                // That the adapter disconnects is no news here.
                announcer.abort();
                adapter.close().await;
            }
        }
    }
}

const CONFIGURED: &str = "Redis adapter configured successfully";
const WITHOUT: &str = "Running without Redis adapter";

/// How long the start waits for an answer or an error before it says that there is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the reason of an outage is looked at. Changes of the state itself are told at once.
const LOOK: Duration = Duration::from_millis(200);

/// Puts into the log what operators look for when they ask whether servers are joined.
async fn announce(adapter: Arc<RedisAdapter>, server: String, redis: String) {
    let mut changes = adapter.watch();
    let mut announcer = Announcer::new(Instant::now());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let status = adapter.status();
        match announcer.next(state(&status), status.last_error.as_deref(), Instant::now()) {
            None => (),
            Some(News::Proven) => tracing::info!(server, redis, "{CONFIGURED}"),
            Some(News::Without { reason }) => {
                let next = "serving this server's clients; retrying, and joining the other servers once Redis is there";
                tracing::warn!(server, redis, reason, next, "{WITHOUT}");
            }
            Some(News::Lost { reason }) => {
                let next = "clients stay connected and local delivery goes on; retrying";
                tracing::warn!(server, redis, reason, next, "Redis lost");
            }
            Some(News::StillLost { reason }) => {
                tracing::warn!(server, redis, reason, "Redis is still away");
            }
            Some(News::Recovered { after }) => {
                let after = format!("{:.1} s", after.as_secs_f64());
                tracing::info!(
                    server,
                    redis,
                    after,
                    "Redis recovered: delivery to other servers is proven again"
                );
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = look.tick(), if !announcer.is_proven() => (),
        }
    }
}

fn state(status: &RedisStatus) -> RedisState {
    match status.state {
        synapse::redis::RedisState::Connecting => RedisState::Connecting,
        synapse::redis::RedisState::Connected => RedisState::Connected,
        synapse::redis::RedisState::Disconnected => RedisState::Disconnected,
    }
}

/// Decides what is news: a change of the state, or another reason for an outage.
struct Announcer {
    started: Instant,
    told: Told,
}

enum Told {
    Nothing,
    Without(String),
    Proven,
    Lost { since: Instant, reason: String },
}

#[derive(Debug, PartialEq)]
enum News {
    Proven,
    Without { reason: String },
    Lost { reason: String },
    StillLost { reason: String },
    Recovered { after: Duration },
}

impl Announcer {
    fn new(now: Instant) -> Self {
        Self {
            started: now,
            told: Told::Nothing,
        }
    }

    fn is_proven(&self) -> bool {
        matches!(self.told, Told::Proven)
    }

    fn next(&mut self, state: RedisState, error: Option<&str>, now: Instant) -> Option<News> {
        match (&mut self.told, state) {
            (Told::Proven, RedisState::Connected) => None,
            (Told::Nothing | Told::Without(_), RedisState::Connected) => {
                self.told = Told::Proven;
                Some(News::Proven)
            }
            (Told::Lost { since, .. }, RedisState::Connected) => {
                let after = now.duration_since(*since);
                self.told = Told::Proven;
                Some(News::Recovered { after })
            }
            (Told::Proven, RedisState::Connecting | RedisState::Disconnected) => {
                let reason = error.unwrap_or("a probe did not come back").to_owned();
                self.told = Told::Lost {
                    since: now,
                    reason: reason.clone(),
                };
                Some(News::Lost { reason })
            }
            (Told::Lost { reason, .. }, RedisState::Connecting | RedisState::Disconnected) => {
                let error = error.filter(|error| error != reason)?;
                error.clone_into(reason);
                Some(News::StillLost {
                    reason: error.to_owned(),
                })
            }
            (Told::Without(reason), RedisState::Connecting | RedisState::Disconnected) => {
                let error = error.filter(|error| error != reason)?;
                error.clone_into(reason);
                Some(News::Without {
                    reason: error.to_owned(),
                })
            }
            (Told::Nothing, RedisState::Connecting | RedisState::Disconnected) => {
                let reason = match error {
                    Some(error) => error,
                    None if now.duration_since(self.started) >= PATIENCE => "no answer yet",
                    None => return None,
                };
                self.told = Told::Without(reason.to_owned());
                Some(News::Without {
                    reason: reason.to_owned(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use RedisState::{Connected, Connecting, Disconnected};

    use super::*;

    fn without(reason: &str) -> Option<News> {
        Some(News::Without {
            reason: reason.to_owned(),
        })
    }

    fn still_lost(reason: &str) -> Option<News> {
        Some(News::StillLost {
            reason: reason.to_owned(),
        })
    }

    fn lost(reason: &str) -> Option<News> {
        Some(News::Lost {
            reason: reason.to_owned(),
        })
    }

    /// Each row: seconds since the start, state, error, news.
    fn check(rows: &[(u64, RedisState, Option<&str>, Option<News>)]) {
        let start = Instant::now();
        let mut announcer = Announcer::new(start);
        for (at, state, error, news) in rows {
            assert_eq!(
                &announcer.next(*state, *error, start + Duration::from_secs(*at)),
                news,
                "at {at} s"
            );
        }
    }

    #[test]
    fn a_redis_that_is_there_is_announced_once() {
        check(&[
            (0, Connecting, None, None),
            (1, Connected, None, Some(News::Proven)),
            (2, Connected, None, None),
        ]);
    }

    #[test]
    fn a_redis_that_is_absent_at_the_start_is_announced_with_each_reason_and_then_joined() {
        check(&[
            (0, Connecting, None, None),
            (
                1,
                Connecting,
                Some("connection refused"),
                without("connection refused"),
            ),
            (2, Connecting, Some("connection refused"), None),
            (
                3,
                Connecting,
                Some("wrong password"),
                without("wrong password"),
            ),
            (4, Connecting, None, None),
            (5, Connected, None, Some(News::Proven)),
        ]);
    }

    #[test]
    fn a_redis_that_says_nothing_is_announced_after_a_while() {
        check(&[
            (0, Connecting, None, None),
            (1, Connecting, None, None),
            (2, Connecting, None, without("no answer yet")),
            (3, Connecting, None, None),
            (4, Connecting, Some("timed out"), without("timed out")),
        ]);
    }

    #[test]
    fn each_outage_is_told_and_its_end_with_its_length() {
        check(&[
            (0, Connected, None, Some(News::Proven)),
            (10, Disconnected, Some("reset"), lost("reset")),
            (11, Disconnected, Some("reset"), None),
            (12, Disconnected, Some("refused"), still_lost("refused")),
            (
                15,
                Connected,
                None,
                Some(News::Recovered {
                    after: Duration::from_secs(5),
                }),
            ),
            (20, Disconnected, None, lost("a probe did not come back")),
            (
                21,
                Connected,
                None,
                Some(News::Recovered {
                    after: Duration::from_secs(1),
                }),
            ),
        ]);
    }
}
