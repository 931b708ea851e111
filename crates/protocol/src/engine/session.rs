//! The rules of one session: what a packet, a timeout or an upgrade attempt means in each state.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::engine::heartbeat::{Beat, Heartbeat};
use crate::engine::{PacketType, Version};

/// A moment: milliseconds since the server started. Comes in as an argument, so that tests own the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The moment `millis` after the start of the server. The very first millisecond counts as the second one.
    pub fn from_millis(millis: u64) -> Self {
        Self(NonZeroU64::new(millis).unwrap_or(NonZeroU64::MIN))
    }

    /// Milliseconds since the start of the server.
    pub fn as_millis(self) -> u64 {
        self.0.get()
    }

    /// The moment `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// How the server notices that a client is gone, and how long it waits for a client to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between two pings. Default: 25 s. Lower finds dead clients sooner and costs one packet each way per interval. The server pings,
    /// in version 3 the client.
    pub ping_interval: Duration,
    /// Wait for the pong before closing, or for a client's ping that is late. Default: 20 s. Raise it for mobile networks.
    pub ping_timeout: Duration,
    /// A probing transport that has not completed its upgrade by then is closed. Default: 10 s.
    pub upgrade_timeout: Duration,
    /// A session that the application has not confirmed by then is closed. Default: 45 s.
    pub connect_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
        }
    }
}

/// Where a session is, as far as the protocol is concerned.
///
/// ```text
///            start_probe            complete_upgrade
///  Polling ───────────────▶ Probing ────────────────▶ WebSocket
///     ▲                        │                          ▲
///     └──── abandon_probe ─────┘             opened by WebSocket at once
///  each of them ── close, ping timeout, broken rule ──▶ Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Packets travel by HTTP requests.
    Polling,
    /// They still do, while a WebSocket proves itself. Whoever started the probe ends it, after [`Timing::upgrade_timeout`] at the latest:
    /// until then there can be no second one that the end of the first would be taken for.
    Probing,
    /// Packets travel by WebSocket.
    WebSocket,
    /// Over, and why.
    Closed(CloseReason),
}

/// A rule of the protocol that the client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// In version 4 pings go from the server to the client only.
    #[error("a ping packet is the server's to send")]
    PingFromClient,
    /// In version 3 pings go from the client to the server only.
    #[error("a pong packet is the server's to send")]
    PongFromClient,
    /// An upgrade needs a session that polls and is not being upgraded already.
    #[error("an upgrade cannot start in state {0:?}")]
    CannotUpgrade(State),
}

/// What a packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Hand the message to the application.
    Message,
    /// Nothing more to do.
    Nothing,
    /// A ping: answer with a pong.
    Ping,
    /// The client ended the session.
    Closed,
}

/// What the time that has passed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send a ping.
    Ping,
    /// The session is closed now.
    Close(CloseReason),
}

/// One Engine.IO session. Owns no socket, no clock and no task.
#[derive(Debug)]
pub struct Session {
    state: State,
    heartbeat: Heartbeat,
    confirm_by: Option<Timestamp>,
}

impl Session {
    /// A session that polls.
    pub fn open_polling(timing: &Timing, now: Timestamp) -> Self {
        Self::open(State::Polling, timing, now)
    }

    /// A session that has been opened by a WebSocket.
    pub fn open_websocket(timing: &Timing, now: Timestamp) -> Self {
        Self::open(State::WebSocket, timing, now)
    }

    fn open(state: State, timing: &Timing, now: Timestamp) -> Self {
        Self {
            state,
            heartbeat: Heartbeat::begin(Version::V4, now),
            confirm_by: Some(now.after(timing.connect_timeout)),
        }
    }

    /// The session by the rules of a version, 4 if nothing is said. For a session that has just been opened.
    #[must_use]
    pub fn with_version(mut self, version: Version, now: Timestamp) -> Self {
        self.heartbeat = Heartbeat::begin(version, now);
        self
    }

