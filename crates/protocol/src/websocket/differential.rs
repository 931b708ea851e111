//! Streams that nobody wrote by hand: what goes in comes out, and tungstenite agrees.

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tungstenite::{Error, Message, WebSocket};

use super::close::{CloseCode, put_close};
use super::encode::{put_frame, put_masked_frame};
use super::fixture::{LIMITS, Owned, decode_reads};
use super::frame::{Opcode, Role};

/// A data message with the control frames that come between its fragments.
#[derive(Debug, Clone)]
struct Script {
    message: Owned,
    /// Where the payload is cut, each with what is sent there.
    cuts: Vec<(prop::sample::Index, Vec<Owned>)>,
    mask: [u8; 4],
}

impl Script {
    /// The frames: opcode, whether it is the last one of its message, payload.
    fn frames(&self) -> Vec<(Opcode, bool, Vec<u8>)> {
        let (opcode, payload) = parts(&self.message);
        let mut cuts: Vec<_> = self
            .cuts
            .iter()
            .map(|(at, controls)| (at.index(payload.len() + 1), controls))
            .collect();
        cuts.sort_by_key(|(at, _)| *at);
        let mut frames = Vec::new();
        let mut opcode = opcode;
        let mut from = 0;
        for (at, controls) in cuts {
            frames.push((opcode, false, payload[from..at].to_vec()));
            frames.extend(
                controls
                    .iter()
                    .map(parts)
                    .map(|(opcode, payload)| (opcode, true, payload)),
            );
            (opcode, from) = (Opcode::Continuation, at);
        }
        frames.push((opcode, true, payload[from..].to_vec()));
        frames
    }

    /// What a receiver sees: control frames before the message they interrupted.
    fn messages(&self) -> Vec<Owned> {
        let payload_len = parts(&self.message).1.len();
        let mut cuts: Vec<_> = self.cuts.iter().collect();
        cuts.sort_by_key(|(at, _)| at.index(payload_len + 1));
        cuts.into_iter()
            .flat_map(|(_, controls)| controls)
            .chain([&self.message])
            .cloned()
            .collect()
    }
}

fn parts(message: &Owned) -> (Opcode, Vec<u8>) {
    match message {
        Owned::Text(text) => (Opcode::Text, text.clone().into_bytes()),
        Owned::Binary(data) => (Opcode::Binary, data.clone()),
        Owned::Ping(data) => (Opcode::Ping, data.clone()),
        Owned::Pong(data) => (Opcode::Pong, data.clone()),
        Owned::Close(_) => panic!("a close frame is the end of a stream"),
    }
}

fn control() -> impl Strategy<Value = Owned> {
    prop_oneof![
        vec(any::<u8>(), 0..=125).prop_map(Owned::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Owned::Pong)
    ]
}

fn data() -> impl Strategy<Value = Owned> {
    let text =
        vec(any::<char>(), 0..400).prop_map(|chars| Owned::Text(chars.into_iter().collect()));
    let binary = prop_oneof![9 => vec(any::<u8>(), 0..400), 1 => vec(any::<u8>(), 65_500..66_000)];
    prop_oneof![text, binary.prop_map(Owned::Binary)]
}

fn script() -> impl Strategy<Value = Script> {
    let cuts = vec((any::<prop::sample::Index>(), vec(control(), 0..3)), 0..4);
    let fragmented = (data(), cuts, any::<[u8; 4]>()).prop_map(|(message, cuts, mask)| Script {
        message,
        cuts,
        mask,
    });
    let lone = (control(), any::<[u8; 4]>());
    prop_oneof![3 => fragmented, 1 => lone.prop_map(|(message, mask)| Script { message, cuts: Vec::new(), mask })]
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    vec(script(), 0..8)
}

fn client_stream(scripts: &[Script]) -> Vec<u8> {
    let mut out = Vec::new();
    for script in scripts {
        for (opcode, is_final, payload) in script.frames() {
            let first_at = out.len();
            put_masked_frame(&mut out, opcode, &payload, script.mask);
            if !is_final {
                out[first_at] &= 0x7f;
            }
        }
    }
    out
}

fn messages(scripts: &[Script]) -> Vec<Owned> {
    scripts.iter().flat_map(Script::messages).collect()
}

