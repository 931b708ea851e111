//! How a session notices that its client is gone: pings of the server in version 4, of the client in version 3.

use super::session::{Timestamp, Timing};
use super::version::Version;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// The next ping is due an interval after this moment.
    Quiet { since: Timestamp },
    /// A pong is awaited since this moment.
    Pinged { at: Timestamp },
    /// Version 3: the next ping of the client is awaited since this moment.
    Awaiting { since: Timestamp },
}

/// What the time that has passed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    Ping,
    TimedOut,
}

impl Heartbeat {
    pub(super) fn begin(version: Version, now: Timestamp) -> Self {
        match version {
            Version::V3 => Self::Awaiting { since: now },
            Version::V4 => Self::Quiet { since: now },
        }
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::Quiet { .. } | Self::Pinged { .. } => Version::V4,
            Self::Awaiting { .. } => Version::V3,
        }
    }

    /// The client is there.
    pub(super) fn excuse(&mut self, now: Timestamp) {
        *self = match *self {
            // A pong nobody asked for changes nothing: a flood of them must not move the heartbeat.
            quiet @ Self::Quiet { .. } => quiet,
            Self::Pinged { .. } => Self::Quiet { since: now },
            Self::Awaiting { .. } => Self::Awaiting { since: now },
        };
    }

    pub(super) fn handle_timeout(&mut self, timing: &Timing, now: Timestamp) -> Beat {
        match *self {
            Self::Quiet { since } if since.after(timing.ping_interval) <= now => {
                *self = Self::Pinged { at: now };
                Beat::Ping
            }
            Self::Pinged { at } if at.after(timing.ping_timeout) <= now => Beat::TimedOut,
            Self::Awaiting { since } if wait_for_ping(since, timing) <= now => Beat::TimedOut,
            Self::Quiet { .. } | Self::Pinged { .. } | Self::Awaiting { .. } => Beat::Nothing,
        }
    }

    /// When to ask again at the latest; a pong may have moved the next ping until then, or a ping the end of the wait for it.
    pub(super) fn poll_timeout(&self, timing: &Timing) -> Timestamp {
        match *self {
            Self::Quiet { since } => since.after(timing.ping_interval),
            Self::Pinged { at } => at.after(timing.ping_timeout.min(timing.ping_interval)),
            Self::Awaiting { since } => wait_for_ping(since, timing),
        }
    }
}

fn wait_for_ping(since: Timestamp, timing: &Timing) -> Timestamp {
    since.after(timing.ping_interval.saturating_add(timing.ping_timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_client_of_version_3_that_pings_lives_for_a_day_and_is_never_pinged() {
        let timing = Timing::default();
        let mut heartbeat = Heartbeat::begin(Version::V3, at(1));
        let mut pinged = 1;
        for second in 2..24 * 3600 {
            if second >= pinged + 25 {
                pinged = second;
                heartbeat.excuse(at(second));
            }
            assert_eq!(heartbeat.handle_timeout(&timing, at(second)), Beat::Nothing);
        }
    }

    #[test]
    fn a_client_of_version_3_is_gone_after_interval_plus_timeout_without_a_ping() {
        let timing = Timing::default();
        let mut heartbeat = Heartbeat::begin(Version::V3, at(1));
        assert_eq!(heartbeat.poll_timeout(&timing), at(46));
        heartbeat.excuse(at(40));
        assert_eq!(heartbeat.poll_timeout(&timing), at(85));
        assert_eq!(heartbeat.handle_timeout(&timing, at(84)), Beat::Nothing);
        assert_eq!(heartbeat.handle_timeout(&timing, at(85)), Beat::TimedOut);
    }

    #[test]
    fn an_excuse_ends_the_wait_for_a_pong_and_moves_no_ping() {
        let timing = Timing::default();
        let mut heartbeat = Heartbeat::begin(Version::V4, at(1));
        heartbeat.excuse(at(20));
        assert_eq!(heartbeat.handle_timeout(&timing, at(26)), Beat::Ping);
        heartbeat.excuse(at(40));
        assert_eq!(heartbeat.handle_timeout(&timing, at(64)), Beat::Nothing);
        assert_eq!(heartbeat.handle_timeout(&timing, at(65)), Beat::Ping);
        assert_eq!(heartbeat.handle_timeout(&timing, at(85)), Beat::TimedOut);
    }
}
