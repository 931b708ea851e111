//! Handlers that belong to no client's task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use crate::handler::Running;

/// Polls a handler's future once, here and now, so that it sees things as they are; what is left of it goes to a task of its own.
pub(crate) fn run_detached(runtime: &Handle, start: impl FnOnce() -> Running) {
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
