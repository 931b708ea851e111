//! WebSocket by frames.

use std::net::SocketAddr;

use synapse_protocol::websocket::{Decoder, Limits, Message, Opcode, Role, put_masked_frame};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{Http, read, reset};
use crate::wait::within;

/// What the server may send in one message.
const LIMITS: Limits = Limits {
    message_bytes_max: 64 * 1024 * 1024,
    fragments_max: 1,
};
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// The client's end of a WebSocket.
pub struct WebSocket<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    decoder: Decoder,
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame with its code, if it has one.
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

/// The head of a good handshake.
pub fn handshake_request(target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request + "\r\n"
}

/// One good frame as a client sends it.
pub fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    put_masked_frame(&mut frame, opcode, payload, MASK);
    frame
}

impl WebSocket {
    /// Connects and upgrades.
    pub async fn open(address: SocketAddr, target: &str) -> Self {
        let mut http = Http::connect(address).await;
        http.send(handshake_request(target, &[])).await;
        Self::upgraded(http).await
    }

    /// Goes on as a WebSocket once the server has agreed.
    pub async fn upgraded(mut http: Http) -> Self {
        let response = http.response().await;
        assert_eq!(response.status, 101, "{}", response.body);
        assert_eq!(
            response.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let (stream, buffer) = http.into_stream();
        Self::over(stream, buffer)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        reset(&self.stream);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket over a stream that has been upgraded, with what was read from it already.
    pub fn over(stream: S, buffer: Vec<u8>) -> Self {
        Self {
            stream,
            buffer,
            decoder: Decoder::new(Role::Client),
        }
    }

    /// Sends bytes as they are. A server that has closed already is no failure: its answer is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("the server to read", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends the same bytes again and again, reading nothing, until the server has closed.
    pub async fn flood(&mut self, bytes: &[u8]) {
        within("the server to close", async {
            while self.stream.write_all(bytes).await.is_ok() {}
        })
        .await;
    }

    /// Sends the same bytes up to `times` times, reading nothing, for as long as the server takes them.
    pub async fn flood_of(&mut self, bytes: &[u8], times: usize) {
        const AT_ONCE: usize = 1_000;
        let many = bytes.repeat(AT_ONCE.min(times));
        for _ in 0..times.div_ceil(AT_ONCE) {
            if within("the server to read", self.stream.write_all(&many))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Sends a text message.
    pub async fn text(&mut self, text: &str) {
        self.send(masked(Opcode::Text, text.as_bytes())).await;
    }

    /// Sends a binary message.
    pub async fn binary(&mut self, data: &[u8]) {
        self.send(masked(Opcode::Binary, data)).await;
    }

    /// The next frame.
    pub async fn next(&mut self) -> Frame {
        loop {
            let (taken, frame) = match self.decoder.decode(&mut self.buffer, &LIMITS) {
                Ok((taken, message)) => (taken, message.map(owned)),
                Err(error) => panic!("the server sent a broken frame: {error}"),
            };
            self.buffer.drain(..taken);
            if let Some(frame) = frame {
                return frame;
            }
            let read = within("a frame", read(&mut self.stream, &mut self.buffer)).await;
            if read == 0 {
                return Frame::End;
            }
        }
    }

    /// The next frame, which has to be a text.
    pub async fn next_text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other @ (Frame::Binary(_)
            | Frame::Ping(_)
            | Frame::Pong(_)
            | Frame::Close(_)
            | Frame::End) => {
                panic!("expected a text, got {other:?}")
            }
        }
    }

    /// Waits for the server to close, and returns what it said: `None` without a close frame, `Some(None)` with one that has no code.
    pub async fn closed(&mut self) -> Option<Option<u16>> {
        let mut said = None;
        loop {
            match self.next().await {
                Frame::Close(code) => said = Some(code),
                Frame::End => return said,
                Frame::Text(_) | Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_) => (),
            }
            if said.is_some() {
                // The server waits for our side, as the protocol wants it.
                let _ = self.stream.shutdown().await;
            }
        }
    }
}

fn owned(message: Message<'_>) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.to_owned()),
        Message::Binary(data) => Frame::Binary(data.to_vec()),
        Message::Ping(data) => Frame::Ping(data.to_vec()),
        Message::Pong(data) => Frame::Pong(data.to_vec()),
        Message::Close(frame) => Frame::Close(frame.map(|frame| frame.code.0)),
    }
}

impl<S> std::fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebSocket")
    }
}
