//! The task of one session, from its first packet to its last: reads frames, hands messages to the application and writes what it answers.
//!
//! A million of these wait at the same time, so the future holds what is needed at rest and nothing else: the read buffer belongs to the
//! thread, an incomplete message is boxed by the decoder, timers are the wheel's.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use synapse_protocol::CloseReason;
use synapse_protocol::engine::v3::{self, PayloadKind};
use synapse_protocol::engine::{
    Message, Packet, PacketError, PayloadLimits, Received, Version, decode_packet, decode_payload,
};
use synapse_protocol::websocket::{self, CloseCode, Decoder, Opcode, Role};
use tokio::io::AsyncWrite;

use crate::application::Client;
use crate::connection::Connection;
use crate::core::Ending;
use crate::delivery::Delivery;
use crate::outbox::Outbox;
use crate::polling::PostBody;
use crate::state::Link;
use crate::stream::{BoxedStream, ReadHalf, linger};

const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Reads in one run of the task before others get their turn.
const READS_MAX: usize = 4;
/// The packet `3` in its text frame.
const PONG_FRAME: &[u8] = b"\x81\x013";

thread_local! {
    static READ_BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How the client of a WebSocket is told that it is over.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    /// A close frame without a code, as the reference server sends it.
    Plain,
    /// A close frame that names what was wrong.
    Code(CloseCode),
    /// Nothing: there is nobody left to tell.
    Silent,
}

pub(crate) struct Driver<C: Client> {
    connection: Arc<Connection>,
    client: Option<C>,
    reader: Option<ReadHalf>,
    decoder: Decoder,
    /// What is being written to a stream that only this task can write.
    writing: Option<Box<Outbox>>,
    /// Such a stream has taken everything and still has to pass it on.
    flushing: bool,
    /// Bytes that were read and not handled: before the task began, or when the application was too busy for more.
    leftover: Option<Box<Leftover>>,
    farewell: Farewell,
    /// The application had enough to do when it was last asked, so there may be something to read.
    was_busy: bool,
    /// The application knows that its task runs.
    started: bool,
}

/// Bytes of the stream, handled up to somewhere.
struct Leftover {
    bytes: Box<[u8]>,
    at: usize,
}

impl Leftover {
    fn new(bytes: &[u8]) -> Box<Self> {
        Box::new(Self {
            bytes: bytes.into(),
            at: 0,
        })
    }
}

impl<C: Client> Driver<C> {
    pub(crate) fn new(
        connection: Arc<Connection>,
        client: C,
        reader: Option<ReadHalf>,
        decoder: Decoder,
        leftover: Option<&[u8]>,
    ) -> Self {
        Self {
            connection,
            client: Some(client),
            reader,
            decoder,
            writing: None,
            flushing: false,
            leftover: leftover.map(Leftover::new),
            farewell: Farewell::Plain,
            was_busy: false,
            started: false,
        }
    }

    fn fail(&mut self, reason: CloseReason, farewell: Farewell) -> ControlFlow<()> {
        self.farewell = farewell;
        self.connection.close(reason);
        ControlFlow::Break(())
    }

    /// The task's first run, before anything is read.
    fn start(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        if !self.started
            && let Some(client) = &mut self.client
        {
            self.started = true;
            if let Err(reason) = client.start(cx) {
                return self.fail(reason, Farewell::Plain);
            }
        }
        ControlFlow::Continue(())
    }

    /// What came by POST since the last run, and the WebSocket that takes over, in this order.
    fn take_polled(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        loop {
            self.ask_whether_busy();
            let body = {
                let mut state = self.connection.lock();
                state.set_busy(self.was_busy);
                if self.was_busy {
                    return ControlFlow::Continue(());
                }
                let Link::Polling(polling) = &mut state.link else {
                    return ControlFlow::Continue(());
                };
                if let Some(body) = polling.take_body() {
                    body
                } else {
                    if let Some(handover) = polling.take_handover() {
                        let (reader, link) = handover.stream.split();
                        self.reader = Some(reader);
                        self.decoder = handover.decoder;
                        self.leftover = handover.leftover.as_deref().map(Leftover::new);
                        state.link = link;
                        if let Some(agreement) = handover.deflate {
                            self.connection.start_deflate(agreement);
                        }
                    }
                    return ControlFlow::Continue(());
                }
            };
            let mut rest = None;
            self.handle_payload(&body, &mut rest, cx)?;
            if let Link::Polling(polling) = &mut self.connection.lock().link {
                polling.finish_body(rest);
            }
        }
    }

