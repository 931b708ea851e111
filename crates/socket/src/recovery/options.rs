//! What recovery costs at most.

use std::time::Duration;

/// How clients get back what they missed while their connection was lost (Socket.IO's `connectionStateRecovery`). The limits are those of
/// one namespace. A client that one of them has failed is not recovered, and is told: it gets a new id and
/// [`Socket::recovered`](crate::Socket::recovered) is false.
///
/// Every event without an ack carries an offset of about ten bytes as its last argument. Volatile ones carry none and are not kept; those that
/// end in a text get a `null`, since clients would take the text for an offset. [`SlowPolicy::KeepLatest`](crate::SlowPolicy::KeepLatest) is
/// handled as `DropOldest`. Within a namespace, one event after the other is handed to the outboxes of its receivers.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionStateRecovery {
    /// How long a client may be away. Default: 2 minutes. Events are kept for this long and for as long as a lost connection may go
    /// unnoticed.
    pub max_disconnection_duration: Duration,
    /// Whether a recovered client is let in without asking the middlewares. Default: yes. Otherwise they decide as about any other client.
    pub skip_middlewares: bool,
    /// Events that are kept. Default: 100,000, of about 200 bytes each besides what was sent. The oldest goes first, and with it the recovery
    /// of every client that might have missed it.
    pub packets_max: usize,
    /// Bytes of the events that are kept. Default: 64 MiB. The oldest goes first, as above.
    pub packet_bytes_max: usize,
    /// Clients that are away at a time. Default: 100,000, of about 300 bytes each besides their data and rooms. The one that has been away
    /// longest is forgotten first.
    pub sessions_max: usize,
    /// Rooms joined and left by one socket that are remembered, 32 bytes each, for as long as events are kept that were sent before.
    /// Default: 64. A client that lost events which were sent earlier than the oldest of these is not recovered.
    pub room_changes_max: usize,
}

impl Default for ConnectionStateRecovery {
    fn default() -> Self {
        Self {
            max_disconnection_duration: Duration::from_secs(2 * 60),
            skip_middlewares: true,
            packets_max: 100_000,
            packet_bytes_max: 64 * 1024 * 1024,
            sessions_max: 100_000,
            room_changes_max: 64,
        }
    }
}
