//! How the server is: for people and probes at `/health`, for orchestrators at `/live` and `/ready`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::timestamp::Timestamp;

/// Answers how one server is.
pub(crate) struct Health {
    server_id: String,
    started: Instant,
    started_at: Timestamp,
    redis: Box<dyn Fn() -> RedisHealth + Send + Sync>,
    connections: Box<dyn Fn() -> usize + Send + Sync>,
    ready_needs_redis: bool,
    stopping: AtomicBool,
}

/// How the way to other servers is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RedisHealth {
    /// No Redis is configured. `joined` when servers of this process are joined without one.
    Disabled {
        /// Whether other servers are reached nevertheless.
        joined: bool,
    },
    /// There is one.
    Configured {
        /// Whether delivery through it is proven.
        state: RedisState,
        /// Since when that state holds.
        since: SystemTime,
        /// Time a probe took to come back.
        round_trip: Option<Duration>,
        /// Connections that were lost and made again.
        reconnects: u64,
        /// What went wrong last.
        last_error: Option<String>,
    },
}

/// Whether delivery through Redis is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RedisState {
    /// Not yet, since the start.
    Connecting,
    /// Yes.
    Connected,
    /// It was, and is being sought again.
    Disconnected,
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    status: &'static str,
    redis_status: &'static str,
    redis_round_trip_ms: Option<f64>,
    redis_since: Option<String>,
    redis_reconnects: u64,
    redis_last_error: Option<String>,
    adapter: &'static str,
    server_id: &'a str,
    version: &'static str,
    started_at: String,
    uptime_seconds: u64,
    connections: usize,
}

impl Health {
    /// The health of a server that has just started. `redis` and `connections` are asked at each request.
    pub(crate) fn new(
        server_id: String,
        ready_needs_redis: bool,
        redis: impl Fn() -> RedisHealth + Send + Sync + 'static,
        connections: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            server_id,
            started: Instant::now(),
            started_at: Timestamp::now(),
            redis: Box::new(redis),
            connections: Box::new(connections),
            ready_needs_redis,
            stopping: AtomicBool::new(false),
        })
    }

    /// Lets `/ready` fail from here on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The body of `/health`, for people as well: several lines.
    pub(crate) fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(&self.report())
            .expect("a report has only texts and numbers");
        json.push('\n');
        json
    }

    /// Whether new clients should be sent here, or why not.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping");
        }
        if self.ready_needs_redis && !(self.redis)().delivers() {
            return Err(
                "delivery through Redis is not proven, and SYNAPSE_READY_NEEDS_REDIS asks for it",
            );
        }
        Ok(())
    }

    fn report(&self) -> Report<'_> {
        let redis = (self.redis)();
        let status = if redis.delivers() { "ok" } else { "degraded" };
        let uptime_seconds = self.started.elapsed().as_secs();
        let report = Report {
            status,
            redis_status: "disabled",
            redis_round_trip_ms: None,
            redis_since: None,
            redis_reconnects: 0,
            redis_last_error: None,
            adapter: "none",
            server_id: &self.server_id,
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at.to_string(),
            uptime_seconds,
            connections: (self.connections)(),
        };
        match redis {
            RedisHealth::Disabled { joined: false } => report,
            RedisHealth::Disabled { joined: true } => Report {
                adapter: "in-process",
                ..report
            },
            RedisHealth::Configured {
                state,
                since,
                round_trip,
                reconnects,
                last_error,
            } => Report {
                redis_status: state.text(),
                redis_round_trip_ms: round_trip
                    .map(|time| (time.as_secs_f64() * 1e6).round() / 1e3),
                redis_since: Some(Timestamp::from(since).to_string()),
                redis_reconnects: reconnects,
                redis_last_error: last_error,
                adapter: "redis",
                ..report
            },
        }
    }
}

impl RedisHealth {
    /// Whether what a client emits reaches all that it is meant to.
    fn delivers(&self) -> bool {
        match self {
            Self::Disabled { .. }
            | Self::Configured {
                state: RedisState::Connected,
                ..
            } => true,
            Self::Configured {
                state: RedisState::Connecting | RedisState::Disconnected,
                ..
            } => false,
        }
    }
}

impl RedisState {
    fn text(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// The health of a server with one connection.
    pub(crate) fn health(redis: RedisHealth, ready_needs_redis: bool) -> Arc<Health> {
        Health::new(
            "alpha".to_owned(),
            ready_needs_redis,
            move || redis.clone(),
            || 1,
        )
    }

    pub(crate) fn configured(state: RedisState) -> RedisHealth {
        RedisHealth::Configured {
            state,
            since: UNIX_EPOCH,
            round_trip: (state == RedisState::Connected).then_some(Duration::from_micros(812)),
            reconnects: 2,
            last_error: Some("connection refused".to_owned()),
        }
    }

    fn json(redis: RedisHealth) -> serde_json::Value {
        serde_json::from_str(&health(redis, false).json()).unwrap()
    }

    #[test]
    fn each_state_of_redis_has_its_words() {
        for (redis, status, redis_status, adapter) in [
            (
                RedisHealth::Disabled { joined: false },
                "ok",
                "disabled",
                "none",
            ),
            (
                RedisHealth::Disabled { joined: true },
                "ok",
                "disabled",
                "in-process",
            ),
            (
                configured(RedisState::Connected),
                "ok",
                "connected",
                "redis",
            ),
            (
                configured(RedisState::Connecting),
                "degraded",
                "connecting",
                "redis",
            ),
            (
                configured(RedisState::Disconnected),
                "degraded",
                "disconnected",
                "redis",
            ),
        ] {
            let json = json(redis);
            assert_eq!(
                (&json["status"], &json["redis_status"]),
                (&status.into(), &redis_status.into())
            );
            assert_eq!(json["adapter"], adapter);
            assert_eq!(json["server_id"], "alpha");
            assert_eq!(json["connections"], 1);
            assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
            assert!(json["uptime_seconds"].is_u64());
        }
    }

    #[test]
    fn figures_are_numbers_or_null() {
        let connected = json(configured(RedisState::Connected));
        assert_eq!(connected["redis_round_trip_ms"], 0.812);
        assert_eq!(connected["redis_since"], "1970-01-01T00:00:00.000Z");
        assert_eq!(connected["redis_reconnects"], 2);
        assert_eq!(connected["redis_last_error"], "connection refused");
        let disabled = json(RedisHealth::Disabled { joined: false });
        for key in ["redis_round_trip_ms", "redis_since", "redis_last_error"] {
            assert!(
                disabled[key].is_null() && disabled.get(key).is_some(),
                "{key}"
            );
        }
    }

    #[test]
    fn an_outage_of_redis_alone_leaves_the_server_ready_unless_asked() {
        for (state, needs, ready) in [
            (RedisState::Connected, true, true),
            (RedisState::Connecting, true, false),
            (RedisState::Disconnected, true, false),
            (RedisState::Disconnected, false, true),
        ] {
            assert_eq!(
                health(configured(state), needs).ready().is_ok(),
                ready,
                "{state:?} {needs}"
            );
        }
        let stopping = health(configured(RedisState::Connected), false);
        stopping.stop();
        assert_eq!(stopping.ready(), Err("stopping"));
    }
}
