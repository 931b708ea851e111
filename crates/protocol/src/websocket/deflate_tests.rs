//! The rules of RFC 7692, its examples, and what hostile clients make of it. A test with a CVE in its name is an attack that worked on someone.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use proptest::prelude::*;

use super::close::CloseCode;
use super::decoder::{Decoder, Limits};
use super::deflate::{Deflate, deflate_frames, inflate};
use super::encode::{own_frames, put_frame};
use super::error::WebSocketError;
use super::fixture::{LIMITS, Owned, decode_reads, decode_reads_by, frame, text};
use super::frame::{Opcode, Role};

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

fn decode(stream: &[u8], read_sizes: &[usize]) -> (Vec<Owned>, Result<(), WebSocketError>) {
    let decoder = Decoder::new(Role::Server).with_deflate();
    decode_reads_by(decoder, &LIMITS, stream, read_sizes)
}

/// The stream gives these messages and this end, in one read and in pieces.
fn check(name: &str, stream: &[u8], messages: &[Owned], end: Result<(), WebSocketError>) {
    for read_sizes in [&[][..], &[1], &[3], &[stream.len() - 1, 1]] {
        let (decoded, outcome) = decode(stream, read_sizes);
        assert_eq!(decoded, messages, "{name} in reads of {read_sizes:?}");
        assert_eq!(outcome, end, "{name} in reads of {read_sizes:?}");
    }
}

fn check_refused(name: &str, stream: &[u8], error: WebSocketError, close_code: u16) {
    check(name, stream, &[], Err(error));
    assert_eq!(error.close_code(), CloseCode(close_code), "{name}");
}

/// A payload as any sender makes it, by flate2 alone.
fn compressed(payload: &[u8], level: u32, window_bits: u8) -> Vec<u8> {
    let mut stream = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 100 + 100);
    let status = stream.compress_vec(payload, &mut out, FlushCompress::Sync);
    assert!(matches!(status, Ok(Status::Ok)));
    let payload_len = out.strip_suffix(&TAIL).expect("a flush").len();
    out.truncate(payload_len);
    out
}

/// Bytes that nothing makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn examples_of_the_rfc_are_understood() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    let with_two_fragments = [frame(0x41, &hello[..3]), frame(0x80, &hello[3..])].concat();
    for (section, stream, expected) in [
        ("7.2.3.1", frame(0xc1, &hello), "Hello"),
        ("7.2.3.1, fragmented", with_two_fragments, "Hello"),
        ("7.2.3.3", frame(0xc1, &stored), "Hello"),
        ("7.2.3.4", frame(0xc1, &last_block), "Hello"),
        ("7.2.3.5", frame(0xc1, &two_blocks), "Hello"),
        ("7.2.3.6", frame(0xc1, &[0x00]), ""),
        ("an empty message after a flush", frame(0xc1, &[]), ""),
    ] {
        check(section, &stream, &[text(expected)], Ok(()));
    }
    // 7.2.3.2: the second message points into the first, which nobody may who agreed to take no context over.
    let sharing = [
        frame(0xc1, &hello),
        frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
    ]
    .concat();
    let error = WebSocketError::DeflateDataInvalid;
    check("7.2.3.2", &sharing, &[text("Hello")], Err(error));
}

#[test]
fn example_of_the_rfc_is_what_flate2_makes_and_is_not_worth_it() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(compressed(b"Hello", 6, 15), hello);
    let mut plain = Vec::new();
    put_frame(&mut plain, Opcode::Text, b"Hello");
    let deflate = Deflate {
        window_bits: 15,
        level: 6,
        threshold: 0,
    };
    assert_eq!(
        deflate_frames(&plain, deflate),
        None,
        "7 bytes are more than 5"
    );
}

#[test]
fn plain_and_compressed_messages_follow_each_other() {
    let hello = compressed(b"Hello", 6, 15);
    let stream = [
        frame(0x81, b"plain"),
        frame(0xc1, &hello),
        frame(0x42, &hello[..1]),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x80, &hello[1..]),
        frame(0x82, b"plain"),
        frame(0x88, b"\x03\xe8"),
    ]
    .concat();
    let expected = [
        text("plain"),
        text("Hello"),
        Owned::Ping(b"ping".to_vec()),
        Owned::Binary(b"Hello".to_vec()),
        Owned::Binary(b"plain".to_vec()),
        Owned::Close(Some((1000, String::new()))),
    ];
    check("mixed", &stream, &expected, Ok(()));
}

