//! Long polling: a session whose packets travel by HTTP requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use synapse_protocol::CloseReason;
use synapse_protocol::engine::v3::{self, BinaryForm, PayloadKind};
use synapse_protocol::engine::{PayloadLimits, State as SessionState, Timestamp, put_payload};

use crate::connection::Connection;
use crate::frames::Form;
use crate::state::{Link, State};
use crate::upgrade::Handover;

/// The packet `6` in its text frame.
const NOOP_FRAME: &[u8] = b"\x81\x016";

/// What a polling session keeps between requests.
#[derive(Default)]
pub(crate) struct Polling {
    poll: PendingPoll,
    post: PendingPost,
    /// The poll is to be answered though there is nothing to tell, so that the client can go on with its upgrade.
    noop: bool,
    /// Something waits that may be compressed.
    is_compressible: bool,
    /// The WebSocket that takes over, until the session's task fetches it.
    pub(crate) handover: Option<Box<Handover>>,
    /// The session is over; the next poll is told so, until then.
    closing_until: Option<Timestamp>,
}

#[derive(Default)]
enum PendingPoll {
    #[default]
    None,
    Waiting(Option<Waker>),
}

#[derive(Default)]
enum PendingPost {
    #[default]
    None,
    /// Its body is still being read.
    Reading,
    /// The session's task has not taken it yet, or has left this much of it for later.
    Filled(PostBody, Option<Waker>),
    /// The session's task handles it.
    Handling(Option<Waker>),
}

/// The body of a POST, or the rest of it.
pub(crate) struct PostBody {
    pub(crate) kind: PayloadKind,
    pub(crate) bytes: Bytes,
    pub(crate) limits: PayloadLimits,
}

/// What a poll is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) kind: PayloadKind,
    pub(crate) bytes: Vec<u8>,
    /// Whether any packet in it may be compressed.
    pub(crate) is_compressible: bool,
}

impl Payload {
    /// A payload of these frames, which are written in the form of the connection.
    pub(crate) fn new(frames: &[u8], form: Form, is_compressible: bool) -> Self {
        let mut bytes = Vec::with_capacity(frames.len());
        let kind = match form {
            Form::V4 => {
                put_payload(&mut bytes, frames);
                PayloadKind::Text
            }
            Form::V3(binary) => v3::put_payload(&mut bytes, frames, binary),
        };
        Self {
            kind,
            bytes,
            is_compressible,
        }
    }

    fn noop(form: Form) -> Self {
        Self::new(NOOP_FRAME, form, true)
    }
}

/// A request that the session cannot take: another one of its kind is under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

impl Polling {
    pub(crate) fn has_poll(&self) -> bool {
        matches!(self.poll, PendingPoll::Waiting(_))
    }

    pub(crate) fn allow_compression(&mut self) {
        self.is_compressible = true;
    }

    pub(crate) fn wake_poll(&mut self) {
        if let PendingPoll::Waiting(waker) = &mut self.poll
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }

    /// Takes the body of a POST that is to be handled. The POST is answered after [`finish_body`](Self::finish_body).
    pub(crate) fn take_body(&mut self) -> Option<PostBody> {
        match std::mem::take(&mut self.post) {
            PendingPost::Filled(body, waker) => {
                self.post = PendingPost::Handling(waker);
                Some(body)
            }
            other @ (PendingPost::None | PendingPost::Reading | PendingPost::Handling(_)) => {
                self.post = other;
                None
            }
        }
    }

    /// The body that was taken has been handled, but for this rest of it.
    pub(crate) fn finish_body(&mut self, rest: Option<PostBody>) {
        if let PendingPost::Handling(waker) = &mut self.post {
            let waker = waker.take();
            match rest {
                Some(rest) => self.post = PendingPost::Filled(rest, waker),
                None => {
                    self.post = PendingPost::None;
                    waker.into_iter().for_each(Waker::wake);
                }
            }
        }
    }

    /// Nobody handles bodies any more; the client gets its answer.
    pub(crate) fn drop_body(&mut self) {
        drop(self.take_body());
        self.finish_body(None);
    }

