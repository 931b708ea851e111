//! Sending to many connections at once.

use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{Connection, Pushed};
use crate::flusher::Flusher;

/// Sends to many connections of one engine and hands the newly marked ones to a flusher in one go, when it is dropped.
#[derive(Default)]
pub struct Batch {
    marked: Vec<Arc<Connection>>,
}

impl Batch {
    /// Queues frames for one connection.
    pub fn send(&mut self, connection: &Arc<Connection>, frames: &Bytes) {
        let pushed = connection.push(false, |outbox| outbox.push(frames), frames.len());
        self.mark(pushed, connection);
    }

    /// Queues frames unless something waits to be written already. Returns whether they were taken.
    pub fn send_volatile(&mut self, connection: &Arc<Connection>, frames: &Bytes) -> bool {
        let pushed = connection.push(true, |outbox| outbox.push(frames), frames.len());
        let taken = pushed != Pushed::Refused;
        self.mark(pushed, connection);
        taken
    }

    fn mark(&mut self, pushed: Pushed, connection: &Arc<Connection>) {
        if pushed == Pushed::Marked {
            self.marked.push(Arc::clone(connection));
        }
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
