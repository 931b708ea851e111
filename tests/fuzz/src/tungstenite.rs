//! tungstenite as the second opinion on a WebSocket stream.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::websocket::{LIMITS, Owned};

/// A connection whose peer has sent all it ever will, and reads nothing.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What ended a stream.
#[derive(Debug)]
pub(crate) struct End(Error);

impl End {
    pub(crate) fn is_utf8(&self) -> bool {
        matches!(self.0, Error::Utf8(_))
    }
}

/// The messages of a stream that a client sent, and what ended it.
pub(crate) fn read(stream: Vec<u8>) -> (Vec<Owned>, End) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message_bytes_max))
        .max_frame_size(Some(LIMITS.message_bytes_max));
    let mut websocket =
        WebSocket::from_raw_socket(Pipe(Cursor::new(stream)), Role::Server, Some(config));
    let mut messages = Vec::new();
    loop {
        messages.push(match websocket.read() {
            Ok(Message::Text(text)) => Owned::Text(text.to_string()),
            Ok(Message::Binary(data)) => Owned::Binary(data.to_vec()),
            Ok(Message::Ping(data)) => Owned::Ping(data.to_vec()),
            Ok(Message::Pong(data)) => Owned::Pong(data.to_vec()),
            Ok(Message::Close(frame)) => {
                Owned::Close(frame.map(|frame| (u16::from(frame.code), frame.reason.to_string())))
            }
            Ok(Message::Frame(frame)) => panic!("only given out by request: {frame}"),
            Err(error) => return (messages, End(error)),
        });
    }
}
