//! Frames on their way out. Written unmasked by a server, so that one buffer serves every connection.

use super::frame::{
    COMPRESSED_BIT, FINAL_BIT, Header, LENGTH_IS_U16, LENGTH_IS_U64, MASK_BIT, Opcode, Role, Rules,
    apply_mask,
};

/// How many bytes [`put_header`] writes for a payload of this length: 2, 4 or 10.
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}

/// Appends the header of an unmasked, final frame whose payload the caller appends next; at most 10 bytes.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    put_header_with(out, opcode, payload_len, 0);
}

/// Appends an unmasked, final frame.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(header_len(payload.len()) + payload.len());
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends an unmasked, final frame of a message whose payload is compressed.
pub(super) fn put_compressed_frame(out: &mut Vec<u8>, opcode: Opcode, compressed: &[u8]) {
    let frame_at = out.len();
    put_frame(out, opcode, compressed);
    out[frame_at] |= COMPRESSED_BIT;
}

/// Appends a masked, final frame, as clients have to send it. The mask should be new and unpredictable for each frame.
pub fn put_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    out.reserve(header_len(payload.len()) + mask.len() + payload.len());
    put_header_with(out, opcode, payload.len(), MASK_BIT);
    out.extend_from_slice(&mask);
    let payload_at = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[payload_at..], mask);
}

/// The frames of a buffer that was written here: unmasked, final, complete and not compressed. It turns an outbox into a polling payload.
pub fn own_frames(frames: &[u8]) -> impl Iterator<Item = (Opcode, &[u8])> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let frame = split_own_frame(rest);
        debug_assert!(
            frame.is_some() || rest.is_empty(),
            "an outbox holds complete frames"
        );
        let (opcode, payload, behind) = frame?;
        rest = behind;
        Some((opcode, payload))
    })
}

/// The first frame's opcode and payload, and what is behind it.
fn split_own_frame(frames: &[u8]) -> Option<(Opcode, &[u8], &[u8])> {
    let (header, header_len) = Header::parse(frames, Rules::plain(Role::Client)).ok()??;
    let (payload, behind) = frames[header_len..].split_at_checked(header.payload_len)?;
    Some((header.opcode, payload, behind))
}

fn put_header_with(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize, mask_bit: u8) {
    let first = FINAL_BIT | opcode as u8;
    // The casts cannot cut: each arm's range fits its type.
    match header_len(payload_len) {
        2 => out.extend_from_slice(&[first, mask_bit | payload_len as u8]),
        4 => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, mask_bit | LENGTH_IS_U16, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, mask_bit | LENGTH_IS_U64]);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_LENGTHS: [(usize, usize); 8] = [
        (0, 2),
        (1, 2),
        (125, 2),
        (126, 4),
        (127, 4),
        (65_535, 4),
        (65_536, 10),
        (1_000_000, 10),
    ];

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (payload_len, expected) in PAYLOAD_LENGTHS {
            let mut out = Vec::new();
            put_header(&mut out, Opcode::Binary, payload_len);
            assert_eq!(out.len(), expected, "{payload_len}");
            assert_eq!(header_len(payload_len), expected, "{payload_len}");
            let (header, _) = Header::parse(&out, Rules::plain(Role::Client))
                .expect("valid")
                .expect("complete");
            assert_eq!(
                (header.opcode, header.is_final, header.payload_len),
                (Opcode::Binary, true, payload_len)
            );
        }
    }

    #[test]
    fn cve_2026_45736_frames_hold_the_payload_and_nothing_of_the_buffer_behind_it() {
        // A buffer that held something else before: only what was appended may become part of the frame.
        let mut out = b"secret".repeat(100);
        out.clear();
        put_frame(&mut out, Opcode::Text, b"4hello");
        assert_eq!(out, b"\x81\x064hello");
        put_frame(&mut out, Opcode::Ping, b"");
        assert_eq!(out, b"\x81\x064hello\x89\x00");
        out.clear();
        put_masked_frame(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            out,
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
    }

    #[test]
    fn own_frames_are_those_that_were_put() {
        let payloads: Vec<Vec<u8>> = PAYLOAD_LENGTHS
            .iter()
            .map(|(len, _)| vec![b'x'; *len])
            .collect();
        let mut out = Vec::new();
        for payload in &payloads {
            put_frame(&mut out, Opcode::Text, payload);
            put_frame(&mut out, Opcode::Binary, payload);
        }
        let expected = payloads
            .iter()
            .flat_map(|data| [(Opcode::Text, &data[..]), (Opcode::Binary, &data[..])]);
        assert!(own_frames(&out).eq(expected));
        assert_eq!(own_frames(&[]).count(), 0);
    }
}
