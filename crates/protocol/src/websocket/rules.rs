//! Every rule of RFC 6455 and every limit, one test each. A test with a CVE in its name is an attack that worked on someone.

use super::close::CloseCode;
use super::decoder::Limits;
use super::encode::{put_frame, put_masked_frame};
use super::error::WebSocketError;
use super::fixture::{LIMITS, MASK, Owned, decode_reads, frame, text};
use super::frame::{Opcode, Role};

/// The stream gives no message and ends with this error, in one read and byte by byte, and the peer is told this code.
fn check_refused(name: &str, stream: &[u8], expected: WebSocketError, close_code: u16) {
    for read_sizes in [&[][..], &[1], &[3], &[stream.len() - 1]] {
        let outcome = decode_reads(Role::Server, &LIMITS, stream, read_sizes);
        assert_eq!(
            outcome,
            (Vec::new(), Err(expected)),
            "{name} in reads of {read_sizes:?}"
        );
    }
    assert_eq!(expected.close_code(), CloseCode(close_code), "{name}");
    assert_eq!(expected.is_size_limit(), close_code == 1009, "{name}");
}

/// The stream gives these messages, in one read and byte by byte.
fn check_messages(name: &str, stream: &[u8], expected: &[Owned]) {
    for read_sizes in [&[][..], &[1], &[3]] {
        let (messages, outcome) = decode_reads(Role::Server, &LIMITS, stream, read_sizes);
        assert_eq!(outcome, Ok(()), "{name} in reads of {read_sizes:?}");
        assert_eq!(messages, expected, "{name} in reads of {read_sizes:?}");
    }
}

#[test]
fn cve_2026_42786_endless_continuation_is_bounded() {
    let empty = [
        vec![frame(0x01, b"")],
        vec![frame(0x00, b""); LIMITS.fragments_max],
    ]
    .concat()
    .concat();
    let limit = LIMITS.fragments_max;
    check_refused(
        "empty fragments",
        &empty,
        WebSocketError::TooManyFragments { limit },
        1008,
    );
    let last_allowed = [
        vec![frame(0x01, b"")],
        vec![frame(0x00, b""); limit - 2],
        vec![frame(0x80, b"x")],
    ];
    check_messages(
        "as many as allowed",
        &last_allowed.concat().concat(),
        &[text("x")],
    );
    let growing = [
        vec![frame(0x02, &[0; 50_000])],
        vec![frame(0x00, &[0; 50_000]); 20],
    ]
    .concat()
    .concat();
    let error = WebSocketError::MessageTooBig {
        size: 1_050_000,
        limit: 1 << 20,
    };
    check_refused("fragments that add up", &growing, error, 1009);
}

#[test]
fn fragments_are_counted_for_each_message() {
    let limits = Limits {
        message_bytes_max: 10,
        fragments_max: 2,
    };
    let stream = [frame(0x01, b"a"), frame(0x80, b"b")].concat().repeat(5);
    let (messages, outcome) = decode_reads(Role::Server, &limits, &stream, &[]);
    assert_eq!((messages.len(), outcome), (5, Ok(())));
    let none = Limits {
        message_bytes_max: 10,
        fragments_max: 0,
    };
    for read_sizes in [&[][..], &[1]] {
        let (messages, outcome) =
            decode_reads(Role::Server, &none, &frame(0x81, b"ab"), read_sizes);
        assert_eq!((messages, outcome), (vec![text("ab")], Ok(())));
    }
}

#[test]
fn cve_2026_44545_message_over_the_limit_is_refused_by_its_header() {
    let limit = LIMITS.message_bytes_max;
    for size in [limit + 1, 1 << 40, (1 << 63) - 1] {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&(size as u64).to_be_bytes());
        header.extend_from_slice(&MASK);
        check_refused(
            "too big",
            &header,
            WebSocketError::MessageTooBig { size, limit },
            1009,
        );
    }
    let mut stream = [frame(0x02, &[0; 1_000]), vec![0x80, 0xff]].concat();
    stream.extend_from_slice(&(limit as u64).to_be_bytes());
    stream.extend_from_slice(&MASK);
    let error = WebSocketError::MessageTooBig {
        size: limit + 1_000,
        limit,
    };
    check_refused("too big with its fragments", &stream, error, 1009);

    let small = Limits {
        message_bytes_max: 4,
        fragments_max: 10,
    };
    let stream = [
        frame(0x82, b"1234"),
        frame(0x89, b"a long ping"),
        frame(0x82, b"12345"),
    ]
    .concat();
    for read_sizes in [&[][..], &[1]] {
        let (messages, outcome) = decode_reads(Role::Server, &small, &stream, read_sizes);
        assert_eq!(
            messages,
            [
                Owned::Binary(b"1234".to_vec()),
                Owned::Ping(b"a long ping".to_vec())
            ]
        );
        assert_eq!(
            outcome,
            Err(WebSocketError::MessageTooBig { size: 5, limit: 4 })
        );
    }
}

