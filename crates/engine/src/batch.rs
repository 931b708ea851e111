//! Sending to many connections at once.

use std::sync::Arc;

use crate::connection::{Connection, Pushed, Urgency};
use crate::flusher::Flusher;
use crate::frames::Frames;

/// Sends to many connections of one engine and hands the newly marked ones to a flusher in one go, when it is dropped.
#[derive(Default)]
pub struct Batch {
    marked: Vec<Arc<Connection>>,
}

impl Batch {
    /// Queues frames for one connection.
    pub fn send(&mut self, connection: &Arc<Connection>, frames: &Frames) {
        let pushed = connection.push(Urgency::Kept, frames);
        self.mark(pushed, connection);
    }

    /// Queues frames unless something waits to be written already. Returns whether they were taken.
    pub fn send_volatile(&mut self, connection: &Arc<Connection>, frames: &Frames) -> bool {
        let pushed = connection.push(Urgency::Volatile, frames);
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
