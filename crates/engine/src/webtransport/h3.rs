//! The little of HTTP/3 that WebTransport takes: settings, one request with its answer, the head of one stream, the end.
//!
//! What else a client sends, such as its settings, is not needed and stays unread; QUIC's flow control bounds it.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::timeout;
use wtransport_proto::bytes::BufferReader;
use wtransport_proto::error::ErrorCode;
use wtransport_proto::frame::{Frame, FrameKind, ParseError};
use wtransport_proto::headers::Headers;
use wtransport_proto::session::{HeadersParseError, SessionRequest, SessionResponse};
use wtransport_proto::settings::Settings;
use wtransport_proto::stream_header::StreamHeader;
use wtransport_proto::varint::VarInt as ProtoVarInt;

/// HTTP/3's code for an end without fault.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
const READ_BYTES: usize = 4096;
/// A DATA frame with the capsule that closes a session: type 0x2843, four bytes of code 0.
const CLOSE_SESSION: [u8; 9] = [0x00, 7, 0x68, 0x43, 4, 0, 0, 0, 0];

/// A browser answers the end of a session before its page knows, and to a page a connection that ends in between is a lost one.
const CLOSE_DELAY: Duration = Duration::from_millis(250);

/// What went wrong before there was a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum H3Error {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a stream ended within a frame")]
    Ended,
    #[error("bytes that are no frame: {0:?}")]
    Frame(ParseError),
    #[error("a frame of another kind was due")]
    UnexpectedFrame,
    #[error("headers that cannot be read: {0}")]
    Headers(ErrorCode),
    #[error("a request that is not one for WebTransport: {0}")]
    Request(HeadersParseError),
}

/// An HTTP/3 connection as far as one session needs it. It is closed when this is dropped.
pub(super) struct Session {
    connection: Connection,
    sending: SendStream,
    /// The client's side of the request's stream: the session is over when it ends.
    pub(super) receiving: RecvStream,
    /// Must not end before the connection.
    _control: SendStream,
}

impl Session {
    /// Waits for the request.
    pub(super) async fn accept(connection: Connection) -> Result<(Self, SessionRequest), H3Error> {
        let mut control = connection.open_uni().await?;
        control.write_all(&settings()).await?;
        let (sending, mut receiving) = connection.accept_bi().await?;
        let (headers, _) = read_frame(&mut receiving, |frame| match frame.kind() {
            FrameKind::Headers => Headers::with_frame(frame).map_err(H3Error::Headers),
            FrameKind::Data
            | FrameKind::Settings
            | FrameKind::WebTransport
            | FrameKind::Exercise(_) => Err(H3Error::UnexpectedFrame),
        })
        .await?;
        let request = SessionRequest::try_from(headers).map_err(H3Error::Request)?;
        let session = Self {
            connection,
            sending,
            receiving,
            _control: control,
        };
        Ok((session, request))
    }

    /// Answers the request.
    pub(super) async fn respond(&mut self, response: &SessionResponse) -> Result<(), H3Error> {
        let frame = put(&response.headers().generate_frame());
        Ok(self.sending.write_all(&frame).await?)
    }

    /// Answers a request that is refused, and waits until the client knows.
    pub(super) async fn refuse(mut self, response: &SessionResponse) {
        if self.respond(response).await.is_ok() && self.sending.finish().is_ok() {
            let _ = self.sending.stopped().await;
        }
    }

    /// Waits for the session's stream; returns it with what of its bytes was read already.
    pub(super) async fn accept_stream(&self) -> Result<(SendStream, RecvStream, Bytes), H3Error> {
        let (sending, mut receiving) = self.connection.accept_bi().await?;
        let own_id = VarInt::from(self.sending.id()).into_inner();
        let ((), rest) = read_frame(&mut receiving, |frame| {
            let id = frame.session_id().map(|id| id.into_u64());
            (id == Some(own_id))
                .then_some(())
                .ok_or(H3Error::UnexpectedFrame)
        })
        .await?;
        Ok((sending, receiving, rest))
    }