#[test]
fn cve_2026_27889_cve_2020_27813_lengths_that_overflow_are_refused() {
    for len in [
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 14,
        u64::MAX - 1,
        u64::MAX,
    ] {
        for first in [0x81, 0x82, 0x01] {
            let stream = [&[first, 0xff][..], &len.to_be_bytes(), &MASK].concat();
            check_refused(
                "64-bit length",
                &stream,
                WebSocketError::LengthOverflow,
                1002,
            );
        }
    }
}

#[test]
fn cve_2026_27889_cve_2020_27813_lengths_that_are_not_minimal_are_refused() {
    for len in [0, 1, 125] {
        let stream = [&[0x82, 0xfe][..], &u16::to_be_bytes(len), &MASK, &[0; 125]].concat();
        check_refused(
            "16-bit length",
            &stream,
            WebSocketError::LengthNotMinimal,
            1002,
        );
    }
    for len in [0, 125, 126, 65_535] {
        let stream = [&[0x82, 0xff][..], &u64::to_be_bytes(len), &MASK, &[0; 125]].concat();
        check_refused(
            "64-bit length",
            &stream,
            WebSocketError::LengthNotMinimal,
            1002,
        );
    }
}

#[test]
fn cve_2022_21676_reserved_bits_are_refused() {
    for first in [
        0xc1, 0xa1, 0x91, 0xf1, 0xd2, 0x41, 0x40, 0xc8, 0xa9, 0x9a, 0xf0,
    ] {
        check_refused(
            "reserved bit",
            &frame(first, b"2probe"),
            WebSocketError::ReservedBit,
            1002,
        );
    }
    let (mut messages, outcome) = decode_reads(
        Role::Server,
        &LIMITS,
        &[frame(0x81, b"ok"), frame(0xb1, b"2probe")].concat(),
        &[],
    );
    assert_eq!(
        (messages.pop(), outcome),
        (Some(text("ok")), Err(WebSocketError::ReservedBit))
    );
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let error = WebSocketError::ReservedOpcode { opcode };
        check_refused("final", &frame(0x80 | opcode, b""), error, 1002);
        check_refused("fragment", &frame(opcode, b"x"), error, 1002);
    }
}

#[test]
fn unmasked_frame_of_a_client_is_refused() {
    for opcode in [
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ] {
        for payload in [&b""[..], b"\x03\xe8", &[b'x'; 125]] {
            let mut stream = Vec::new();
            put_frame(&mut stream, opcode, payload);
            check_refused("unmasked", &stream, WebSocketError::MaskMissing, 1002);
        }
    }
}

#[test]
fn masked_frame_of_a_server_is_refused() {
    let (messages, outcome) = decode_reads(Role::Client, &LIMITS, &frame(0x81, b"x"), &[]);
    assert_eq!(
        (messages, outcome),
        (Vec::new(), Err(WebSocketError::MaskForbidden))
    );
    assert_eq!(
        WebSocketError::MaskForbidden.close_code(),
        CloseCode::PROTOCOL_ERROR
    );
    let mut stream = Vec::new();
    put_frame(&mut stream, Opcode::Text, b"x");
    assert_eq!(
        decode_reads(Role::Client, &LIMITS, &stream, &[1]),
        (vec![text("x")], Ok(()))
    );
}

#[test]
fn mask_of_zeros_is_a_mask() {
    let mut stream = Vec::new();
    put_masked_frame(&mut stream, Opcode::Text, b"plain", [0; 4]);
    check_messages("zero mask", &stream, &[text("plain")]);
}

