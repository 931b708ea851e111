//! A WebTransport stream: read the same however it is cut, as a plain reading of the format has it, and written back as it came.

use synapse_protocol::websocket::{self, Limits, Message, Opcode, Role, WebSocketError, put_frame};
use synapse_protocol::webtransport::{Decoder, Encoder, FrameError};

const LIMIT: usize = 1 << 16;

/// Binary or not, and the payload.
type Frame = (bool, Vec<u8>);

/// The first byte says how the stream is cut into reads and how much room there is for each, the rest is the stream.
pub(crate) fn check(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let (frames, error) = read_plainly(stream);
    let whole = translate(stream, stream.len().max(1), 1 << 17);
    for (read, room) in [
        (1, 1),
        (usize::from(*cut) + 1, 3),
        (7, usize::from(*cut) + 1),
    ] {
        assert_eq!(translate(stream, read, room), whole, "{read} {room}");
    }
    assert_eq!(whole.1, error);
    let read = read_as_websocket(whole.0);
    assert_eq!(&frames[..read.len()], &read[..]);
    // It stops only at text that is none, or at the end.
    if let Some((is_binary, payload)) = frames.get(read.len()) {
        assert!(!is_binary && std::str::from_utf8(payload).is_err());
    }
    write_back(&frames, usize::from(*cut) + 1);
}

/// All complete frames, and what is wrong behind them.
fn read_plainly(mut stream: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    while let [first, rest @ ..] = stream {
        let long = match first & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((long, rest)) = rest.split_at_checked(long) else {
            break;
        };
        let size = match long {
            [] => u64::from(first & 0x7f),
            long => long
                .iter()
                .fold(0, |size, byte| size << 8 | u64::from(*byte)),
        };
        if size == 0 {
            return (frames, Some(FrameError::Empty));
        }
        if size > LIMIT as u64 {
            return (frames, Some(FrameError::TooLong { size, limit: LIMIT }));
        }
        let Some((payload, rest)) = rest.split_at_checked(size as usize) else {
            break;
        };
        frames.push((first & 0x80 != 0, payload.to_vec()));
        stream = rest;
    }
    (frames, None)
}

/// The frames of a WebSocket that come out, and what was wrong in the end.
fn translate(stream: &[u8], read: usize, room: usize) -> (Vec<u8>, Option<FrameError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut out = Vec::new();
    let mut output = vec![0; room];
    for mut input in stream.chunks(read) {
        loop {
            match decoder.decode(input, &mut output) {
                Ok(decoded) => {
                    out.extend_from_slice(&output[..decoded.put]);
                    input = &input[decoded.taken..];
                    if input.is_empty() && decoded.put == 0 {
                        break;
                    }
                }
                Err(error) => return (out, Some(error)),
            }
        }
    }
    (out, None)
}

fn read_as_websocket(mut stream: Vec<u8>) -> Vec<Frame> {
    let limits = Limits {
        message_bytes_max: LIMIT,
        fragments_max: 1,
    };
    let mut decoder = websocket::Decoder::new(Role::Server);
    let mut frames = Vec::new();
    let mut rest = &mut stream[..];
    loop {
        match decoder.decode(rest, &limits) {
            Ok((taken, Some(message))) => {
                frames.push(match message {
                    Message::Text(text) => (false, text.as_bytes().to_vec()),
                    Message::Binary(data) => (true, data.to_vec()),
                    Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {
                        panic!("a stream has no control frames")
                    }
                });
                rest = &mut rest[taken..];
            }
            Ok((_, None)) | Err(WebSocketError::TextNotUtf8) => return frames,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a server sends comes out as the very same frames.
fn write_back(frames: &[Frame], cut: usize) {
    let mut outbox = Vec::new();
    for (is_binary, payload) in frames {
        let opcode = if *is_binary {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        put_frame(&mut outbox, opcode, payload);
    }
    let mut encoder = Encoder::default();
    let mut out = Vec::new();
    for piece in outbox.chunks(cut) {
        encoder.encode(piece, &mut out);
    }
    assert_eq!(read_plainly(&out), (frames.to_vec(), None));
}