    /// The version whose rules hold.
    pub fn version(&self) -> Version {
        self.heartbeat.version()
    }

    /// Where the session is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// The application wants this session: the connect timeout ends.
    pub fn confirm(&mut self) {
        self.confirm_by = None;
    }

    /// Takes note of a packet of the transport in use.
    pub fn handle_packet(
        &mut self,
        packet: PacketType,
        now: Timestamp,
    ) -> Result<Received, SessionError> {
        if self.is_closed() {
            return Ok(Received::Nothing);
        }
        match packet {
            PacketType::Message => Ok(Received::Message),
            PacketType::Pong => match self.version() {
                Version::V4 => {
                    self.excuse(now);
                    Ok(Received::Nothing)
                }
                Version::V3 => Err(SessionError::PongFromClient),
            },
            PacketType::Close => {
                self.state = State::Closed(CloseReason::TransportClose);
                Ok(Received::Closed)
            }
            PacketType::Ping => match self.version() {
                Version::V4 => Err(SessionError::PingFromClient),
                Version::V3 => {
                    self.excuse(now);
                    Ok(Received::Ping)
                }
            },
            // Known types that mean nothing here; the reference server ignores them as well.
            PacketType::Open | PacketType::Upgrade | PacketType::Noop => Ok(Received::Nothing),
        }
    }

    /// The client is there, or cannot be blamed if it seems not to be: a pong is awaited no longer, the wait for a ping begins anew.
    pub fn excuse(&mut self, now: Timestamp) {
        self.heartbeat.excuse(now);
    }

    /// A second transport said `2probe`.
    pub fn start_probe(&mut self) -> Result<(), SessionError> {
        match self.state {
            State::Polling => {
                self.state = State::Probing;
                Ok(())
            }
            state @ (State::Probing | State::WebSocket | State::Closed(_)) => {
                Err(SessionError::CannotUpgrade(state))
            }
        }
    }

    /// The probing transport said `5`: packets travel by it from here on.
    pub fn complete_upgrade(&mut self) -> Result<(), SessionError> {
        match self.state {
            State::Probing => {
                self.state = State::WebSocket;
                Ok(())
            }
            state @ (State::Polling | State::WebSocket | State::Closed(_)) => {
                Err(SessionError::CannotUpgrade(state))
            }
        }
    }

    /// The probing transport is gone; the session goes on polling.
    pub fn abandon_probe(&mut self) {
        if self.state == State::Probing {
            self.state = State::Polling;
        }
    }

    /// Ends the session. Returns false when it was over already; the first reason stands.
    pub fn close(&mut self, reason: CloseReason) -> bool {
        let open = !self.is_closed();
        if open {
            self.state = State::Closed(reason);
        }
        open
    }

    /// Acts on the time that has passed. Call again until it returns [`Due::Nothing`].
    pub fn handle_timeout(&mut self, timing: &Timing, now: Timestamp) -> Due {
        if self.is_closed() {
            return Due::Nothing;
        }
        if self.confirm_by.is_some_and(|by| by <= now) {
            self.state = State::Closed(CloseReason::ForcedServerClose);
            return Due::Close(CloseReason::ForcedServerClose);
        }
        match self.heartbeat.handle_timeout(timing, now) {
            Beat::Nothing => Due::Nothing,
            Beat::Ping => Due::Ping,
            Beat::TimedOut => {
                self.state = State::Closed(CloseReason::PingTimeout);
                Due::Close(CloseReason::PingTimeout)
            }
        }
    }