#[test]
fn control_frame_is_at_most_125_bytes() {
    for (first, expected) in [
        (0x89, Owned::Ping(vec![1; 125])),
        (0x8a, Owned::Pong(vec![1; 125])),
    ] {
        check_messages("125 bytes", &frame(first, &[1; 125]), &[expected]);
    }
    for first in [0x88, 0x89, 0x8a] {
        for len in [126, 127, 65_535, 65_536] {
            check_refused(
                "too long",
                &frame(first, &vec![1; len]),
                WebSocketError::ControlTooLong,
                1002,
            );
        }
    }
}

#[test]
fn control_frame_is_never_fragmented() {
    for first in [0x08, 0x09, 0x0a] {
        check_refused(
            "fragment",
            &frame(first, b""),
            WebSocketError::ControlFragmented,
            1002,
        );
        let inside = [frame(0x01, b"x"), frame(first, b"y")].concat();
        check_refused(
            "between fragments",
            &inside,
            WebSocketError::ControlFragmented,
            1002,
        );
    }
}

#[test]
fn fragments_come_in_order() {
    let unexpected = WebSocketError::ContinuationUnexpected;
    check_refused("continuation first", &frame(0x80, b"x"), unexpected, 1002);
    let oversized = frame(0x80, &vec![0; LIMITS.message_bytes_max + 1]);
    check_refused(
        "continuation first, over the limit too",
        &oversized,
        unexpected,
        1002,
    );
    check_refused(
        "continuation first, more to come",
        &frame(0x00, b"x"),
        unexpected,
        1002,
    );
    let (messages, outcome) = decode_reads(
        Role::Server,
        &LIMITS,
        &[frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")].concat(),
        &[],
    );
    assert_eq!((messages, outcome), (vec![text("ab")], Err(unexpected)));
    for second in [0x81, 0x82, 0x01, 0x02] {
        let stream = [frame(0x01, b"a"), frame(second, b"b")].concat();
        check_refused(
            "second message inside",
            &stream,
            WebSocketError::MessageUnfinished,
            1002,
        );
    }
}

#[test]
fn text_is_utf8_as_a_whole() {
    let long = ["x".repeat(200).as_bytes(), b"\xff"].concat();
    let cases: [&[u8]; 7] = [
        b"\xff",
        b"a\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\xa6",
        &long,
    ];
    for payload in cases {
        check_refused(
            "whole",
            &frame(0x81, payload),
            WebSocketError::TextNotUtf8,
            1007,
        );
        let fragments = [frame(0x01, payload), frame(0x80, b"")].concat();
        check_refused("fragment", &fragments, WebSocketError::TextNotUtf8, 1007);
        check_messages(
            "binary",
            &frame(0x82, payload),
            &[Owned::Binary(payload.to_vec())],
        );
    }
    let crab = [
        frame(0x01, b"\xf0"),
        frame(0x00, b"\x9f\xa6"),
        frame(0x80, b"\x80"),
    ]
    .concat();
    check_messages("character in three fragments", &crab, &[text("🦀")]);
    let broken = [
        frame(0x01, b"\xf0"),
        frame(0x00, b"\x9f\xa6"),
        frame(0x80, b"a"),
    ]
    .concat();
    check_refused(
        "character that never ends",
        &broken,
        WebSocketError::TextNotUtf8,
        1007,
    );
}

#[test]
fn cve_2026_27889_close_payload_is_checked() {
    check_messages("empty", &frame(0x88, b""), &[Owned::Close(None)]);
    for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4999] {
        let payload = [&code.to_be_bytes()[..], "è finita".as_bytes()].concat();
        let close = Owned::Close(Some((code, "è finita".to_owned())));
        check_messages("allowed", &frame(0x88, &payload), &[close]);
        check_messages(
            "no reason",
            &frame(0x88, &payload[..2]),
            &[Owned::Close(Some((code, String::new())))],
        );
    }
    for code in [
        0,
        999,
        1004,
        1005,
        1006,
        1015,
        1016,
        2000,
        2999,
        5000,
        u16::MAX,
    ] {
        let error = WebSocketError::CloseCodeForbidden { code };
        check_refused("forbidden", &frame(0x88, &code.to_be_bytes()), error, 1002);
    }
    check_refused(
        "half a code",
        &frame(0x88, b"\x03"),
        WebSocketError::CloseCodeTruncated,
        1002,
    );
    let reason = b"\x03\xe8\xff\xfe";
    check_refused(
        "reason",
        &frame(0x88, reason),
        WebSocketError::CloseReasonNotUtf8,
        1007,
    );
}
