//! One session as everyone else sees it: the handle that applications send by, requests arrive at and the heartbeat looks after.
//!
//! A connection's state is the innermost lock: nothing else is locked while it is held.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use synapse_protocol::engine::v3::BinaryForm;
use synapse_protocol::engine::{Due, Received, Session, SessionError, Timestamp};
use synapse_protocol::engine::{PacketType, State as SessionState, Version};
use synapse_protocol::websocket::{Agreement, Deflate, Opcode, deflate_frames, put_frame};
use synapse_protocol::{CloseReason, SessionId};

use crate::batch::Batch;
use crate::core::Core;
use crate::delivery::{Delivery, LatestKey};
use crate::flusher::Flusher;
use crate::frames::{Form, Frames};
use crate::outbox::Outbox;
use crate::request::RequestHead;
use crate::state::{Link, State};

/// Bytes in an outbox that are written at once rather than at the end of the batch.
const EAGER_BYTES: usize = 256 * 1024;

/// The packet `2` in its text frame.
const PING_FRAME: &[u8] = b"\x81\x012";

/// How a session's packets travel at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// HTTP long polling.
    Polling,
    /// WebSocket.
    WebSocket,
    /// WebTransport, with the cargo feature of that name.
    WebTransport,
}

impl TransportKind {
    pub(crate) const ALL: [Self; 3] = [Self::Polling, Self::WebSocket, Self::WebTransport];

    /// The name that is used in the query and by clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }

    /// The transport of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|transport| transport.as_str() == name)
    }
}

/// One Engine.IO session, shared by everyone who sends to it.
pub struct Connection {
    core: Arc<Core>,
    id: SessionId,
    request: RequestHead,
    version: Version,
    /// The client takes binary messages in base64 on the transport that it uses.
    takes_base64: AtomicBool,
    closed: AtomicBool,
    /// The window that messages for the client are compressed with, as a power of two; 0 when they are not compressed. Compressed frames may
    /// be in the outbox only when no poll can fetch them any more.
    deflate_bits: AtomicU8,
    state: Mutex<State>,
}

/// What came of a push.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Queued, and somebody is going to write it already.
    Queued,
    /// Queued, and the caller has to see to a flush.
    Marked,
    /// Not queued.
    Refused,
}

impl Connection {
    pub(crate) fn new(
        core: &Arc<Core>,
        id: SessionId,
        request: RequestHead,
        session: Session,
        link: Link,
    ) -> Arc<Self> {
        let version = session.version();
        let state = State::new(session, link);
        Arc::new(Self {
            core: Arc::clone(core),
            id,
            request,
            version,
            takes_base64: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            deflate_bits: AtomicU8::new(0),
            state: Mutex::new(state),
        })
    }

    /// The secret id of the session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The version of Engine.IO that the client speaks, from its handshake on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The head of the request that opened the session.
    pub fn request(&self) -> &RequestHead {
        &self.request
    }

