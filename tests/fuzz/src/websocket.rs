//! A WebSocket stream: read the same however it is cut, and never laxer than tungstenite.

use synapse_protocol::websocket::Opcode;
use synapse_protocol::websocket::{
    Decoder, Limits, Message, Role, WebSocketError, put_masked_frame,
};

use crate::tungstenite;

pub(crate) const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 16,
    fragments_max: 16,
};

/// A message that outlives its decoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(data) => Self::Binary(data.to_vec()),
            Message::Ping(data) => Self::Ping(data.to_vec()),
            Message::Pong(data) => Self::Pong(data.to_vec()),
            Message::Close(frame) => {
                Self::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned())))
            }
        }
    }
}

/// The first byte says how the stream is cut into reads, the rest is the stream; in every second case it is made of whole frames first.
pub(crate) fn check(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let stream = if cut & 1 == 0 {
        stream.to_vec()
    } else {
        framed(stream)
    };
    let whole = check_reads(&stream, *cut, || Decoder::new(Role::Server));
    // One that takes compressed messages too is different in nothing else.
    let deflating = check_reads(&stream, *cut, || Decoder::new(Role::Server).with_deflate());
    match &whole {
        (messages, Err(WebSocketError::ReservedBit)) => assert!(deflating.0.starts_with(messages)),
        (_, Ok(()) | Err(_)) => assert_eq!(deflating, whole),
    }
    let ours = match whole
        .0
        .iter()
        .position(|message| matches!(message, Owned::Close(_)))
    {
        // What comes behind a close frame is to be ignored, which is up to the caller.
        Some(at) => &whole.0[..=at],
        None => &whole.0[..],
    };
    let (theirs, end) = tungstenite::read(stream);
    // It looks for UTF-8 before a message is complete, so control frames in between may be ours alone.
    let common = if end.is_utf8() {
        ours.len().min(theirs.len())
    } else {
        ours.len()
    };
    assert!(
        theirs.len() >= common,
        "{ours:?} but {theirs:?} and {end:?}"
    );
    assert_eq!(&ours[..common], &theirs[..common]);
}

type Decoded = (Vec<Owned>, Result<(), WebSocketError>);

/// What is decoded in one read, and however the stream is cut.
fn check_reads(stream: &[u8], cut: u8, decoder: impl Fn() -> Decoder) -> Decoded {
    let whole = decode(decoder(), stream, stream.len().max(1));
    for read_size in [1, usize::from(cut) + 1] {
        let pieces = decode(decoder(), stream, read_size);
        assert_eq!(pieces, whole, "read by {read_size}");
    }
    whole
}

/// Frames out of any bytes: first byte and length of each are taken from the input, so that a fuzzer gets past the masks.
fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [first, len, rest @ ..] = bytes {
        let len = usize::from(*len).min(rest.len());
        let at = stream.len();
        put_masked_frame(&mut stream, Opcode::Text, &rest[..len], [7, 11, 13, 17]);
        stream[at] = *first;
        bytes = &rest[len..];
    }
    stream
}

fn decode(mut decoder: Decoder, stream: &[u8], read_size: usize) -> Decoded {
    let mut messages = Vec::new();
    for read in stream.chunks(read_size) {
        let mut read = read.to_vec();
        let mut rest = &mut read[..];
        loop {
            match decoder.decode(rest, &LIMITS) {
                Ok((taken, Some(message))) => {
                    messages.push(Owned::from(message));
                    rest = &mut rest[taken..];
                }
                Ok((taken, None)) => {
                    assert_eq!(
                        taken,
                        rest.len(),
                        "without a message all of the input is taken"
                    );
                    break;
                }
                Err(error) => return (messages, Err(error)),
            }
        }
        let bound = 2 * LIMITS.message_bytes_max + 4096;
        assert!(
            decoder.heap_bytes() <= bound,
            "{} bytes kept",
            decoder.heap_bytes()
        );
    }
    (messages, Ok(()))
}
