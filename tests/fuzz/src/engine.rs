//! Engine.IO payloads: what is read can be written, and reads the same.

use synapse_protocol::engine::{Message, Packet, PayloadLimits, decode_payload, put_payload};
use synapse_protocol::websocket::{Opcode, put_frame};

const LIMITS: PayloadLimits = PayloadLimits { packets_max: 64 };

pub(crate) fn check(input: &[u8]) {
    let Ok(body) = std::str::from_utf8(input) else {
        return;
    };
    let packets: Vec<_> = decode_payload(body, LIMITS).collect();
    assert!(packets.len() <= LIMITS.packets_max + 1);
    let failed = packets.iter().position(Result::is_err);
    assert!(
        failed.is_none_or(|at| at + 1 == packets.len()),
        "an error is the last item"
    );

    let mut frames = Vec::new();
    let good: Vec<_> = packets.into_iter().flatten().collect();
    for packet in &good {
        if let Packet::Message(Message::Binary(data)) = packet {
            put_frame(&mut frames, Opcode::Binary, data);
        } else {
            put_frame(&mut frames, Opcode::Text, text(packet).as_bytes());
        }
    }
    if good.is_empty() {
        return;
    }
    let mut written = Vec::new();
    put_payload(&mut written, &frames);
    let written = String::from_utf8(written).expect("a payload is text");
    let again: Vec<_> = decode_payload(&written, LIMITS)
        .collect::<Result<_, _>>()
        .expect("what we write is valid");
    assert_eq!(again, good);
}

/// A packet that is no binary message, as text.
pub(crate) fn text(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Open(data) => format!("0{data}"),
        Packet::Close => "1".to_owned(),
        Packet::Ping(data) => format!("2{data}"),
        Packet::Pong(data) => format!("3{data}"),
        Packet::Message(Message::Text(text)) => format!("4{text}"),
        Packet::Message(Message::Binary(_)) => unreachable!("written as a binary frame"),
        Packet::Upgrade => "5".to_owned(),
        Packet::Noop => "6".to_owned(),
    }
}