    /// The runtime that the session's task runs on, for work that has to go on elsewhere.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.core.runtime
    }

    /// Whether the session is over. What is sent afterwards is dropped.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How packets travel at the moment, or did so until the session was over.
    pub fn transport(&self) -> TransportKind {
        let state = self.state.lock();
        if state.is_polling() {
            TransportKind::Polling
        } else {
            state.streamed_by
        }
    }

    /// Tells that the application wants this session, which ends the connect timeout.
    pub fn confirm(&self) {
        self.state.lock().session.confirm();
    }

    /// Sends the complete WebSocket frames of one message, which other connections may share. Never waits. Returns whether they were taken.
    pub fn send(self: &Arc<Self>, delivery: Delivery, frames: &Frames) -> bool {
        let pushed = self.push(delivery, frames);
        self.schedule(pushed);
        pushed != Pushed::Refused
    }

    /// Sends the frames of one message, of `len` bytes together, that only this connection gets: they are written straight into its outbox.
    /// Returns whether they were taken.
    pub fn send_with(
        self: &Arc<Self>,
        delivery: Delivery,
        len: usize,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let form = self.form();
        let deflate = self.deflate().filter(|deflate| len >= deflate.threshold);
        let pushed = if form == Form::V4 && deflate.is_none() {
            let mut state = self.state.lock();
            state.allow_compression();
            self.push_locked(&mut state, delivery, len, |outbox| outbox.write(put))
        } else {
            self.push_converted(delivery, len, put, form, deflate)
        };
        self.schedule(pushed);
        pushed != Pushed::Refused
    }

    /// Queues the packet that opens the session, for its task to write in its first run.
    pub(crate) fn send_first(&self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        state.outbox.write(put);
        state.scheduled = true;
    }

    /// Ends the session from the application's side: its [`Client::disconnecting`](crate::Client::disconnecting) may send its last packets,
    /// then the session is closed.
    pub fn disconnect(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        if !state.session.is_closed() && state.disconnecting.is_none() {
            state.disconnecting = Some(reason);
            state.wake_task();
        }
    }

    /// Ends the session: what was sent before still goes out, then the client is told.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        self.close_locked(&mut state, reason);
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn close_locked(&self, state: &mut State, reason: CloseReason) {
        if state.session.close(reason) {
            self.closed.store(true, Ordering::Release);
            state.wake_task();
        }
    }

    /// Takes note of a packet that is not a message, from the transport in use.
    pub(crate) fn handle_packet(&self, packet: PacketType) -> Result<Received, SessionError> {
        let now = self.core.clock.now();
        let mut state = self.state.lock();
        let received = state.session.handle_packet(packet, now);
        if received == Ok(Received::Closed) {
            self.closed.store(true, Ordering::Release);
        }
        received
    }

    /// The client asked for binary messages in this form on the transport that it uses from here on; only those of version 3 can. What waits
    /// may still be in the other form, which such a client reads as well.
    pub(crate) fn take_binary_as(&self, binary: BinaryForm) {
        self.takes_base64
            .store(binary == BinaryForm::Base64, Ordering::Release);
    }

    /// How packets are written for the client at the moment.
    pub(crate) fn form(&self) -> Form {
        match (self.version, self.takes_base64.load(Ordering::Acquire)) {
            (Version::V4, _) => Form::V4,
            (Version::V3, false) => Form::V3(BinaryForm::Bytes),
            (Version::V3, true) => Form::V3(BinaryForm::Base64),
        }
    }

    /// Compresses from now on what is sent. The link has to be a WebSocket's whose client agreed.
    pub(crate) fn start_deflate(&self, agreement: Agreement) {
        self.deflate_bits
            .store(agreement.window_bits(), Ordering::Release);
    }

    /// How messages for the client are compressed at the moment.
    fn deflate(&self) -> Option<Deflate> {
        match self.deflate_bits.load(Ordering::Acquire) {
            0 => None,
            bits => Some(self.core.config.per_message_deflate?.deflate(bits)),
        }
    }

    fn count_compression(&self) {
        let compressed = &self.core.counters.compressed;
        compressed.fetch_add(1, Ordering::Relaxed);
    }

    fn push_converted(
        &self,
        delivery: Delivery,
        len: usize,
        put: impl FnOnce(&mut Vec<u8>),
        form: Form,
        deflate: Option<Deflate>,
    ) -> Pushed {
        let mut frames = Vec::with_capacity(len);
        put(&mut frames);
        frames = form.convert(&frames).unwrap_or(frames);
        if let Some(deflate) = deflate {
            self.count_compression();
            frames = deflate_frames(&frames, deflate).unwrap_or(frames);
        }
        // Before the lock, so that nobody waits for it.
        let frames = Bytes::from(frames);
        let mut state = self.state.lock();
        state.allow_compression();
        self.push_locked(&mut state, delivery, frames.len(), |outbox| {
            outbox.push(&frames);
        })
    }

    pub(crate) fn push(&self, delivery: Delivery, frames: &Frames) -> Pushed {
        let form = frames
            .written(self.form())
            .form(self.deflate(), || self.count_compression());
        let mut state = self.state.lock();
        let pushed = self.push_locked(&mut state, delivery, form.len(), |outbox| {
            outbox.push(form);
        });
        if pushed != Pushed::Refused && frames.is_compressible() {
            state.allow_compression();
        }
        pushed
    }

    fn push_locked(
        &self,
        state: &mut State,
        delivery: Delivery,
        len: usize,
        put: impl FnOnce(&mut Outbox),
    ) -> Pushed {
        if state.session.is_closed() {
            return Pushed::Refused;
        }
        let counters = &self.core.counters;
        let droppable = match delivery {
            Delivery::Kept => None,
            Delivery::Volatile if !state.is_writable() => {
                counters.volatile_dropped.fetch_add(1, Ordering::Relaxed);
                return Pushed::Refused;
            }
            Delivery::Volatile => None,
            Delivery::DropOldest => Some(None),
            Delivery::KeepLatest(key) => Some(Some(key)),
        };
        // Whoever keeps up gets everything, by the same short way.
        match droppable {
            Some(key) if !state.keeps_up() => self.push_droppable(state, key, put),
            Some(_) | None if self.has_room(state, len) => put(&mut state.outbox),
            Some(_) | None => {
                // One slow reader must not hold memory without end, so a full outbox closes that session only.
                counters.overflowed.fetch_add(1, Ordering::Relaxed);
                self.close_locked(state, CloseReason::TransportError);
                return Pushed::Refused;
            }
        }
        if state.outbox.bytes() > EAGER_BYTES && matches!(state.link, Link::Tcp(_)) {
            // The stream reports an error to the task that reads it; here it only means that nothing more goes out.
            let _ = state.write();
        }
        if state.in_poll || state.scheduled {
            Pushed::Queued
        } else {
            state.scheduled = true;
            Pushed::Marked
        }
    }

    /// Whether so many more bytes may wait, once those are gone that may be dropped for their sake. A single message always may.
    fn has_room(&self, state: &mut State, len: usize) -> bool {
        let limit = self.core.config.limits.outbox_bytes_max;
        let is_full = |waiting| waiting > 0 && waiting + len > limit;
        if is_full(state.waiting_bytes()) {
            self.core
                .counters
                .note_dropped(state.outbox.drop_droppables());
        }
        !is_full(state.waiting_bytes())
    }

    fn push_droppable(
        &self,
        state: &mut State,
        key: Option<LatestKey>,
        put: impl FnOnce(&mut Outbox),
    ) {
        let limits = &self.core.config.limits;
        let mut message = Outbox::default();
        put(&mut message);
        let room = limits
            .outbox_bytes_max
            .saturating_sub(state.kept_bytes())
            .min(limits.droppable_bytes_max);
        let gone = state
            .outbox
            .push_droppable(message.into_frames(), key, room);
        let counters = &self.core.counters;
        counters.note_dropped(gone.dropped);
        counters
            .replaced
            .fetch_add(gone.replaced as u64, Ordering::Relaxed);
    }

    fn schedule(self: &Arc<Self>, pushed: Pushed) {
        if pushed == Pushed::Marked {
            Flusher::add_one(&self.core, Arc::clone(self));
        }
    }

    /// Writes the outbox from outside the session's task.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        if state.in_poll {
            state.scheduled = false;
            return;
        }
        match state.write() {
            Ok(true) => state.scheduled = false,
            // The task waits until the stream can take more, or finds out what is wrong with it; it stays scheduled until then.
            Ok(false) | Err(_) => state.wake_task(),
        }
    }

    /// Begins a run of the session's task: what is sent from now on is written at its end.
    pub(crate) fn begin_poll(&self, cx: &Context<'_>) -> parking_lot::MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.in_poll = true;
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            state.waker = Some(cx.waker().clone());
        }
        state
    }

    /// Whether the task should not read: the application is too busy for more of the client's messages, or so much waits to be written. The
    /// task is woken when the latter has changed.
    pub(crate) fn pause_reading(&self, busy: bool) -> bool {
        let mut state = self.state.lock();
        state.set_busy(busy);
        state.reading_paused = state.waiting_bytes() > self.core.config.limits.outbox_bytes_pause;
        busy || state.reading_paused
    }

    /// The application may be less busy than it was, though nothing has happened that its session's task could know of.
    pub fn resume(&self) {
        let state = self.state.lock();
        if state.busy {
            state.wake_task();
        }
    }

    /// Why the application wants the session to end, if it does.
    pub(crate) fn take_disconnecting(&self) -> Option<CloseReason> {
        self.state.lock().disconnecting.take()
    }

    /// Ends a run of the session's task: writes what is there, or arranges to be woken when the stream can take it.
    /// Returns the bytes that still wait.
    pub(crate) fn end_poll(&self, cx: &mut Context<'_>) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.in_poll = false;
        loop {
            if state.write()? {
                state.scheduled = false;
                return Ok(0);
            }
            state.scheduled = true;
            let Link::Tcp(stream) = &state.link else {
                return Ok(state.waiting_bytes());
            };
            match stream.as_ref().poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(state.waiting_bytes()),
            }
        }
    }

    /// Why the session is over; a transport error as long as it is not.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self.state.lock().session.state() {
            SessionState::Closed(reason) => reason,
            SessionState::Polling | SessionState::Probing | SessionState::WebSocket => {
                CloseReason::TransportError
            }
        }
    }

    /// Ends the session's part in the engine. Returns the link of a WebSocket with what still waits for it; a polling session says goodbye by
    /// itself, in the poll that is pending or in the next one.
    pub(crate) fn end(&self) -> Option<(Link, Outbox)> {
        let reason = self.close_reason();
        let now = self.core.clock.now();
        let (rest, stays_until) = {
            let mut state = self.state.lock();
            state.waker = None;
            match std::mem::replace(&mut state.link, Link::Gone) {
                Link::Polling(mut polling) => {
                    polling.drop_body();
                    let stays_until = if matches!(reason, CloseReason::TransportClose) {
                        polling.release_poll();
                        None
                    } else {
                        state.outbox.write(|out| put_frame(out, Opcode::Text, b"1"));
                        let until = now.after(self.core.config.limits.close_timeout);
                        let was_waiting = polling.has_poll();
                        polling.close_until(until);
                        let client_may_poll = !matches!(
                            reason,
                            CloseReason::TransportError | CloseReason::PingTimeout
                        );
                        (client_may_poll && !was_waiting).then_some(until)
                    };
                    polling.handover = None;
                    state.link = Link::Polling(polling);
                    (None, stays_until)
                }
                link @ (Link::Tcp(_) | Link::Task { .. }) => {
                    (Some((link, std::mem::take(&mut state.outbox))), None)
                }
                Link::Gone => (None, None),
            }
        };
        match stays_until {
            Some(until) => self.core.wheel.insert(self.id, until, now),
            None => self.core.sessions.remove(self),
        }
        rest
    }

    pub(crate) fn handle_timeout(self: &Arc<Self>, now: Timestamp, batch: &mut Batch) {
        let timing = &self.core.config.timing;
        let mut pings = 0;
        let (next, is_forgotten) = {
            let mut state = self.state.lock();
            if state.take_excuse() {
                state.session.excuse(now);
            }
            loop {
                match state.session.handle_timeout(timing, now) {
                    Due::Nothing => break,
                    Due::Ping => pings += 1,
                    Due::Close(_) => {
                        self.closed.store(true, Ordering::Release);
                        state.wake_task();
                    }
                }
            }
            // A closed polling session stays in the table for the poll that tells the client, but not for ever. Any other one is taken out
            // by its task.
            let goodbye = if let Link::Polling(polling) = &state.link {
                polling.closing_until()
            } else {
                None
            };
            let next = state.session.poll_timeout(timing);
            let is_forgotten = goodbye.is_some_and(|until| until <= now);
            (next.or(goodbye), is_forgotten)
        };
        for _ in 0..pings {
            batch.send(self, Delivery::Kept, &Frames::new(PING_FRAME));
        }
        if is_forgotten {
            self.core.sessions.remove(self);
        } else if let Some(at) = next {
            self.core.wheel.insert(self.id, at, now);
        }
    }
}

