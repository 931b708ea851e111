//! Attacks on other servers of this kind, tried on ours. After each, the attacker is closed or refused, everybody else is served, and
//! nothing of the attacker is left.

mod addresses;
mod deflate;
mod dropping;
mod floods;
mod http;
mod ids;
mod origins;
mod packets;
mod polling;
mod rates;
mod slow;
mod storm;
mod upgrade;
mod websocket;

use std::time::Duration;

use synapse_hostile::quick_config;
use synapse_socket::{CloseReason, EngineConfig, Server};
use tokio::sync::mpsc;

/// A server that notices within a moment that a client is silent.
pub(crate) fn short_heartbeat() -> EngineConfig {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(200);
    config.timing.ping_timeout = Duration::from_millis(200);
    config
}

/// Why sockets of the main namespace end, as it happens.
pub(crate) fn reasons(io: &Server) -> mpsc::Receiver<&'static str> {
    let (sender, receiver) = mpsc::channel(1_000);
    io.of("/").on_disconnect(move |reason: CloseReason| {
        // Sockets that end after their test has ended are nobody's business.
        let _ = sender.try_send(reason.as_str());
        async {}
    });
    receiver
}

/// A masked frame whose first byte is given, of less than 64 KiB; the mask is zero, so the payload is as it stands.
pub(crate) fn fragment(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a fragment below 64 KiB");
    let mut frame = vec![first];
    if length < 126 {
        frame.push(0x80 | length.to_be_bytes()[1]);
    } else {
        frame.push(0x80 | 126);
        frame.extend(length.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