    fn take_in(&mut self, polling: bool, cx: &mut Context<'_>) -> ControlFlow<()> {
        self.start(cx)?;
        if polling {
            self.take_polled(cx)?;
        }
        self.read(cx)
    }

    /// Handles the packets of a body, and leaves a rest when the application gets too busy for more.
    fn handle_payload(
        &mut self,
        body: &PostBody,
        rest: &mut Option<PostBody>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<()> {
        // Version 4 has no bodies of bytes, which is seen to before they come here.
        let left = if body.kind == PayloadKind::Binary {
            let mut packets = v3::decode_binary_payload(&body.bytes, body.limits);
            self.handle_packets(&mut packets, cx)?;
            packets.rest()
        } else {
            let Ok(text) = std::str::from_utf8(&body.bytes) else {
                return self.fail(CloseReason::ParseError, Farewell::Plain);
            };
            let left = match self.connection.version() {
                Version::V4 => {
                    let mut packets = decode_payload(text, body.limits);
                    self.handle_packets(&mut packets, cx)?;
                    packets.rest()
                }
                Version::V3 => {
                    let mut packets = v3::decode_payload(text, body.limits);
                    self.handle_packets(&mut packets, cx)?;
                    packets.rest()
                }
            };
            left.map(|(text, limits)| (text.as_bytes(), limits))
        };
        *rest = left.map(|(left, limits): (&[u8], PayloadLimits)| PostBody {
            kind: body.kind,
            bytes: body.bytes.slice_ref(left),
            limits,
        });
        ControlFlow::Continue(())
    }

    /// Handles packets until there are no more, or until the application gets too busy for more.
    fn handle_packets<'a>(
        &mut self,
        packets: &mut impl Iterator<Item = Result<Packet<'a>, PacketError>>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<()> {
        for packet in packets {
            self.handle_decoded(packet, cx)?;
            if self.is_busy() {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    fn handle_decoded(
        &mut self,
        packet: Result<Packet<'_>, PacketError>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<()> {
        match packet {
            Ok(packet) => self.handle_packet(packet, cx),
            Err(_) => self.fail(CloseReason::ParseError, Farewell::Plain),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        if self.reader.is_none() {
            return ControlFlow::Continue(());
        }
        let mut buffer = READ_BUFFER
            .take()
            .unwrap_or_else(|| vec![0; READ_BUFFER_BYTES].into_boxed_slice());
        let flow = self.read_into(&mut buffer, cx);
        READ_BUFFER.set(Some(buffer));
        flow
    }

    fn read_into(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> ControlFlow<()> {
        for _ in 0..READS_MAX {
            if self.is_held_up() {
                return ControlFlow::Continue(());
            }
            if let Some(leftover) = self.leftover.take() {
                self.feed_leftover(leftover, cx)?;
                continue;
            }
            let Some(reader) = &mut self.reader else {
                return ControlFlow::Continue(());
            };
            match reader.poll_read(cx, buffer) {
                Poll::Pending => return ControlFlow::Continue(()),
                Poll::Ready(Ok(0)) => {
                    return self.fail(CloseReason::TransportClose, Farewell::Silent);
                }
                Poll::Ready(Ok(read)) => {
                    let bytes = &mut buffer[..read];
                    let mut fed = 0;
                    self.feed(bytes, &mut fed, cx)?;
                    self.leftover = (fed < read).then(|| Leftover::new(&bytes[fed..]));
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "failed to read from a client");
                    // Frames that are none are found by the stream itself where they are not WebSocket's.
                    return if error.kind() == io::ErrorKind::InvalidData {
                        self.fail(CloseReason::ParseError, Farewell::Plain)
                    } else {
                        self.fail(CloseReason::TransportError, Farewell::Silent)
                    };
                }
            }
        }
        cx.waker().wake_by_ref();
        ControlFlow::Continue(())
    }

    /// Whether reading stops until the application or the client has caught up.
    fn is_held_up(&mut self) -> bool {
        self.ask_whether_busy();
        self.connection.pause_reading(self.was_busy)
    }

    fn ask_whether_busy(&mut self) {
        self.was_busy = self.is_busy();
    }

    fn is_busy(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_busy)
    }

    fn feed_leftover(
        &mut self,
        mut leftover: Box<Leftover>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let mut fed = 0;
        self.feed(&mut leftover.bytes[leftover.at..], &mut fed, cx)?;
        leftover.at += fed;
        self.leftover = (leftover.at < leftover.bytes.len()).then_some(leftover);
        ControlFlow::Continue(())
    }

    /// Handles the messages in `bytes` and tells how much of them it has taken: not all when the application gets too busy for more.
    fn feed(&mut self, bytes: &mut [u8], fed: &mut usize, cx: &mut Context<'_>) -> ControlFlow<()> {
        let limits = &self.connection.core().config.limits;
        let limits = websocket::Limits {
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.fragments_max,
        };
        // The decoder lends its messages, so it is not a part of `self` while they are handled.
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(Role::Server));
        let flow = loop {
            match decoder.decode(&mut bytes[*fed..], &limits) {
                Ok((taken, None)) => {
                    *fed += taken;
                    break ControlFlow::Continue(());
                }
                Ok((taken, Some(message))) => {
                    *fed += taken;
                    let flow = self.handle_message(message, cx);
                    if flow.is_break() || self.is_busy() {
                        break flow;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to decode a frame");
                    break self.fail(
                        CloseReason::TransportError,
                        Farewell::Code(error.close_code()),
                    );
                }
            }
        };
        self.decoder = decoder;
        flow
    }

    fn handle_message(
        &mut self,
        message: websocket::Message<'_>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<()> {
        match message {
            websocket::Message::Text(text) => {
                let packet = match self.connection.version() {
                    Version::V4 => decode_packet(text),
                    Version::V3 => v3::decode_packet(text),
                };
                self.handle_decoded(packet, cx)
            }
            websocket::Message::Binary(data) => {
                let packet = match self.connection.version() {
                    Version::V4 => Ok(Packet::Message(Message::Binary(data.into()))),
                    Version::V3 => v3::decode_binary_packet(data),
                };
                self.handle_decoded(packet, cx)
            }
            websocket::Message::Ping(data) => {
                let len = websocket::header_len(data.len()) + data.len();
                self.connection.send_with(Delivery::Kept, len, |out| {
                    websocket::put_frame(out, Opcode::Pong, data);
                });
                ControlFlow::Continue(())
            }
            websocket::Message::Pong(_) => ControlFlow::Continue(()),
            websocket::Message::Close(frame) => {
                let farewell = frame.map_or(Farewell::Plain, |frame| Farewell::Code(frame.code));
                self.fail(CloseReason::TransportClose, farewell)
            }
        }
    }

    fn handle_packet(&mut self, packet: Packet<'_>, cx: &mut Context<'_>) -> ControlFlow<()> {
        if self.connection.is_closed() {
            return ControlFlow::Break(());
        }
        match packet {
            Packet::Message(message) => {
                let Some(client) = &mut self.client else {
                    return ControlFlow::Break(());
                };
                match client.message(message, cx) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(reason) => self.fail(reason, Farewell::Plain),
                }
            }
            packet @ (Packet::Open(_)
            | Packet::Close
            | Packet::Ping(_)
            | Packet::Pong(_)
            | Packet::Upgrade
            | Packet::Noop) => match self.connection.handle_packet(packet.packet_type()) {
                Ok(Received::Closed) => ControlFlow::Break(()),
                Ok(Received::Ping) => {
                    self.connection
                        .send_with(Delivery::Kept, PONG_FRAME.len(), |out| {
                            out.extend_from_slice(PONG_FRAME);
                        });
                    ControlFlow::Continue(())
                }
                Ok(Received::Nothing | Received::Message) => ControlFlow::Continue(()),
                Err(_) => self.fail(CloseReason::TransportError, Farewell::Plain),
            },
        }
    }

    /// Writes to a stream that nobody else can write.
    fn write_boxed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(ReadHalf::Boxed(stream)) = &mut self.reader else {
            return Ok(());
        };
        loop {
            let outbox = match &mut self.writing {
                Some(outbox) => outbox,
                None => match self.connection.lock().start_write() {
                    Some(outbox) => self.writing.insert(outbox),
                    None => {
                        self.flushing = match Pin::new(stream).poll_flush(cx) {
                            Poll::Pending => true,
                            Poll::Ready(done) => done.map(|()| false)?,
                        };
                        return Ok(());
                    }
                },
            };
            match poll_write_outbox(stream, outbox, cx) {
                Poll::Pending => {
                    self.connection.lock().note_unwritten(outbox.bytes());
                    return Ok(());
                }
                Poll::Ready(done) => done?,
            }
            if let Some(mut outbox) = self.writing.take() {
                outbox.clear();
            }
        }
    }

    /// Says goodbye on the transport and to the application.
    fn finish(&mut self) {
        let reason = self.connection.close_reason();
        // Told first, so that an engine that closes waits until the application knows.
        let _ending = Ending::start(self.connection.core());
        let linger_on = self.connection.end();
        if matches!(reason, CloseReason::PingTimeout) {
            self.farewell = Farewell::Silent;
        }
        if let (Some(reader), Some((link, outbox))) = (self.reader.take(), linger_on) {
            let mut rest = self
                .writing
                .take()
                .map_or_else(Vec::new, |outbox| outbox.concat());
            rest.extend(outbox.concat());
            match self.farewell {
                Farewell::Plain => websocket::put_frame(&mut rest, Opcode::Close, &[]),
                Farewell::Code(code) => websocket::put_close(&mut rest, code, ""),
                Farewell::Silent => return self.tell_application(reason),
            }
            if let Link::Tcp(stream) = &link {
                let written = stream.try_write(&rest).unwrap_or(0);
                rest.drain(..written);
            }
            // A client that has sent its close frame sends nothing more, so nothing has to be waited for then.
            if !(rest.is_empty() && matches!(reason, CloseReason::TransportClose)) {
                let core = self.connection.core();
                if let Some(lingering) = Ending::linger(core) {
                    core.runtime.spawn(async move {
                        linger(reader, link, rest).await;
                        drop(lingering);
                    });
                }
            }
        }
        self.tell_application(reason);
    }

    fn tell_application(&mut self, reason: CloseReason) {
        if let Some(mut client) = self.client.take() {
            client.close(reason);
        }
    }
}

fn poll_write_outbox(
    stream: &mut BoxedStream,
    outbox: &mut Outbox,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !outbox.is_empty() {
        let segment = outbox.front();
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, segment))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outbox.advance(written);
    }
    Poll::Ready(Ok(()))
}