/// Connections without a task, for tests that are in its place.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::config::EngineConfig;
    use crate::polling::Polling;
    use crate::proxies::Sender;

    pub(crate) fn core(config: EngineConfig) -> Arc<Core> {
        let runtime = tokio::runtime::Handle::current();
        Arc::new(Core::new(config, runtime))
    }

    /// One whose outbox nobody writes.
    pub(crate) fn websocket(core: &Arc<Core>) -> Arc<Connection> {
        let session = Session::open_websocket(&core.config.timing, core.clock.now());
        connection(core, session, Link::Gone)
    }

    fn connection(core: &Arc<Core>, session: Session, link: Link) -> Arc<Connection> {
        let (parts, ()) = http::Request::new(()).into_parts();
        let id = SessionId::from_random([7; 15]);
        Connection::new(
            core,
            id,
            RequestHead::new(&parts, Sender::default()),
            session,
            link,
        )
    }

    /// One that polls and is in the table of an engine of its own.
    pub(crate) fn polling() -> Arc<Connection> {
        let core = core(EngineConfig::default());
        let session = Session::open_polling(&core.config.timing, core.clock.now());
        let link = Link::Polling(Box::<Polling>::default());
        let connection = connection(&core, session, link);
        assert_eq!(core.sessions.insert(Arc::clone(&connection), 1), Ok(()));
        connection
    }
}
