//! The streams that WebSockets run on, and how they are left.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::state::Link;

/// A client that has been told goodbye has this long to take it and close its side.
const LINGER: Duration = Duration::from_secs(3);

/// A stream that is neither plain TCP nor anything else we know, such as TLS.
pub(crate) trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for S {}
pub(crate) type BoxedStream = Box<dyn AnyStream>;

pub(crate) enum WebSocketStream {
    Tcp(TcpStream),
    Boxed(BoxedStream),
}

impl WebSocketStream {
    /// The part that the session's task reads, and the link that its outbox is written to. A TCP stream can be written from outside the
    /// task, which is what makes broadcasts cheap.
    pub(crate) fn split(self) -> (ReadHalf, Link) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), Link::Tcp(write))
            }
            Self::Boxed(stream) => (ReadHalf::Boxed(stream), Link::Task { writing: 0 }),
        }
    }

    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Boxed(stream) => stream.read(buffer).await,
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Boxed(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

pub(crate) enum ReadHalf {
    Tcp(OwnedReadHalf),
    Boxed(BoxedStream),
}

impl ReadHalf {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        match self {
            Self::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buffer))?,
            Self::Boxed(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buffer))?,
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Writes the last bytes and waits for the client to close its side. Closing at once while it still sends would make the kernel reset the
/// connection and throw away what it has not read yet.
pub(crate) async fn linger(reader: ReadHalf, link: Link, rest: Vec<u8>) {
    let farewell = async {
        match (reader, link) {
            (ReadHalf::Tcp(mut reader), Link::Tcp(mut writer)) => {
                writer.write_all(&rest).await?;
                writer.shutdown().await?;
                drain(&mut reader).await
            }
            (
                ReadHalf::Boxed(mut stream),
                Link::Task { .. } | Link::Tcp(_) | Link::Polling(_) | Link::Gone,
            ) => {
                stream.write_all(&rest).await?;
                stream.shutdown().await?;
                drain(&mut stream).await
            }
            (ReadHalf::Tcp(_), Link::Task { .. } | Link::Polling(_) | Link::Gone) => Ok(()),
        }
    };
    // Whether the client listened to the end is its own affair.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

async fn drain(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut discarded = [0; 1024];
    while reader.read(&mut discarded).await? > 0 {}
    Ok(())
}