impl<C: Client> Future for Driver<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let polling = {
            let state = this.connection.begin_poll(cx);
            matches!(state.link, Link::Polling(_))
        };
        if !this.connection.is_closed() {
            let _ = this.take_in(polling, cx);
        }
        if let Some(client) = &mut this.client {
            client.poll(cx);
            if this.was_busy && !client.is_busy() {
                // What was left unread while the handlers were busy is read in the next run.
                cx.waker().wake_by_ref();
            }
        }
        if let Some(reason) = this.connection.take_disconnecting() {
            if let Some(client) = &mut this.client {
                client.disconnecting();
            }
            this.connection.close(reason);
        }
        let written = this.connection.end_poll(cx).and_then(|waiting| {
            if waiting > 0 || this.writing.is_some() || this.flushing {
                this.write_boxed(cx)
            } else {
                Ok(())
            }
        });
        if let Err(error) = written {
            tracing::debug!(%error, "failed to write to a client");
            let _ = this.fail(CloseReason::TransportError, Farewell::Silent);
        }
        if this.connection.is_closed() {
            this.finish();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<C: Client> Drop for Driver<C> {
    fn drop(&mut self) {
        // A handler that panicked, or a runtime that shuts down, ends the task before the session is over.
        if self.client.is_some() {
            self.connection.close(CloseReason::TransportError);
            self.farewell = Farewell::Silent;
            self.finish();
        }
    }
}