    /// Tells the client that the session is over, and waits until it knows.
    pub(super) async fn close(mut self) {
        let told = self.sending.write_all(&CLOSE_SESSION).await;
        if told.is_ok() && self.sending.finish().is_ok() {
            until_end(&mut self.receiving).await;
            let _ = timeout(CLOSE_DELAY, self.connection.closed()).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.close(NO_ERROR, b"");
    }
}

/// Waits until the client ends the session. What it says about it does not matter.
pub(super) async fn until_end(receiving: &mut RecvStream) {
    let mut ignored = [0; 64];
    while let Ok(Some(_)) = receiving.read(&mut ignored).await {}
}

/// The server's control stream: its type, and that it knows WebTransport.
fn settings() -> Vec<u8> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(ProtoVarInt::from_u32(0))
        .qpack_blocked_streams(ProtoVarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(ProtoVarInt::from_u32(1))
        .build();
    let mut stream = Vec::new();
    StreamHeader::new_control()
        .write(&mut stream)
        .expect("a vector grows");
    stream.extend_from_slice(&put(&settings.generate_frame()));
    stream
}

fn put(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.write_size());
    frame.write(&mut bytes).expect("a vector grows");
    bytes
}

/// Reads one frame, which is 4 KiB at most, and what came behind it.
async fn read_frame<T>(
    stream: &mut RecvStream,
    interpret: impl Fn(&Frame<'_>) -> Result<T, H3Error>,
) -> Result<(T, Bytes), H3Error> {
    let mut buffer = BytesMut::new();
    loop {
        let (frame, taken) = first_frame(&buffer)?;
        let found = frame.map(|frame| interpret(&frame)).transpose()?;
        buffer.advance(taken);
        if let Some(found) = found {
            return Ok((found, buffer.freeze()));
        }
        let chunk = stream.read_chunk(READ_BYTES, true).await?;
        buffer.extend_from_slice(&chunk.ok_or(H3Error::Ended)?.bytes);
    }
}

/// The first frame of a buffer, if it is complete, and how far the buffer has been dealt with. Frames that are sent to see whether they are
/// ignored are ignored.
fn first_frame(buffer: &[u8]) -> Result<(Option<Frame<'_>>, usize), H3Error> {
    let mut reader = BufferReader::new(buffer);
    while let Some(frame) = Frame::read_from_buffer(&mut reader).map_err(H3Error::Frame)? {
        if !matches!(frame.kind(), FrameKind::Exercise(_)) {
            return Ok((Some(frame), reader.offset()));
        }
    }
    Ok((None, reader.offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame to be ignored (type 0x21, two bytes), then headers.
    const FRAMES: &[u8] = &[0x21, 2, 0xff, 0xff, 0x01, 3, b'a', b'b', b'c', b'r'];

    #[test]
    fn a_frame_is_found_once_it_is_complete_and_nothing_of_it_is_lost_before() {
        for len in 0..FRAMES.len() {
            let (frame, taken) = first_frame(&FRAMES[..len]).unwrap();
            let is_complete = len == FRAMES.len() - 1;
            let expected = match len {
                0..4 => 0,
                _ if is_complete => 9,
                _ => 4,
            };
            assert_eq!((frame.is_some(), taken), (is_complete, expected), "{len}");
        }
        let (frame, taken) = first_frame(FRAMES).unwrap();
        let frame = frame.unwrap();
        assert!(matches!(frame.kind(), FrameKind::Headers));
        assert_eq!(
            (frame.payload(), &FRAMES[taken..]),
            (&b"abc"[..], &b"r"[..])
        );
    }

    #[test]
    fn a_frame_longer_than_the_limit_or_of_no_known_kind_is_refused_before_its_payload() {
        for head in [&[0x01, 0x50, 0x01][..], &[0x02, 1]] {
            assert!(
                matches!(first_frame(head), Err(H3Error::Frame(_))),
                "{head:?}"
            );
        }
    }
}
