//! What a session is at the moment, under its connection's lock: its rules, what waits for it and where that goes.

use std::io::{self, IoSlice};
use std::task::Waker;

use synapse_protocol::CloseReason;
use synapse_protocol::engine::{Session, State as SessionState};
use tokio::net::tcp::OwnedWriteHalf;

use crate::connection::TransportKind;
use crate::outbox::{Outbox, WRITE_SEGMENTS_MAX};
use crate::polling::Polling;

pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) outbox: Outbox,
    pub(crate) link: Link,
    /// The transport of a session that does not poll.
    pub(crate) streamed_by: TransportKind,
    /// Of the session's task; it goes when the task ends, because task, connection and waker would keep each other alive.
    pub(crate) waker: Option<Waker>,
    /// The task is running and writes what is in the outbox when it is done.
    pub(crate) in_poll: bool,
    /// The application wants the session to end once it has said so itself; the task sees to it.
    pub(crate) disconnecting: Option<CloseReason>,
    /// The task does not read until the outbox has been written.
    pub(crate) reading_paused: bool,
    /// The stream did not take everything, and has not since.
    pub(crate) is_behind: bool,
    /// Somebody will write what is in the outbox: a flusher, or the task once the stream can take it.
    pub(crate) scheduled: bool,
    /// The task does not read because the application has enough to do: what the client answers lies unread.
    pub(crate) busy: bool,
    /// The client cannot be missed for now: it took something of much that waited for it, or has just been held up.
    pub(crate) excused: bool,
}

/// Where the outbox goes.
pub(crate) enum Link {
    /// To the polls.
    Polling(Box<Polling>),
    /// To a TCP stream, from whichever thread.
    Tcp(OwnedWriteHalf),
    /// To a stream that only the session's task can write, such as a TLS one.
    Task {
        /// Bytes that the task has taken from the outbox and not written yet.
        writing: usize,
    },
    /// Nowhere any more.
    Gone,
}

impl State {
    pub(crate) fn new(session: Session, link: Link) -> Self {
        Self {
            session,
            outbox: Outbox::default(),
            link,
            streamed_by: TransportKind::WebSocket,
            waker: None,
            in_poll: false,
            disconnecting: None,
            reading_paused: false,
            is_behind: false,
            scheduled: false,
            busy: false,
            excused: false,
        }
    }

    pub(crate) fn wake_task(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Bytes that wait for the client.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.bytes() + self.writing_bytes()
    }

    /// Those of them that may not be dropped.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.outbox.kept_bytes() + self.writing_bytes()
    }

    fn writing_bytes(&self) -> usize {
        match self.link {
            Link::Task { writing } => writing,
            Link::Tcp(_) | Link::Polling(_) | Link::Gone => 0,
        }
    }

    /// Whether what waits goes out as soon as somebody gets round to it, or waits for the client.
    pub(crate) fn keeps_up(&self) -> bool {
        match &self.link {
            Link::Tcp(_) => !self.is_behind,
            Link::Task { writing } => *writing == 0,
            Link::Polling(polling) => polling.has_poll() || self.outbox.is_empty(),
            Link::Gone => true,
        }
    }

    /// Whether the client uses polling, or did so until its session ended.
    pub(crate) fn is_polling(&self) -> bool {
        let is_upgraded = self.session.state() == SessionState::WebSocket;
        matches!(self.link, Link::Polling(_)) && !is_upgraded
    }

    /// Something waits that may be compressed. A WebSocket knows that by each message, a poll by all that it gets.
    pub(crate) fn allow_compression(&mut self) {
        if let Link::Polling(polling) = &mut self.link {
            polling.allow_compression();
        }
    }

    /// Whether a missing pong may be our own fault. Asked each time the heartbeat looks, so that an excuse covers one wait.
    pub(crate) fn take_excuse(&mut self) -> bool {
        let is_there = match &self.link {
            // A client that does not even poll has no excuse.
            Link::Polling(polling) => polling.has_poll(),
            Link::Tcp(_) | Link::Task { .. } => true,
            Link::Gone => false,
        };
        std::mem::take(&mut self.excused) | (self.busy && is_there)
    }

    /// Whether the application is too busy for more of the client's messages.
    pub(crate) fn set_busy(&mut self, busy: bool) {
        self.excused |= self.busy && !busy;
        self.busy = busy;
    }

    /// Whether a message would go out at once.
    pub(crate) fn is_writable(&self) -> bool {
        self.waiting_bytes() == 0
            && match &self.link {
                Link::Polling(polling) => polling.has_poll(),
                Link::Tcp(_) | Link::Task { .. } => true,
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
                        Ok(written) => {
                            outbox.advance(written);
                            self.excused |= self.reading_paused;
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.is_behind = true;
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
            Link::Task { .. } => Ok(false),
            Link::Gone => Ok(true),
        }
    }

    /// Takes the outbox for a task that writes it itself; without one, nothing is scheduled any more.
    pub(crate) fn start_write(&mut self) -> Option<Box<Outbox>> {
        let outbox = std::mem::take(&mut self.outbox);
        self.scheduled = !outbox.is_empty();
        self.note_unwritten(outbox.bytes());
        self.resume_reading();
        self.scheduled.then(|| Box::new(outbox))
    }

    /// The task has so much left of what it took.
    pub(crate) fn note_unwritten(&mut self, left: usize) {
        if let Link::Task { writing } = &mut self.link {
            self.excused |= self.reading_paused && left < *writing;
            *writing = left;
        }
    }

    pub(crate) fn clear_outbox(&mut self) {
        self.outbox.clear();
        self.is_behind = false;
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
