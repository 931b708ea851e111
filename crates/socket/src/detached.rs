//! Handlers that belong to no client's task.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use crate::handler::Running;

/// Handlers that may be called from inside of each other, as those are that disconnect others. A further one gets a task of its own at once:
/// the stack must not grow with the number of sockets.
const DEPTH_MAX: usize = 8;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Polls a handler's future once, here and now, so that it sees things as they are; what is left of it goes to a task of its own.
pub(crate) fn run_detached(runtime: &Handle, start: impl FnOnce() -> Running + Send + 'static) {
    if DEPTH.get() < DEPTH_MAX {
        let _deeper = Deeper::enter();
        run(runtime, start);
    } else {
        drop(runtime.spawn(async { start().await }));
    }
}

struct Deeper(());

impl Deeper {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(())
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

fn run(runtime: &Handle, start: impl FnOnce() -> Running) {
    let _context = runtime.enter();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut running = start();
        let poll = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        (poll, running)
    }));
    match outcome {
        Ok((Poll::Ready(()), _)) => (),
        Ok((Poll::Pending, running)) => drop(runtime.spawn(running)),
        Err(_) => tracing::error!("a handler panicked"),
    }
}
