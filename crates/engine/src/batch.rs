//! Sending to many connections at once.

use std::sync::Arc;

use crate::connection::{Connection, Pushed};
use crate::delivery::Delivery;
use crate::flusher::Flusher;
use crate::frames::Frames;

/// Sends to many connections of one engine and hands the newly marked ones to a flusher in one go, when it is dropped.
#[derive(Default)]
pub struct Batch {
    marked: Vec<Arc<Connection>>,
}

impl Batch {
    /// Queues the frames of one message for one connection. Returns whether they were taken.
    pub fn send(
        &mut self,
        connection: &Arc<Connection>,
        delivery: Delivery,
        frames: &Frames,
    ) -> bool {
        let pushed = connection.push(delivery, frames);
        if pushed == Pushed::Marked {
            self.marked.push(Arc::clone(connection));
        }
        pushed != Pushed::Refused
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(first) = self.marked.first() {
            let core = Arc::clone(first.core());
            Flusher::add(&core, &mut self.marked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use synapse_protocol::websocket::{Opcode, put_frame};

    use super::*;
    use crate::config::{EngineConfig, PerMessageDeflate};
    use crate::connection::testing::{core, websocket};

    fn message() -> Vec<u8> {
        let mut message = Vec::new();
        put_frame(&mut message, Opcode::Text, &b"news ".repeat(1_000));
        message
    }

    /// The first byte of what waits for a connection, and where it is.
    fn waiting(connection: &Connection) -> (u8, *const u8) {
        let state = connection.lock();
        let front = state.outbox.front();
        (front[0], front.as_ptr())
    }

    #[tokio::test]
    async fn a_broadcast_is_compressed_once_for_all_that_agreed_on_the_same() {
        let deflate = PerMessageDeflate::default();
        let core = core(EngineConfig {
            per_message_deflate: Some(deflate),
            ..EngineConfig::default()
        });
        let compressed = || core.counters.compressed.load(Ordering::Relaxed);
        let connections: Vec<_> = (0..200).map(|_| websocket(&core)).collect();
        let (agreed, plain) = connections.split_at(100);
        for connection in agreed {
            let agreement = deflate.accept(["permessage-deflate"]).unwrap();
            connection.start_deflate(agreement);
        }
        let frames = Frames::new(message());
        let mut batch = Batch::default();
        for connection in &connections {
            batch.send(connection, Delivery::Kept, &frames);
        }
        assert_eq!(compressed(), 1);
        let (first, address) = waiting(&agreed[0]);
        assert_eq!(first, 0xc1);
        for connection in agreed {
            assert_eq!(waiting(connection), (0xc1, address), "the same bytes");
        }
        for connection in plain {
            assert_eq!(waiting(connection).0, 0x81);
        }
    }

    #[tokio::test]
    async fn what_one_connection_gets_is_compressed_over_the_threshold_only() {
        let deflate = PerMessageDeflate::default();
        let core = core(EngineConfig {
            per_message_deflate: Some(deflate),
            ..EngineConfig::default()
        });
        let message = message();
        let (plain, agreed) = (websocket(&core), websocket(&core));
        let agreement = deflate.accept(["permessage-deflate"]).unwrap();
        agreed.start_deflate(agreement);
        for (connection, first) in [(&plain, 0x81), (&agreed, 0xc1)] {
            connection.send_with(Delivery::Kept, message.len(), |out| {
                out.extend_from_slice(&message);
            });
            assert_eq!(waiting(connection).0, first);
        }
        let small = websocket(&core);
        small.start_deflate(agreement);
        small.send_with(Delivery::Kept, 1_000, |out| {
            put_frame(out, Opcode::Text, &[b'x'; 996]);
        });
        assert_eq!(waiting(&small).0, 0x81);
        assert_eq!(core.counters.compressed.load(Ordering::Relaxed), 1);
    }
}