/// A connection whose peer has sent all it ever will.
struct Pipe {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Pipe {
    fn new(incoming: Vec<u8>) -> Self {
        Self {
            incoming: Cursor::new(incoming),
            outgoing: Vec::new(),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of a stream: the messages, and what ended it.
fn tungstenite_reads(role: tungstenite::protocol::Role, stream: Vec<u8>) -> (Vec<Owned>, Error) {
    let mut websocket = WebSocket::from_raw_socket(Pipe::new(stream), role, None);
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
            Err(error) => return (messages, error),
        });
    }
}

/// The stream that tungstenite writes for these frames.
fn tungstenite_writes(
    role: tungstenite::protocol::Role,
    scripts: &[Script],
    close: Option<CloseFrame>,
) -> Vec<u8> {
    let mut websocket = WebSocket::from_raw_socket(Pipe::new(Vec::new()), role, None);
    for (opcode, is_final, payload) in scripts.iter().flat_map(Script::frames) {
        let opcode = match opcode {
            Opcode::Continuation => OpCode::Data(Data::Continue),
            Opcode::Text => OpCode::Data(Data::Text),
            Opcode::Binary => OpCode::Data(Data::Binary),
            Opcode::Close => OpCode::Control(Control::Close),
            Opcode::Ping => OpCode::Control(Control::Ping),
            Opcode::Pong => OpCode::Control(Control::Pong),
        };
        let header = FrameHeader {
            is_final,
            opcode,
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, payload.into());
        websocket
            .send(Message::Frame(frame))
            .expect("the pipe takes everything");
    }
    websocket.close(close).expect("the pipe takes everything");
    websocket.get_ref().outgoing.clone()
}

proptest! {
    #[test]
    fn what_a_client_sends_is_what_the_server_decodes(
        scripts in scripts(),
        read_sizes in vec(prop_oneof![1..20_usize, 1..2_000_usize, 1..70_000_usize], 1..5),
    ) {
        let stream = client_stream(&scripts);
        let expected = (messages(&scripts), Ok(()));
        prop_assert_eq!(&decode_reads(Role::Server, &LIMITS, &stream, &[]), &expected);
        prop_assert_eq!(&decode_reads(Role::Server, &LIMITS, &stream, &read_sizes), &expected);
    }

    #[test]
    fn tungstenite_reads_what_we_write_as_a_client(scripts in scripts()) {
        let (read, end) = tungstenite_reads(tungstenite::protocol::Role::Server, client_stream(&scripts));
        prop_assert_eq!(read, messages(&scripts));
        prop_assert!(matches!(end, Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)));
    }

    #[test]
    fn tungstenite_reads_what_we_write_as_a_server(
        messages in vec(prop_oneof![data(), control()], 0..8),
        code in prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16],
        reason in ".{0,60}",
    ) {
        let mut stream = Vec::new();
        for (opcode, payload) in messages.iter().map(parts) {
            put_frame(&mut stream, opcode, &payload);
        }
        put_close(&mut stream, CloseCode(code), &reason);
        let (read, _) = tungstenite_reads(tungstenite::protocol::Role::Client, stream);
        prop_assert_eq!(&read[..messages.len()], &messages);
        let [Owned::Close(Some((read_code, read_reason)))] = &read[messages.len()..] else {
            panic!("{:?}", &read[messages.len()..]);
        };
        prop_assert_eq!(*read_code, code);
        prop_assert!(reason.starts_with(read_reason));
    }

    #[test]
    fn we_read_what_tungstenite_writes(
        scripts in scripts(),
        close in proptest::option::of((prop_oneof![1000..=1003_u16, 3000..=4999_u16], ".{0,20}")),
        read_sizes in vec(1..5_000_usize, 1..5),
    ) {
        let mut expected = messages(&scripts);
        expected.push(Owned::Close(close.clone()));
        let close = close.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
        let as_client = tungstenite_writes(tungstenite::protocol::Role::Client, &scripts, close.clone());
        prop_assert_eq!(decode_reads(Role::Server, &LIMITS, &as_client, &read_sizes), (expected.clone(), Ok(())));
        let as_server = tungstenite_writes(tungstenite::protocol::Role::Server, &scripts, close);
        prop_assert_eq!(decode_reads(Role::Client, &LIMITS, &as_server, &read_sizes), (expected, Ok(())));
    }

    /// We may be stricter than tungstenite, never laxer: of a damaged stream we read what it reads, perhaps less.
    #[test]
    fn tungstenite_reads_whatever_we_accept_of_a_damaged_stream(
        scripts in vec(script(), 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        read_sizes in vec(1..5_000_usize, 1..5),
    ) {
        let mut stream = client_stream(&scripts);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let (ours, outcome) = decode_reads(Role::Server, &LIMITS, &stream, &read_sizes);
        prop_assert_eq!(&decode_reads(Role::Server, &LIMITS, &stream, &[]), &(ours.clone(), outcome));
        // What comes behind a close frame is to be ignored, which is up to our caller.
        let ours = match ours.iter().position(|message| matches!(message, Owned::Close(_))) {
            Some(at) => &ours[..=at],
            None => &ours[..],
        };
        let (theirs, end) = tungstenite_reads(tungstenite::protocol::Role::Server, stream);
        // It looks for UTF-8 before the message is complete, so we may still see control frames in between.
        let common = if matches!(end, Error::Utf8(_)) { ours.len().min(theirs.len()) } else { ours.len() };
        prop_assert!(theirs.len() >= common, "{ours:?} but {theirs:?} and {end}");
        prop_assert_eq!(&ours[..common], &theirs[..common]);
    }
}