#[test]
fn bit_of_compression_is_reserved_everywhere_else() {
    let hello = compressed(b"Hello", 6, 15);
    for first in [0xc8, 0xc9, 0xca, 0xc0, 0x40, 0xe1, 0xd1, 0xa1, 0x91, 0xf2] {
        let stream = frame(first, &hello);
        let error = WebSocketError::ReservedBit;
        check_refused(&format!("{first:x}"), &stream, error, 1002);
    }
    for continuation in [0x40, 0xc0] {
        for begin in [0x01, 0x41] {
            let stream = [frame(begin, &hello[..3]), frame(continuation, &hello[3..])].concat();
            check_refused("continuation", &stream, WebSocketError::ReservedBit, 1002);
        }
    }
    let without = decode_reads(Role::Server, &LIMITS, &frame(0xc1, &hello), &[]);
    assert_eq!(without, (Vec::new(), Err(WebSocketError::ReservedBit)));
}

#[test]
fn cve_2026_29785_malformed_data_is_refused() {
    let hello = compressed(b"Hello", 6, 15);
    let text = "a message with a block of its own, long enough for codes of its own ".repeat(30);
    let long = compressed(text.as_bytes(), 9, 15);
    let mut cases = vec![
        ("reserved block type", vec![0x07]),
        (
            "reserved block type behind data",
            [&hello[..6], &[0xff; 4]].concat(),
        ),
        (
            "stored length that does not fit its complement",
            vec![0, 5, 0, 0, 0, 1, 2, 3, 4, 5, 0],
        ),
        (
            "stored data that is missing",
            vec![0, 5, 0, 0xfa, 0xff, 1, 2],
        ),
        (
            "distance before the beginning",
            vec![0xf2, 0x00, 0x11, 0x00, 0x00],
        ),
        ("text", b"42[\"this was never compressed\"]".to_vec()),
        ("zlib header", [&[0x78, 0x9c], &hello[..]].concat()),
        (
            "gzip header",
            [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &hello[..]].concat(),
        ),
        (
            "last block without its padding",
            vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ),
        (
            "an end of our own",
            [&hello[..], &TAIL, &[1, 0, 0, 0xff, 0xff]].concat(),
        ),
    ];
    cases.extend((1..long.len()).map(|len| ("cut off", long[..len].to_vec())));
    for (name, payload) in cases {
        for first in [0xc1, 0xc2] {
            let error = WebSocketError::DeflateDataInvalid;
            let (messages, outcome) = decode(&frame(first, &payload), &[]);
            assert_eq!(
                (messages, outcome),
                (Vec::new(), Err(error)),
                "{name}: {payload:x?}"
            );
            assert_eq!(error.close_code(), CloseCode(1007));
        }
    }
    // Behind all of that the thread's context is as good as new.
    check(
        "good",
        &frame(0xc1, &hello),
        &[super::fixture::text("Hello")],
        Ok(()),
    );
}

#[test]
fn inflated_text_is_utf8() {
    let broken = compressed(b"broken \xff", 6, 15);
    check_refused(
        "text",
        &frame(0xc1, &broken),
        WebSocketError::TextNotUtf8,
        1007,
    );
    let binary = Owned::Binary(b"broken \xff".to_vec());
    check("binary", &frame(0xc2, &broken), &[binary], Ok(()));
}

