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
            let start = {
                let mut queue = core.flusher.queue.lock();
                queue.waiting.extend(marked.drain(..));
                queue.wants_flusher(core)
            };
            Self::start(core, start);
        }
    }

    /// Queues one connection that has just been marked as scheduled.
    pub(crate) fn add_one(core: &Arc<Core>, marked: Arc<Connection>) {
        let start = {
            let mut queue = core.flusher.queue.lock();
            queue.waiting.push_back(marked);
            queue.wants_flusher(core)
        };
        Self::start(core, start);
    }

    /// Not under the queue's lock: a runtime that has shut down drops what is spawned at once.
    fn start(core: &Arc<Core>, wanted: bool) {
        if wanted {
            core.runtime.spawn(run(Running {
                core: Arc::clone(core),
                is_done: false,
            }));
        }
    }
}

impl Queue {
    /// Whether another flusher is worth it, which counts as running then.
    fn wants_flusher(&mut self, core: &Core) -> bool {
        let worthwhile = 1 + self.waiting.len() / WAITING_PER_FLUSHER;
        let wanted = self.running < worthwhile.min(core.runtime.metrics().num_workers());
        self.running += usize::from(wanted);
        wanted
    }
}

/// A flusher. One that is dropped before it is done goes with its runtime: nobody writes any more, and what waits would keep the engine, which
/// keeps what waits.
struct Running {
    core: Arc<Core>,
    is_done: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_done {
            let waiting = {
                let mut queue = self.core.flusher.queue.lock();
                queue.running -= 1;
                std::mem::take(&mut queue.waiting)
            };
            drop(waiting);
        }
    }
}

async fn run(mut running: Running) {
    let mut slice = Vec::with_capacity(SLICE);
    loop {
        tokio::task::yield_now().await;
        {
            let mut queue = running.core.flusher.queue.lock();
            if queue.waiting.is_empty() {
                queue.running -= 1;
                running.is_done = true;
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
