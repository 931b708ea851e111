//! How the adapter behaves; where Redis is stands in the settings.

use std::time::Duration;

/// The adapter's tuning and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// First part of every channel name; all servers of a cluster use the same. Default: `socket.io`, as in Node.
    pub key: String,
    /// Time between two probes. Default: 1 s. Lower sees trouble sooner; each probe is one small message through Redis.
    pub probe_interval: Duration,
    /// How long a probe, a subscription or the answer to a pipeline may take before both connections are given up and built
    /// anew. Default: 2 s. Lower reacts sooner but takes a slow moment of Redis for an outage.
    pub probe_timeout: Duration,
    /// How long resolving, connecting, TLS and authentication may take together. Default: 3 s.
    pub connect_timeout: Duration,
    /// Messages that wait while Redis is away or slow; the oldest make room and are counted. Default: 10,000.
    pub publish_queue_messages_max: usize,
    /// Bytes of those messages. Default: 16 MiB of memory.
    pub publish_queue_bytes_max: usize,
    /// First wait before a new attempt to connect, with jitter, doubled each time. Default: 100 ms.
    pub reconnect_min: Duration,
    /// Longest wait before a new attempt. Default: 1 s. Lower comes back sooner; each attempt of each server costs Redis two connects.
    pub reconnect_max: Duration,
    /// Longest message taken from Redis or published, in bytes; longer ones are passed over and counted. Default: 16 MiB. Redis
    /// itself cuts a subscriber off at 32 MiB of backlog unless told otherwise.
    pub message_bytes_max: usize,
    /// How long [`close`](crate::RedisAdapter::close) waits for what is queued to be published. Default: 1 s.
    pub drain_timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            key: "socket.io".to_owned(),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(3),
            publish_queue_messages_max: 10_000,
            publish_queue_bytes_max: 16 << 20,
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(1),
            message_bytes_max: 16 << 20,
            drain_timeout: Duration::from_secs(1),
        }
    }
}