#[test]
fn cve_2026_27571_compression_bomb_is_defused_at_the_limit() {
    let limit = LIMITS.message_bytes_max;
    let bomb = compressed(&vec![0; 64 << 20], 9, 15);
    assert!(bomb.len() < 70_000, "a thousandth");
    let (half, rest) = bomb.split_at(bomb.len() / 2);
    let fragmented = [frame(0x42, half), frame(0x80, rest)].concat();
    for stream in [frame(0xc1, &bomb), frame(0xc2, &bomb), fragmented] {
        let mut decoder = Decoder::new(Role::Server).with_deflate();
        let mut stream = stream;
        let outcome = {
            let mut input = &mut stream[..];
            loop {
                match decoder.decode(input, &LIMITS) {
                    Ok((taken, Some(_))) => input = &mut input[taken..],
                    Ok((_, None)) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        let Err(error @ WebSocketError::MessageTooBig { size, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(size <= limit + 16 * 1024, "inflated {size} bytes of it");
        assert_eq!(error.close_code(), CloseCode::TOO_BIG);
        assert_eq!(decoder.heap_bytes(), 0, "nothing of it is kept");
    }
}

#[test]
fn inflated_size_is_limited_to_the_byte() {
    for limit in [0, 1, 1_000, 16 * 1024, 16 * 1024 + 1, 100_000] {
        let limits = Limits {
            message_bytes_max: limit.max(200),
            fragments_max: 10,
        };
        let limit = limits.message_bytes_max;
        let mut decoder = Decoder::new(Role::Server).with_deflate();
        let mut largest = frame(0xc2, &compressed(&vec![7; limit], 9, 15));
        let (_, message) = decoder.decode(&mut largest, &limits).expect("at the limit");
        assert!(
            matches!(message, Some(super::message::Message::Binary(data)) if data.len() == limit)
        );
        assert!(
            decoder.heap_bytes() <= limit + 200,
            "{}",
            decoder.heap_bytes()
        );
        assert_eq!(decoder.decode(&mut [], &limits), Ok((0, None)));
        assert_eq!(decoder.heap_bytes(), 0);
        let mut larger = frame(0xc2, &compressed(&vec![7; limit + 1], 9, 15));
        assert_eq!(
            decoder.decode(&mut larger, &limits),
            Err(WebSocketError::MessageTooBig {
                size: limit + 1,
                limit
            })
        );
        assert_eq!(decoder.heap_bytes(), 0);
    }
    // What is compressed counts too: nobody may send more than the limit.
    let limits = Limits {
        message_bytes_max: 200,
        fragments_max: 10,
    };
    let noise = noise(200);
    let stored = compressed(&noise, 0, 15);
    let (messages, outcome) = decode_reads_by(
        Decoder::new(Role::Server).with_deflate(),
        &limits,
        &frame(0xc2, &stored),
        &[],
    );
    let size = stored.len();
    assert_eq!(
        (messages, outcome),
        (
            Vec::new(),
            Err(WebSocketError::MessageTooBig { size, limit: 200 })
        )
    );
}

#[test]
fn only_data_over_the_threshold_that_becomes_smaller_is_compressed() {
    let long = "long ".repeat(100);
    let noise = noise(600);
    let put = |frames: &[(Opcode, &[u8])]| {
        let mut out = Vec::new();
        for (opcode, payload) in frames {
            put_frame(&mut out, *opcode, payload);
        }
        out
    };
    let deflate = Deflate {
        window_bits: 15,
        level: 6,
        threshold: 500,
    };
    let short = &long.as_bytes()[..499];
    let long = long.as_bytes();
    for plain in [
        put(&[]),
        put(&[(Opcode::Text, short)]),
        put(&[(Opcode::Binary, &noise)]),
        put(&[(Opcode::Ping, &[b'x'; 125]), (Opcode::Text, b"")]),
    ] {
        assert_eq!(deflate_frames(&plain, deflate), None);
    }
    let eager = Deflate {
        threshold: 0,
        ..deflate
    };
    let controls = put(&[
        (Opcode::Ping, &[b'x'; 125]),
        (Opcode::Text, b""),
        (Opcode::Close, &[3; 100]),
    ]);
    assert_eq!(deflate_frames(&controls, eager), None);

    let mixed = put(&[
        (Opcode::Text, short),
        (Opcode::Binary, &noise),
        (Opcode::Binary, long),
        (Opcode::Ping, b"?"),
        (Opcode::Text, short),
        (Opcode::Text, long),
    ]);
    let frames = deflate_frames(&mixed, deflate).expect("two of them");
    let decoder = Decoder::new(Role::Client).with_deflate();
    let (messages, outcome) = decode_reads_by(decoder, &LIMITS, &frames, &[]);
    let (plain, _) = decode_reads(Role::Client, &LIMITS, &mixed, &[]);
    assert_eq!((messages, outcome), (plain, Ok(())));
    let expected = [
        put(&[(Opcode::Text, short), (Opcode::Binary, &noise)]),
        vec![0xc2],
        put(&[(Opcode::Ping, b"?"), (Opcode::Text, short)]),
        vec![0xc1],
    ];
    let mut rest = &frames[..];
    for part in expected {
        let at = rest.windows(part.len()).position(|window| window == part);
        rest = &rest[at.expect("in this order") + part.len()..];
    }
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[a-c]{0,300}".prop_map(String::into_bytes),
        (any::<Vec<u8>>(), 0..300_usize).prop_map(|(part, times)| part.repeat(times)),
    ]
}

proptest! {
    /// Whatever a client compresses, however it cuts it into fragments and the network into reads.
    #[test]
    fn any_message_is_understood_in_any_fragments(
        payload in payloads(),
        level in 0..=9_u32,
        window_bits in 9..=15_u8,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        read_sizes in proptest::collection::vec(1..2_000_usize, 1..4),
        ping in any::<bool>(),
    ) {
        let compressed = compressed(&payload, level, window_bits);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(compressed.len() + 1)).collect();
        cuts.sort_unstable();
        let mut stream = Vec::new();
        let mut begin = 0;
        for (at, end) in cuts.iter().copied().chain([compressed.len()]).enumerate() {
            let opcode = if at == 0 { 0x42 } else { 0x00 };
            let is_last = if at == cuts.len() { 0x80 } else { 0x00 };
            stream.extend(frame(opcode | is_last, &compressed[begin..end]));
            if ping && is_last == 0 {
                stream.extend(frame(0x89, b"!"));
            }
            begin = end;
        }
        let mut expected = vec![Owned::Ping(b"!".to_vec()); if ping { cuts.len() } else { 0 }];
        expected.push(Owned::Binary(payload));
        prop_assert_eq!(decode(&stream, &read_sizes), (expected, Ok(())));
    }

    /// What we send is understood by a decoder with the window that was agreed on, and by ours.
    #[test]
    fn any_message_of_ours_is_understood(
        payload in payloads(), level in any::<u8>(), window_bits in any::<u8>(), threshold in 0..300_usize,
    ) {
        let mut plain = Vec::new();
        put_frame(&mut plain, Opcode::Binary, &payload);
        put_frame(&mut plain, Opcode::Ping, b"?");
        let deflate = Deflate { window_bits, level, threshold };
        let Some(frames) = deflate_frames(&plain, deflate) else { return Ok(()) };
        prop_assert!(payload.len() >= threshold && frames.len() <= plain.len());
        let decoder = Decoder::new(Role::Client).with_deflate();
        let expected = vec![Owned::Binary(payload.clone()), Owned::Ping(b"?".to_vec())];
        prop_assert_eq!(decode_reads_by(decoder, &LIMITS, &frames, &[]), (expected, Ok(())));

        let mut uncompressed_bit = frames;
        uncompressed_bit[0] &= !0x40;
        let (_, compressed) = own_frames(&uncompressed_bit).next().expect("the first frame");
        let mut stream = Decompress::new_with_window_bits(false, window_bits.clamp(9, 15));
        let mut out = Vec::with_capacity(payload.len() + 1);
        let status = stream.decompress_vec(&[compressed, &TAIL].concat(), &mut out, FlushDecompress::Sync);
        prop_assert!(status.is_ok());
        prop_assert_eq!(out, payload);
    }

    /// Any bytes: no panic, nothing over the limit, and never another message than flate2 makes of them.
    #[test]
    fn any_bytes_are_what_flate2_makes_of_them(
        start in payloads(), noise in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(), limit in 0..100_000_usize,
    ) {
        let start = compressed(&start, 6, 15);
        let bytes = [&start[..cut.index(start.len() + 1)], &noise].concat();
        let mut stream = Decompress::new(false);
        let mut out = Vec::with_capacity(1 << 20);
        let status = stream.decompress_vec(&[&bytes[..], &TAIL].concat(), &mut out, FlushDecompress::Sync);
        match (inflate(&bytes, limit), status) {
            (Ok(message), Ok(Status::StreamEnd)) => prop_assert!(message.starts_with(&out)),
            (Ok(message), Ok(Status::Ok | Status::BufError)) => prop_assert_eq!(message, out),
            (Ok(message), Err(error)) => prop_assert!(false, "{} bytes of {error}", message.len()),
            (Err(WebSocketError::MessageTooBig { size, .. }), _) => prop_assert!(size > limit),
            (Err(error), _) => prop_assert_eq!(error, WebSocketError::DeflateDataInvalid),
        }
    }
}