    /// Takes the WebSocket that takes over, unless a POST of before is still under way: its packets come first.
    pub(crate) fn take_handover(&mut self) -> Option<Box<Handover>> {
        match self.post {
            PendingPost::None => self.handover.take(),
            PendingPost::Reading | PendingPost::Filled(..) | PendingPost::Handling(_) => None,
        }
    }

    /// Answers the pending poll with a noop.
    pub(crate) fn release_poll(&mut self) {
        self.noop = true;
        self.wake_poll();
    }

    pub(crate) fn close_until(&mut self, until: Timestamp) {
        self.closing_until = Some(until);
        self.wake_poll();
    }

    /// Until when the session waits for the poll that tells the client it is over, if it does.
    pub(crate) fn closing_until(&self) -> Option<Timestamp> {
        self.closing_until
    }
}

/// The poll of a session: resolves with the payload to answer. Dropped before, the client has gone away and the session is over.
pub(crate) struct PollRequest {
    connection: Arc<Connection>,
    /// The payload becomes a part of a script.
    text_only: bool,
    answered: bool,
}

impl PollRequest {
    /// Two polls of one session are a broken client: the session is closed, the first poll is told so and this one refused.
    pub(crate) fn start(connection: Arc<Connection>) -> Result<Self, Overlap> {
        let overlap = {
            let mut state = connection.lock();
            let overlap = match &mut state.link {
                Link::Polling(polling) if polling.has_poll() => true,
                Link::Polling(polling) => {
                    polling.poll = PendingPoll::Waiting(None);
                    false
                }
                Link::Tcp(_) | Link::Task { .. } | Link::Gone => false,
            };
            if overlap {
                connection.close_locked(&mut state, CloseReason::TransportError);
            }
            overlap
        };
        if overlap {
            Err(Overlap)
        } else {
            Ok(Self {
                connection,
                text_only: false,
                answered: false,
            })
        }
    }

    /// Has the payload written as text, binary messages included.
    pub(crate) fn in_text(mut self) -> Self {
        self.text_only = true;
        self
    }
}

impl Future for PollRequest {
    type Output = Payload;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Payload> {
        let (payload, is_goodbye) = {
            let mut state = self.connection.lock();
            let form = match self.connection.form() {
                Form::V3(_) if self.text_only => Form::V3(BinaryForm::Base64),
                form @ (Form::V3(_) | Form::V4) => form,
            };
            let Some(payload) = take_payload(&mut state, form, cx) else {
                return Poll::Pending;
            };
            // A session that is over but has not been ended by its task yet says so in the next poll.
            let is_goodbye = match &state.link {
                Link::Polling(polling) => polling.closing_until.is_some(),
                Link::Tcp(_) | Link::Task { .. } | Link::Gone => false,
            };
            (payload, is_goodbye)
        };
        self.answered = true;
        if is_goodbye {
            self.connection.core().sessions.remove(&self.connection);
        }
        Poll::Ready(payload)
    }
}

fn take_payload(state: &mut State, form: Form, cx: &Context<'_>) -> Option<Payload> {
    let upgraded = state.session.state() == SessionState::WebSocket;
    let Link::Polling(polling) = &mut state.link else {
        return Some(Payload::noop(form));
    };
    // What an upgraded session has to say goes by its WebSocket.
    let payload = if !upgraded && !state.outbox.is_empty() {
        Some(Payload::new(
            &state.outbox.concat(),
            form,
            polling.is_compressible,
        ))
    } else if upgraded || polling.noop {
        Some(Payload::noop(form))
    } else {
        None
    };
    match payload {
        Some(payload) => {
            polling.poll = PendingPoll::None;
            polling.noop = false;
            polling.is_compressible = false;
            if !upgraded {
                state.clear_outbox();
            }
            Some(payload)
        }
        None => {
            polling.poll = PendingPoll::Waiting(Some(cx.waker().clone()));
            None
        }
    }
}

impl Drop for PollRequest {
    fn drop(&mut self) {
        if !self.answered {
            let mut state = self.connection.lock();
            if let Link::Polling(polling) = &mut state.link {
                polling.poll = PendingPoll::None;
            }
            // A client that has gone over to its WebSocket may leave its last poll behind.
            if state.is_polling() {
                self.connection
                    .close_locked(&mut state, CloseReason::TransportError);
            }
        }
    }
}

