//! Socket.IO packets: what is taken from a client can be sent, and is taken the same again.

use bytes::Bytes;
use synapse_protocol::socket::{Assembler, Incoming, Limits, Outgoing};
use synapse_protocol::websocket::{Opcode, own_frames};

/// Lines of the input are the text of a packet and its attachments.
pub(crate) fn check(input: &[u8]) {
    let limits = Limits::default();
    let mut assembler = Assembler::default();
    let mut parts = input.split(|byte| *byte == b'\n');
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else {
        return;
    };
    // Borrowed from the assembler, so it is asked once more for each attachment.
    let mut taken = assembler
        .text(text, &limits)
        .map(|incoming| incoming.map(|incoming| resend(&incoming)));
    while let Ok(None) = taken {
        assert!(assembler.is_pending());
        let Some(attachment) = parts.next() else {
            return;
        };
        taken = assembler
            .binary(attachment, &limits)
            .map(|incoming| incoming.map(|incoming| resend(&incoming)));
    }
    if let Ok(Some(Some((described, frames)))) = taken {
        let mut assembler = Assembler::default();
        let mut last = None;
        for (opcode, payload) in own_frames(&frames) {
            let incoming = match opcode {
                Opcode::Text => {
                    let text = std::str::from_utf8(payload).expect("a text frame is text");
                    assembler.text(text.strip_prefix('4').expect("a message"), &limits)
                }
                Opcode::Binary => assembler.binary(payload, &limits),
                Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    unreachable!("a packet is a text frame and binary ones")
                }
            };
            last = incoming
                .expect("what we send is valid")
                .map(|incoming| said(&incoming));
        }
        assert_eq!(last, Some(described));
    }
}

/// What a packet says: its text, and its attachments.
type Said = (String, Vec<Bytes>);

fn said(incoming: &Incoming<'_>) -> Said {
    let attachments = match incoming {
        Incoming::Event { arguments, .. } | Incoming::Ack { arguments, .. } => {
            arguments.attachments().to_vec()
        }
        Incoming::Connect { .. } | Incoming::Disconnect { .. } | Incoming::ConnectError { .. } => {
            Vec::new()
        }
    };
    (format!("{incoming:?}"), attachments)
}

/// What a packet says, and the frames of a packet of ours that says the same.
fn resend(incoming: &Incoming<'_>) -> Option<(Said, Vec<u8>)> {
    let outgoing = match incoming {
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
        Incoming::Connect {
            namespace,
            query: None,
            auth: Some(json),
        } => Outgoing::Connect { namespace, json },
        Incoming::Disconnect { namespace } => Outgoing::Disconnect { namespace },
        // A server asks for no namespace, with a query or without auth.
        Incoming::Connect { .. } | Incoming::ConnectError { .. } => return None,
    };
    let mut frames = Vec::new();
    outgoing.put_frames(&mut frames);
    assert_eq!(
        frames.len(),
        outgoing.frame_bytes(),
        "the length is known beforehand"
    );
    Some((said(incoming), frames))
}
