//! Writes what broadcasts left in outboxes: in bulk, in slices, by few tasks.
//!
//! Waking the task of every listener costs more than the write itself, and writing a whole broadcast at once stalls everyone else for as
//! long. So newly marked connections wait in one queue, and a flusher takes a slice, writes it directly, and lets others run.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::connection::Connection;
use crate::core::Core;

/// Connections written before other tasks get their turn.
const SLICE: usize = 128;
/// Waiting connections that are worth a further flusher.
const WAITING_PER_FLUSHER: usize = 2048;

#[derive(Default)]
pub(crate) struct Flusher {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Connection>>,
    running: usize,
}

impl Flusher {
    /// Queues connections that have just been marked as scheduled; empties `marked`.
    pub(crate) fn add(core: &Arc<Core>, marked: &mut Vec<Arc<Connection>>) {
        if !marked.is_empty() {
            let mut queue = core.flusher.queue.lock();
            queue.waiting.extend(marked.drain(..));
            Self::start(core, &mut queue);
        }
    }

    /// Queues one connection that has just been marked as scheduled.
    pub(crate) fn add_one(core: &Arc<Core>, marked: Arc<Connection>) {
        let mut queue = core.flusher.queue.lock();
        queue.waiting.push_back(marked);
        Self::start(core, &mut queue);
    }

    fn start(core: &Arc<Core>, queue: &mut Queue) {
        let wanted = 1 + queue.waiting.len() / WAITING_PER_FLUSHER;
        if queue.running < wanted.min(core.runtime.metrics().num_workers()) {
            queue.running += 1;
            core.runtime.spawn(run(Arc::clone(core)));
        }
    }
}

async fn run(core: Arc<Core>) {
    let mut slice = Vec::with_capacity(SLICE);
    loop {
        tokio::task::yield_now().await;
        {
            let mut queue = core.flusher.queue.lock();
            if queue.waiting.is_empty() {
                queue.running -= 1;
                if queue.waiting.capacity() > WAITING_PER_FLUSHER {
                    queue.waiting = VecDeque::new();
                }
                return;
            }
            let taken = queue.waiting.len().min(SLICE);
            slice.extend(queue.waiting.drain(..taken));
        }
        for connection in slice.drain(..) {
            connection.flush();
        }
    }
}
