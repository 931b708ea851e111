//! Engine.IO payloads of version 3: what is read, from text, from bytes or from a form, can be written in both ways and reads the same.

use synapse_protocol::engine::v3::{
    BinaryForm, PayloadKind, decode_binary_packet, decode_binary_payload, decode_payload,
    put_frames, put_payload,
};
use synapse_protocol::engine::{
    Jsonp, Message, Packet, PacketError, PayloadLimits, decode_jsonp_body,
};
use synapse_protocol::websocket::{Opcode, put_frame};

use crate::engine::text;

const LIMITS: PayloadLimits = PayloadLimits { packets_max: 64 };

pub(crate) fn check(input: &[u8]) {
    let _ = decode_binary_packet(input);
    check_packets(decode_binary_payload(input, LIMITS).collect());
    if let Ok(body) = std::str::from_utf8(input) {
        check_packets(decode_payload(body, LIMITS).collect());
        check_script(body);
        if let Some(payload) = decode_jsonp_body(body) {
            check_packets(decode_payload(&payload, LIMITS).collect());
        }
    }
}

fn check_packets(packets: Vec<Result<Packet<'_>, PacketError>>) {
    assert!(packets.len() <= LIMITS.packets_max + 1);
    let failed = packets.iter().position(Result::is_err);
    assert!(
        failed.is_none_or(|at| at + 1 == packets.len()),
        "an error is the last item"
    );
    let good: Vec<_> = packets.into_iter().flatten().collect();
    if good.is_empty() {
        return;
    }
    let mut frames = Vec::new();
    for packet in &good {
        if let Packet::Message(Message::Binary(data)) = packet {
            put_frame(&mut frames, Opcode::Binary, data);
        } else {
            put_frame(&mut frames, Opcode::Text, text(packet).as_bytes());
        }
    }
    for form in [BinaryForm::Bytes, BinaryForm::Base64] {
        // The form of an outbox and that of a payload may differ: a script is text whatever waits.
        for outbox in [BinaryForm::Bytes, form] {
            let mut changed = Vec::new();
            let is_changed = put_frames(&mut changed, &frames, outbox);
            let mut written = Vec::new();
            let frames = if is_changed { &changed } else { &frames };
            let again: Result<Vec<_>, _> = match put_payload(&mut written, frames, form) {
                PayloadKind::Binary => decode_binary_payload(&written, LIMITS).collect(),
                PayloadKind::Text => {
                    let written = std::str::from_utf8(&written).expect("a payload of text");
                    decode_payload(written, LIMITS).collect()
                }
            };
            assert_eq!(again.expect("what we write is valid"), good);
        }
    }
}

/// A script hands over what was put into it, and holds nothing that ends its string.
fn check_script(payload: &str) {
    let script = Jsonp::new(payload).script(payload);
    let (head, literal) = script.split_once("](").expect("a call");
    let index = head.strip_prefix("___eio[").expect("a call");
    assert!(index.bytes().all(|byte| byte.is_ascii_digit()));
    let literal = literal.strip_suffix(");").expect("a call");
    assert!(!literal.contains(['\n', '\r', '\u{2028}', '\u{2029}']));
    let handed_over: String = serde_json::from_str(literal).expect("a string");
    assert_eq!(handed_over, payload);
}
