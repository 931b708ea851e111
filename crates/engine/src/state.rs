//! What a session is at the moment, under its connection's lock: its rules, what waits for it and where that goes.

use std::io::{self, IoSlice};
use std::task::Waker;

use synapse_protocol::CloseReason;
use synapse_protocol::engine::Session;
use tokio::net::tcp::OwnedWriteHalf;

use crate::outbox::{Outbox, WRITE_SEGMENTS_MAX};
use crate::polling::Polling;

pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) outbox: Outbox,
    pub(crate) link: Link,
    /// Of the session's task; it goes when the task ends, because task, connection and waker would keep each other alive.
    pub(crate) waker: Option<Waker>,
    /// The task is running and writes what is in the outbox when it is done.
    pub(crate) in_poll: bool,
    /// The application wants the session to end once it has said so itself; the task sees to it.
    pub(crate) disconnecting: Option<CloseReason>,
    /// The task does not read until the outbox has been written.
    pub(crate) reading_paused: bool,
    /// Somebody will write what is in the outbox: a flusher, or the task once the stream can take it.
    pub(crate) scheduled: bool,
}

/// Where the outbox goes.
pub(crate) enum Link {
    /// To the polls.
    Polling(Box<Polling>),
    /// To a TCP stream, from whichever thread.
    Tcp(OwnedWriteHalf),
    /// To a stream that only the session's task can write, such as a TLS one.
    Task,
    /// Nowhere any more.
    Gone,
}

impl State {
    pub(crate) fn new(session: Session, link: Link) -> Self {
        Self {
            session,
            outbox: Outbox::default(),
            link,
            waker: None,
            in_poll: false,
            disconnecting: None,
            reading_paused: false,
            scheduled: false,
        }
    }

    pub(crate) fn wake_task(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Whether a message would go out at once.
    pub(crate) fn is_writable(&self) -> bool {
        self.outbox.is_empty()
            && match &self.link {
                Link::Polling(polling) => polling.has_poll(),
                Link::Tcp(_) | Link::Task => true,
                Link::Gone => false,
            }
    }

    /// Writes as much as the link takes. Returns whether nothing is left for a later write.
    pub(crate) fn write(&mut self) -> io::Result<bool> {
        let outbox = &mut self.outbox;
        if outbox.is_empty() {
            return Ok(true);
        }
        match &mut self.link {
            Link::Tcp(stream) => {
                while !outbox.is_empty() {
                    match write_once(stream, outbox) {
                        Ok(written) => outbox.advance(written),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            return Ok(false);
                        }
                        Err(error) => return Err(error),
                    }
                }
                self.clear_outbox();
                Ok(true)
            }
            Link::Polling(polling) => {
                polling.wake_poll();
                Ok(true)
            }
            Link::Task => Ok(false),
            Link::Gone => Ok(true),
        }
    }

    /// Takes the outbox for a task that writes it itself; without one, nothing is scheduled any more.
    pub(crate) fn start_write(&mut self) -> Option<Box<Outbox>> {
        self.scheduled = !self.outbox.is_empty();
        self.resume_reading();
        self.scheduled
            .then(|| Box::new(std::mem::take(&mut self.outbox)))
    }

    pub(crate) fn clear_outbox(&mut self) {
        self.outbox.clear();
        self.resume_reading();
    }

    fn resume_reading(&mut self) {
        if std::mem::take(&mut self.reading_paused) {
            self.wake_task();
        }
    }
}

/// One segment by `send`, several by `writev`: the plain call is the cheaper one.
fn write_once(stream: &OwnedWriteHalf, outbox: &Outbox) -> io::Result<usize> {
    let written = match outbox.single() {
        Some(segment) => stream.try_write(segment)?,
        None => {
            let mut slices = [IoSlice::new(&[]); WRITE_SEGMENTS_MAX];
            let count = outbox.slices(&mut slices);
            stream.try_write_vectored(&slices[..count])?
        }
    };
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}