/// A POST of a session, while its body is read and handed over. Dropped before, the client has gone away and the session is over.
pub(crate) struct PostRequest {
    connection: Arc<Connection>,
    done: bool,
}

impl PostRequest {
    /// Two POSTs of one session at a time are a broken client, whose packets would have no order: the session is closed.
    pub(crate) fn start(connection: Arc<Connection>) -> Result<Self, Overlap> {
        let overlap = {
            let mut state = connection.lock();
            let overlap = match &mut state.link {
                Link::Polling(polling) => match polling.post {
                    PendingPost::None => {
                        polling.post = PendingPost::Reading;
                        false
                    }
                    PendingPost::Reading | PendingPost::Filled(..) | PendingPost::Handling(_) => {
                        true
                    }
                },
                Link::Tcp(_) | Link::Task { .. } | Link::Gone => false,
            };
            if overlap {
                connection.close_locked(&mut state, CloseReason::TransportError);
            }
            overlap
        };
        if overlap {
            Err(Overlap)
        } else {
            Ok(Self {
                connection,
                done: false,
            })
        }
    }

    /// Gives the request up without closing the session, which is what a body over the limit gets.
    pub(crate) fn refuse(mut self) {
        self.done = true;
        let mut state = self.connection.lock();
        if let Link::Polling(polling) = &mut state.link {
            polling.post = PendingPost::None;
            // A WebSocket may wait for it.
            state.wake_task();
        }
    }

    /// Hands the body to the session's task and waits until all of it has been handled, so that a client cannot be faster than its handlers.
    pub(crate) async fn deliver(mut self, kind: PayloadKind, bytes: Bytes) {
        let limits = PayloadLimits {
            packets_max: self.connection.core().config.limits.payload_packets_max,
        };
        let body = PostBody {
            kind,
            bytes,
            limits,
        };
        {
            let mut state = self.connection.lock();
            if let Link::Polling(polling) = &mut state.link {
                polling.post = PendingPost::Filled(body, None);
                state.wake_task();
            }
        }
        std::future::poll_fn(|cx| {
            let mut state = self.connection.lock();
            let closed = state.session.is_closed();
            match &mut state.link {
                Link::Polling(polling) => match &mut polling.post {
                    PendingPost::Filled(_, waker) | PendingPost::Handling(waker) if !closed => {
                        *waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    PendingPost::Filled(..)
                    | PendingPost::Handling(_)
                    | PendingPost::Reading
                    | PendingPost::None => {
                        polling.post = PendingPost::None;
                        Poll::Ready(())
                    }
                },
                Link::Tcp(_) | Link::Task { .. } | Link::Gone => Poll::Ready(()),
            }
        })
        .await;
        self.done = true;
    }
}

impl Drop for PostRequest {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.connection.lock();
            let is_taken = match &state.link {
                Link::Polling(polling) => {
                    matches!(polling.post, PendingPost::None | PendingPost::Handling(_))
                }
                Link::Tcp(_) | Link::Task { .. } | Link::Gone => true,
            };
            if state.is_polling() || !is_taken {
                self.connection
                    .close_locked(&mut state, CloseReason::TransportError);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::testing::polling;
    use crate::delivery::Delivery;
    use crate::state::Link;

    fn poll_now(request: &mut PollRequest) -> Option<String> {
        match Pin::new(request).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(payload) => Some(String::from_utf8(payload.bytes).expect("text")),
            Poll::Pending => None,
        }
    }

    fn send(connection: &Arc<Connection>, text: &str) {
        let mut frame = Vec::new();
        synapse_protocol::websocket::put_frame(
            &mut frame,
            synapse_protocol::websocket::Opcode::Text,
            text.as_bytes(),
        );
        connection.send(Delivery::Kept, &crate::frames::Frames::new(frame));
    }

    fn upgrade(connection: &Connection) {
        let mut state = connection.lock();
        assert_eq!(state.session.start_probe(), Ok(()));
        assert_eq!(state.session.complete_upgrade(), Ok(()));
        let Link::Polling(polling) = &mut state.link else {
            panic!("a session that polls")
        };
        polling.release_poll();
    }

