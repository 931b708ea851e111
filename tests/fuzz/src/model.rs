//! A session as somebody would write it who cares for nothing but being right: it looks at itself every millisecond.

use synapse_protocol::CloseReason;
use synapse_protocol::engine::Timing;

/// What a session did, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    Ping(u64),
    Close(u64, CloseReason),
}

pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) did: Vec<Did>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) is_probing: bool,
    pub(crate) is_websocket: bool,
    opened: u64,
    confirmed: bool,
    /// When the heartbeat was last in order: at the opening, or when a pong came that was waited for.
    in_order: u64,
    pinged: Option<u64>,
    interval: u64,
    timeout: u64,
    connect: u64,
}

impl Model {
    pub(crate) fn open(is_websocket: bool, timing: &Timing, now: u64) -> Self {
        let millis = |duration: std::time::Duration| {
            u64::try_from(duration.as_millis()).expect("a short time")
        };
        Self {
            now,
            did: Vec::new(),
            closed: None,
            is_probing: false,
            is_websocket,
            opened: now,
            confirmed: false,
            in_order: now,
            pinged: None,
            interval: millis(timing.ping_interval),
            timeout: millis(timing.ping_timeout),
            connect: millis(timing.connect_timeout),
        }
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.now;
        if self.closed.is_none() && !self.confirmed && self.opened + self.connect <= now {
            self.closed = Some(CloseReason::ForcedServerClose);
            self.did
                .push(Did::Close(now, CloseReason::ForcedServerClose));
        }
        if self.closed.is_some() {
            return;
        }
        match self.pinged {
            None if self.in_order + self.interval <= now => {
                self.pinged = Some(now);
                self.did.push(Did::Ping(now));
            }
            Some(at) if at + self.timeout <= now => {
                self.closed = Some(CloseReason::PingTimeout);
                self.did.push(Did::Close(now, CloseReason::PingTimeout));
            }
            None | Some(_) => (),
        }
    }

    pub(crate) fn pong(&mut self) {
        if self.closed.is_none() && self.pinged.take().is_some() {
            self.in_order = self.now;
        }
    }

    pub(crate) fn confirm(&mut self) {
        self.confirmed = true;
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.closed.get_or_insert(reason);
    }

    /// Whether it starts.
    pub(crate) fn start_probe(&mut self) -> bool {
        let starts = self.closed.is_none() && !self.is_websocket && !self.is_probing;
        self.is_probing |= starts;
        starts
    }

    /// Whether it is taken.
    pub(crate) fn complete_upgrade(&mut self) -> bool {
        let is_taken = self.closed.is_none() && std::mem::take(&mut self.is_probing);
        self.is_websocket |= is_taken;
        is_taken
    }

    pub(crate) fn abandon_probe(&mut self) {
        if self.closed.is_none() {
            self.is_probing = false;
        }
    }
}
