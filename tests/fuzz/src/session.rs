//! A session against a simple model: whatever happens in whatever order, both do the same at the same time.

use std::time::Duration;

use synapse_protocol::CloseReason;
use synapse_protocol::engine::{Due, PacketType, Session, State, Timestamp, Timing};

use crate::model::{Did, Model};

const START: u64 = 5;

/// The first byte chooses times and transport; then each byte is something that happens.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, happenings)) = input.split_first() else {
        return;
    };
    let (ping_interval, ping_timeout) = if choice & 1 == 0 { (30, 20) } else { (20, 30) };
    let timing = Timing {
        ping_interval: Duration::from_millis(ping_interval),
        ping_timeout: Duration::from_millis(ping_timeout),
        upgrade_timeout: Duration::from_millis(15),
        connect_timeout: Duration::from_millis(45),
    };
    let is_websocket = choice & 2 != 0;
    let mut pair = Pair::open(is_websocket, timing);
    for happening in happenings.iter().take(256) {
        pair.happen(*happening);
        pair.compare();
    }
}

struct Pair {
    session: Session,
    did: Vec<Did>,
    timing: Timing,
    model: Model,
}

impl Pair {
    fn open(is_websocket: bool, timing: Timing) -> Self {
        let start = Timestamp::from_millis(START);
        let session = if is_websocket {
            Session::open_websocket(&timing, start)
        } else {
            Session::open_polling(&timing, start)
        };
        let model = Model::open(is_websocket, &timing, START);
        Self {
            session,
            did: Vec::new(),
            timing,
            model,
        }
    }

    fn happen(&mut self, happening: u8) {
        let now = Timestamp::from_millis(self.model.now);
        match happening {
            0 => {
                let _ = self.session.handle_packet(PacketType::Pong, now);
                self.model.pong();
            }
            1 => {
                let _ = self.session.handle_packet(PacketType::Message, now);
            }
            2 => {
                let _ = self.session.handle_packet(PacketType::Close, now);
                self.model.close(CloseReason::TransportClose);
            }
            3 => {
                self.session.confirm();
                self.model.confirm();
            }
            4 => assert_eq!(self.session.start_probe().is_ok(), self.model.start_probe()),
            5 => assert_eq!(
                self.session.complete_upgrade().is_ok(),
                self.model.complete_upgrade()
            ),
            6 => {
                self.session.abandon_probe();
                self.model.abandon_probe();
            }
            7 => {
                self.session.close(CloseReason::ParseError);
                self.model.close(CloseReason::ParseError);
            }
            8 => {
                for packet in [PacketType::Open, PacketType::Upgrade, PacketType::Noop] {
                    let _ = self.session.handle_packet(packet, now);
                }
            }
            9.. => {
                let millis = u64::from(happening) / 4;
                self.advance(millis);
                self.model.advance(millis);
            }
        }
    }

    /// Looks at the session only when it asks for it, as a wheel of timers does.
    fn advance(&mut self, millis: u64) {
        let end = self.model.now + millis;
        let mut at = self.model.now;
        while let Some(due) = self.session.poll_timeout(&self.timing) {
            // One that asks for a moment in the past is looked at a little later, as by any clock.
            at = due.as_millis().max(at + 1);
            if at > end {
                break;
            }
            loop {
                match self
                    .session
                    .handle_timeout(&self.timing, Timestamp::from_millis(at))
                {
                    Due::Nothing => break,
                    Due::Ping => self.did.push(Did::Ping(at)),
                    Due::Close(reason) => self.did.push(Did::Close(at, reason)),
                }
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.did, self.model.did);
        let is_probing = self.model.is_probing;
        match self.session.state() {
            State::Closed(reason) => assert_eq!(Some(reason), self.model.closed),
            State::Polling => {
                assert!(self.model.closed.is_none() && !self.model.is_websocket && !is_probing)
            }
            State::Probing => assert!(self.model.closed.is_none() && is_probing),
            State::WebSocket => assert!(self.model.closed.is_none() && self.model.is_websocket),
        }
    }
}