    /// When `handle_timeout` has something to do at the earliest, or has to be asked again because a pong may have moved the next ping, or a
    /// ping the end of the wait for it.
    pub fn poll_timeout(&self, timing: &Timing) -> Option<Timestamp> {
        if self.is_closed() {
            return None;
        }
        let heartbeat = self.heartbeat.poll_timeout(timing);
        Some(self.confirm_by.map_or(heartbeat, |by| by.min(heartbeat)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    /// A session with a clock of its own and a client that answers pings, or not.
    struct Simulation {
        session: Session,
        timing: Timing,
        now: u64,
        ponging: bool,
        pings: Vec<u64>,
    }

    impl Simulation {
        fn confirmed(timing: Timing) -> Self {
            let mut session = Session::open_websocket(&timing, Timestamp::from_millis(1));
            session.confirm();
            Self {
                session,
                timing,
                now: 1,
                ponging: true,
                pings: Vec::new(),
            }
        }

        fn seconds(ping_interval: u64, ping_timeout: u64) -> Self {
            Self::confirmed(Timing {
                ping_interval: Duration::from_secs(ping_interval),
                ping_timeout: Duration::from_secs(ping_timeout),
                ..Timing::default()
            })
        }

        fn at(&self) -> Timestamp {
            Timestamp::from_millis(self.now)
        }

        fn advance(&mut self, millis: u64) {
            let end = self.now + millis;
            while self.now < end {
                self.now = (self.now + 10).min(end);
                loop {
                    match self.session.handle_timeout(&self.timing, self.at()) {
                        Due::Nothing => break,
                        Due::Ping => {
                            self.pings.push(self.now);
                            if self.ponging {
                                let pong = self.session.handle_packet(PacketType::Pong, self.at());
                                assert_eq!(pong, Ok(Received::Nothing));
                            }
                        }
                        Due::Close(_) => break,
                    }
                }
            }
        }

        fn closed(&self) -> Option<CloseReason> {
            match self.session.state() {
                State::Closed(reason) => Some(reason),
                State::Polling | State::Probing | State::WebSocket => None,
            }
        }
    }

    #[test]
    fn an_answering_client_lives_for_a_day() {
        let mut simulation = Simulation::seconds(25, 20);
        simulation.advance(24 * 3600 * SECOND);
        assert_eq!(simulation.closed(), None);
        assert_eq!(simulation.pings.len(), 24 * 3600 / 25);
    }

    #[test]
    fn silent_client_is_closed_after_interval_plus_timeout() {
        let mut simulation = Simulation::seconds(25, 20);
        simulation.ponging = false;
        simulation.advance(44 * SECOND);
        assert_eq!(simulation.closed(), None);
        simulation.advance(2 * SECOND);
        assert_eq!(simulation.closed(), Some(CloseReason::PingTimeout));
    }

    #[test]
    fn a_timeout_longer_than_the_interval_neither_delays_nor_repeats_pings() {
        let mut simulation = Simulation::seconds(5, 60);
        simulation.advance(21 * SECOND);
        assert_eq!(simulation.pings.len(), 4);
        simulation.ponging = false;
        simulation.advance(10 * SECOND);
        assert_eq!(
            simulation.pings.len(),
            5,
            "one ping stays out until it is answered"
        );
        let next = simulation
            .session
            .poll_timeout(&simulation.timing)
            .expect("open");
        assert!(
            next <= simulation.at(),
            "asked again early, because a pong may come"
        );
    }

    #[test]
    fn unsolicited_pongs_do_not_move_the_heartbeat_cve_2026_48802() {
        let mut simulation = Simulation::seconds(25, 20);
        for _ in 0..24 {
            simulation.advance(SECOND);
            assert_eq!(
                simulation
                    .session
                    .handle_packet(PacketType::Pong, simulation.at()),
                Ok(Received::Nothing)
            );
        }
        simulation.advance(2 * SECOND);
        assert_eq!(simulation.pings.len(), 1);
    }

    #[test]
    fn the_heartbeat_of_a_version_goes_one_way() {
        let timing = Timing::default();
        let now = Timestamp::from_millis(5);
        for (version, packet, expected) in [
            (Version::V3, PacketType::Ping, Ok(Received::Ping)),
            (
                Version::V3,
                PacketType::Pong,
                Err(SessionError::PongFromClient),
            ),
            (
                Version::V4,
                PacketType::Ping,
                Err(SessionError::PingFromClient),
            ),
            (Version::V4, PacketType::Pong, Ok(Received::Nothing)),
        ] {
            let mut session = Session::open_polling(&timing, now).with_version(version, now);
            assert_eq!(session.version(), version);
            assert_eq!(session.handle_packet(packet, now), expected, "{packet:?}");
            assert_eq!(session.version(), version);
        }
    }

    #[test]
    fn an_unconfirmed_session_ends_at_the_connect_timeout() {
        let timing = Timing {
            connect_timeout: Duration::from_secs(1),
            ..Timing::default()
        };
        let mut session = Session::open_polling(&timing, Timestamp::from_millis(1));
        assert_eq!(
            session.poll_timeout(&timing),
            Some(Timestamp::from_millis(1001))
        );
        assert_eq!(
            session.handle_timeout(&timing, Timestamp::from_millis(1000)),
            Due::Nothing
        );
        assert_eq!(
            session.handle_timeout(&timing, Timestamp::from_millis(1001)),
            Due::Close(CloseReason::ForcedServerClose)
        );
        assert_eq!(session.poll_timeout(&timing), None);
    }

    /// Its own end is the only one it has: time ending it too would let a second probe begin, and then end by the first one's timer.
    #[test]
    fn a_probe_lasts_until_whoever_started_it_ends_it() {
        let mut simulation = Simulation::seconds(25, 20);
        simulation.session.state = State::Polling;
        assert_eq!(simulation.session.start_probe(), Ok(()));
        simulation.advance(3600 * SECOND);
        assert_eq!(
            simulation.session.start_probe(),
            Err(SessionError::CannotUpgrade(State::Probing))
        );
        simulation.session.abandon_probe();
        assert_eq!(simulation.session.state(), State::Polling);
        assert_eq!(simulation.session.start_probe(), Ok(()));
        assert_eq!(simulation.session.complete_upgrade(), Ok(()));
        simulation.advance(20 * SECOND);
        assert_eq!(simulation.session.state(), State::WebSocket);
    }

    #[test]
    fn each_state_takes_only_its_moves() {
        let timing = Timing::default();
        let now = Timestamp::from_millis(5);
        let closed = State::Closed(CloseReason::ForcedClose);
        for (state, probe, upgrade) in [
            (State::Polling, true, false),
            (State::Probing, false, true),
            (State::WebSocket, false, false),
            (closed, false, false),
        ] {
            let in_state = || {
                let mut session = Session::open_polling(&timing, now);
                session.state = state;
                session
            };
            assert_eq!(in_state().start_probe().is_ok(), probe, "{state:?}");
            assert_eq!(in_state().complete_upgrade().is_ok(), upgrade, "{state:?}");
            assert_eq!(
                in_state().close(CloseReason::ParseError),
                state != closed,
                "{state:?}"
            );
        }
    }

    #[test]
    fn packets_mean_what_the_protocol_says() {
        let timing = Timing::default();
        let now = Timestamp::from_millis(5);
        for (packet, expected) in [
            (PacketType::Open, Ok(Received::Nothing)),
            (PacketType::Close, Ok(Received::Closed)),
            (PacketType::Ping, Err(SessionError::PingFromClient)),
            (PacketType::Pong, Ok(Received::Nothing)),
            (PacketType::Message, Ok(Received::Message)),
            (PacketType::Upgrade, Ok(Received::Nothing)),
            (PacketType::Noop, Ok(Received::Nothing)),
        ] {
            let mut session = Session::open_polling(&timing, now);
            assert_eq!(session.handle_packet(packet, now), expected, "{packet:?}");
        }
        let mut closed = Session::open_polling(&timing, now);
        closed.close(CloseReason::ForcedClose);
        assert_eq!(
            closed.handle_packet(PacketType::Message, now),
            Ok(Received::Nothing)
        );
    }

    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 48, "{}", size_of::<Session>());
    }
}
