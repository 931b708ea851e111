//! How a socket begins and ends.

use std::sync::atomic::Ordering;

use synapse_engine::Version;
use synapse_protocol::socket::Outgoing;
use synapse_protocol::{CloseReason, PrivateId};

use super::{Extra, Socket};
use crate::event::Occasion;

/// Where a socket is in its life.
///
/// ```text
/// Connecting -- enter --> Connected
///     |                       |
///     +---- leave_stage ------+----> Disconnected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Middlewares are deciding.
    Connecting,
    /// The client is in.
    Connected,
    /// For good.
    Disconnected,
}

pub(super) const CONNECTING: u8 = 0;
pub(super) const CONNECTED: u8 = 1;
pub(super) const DISCONNECTED: u8 = 2;

/// Whether the client is told that its socket ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Packet,
    None,
}

impl Socket {
    /// The client is let in. Returns false if it has gone meanwhile.
    pub(crate) fn begin(&self) -> bool {
        match self.recovery() {
            Some((recovery, tracked)) => recovery.begin(self, tracked),
            None => self.enter() && self.welcome(None),
        }
    }

    /// Returns false if the client has gone meanwhile.
    pub(crate) fn enter(&self) -> bool {
        self.0
            .stage
            .compare_exchange(CONNECTING, CONNECTED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Tells the client that it is in, and lets it be found. Returns false if it has gone meanwhile.
    pub(crate) fn welcome(&self, pid: Option<PrivateId>) -> bool {
        self.0.connection.confirm();
        let sid = self.0.id.text();
        let json = match (self.version(), pid) {
            // Clients of Socket.IO 2 know their ids.
            (Version::V3, _) => String::new(),
            (Version::V4, None) => format!(r#"{{"sid":"{}"}}"#, sid.as_str()),
            (Version::V4, Some(pid)) => format!(
                r#"{{"sid":"{}","pid":"{}"}}"#,
                sid.as_str(),
                pid.text().as_str()
            ),
        };
        // The session's task writes when it is done with this event, so no client can act on the packet before the socket is in its room.
        self.send(&Outgoing::Connect {
            namespace: self.namespace_name(),
            json: &json,
        });
        let is_in = self.0.namespace.rooms().insert(self.clone());
        if is_in && self.version() == Version::V3 {
            // In the main namespace that is its own room, in which it is already.
            if let Err(error) = self.join(self.client_id()) {
                tracing::debug!(%error, "failed to join the room named by a client's id");
            }
        }
        is_in
    }

    /// The socket ends, if it has not done so before. Returns where it was.
    pub(crate) fn leave_stage(&self) -> Stage {
        match self.0.stage.swap(DISCONNECTED, Ordering::AcqRel) {
            CONNECTING => Stage::Connecting,
            CONNECTED => Stage::Connected,
            _ => Stage::Disconnected,
        }
    }

    /// The client is back by another connection, so that of this socket is dead.
    pub(crate) fn give_way(&self) {
        self.end(CloseReason::TransportClose, Notice::None);
        self.0.connection.close(CloseReason::TransportClose);
    }

    /// The socket ends: its handlers run, its rooms are left, who waits for it is told. Only the first call does anything.
    pub(crate) fn end(&self, reason: CloseReason, notice: Notice) {
        if self.has_ended() {
            return;
        }
        let (stage, kept) = match self.recovery() {
            Some((recovery, tracked)) => recovery.end(self, tracked, reason),
            None => (self.leave_stage(), None),
        };
        if stage == Stage::Disconnected {
            return;
        }
        if notice == Notice::Packet {
            self.send(&Outgoing::Disconnect {
                namespace: self.namespace_name(),
            });
        }
        let extra = self.0.extra.lock().as_deref_mut().map(Extra::end);
        let own = extra.unwrap_or_default().listeners;
        let namespace = &self.0.namespace;
        if stage == Stage::Connected {
            let all = namespace.handlers();
            self.run_detached(
                [own.disconnecting, all.listeners.disconnecting.clone()],
                &Occasion::Disconnecting(reason),
            );
            namespace.rooms().remove(self);
            self.run_detached(
                [own.disconnected, all.listeners.disconnected.clone()],
                &Occasion::Disconnect(reason),
            );
        } else {
            namespace.rooms().remove(self);
        }
        if let (Some((recovery, _)), Some(kept)) = (self.recovery(), kept) {
            recovery.update_data(kept, self.data());
        }
        namespace.leave();
    }
}
