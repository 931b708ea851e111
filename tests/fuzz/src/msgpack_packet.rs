//! Packets of the msgpack parser: what is taken from a client can be sent, and is taken the same again.

use synapse_protocol::socket::msgpack::{decode_packet, put_packet_frame};
use synapse_protocol::socket::{Incoming, Limits, Outgoing};
use synapse_protocol::websocket::{Opcode, own_frames};

pub(crate) fn check(input: &[u8]) {
    let limits = Limits::default();
    let Ok(incoming) = decode_packet(input, &limits) else {
        return;
    };
    if let Incoming::Connect { query: Some(_), .. } = incoming {
        // A server asks for no namespace.
        return;
    }
    let mut frames = Vec::new();
    put_packet_frame(&mut frames, &resent(&incoming)).expect("what was read fits");
    let frames: Vec<_> = own_frames(&frames).collect();
    let [(Opcode::Binary, message)] = frames[..] else {
        panic!("a packet is one binary message");
    };
    assert_eq!(decode_packet(message, &limits), Ok(incoming));
}

fn resent<'a>(incoming: &'a Incoming<'_>) -> Outgoing<'a> {
    match incoming {
        Incoming::Connect {
            namespace, auth, ..
        } => Outgoing::Connect {
            namespace,
            json: auth.as_deref().unwrap_or_default(),
        },
        Incoming::Disconnect { namespace } => Outgoing::Disconnect { namespace },
        Incoming::Event {
            namespace,
            id,
            arguments,
        } => Outgoing::Event {
            namespace,
            id: *id,
            arguments,
        },
        Incoming::Ack {
            namespace,
            id,
            arguments,
        } => Outgoing::Ack {
            namespace,
            id: *id,
            arguments,
        },
        // Why a client is refused is not kept.
        Incoming::ConnectError { namespace } => Outgoing::ConnectError {
            namespace,
            json: "{}",
        },
    }
}