    /// Between the end of a session and the run of its task that ends it, a poll gets what was sent before; the goodbye is for the next one.
    #[tokio::test]
    async fn a_poll_between_the_end_and_its_task_does_not_swallow_the_goodbye() {
        let connection = polling();
        send(&connection, "4last");
        connection.close(CloseReason::ServerShuttingDown);
        let mut first = PollRequest::start(Arc::clone(&connection)).unwrap();
        assert_eq!(poll_now(&mut first).as_deref(), Some("4last"));
        let sessions = &connection.core().sessions;
        assert!(sessions.find(connection.id()).is_some(), "it is still told");
        assert!(connection.end().is_none());
        let mut next = PollRequest::start(Arc::clone(&connection)).unwrap();
        assert_eq!(poll_now(&mut next).as_deref(), Some("1"));
        assert!(sessions.find(connection.id()).is_none());
    }

    /// As the reference server has it: one packet that may be compressed is reason enough, and the next poll begins anew.
    #[tokio::test]
    async fn a_payload_is_compressed_for_one_packet_that_may_be() {
        let connection = polling();
        for (compressible, expected) in [
            (&[true][..], true),
            (&[false, false], false),
            (&[false, true, false], true),
            (&[false], false),
        ] {
            for is_compressible in compressible {
                let frames = crate::frames::Frames::new(&b"\x81\x024x"[..]);
                if *is_compressible {
                    connection.send(Delivery::Kept, &frames);
                } else {
                    connection.send(Delivery::Kept, &frames.uncompressed());
                }
            }
            let mut poll = PollRequest::start(Arc::clone(&connection)).unwrap();
            let Poll::Ready(payload) =
                Pin::new(&mut poll).poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("there is something to tell");
            };
            assert_eq!(payload.is_compressible, expected, "{compressible:?}");
        }
    }

    #[tokio::test]
    async fn a_poll_that_is_left_behind_by_an_upgrade_ends_nothing() {
        let connection = polling();
        let mut poll = PollRequest::start(Arc::clone(&connection)).unwrap();
        assert_eq!(poll_now(&mut poll), None);
        upgrade(&connection);
        drop(poll);
        assert!(!connection.is_closed());
    }

    #[tokio::test]
    async fn a_poll_that_is_given_up_ends_its_session() {
        let connection = polling();
        drop(PollRequest::start(Arc::clone(&connection)).unwrap());
        assert_eq!(connection.close_reason(), CloseReason::TransportError);
        assert!(connection.is_closed());
    }

    /// What a POST brings is lost with it unless it has been taken, upgraded or not.
    #[tokio::test]
    async fn a_post_that_is_given_up_ends_its_session_unless_it_has_been_taken_before_an_upgrade() {
        for (upgraded, taken, ends) in [
            (false, false, true),
            (false, true, true),
            (true, false, true),
            (true, true, false),
        ] {
            let connection = polling();
            let post = PostRequest::start(Arc::clone(&connection)).unwrap();
            let mut delivering =
                Box::pin(post.deliver(PayloadKind::Text, Bytes::from_static(b"4x")));
            let polled = delivering
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            if upgraded {
                upgrade(&connection);
            }
            if taken {
                let mut state = connection.lock();
                let Link::Polling(polling) = &mut state.link else {
                    panic!("a session that polls")
                };
                assert!(polling.take_body().is_some());
            }
            drop(delivering);
            assert_eq!(connection.is_closed(), ends, "{upgraded} {taken}");
        }
    }

    #[tokio::test]
    async fn a_post_that_nobody_takes_is_answered_when_its_session_ends() {
        let connection = polling();
        let post = PostRequest::start(Arc::clone(&connection)).unwrap();
        let delivering = tokio::spawn(post.deliver(PayloadKind::Text, Bytes::from_static(b"4x")));
        tokio::task::yield_now().await;
        assert!(!delivering.is_finished());
        connection.close(CloseReason::ForcedClose);
        connection.end();
        delivering.await.unwrap();
    }
}
