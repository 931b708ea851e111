//! A client's stream, as if it were that of a WebSocket: frames are translated on the way in and out, so that reading, probing and writing
//! are the same for both.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream};
use synapse_protocol::webtransport::{Decoder, Encoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::h3::{self, Session};

/// Most bytes that are taken from the connection at a time.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes that are translated before the connection has taken them.
const WRITE_BYTES: usize = 16 * 1024;
/// A browser that has got everything has this long to hand it over to its page, which may end the session itself then. What the page has
/// not read when the session ends, it never gets.
const GRACE: Duration = Duration::from_millis(1_500);

/// The one stream of a session. The session ends with it.
pub(super) struct FrameStream {
    sending: SendStream,
    receiving: RecvStream,
    decoder: Decoder,
    /// What was taken from the connection and not translated yet.
    unread: Bytes,
    encoder: Encoder,
    /// What was translated and not taken by the connection yet.
    unwritten: Vec<u8>,
    end: End,
}

/// How far the session is from its end.
enum End {
    Open(Box<Session>),
    /// Resolves when the client has gone.
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl FrameStream {
    /// `unread` was read from the stream before.
    pub(super) fn new(
        session: Session,
        (sending, receiving, unread): (SendStream, RecvStream, Bytes),
        message_bytes_max: usize,
    ) -> Self {
        Self {
            sending,
            receiving,
            decoder: Decoder::new(message_bytes_max),
            unread,
            encoder: Encoder::default(),
            unwritten: Vec::new(),
            end: End::Open(Box::new(session)),
        }
    }

    /// Whether the client has ended the session, though not the stream.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let End::Open(session) = &mut self.end else {
            return Poll::Pending;
        };
        pin!(h3::until_end(&mut session.receiving)).poll(cx)
    }

    fn poll_unwritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let done = loop {
            let rest = &self.unwritten[written..];
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.sending).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => written += more,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error.into())),
                Poll::Pending => break Poll::Pending,
            }
        };
        if written == self.unwritten.len() {
            // At rest nothing is kept.
            self.unwritten = Vec::new();
        } else {
            self.unwritten.drain(..written);
        }
        done
    }
}

impl AsyncRead for FrameStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        output: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let decoded = this
                .decoder
                .decode(&this.unread, output.initialize_unfilled())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            this.unread.advance(decoded.taken);
            output.advance(decoded.put);
            if decoded.put > 0 || output.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // These futures have no state of their own, so they may be made anew for each look.
            let chunk = pin!(this.receiving.read_chunk(READ_BYTES, true)).poll(cx);
            match chunk {
                Poll::Pending => {
                    ready!(this.poll_end(cx));
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(Some(chunk))) => this.unread = chunk.bytes,
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) if is_end(&error) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

/// Whether the client has left on purpose: it closes its session, which resets the stream, or the connection.
fn is_end(error: &ReadError) -> bool {
    match error {
        ReadError::Reset(_)
        | ReadError::ConnectionLost(
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::LocallyClosed,
        ) => true,
        ReadError::ConnectionLost(
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::CidsExhausted,
        )
        | ReadError::ClosedStream
        | ReadError::IllegalOrderedRead
        | ReadError::ZeroRttRejected => false,
    }
}

impl AsyncWrite for FrameStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        frames: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unwritten(cx))?;
        let taken = &frames[..frames.len().min(WRITE_BYTES)];
        this.encoder.encode(taken, &mut this.unwritten);
        if let Poll::Ready(Err(error)) = this.poll_unwritten(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_unwritten(cx)
    }

    /// Ends the session once the client has confirmed what it was sent, and waits until it has gone.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unwritten(cx))?;
        if let End::Open(_) = &this.end
            && let End::Open(session) = std::mem::replace(&mut this.end, End::Over)
        {
            // A stream that is over already has nothing to confirm.
            let _ = this.sending.finish();
            let confirmed = this.sending.stopped();
            this.end = End::Closing(Box::pin(async move {
                let mut session = session;
                let _ = confirmed.await;
                let _ = timeout(GRACE, h3::until_end(&mut session.receiving)).await;
                session.close().await;
            }));
        }
        if let End::Closing(closing) = &mut this.end {
            ready!(closing.as_mut().poll(cx));
            this.end = End::Over;
        }
        Poll::Ready(Ok(()))
    }
}
