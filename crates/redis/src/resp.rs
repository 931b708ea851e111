//! The protocol of Redis (RESP2): commands out, replies and messages in.

use std::io::Write as _;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// A read buffer that one large message has blown up beyond this is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Status, error and length lines are short; what goes on without an end is no Redis.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Parts of an array that are looked at: a pattern message has four.
const PARTS_MAX: usize = 4;

/// Why bytes are not what Redis sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RespError {
    #[error("reply starts with byte 0x{0:02x}")]
    Type(u8),
    #[error("reply has a malformed length or line")]
    Length,
    #[error("reply has more parts than any we asked for")]
    Parts,
}

/// One reply, or one message to a subscriber.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(Parts<'a>),
    /// One with a part over the limit; its bytes are passed over as they come.
    Oversized,
}

/// The parts of an array: texts as they are, integers as their digits, null as nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    parts: [&'a [u8]; PARTS_MAX],
    count: usize,
}

impl<'a> Parts<'a> {
    pub(crate) fn as_slice(&self) -> &[&'a [u8]] {
        &self.parts[..self.count]
    }
}

/// Appends a command.
pub(crate) fn put_command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    put_length(out, b'*', arguments.len());
    for argument in arguments {
        put_length(out, b'$', argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    write!(out, "{length}\r\n").expect("writing to memory does not fail");
}

/// Cuts what comes in into replies, without copying them and without holding those over the limit.
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// How much of the buffer has been handed out.
    at: usize,
    part_bytes_max: usize,
    /// What is left of an oversized reply: bytes, and parts after them.
    skip_bytes: usize,
    skip_parts: usize,
}

enum Parsed {
    Incomplete,
    Complete {
        shape: Shape,
        length: usize,
    },
    Oversized {
        header: usize,
        bytes: usize,
        parts: usize,
    },
}

/// A reply as places in the buffer.
enum Shape {
    Status {
        start: usize,
        end: usize,
    },
    Error {
        start: usize,
        end: usize,
    },
    Integer(i64),
    Bulk {
        start: usize,
        end: usize,
    },
    Null,
    Array {
        parts: [(usize, usize); PARTS_MAX],
        count: usize,
    },
}

impl Decoder {
    pub(crate) fn new(part_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            at: 0,
            part_bytes_max,
            skip_bytes: 0,
            skip_parts: 0,
        }
    }

    /// Reads more. Returns how much; 0 is the end. Cancelling loses nothing.
    pub(crate) async fn fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> std::io::Result<usize> {
        self.buffer.advance(self.at);
        self.at = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        reader.read_buf(&mut self.buffer).await
    }

    /// The next reply that is complete.
    pub(crate) fn decode(&mut self) -> Result<Option<Reply<'_>>, RespError> {
        if !self.skip()? {
            return Ok(None);
        }
        match parse(&self.buffer[self.at..], self.part_bytes_max)? {
            Parsed::Incomplete => Ok(None),
            Parsed::Complete { shape, length } => {
                let bytes = &self.buffer[self.at..self.at + length];
                self.at += length;
                Ok(Some(match shape {
                    Shape::Status { start, end } => Reply::Status(&bytes[start..end]),
                    Shape::Error { start, end } => Reply::Error(&bytes[start..end]),
                    Shape::Integer(number) => Reply::Integer(number),
                    Shape::Bulk { start, end } => Reply::Bulk(&bytes[start..end]),
                    Shape::Null => Reply::Null,
                    Shape::Array { parts, count } => Reply::Array(Parts {
                        parts: parts.map(|(start, end)| &bytes[start..end]),
                        count,
                    }),
                }))
            }
            Parsed::Oversized {
                header,
                bytes,
                parts,
            } => {
                self.at += header;
                self.skip_bytes = bytes;
                self.skip_parts = parts;
                Ok(Some(Reply::Oversized))
            }
        }
    }

    /// Passes over the rest of an oversized reply; whether all of it has come.
    fn skip(&mut self) -> Result<bool, RespError> {
        loop {
            let here = self.skip_bytes.min(self.buffer.len() - self.at);
            self.at += here;
            self.skip_bytes -= here;
            if self.skip_bytes > 0 {
                return Ok(false);
            }
            if self.skip_parts == 0 {
                return Ok(true);
            }
            let Some(Line { kind, text, length }) = line(&self.buffer[self.at..])? else {
                return Ok(false);
            };
            let number = integer(text)?;
            self.at += length;
            self.skip_parts -= 1;
            if kind == b'$' && number >= 0 {
                self.skip_bytes = bulk_len(number)? + 2;
            }
        }
    }
}

/// A line: its first byte, which says what it is, and the text after that.
struct Line<'a> {
    kind: u8,
    text: &'a [u8],
    /// Bytes of all that, with its end.
    length: usize,
}

fn line(input: &[u8]) -> Result<Option<Line<'_>>, RespError> {
    let Some((&kind, rest)) = input.split_first() else {
        return Ok(None);
    };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(RespError::Type(kind));
    }
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && window[end - 1] == b'\r' => Ok(Some(Line {
            kind,
            text: &rest[..end - 1],
            length: end + 2,
        })),
        Some(_) => Err(RespError::Length),
        None if window.len() == LINE_BYTES_MAX => Err(RespError::Length),
        None => Ok(None),
    }
}

fn integer(line: &[u8]) -> Result<i64, RespError> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(RespError::Length)
}

/// Redis allows 512 MiB; more is an attempt at overflow.
fn bulk_len(number: i64) -> Result<usize, RespError> {
    usize::try_from(number)
        .ok()
        .filter(|length| *length <= 1 << 32)
        .ok_or(RespError::Length)
}

fn parse(input: &[u8], part_bytes_max: usize) -> Result<Parsed, RespError> {
    let Some(Line { kind, text, length }) = line(input)? else {
        return Ok(Parsed::Incomplete);
    };
    let complete = |shape| Ok(Parsed::Complete { shape, length });
    match kind {
        b'+' => complete(Shape::Status {
            start: 1,
            end: 1 + text.len(),
        }),
        b'-' => complete(Shape::Error {
            start: 1,
            end: 1 + text.len(),
        }),
        b':' => complete(Shape::Integer(integer(text)?)),
        b'$' if text == b"-1" => complete(Shape::Null),
        b'*' if text == b"-1" => complete(Shape::Null),
        b'$' => Ok(match parse_part(input, 0, part_bytes_max)? {
            Part::Incomplete => Parsed::Incomplete,
            Part::At { start, end, next } => Parsed::Complete {
                shape: Shape::Bulk { start, end },
                length: next,
            },
            Part::Oversized { header, bytes } => Parsed::Oversized {
                header,
                bytes,
                parts: 0,
            },
        }),
        _ => parse_array(input, integer(text)?, length, part_bytes_max),
    }
}

fn parse_array(
    input: &[u8],
    count: i64,
    mut at: usize,
    part_bytes_max: usize,
) -> Result<Parsed, RespError> {
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= PARTS_MAX)
        .ok_or(RespError::Parts)?;
    let mut parts = [(0, 0); PARTS_MAX];
    for (index, part) in parts[..count].iter_mut().enumerate() {
        match parse_part(input, at, part_bytes_max)? {
            Part::Incomplete => return Ok(Parsed::Incomplete),
            Part::At { start, end, next } => {
                *part = (start, end);
                at = next;
            }
            Part::Oversized { header, bytes } => {
                return Ok(Parsed::Oversized {
                    header,
                    bytes,
                    parts: count - index - 1,
                });
            }
        }
    }
    Ok(Parsed::Complete {
        shape: Shape::Array { parts, count },
        length: at,
    })
}

enum Part {
    Incomplete,
    At {
        start: usize,
        end: usize,
        next: usize,
    },
    Oversized {
        header: usize,
        bytes: usize,
    },
}

fn parse_part(input: &[u8], at: usize, part_bytes_max: usize) -> Result<Part, RespError> {
    let Some(Line { kind, text, length }) = line(&input[at..])? else {
        return Ok(Part::Incomplete);
    };
    match kind {
        b':' => {
            return Ok(Part::At {
                start: at + 1,
                end: at + 1 + text.len(),
                next: at + length,
            });
        }
        b'$' => {}
        _ => return Err(RespError::Type(kind)),
    }
    let number = integer(text)?;
    let start = at + length;
    if number == -1 {
        return Ok(Part::At {
            start,
            end: start,
            next: start,
        });
    }
    let bytes = bulk_len(number)?;
    if bytes > part_bytes_max {
        return Ok(Part::Oversized {
            header: start,
            bytes: bytes + 2,
        });
    }
    let end = start + bytes;
    match input.get(end..end + 2) {
        None => Ok(Part::Incomplete),
        Some(b"\r\n") => Ok(Part::At {
            start,
            end,
            next: end + 2,
        }),
        Some(_) => Err(RespError::Length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that `input` holds, when it comes in pieces of `step` bytes.
    fn replies(input: &[u8], step: usize, part_bytes_max: usize) -> Result<Vec<String>, RespError> {
        let mut decoder = Decoder::new(part_bytes_max);
        let mut seen = Vec::new();
        for piece in input.chunks(step) {
            decoder.buffer.advance(std::mem::take(&mut decoder.at));
            decoder.buffer.extend_from_slice(piece);
            while let Some(reply) = decoder.decode()? {
                seen.push(match reply {
                    Reply::Array(parts) => parts
                        .as_slice()
                        .iter()
                        .map(|part| String::from_utf8_lossy(part))
                        .collect::<Vec<_>>()
                        .join("|"),
                    Reply::Bulk(bytes) | Reply::Status(bytes) => {
                        String::from_utf8_lossy(bytes).into_owned()
                    }
                    Reply::Error(line) => format!("error {}", String::from_utf8_lossy(line)),
                    Reply::Integer(number) => number.to_string(),
                    Reply::Null => "null".to_owned(),
                    Reply::Oversized => "oversized".to_owned(),
                });
            }
            assert!(
                decoder.buffer.len() - decoder.at <= part_bytes_max * PARTS_MAX + 200,
                "an oversized part is not held"
            );
        }
        Ok(seen)
    }

    const STREAM: &[u8] = b"+OK\r\n:-3\r\n$-1\r\n*-1\r\n$3\r\na\r\n\r\n-ERR no\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n\
        *3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n";

    #[test]
    fn replies_are_the_same_however_they_are_cut() {
        for step in 1..=STREAM.len() {
            assert_eq!(
                replies(STREAM, step, 100).unwrap(),
                [
                    "OK",
                    "-3",
                    "null",
                    "null",
                    "a\r\n",
                    "error ERR no",
                    "message|c|hello",
                    "subscribe|c|1",
                    "unsubscribe||0"
                ],
                "{step}"
            );
        }
    }

    #[test]
    fn oversized_parts_are_passed_over_wherever_they_stand() {
        let long = "x".repeat(5000);
        let last = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5000\r\n{long}\r\n+next\r\n");
        let middle =
            format!("*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$5000\r\n{long}\r\n$2\r\nhi\r\n+next\r\n");
        let both = format!(
            "*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$5000\r\n{long}\r\n$5000\r\n{long}\r\n+next\r\n"
        );
        let alone = format!("$5000\r\n{long}\r\n+next\r\n");
        for input in [last, middle, both, alone] {
            for step in [1, 7, 1000, 20_000] {
                assert_eq!(
                    replies(
                        input.as_bytes(),
                        step,
                        if step < 20_000 { 100 } else { 4999 }
                    )
                    .unwrap(),
                    ["oversized", "next"]
                );
            }
        }
    }

    #[tokio::test]
    async fn the_longest_message_of_redis_passes_through_a_small_buffer() {
        const LENGTH: u64 = 512 << 20;
        let head = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${LENGTH}\r\n");
        let rest = tokio::io::repeat(b'x')
            .take(LENGTH)
            .chain(b"\r\n+next\r\n".as_slice());
        let mut input = AsyncReadExt::chain(head.as_bytes(), rest);
        let mut decoder = Decoder::new(16 << 20);
        let mut seen = Vec::new();
        while decoder.fill(&mut input).await.unwrap() > 0 {
            while let Some(reply) = decoder.decode().unwrap() {
                seen.push(format!("{reply:?}"));
            }
            assert!(decoder.buffer.capacity() <= 4 * READ_BYTES);
        }
        assert_eq!(seen, ["Oversized", "Status([110, 101, 120, 116])"]);
    }

    #[test]
    fn what_is_no_redis_is_refused() {
        assert_eq!(
            replies(b"HTTP/1.1 400 Bad Request\r\n", 100, 100),
            Err(RespError::Type(b'H'))
        );
        assert_eq!(replies(b"$x\r\n", 100, 100), Err(RespError::Length));
        assert_eq!(replies(b"$-2\r\n", 100, 100), Err(RespError::Length));
        assert_eq!(
            replies(b"$9223372036854775807\r\n", 100, 100),
            Err(RespError::Length)
        );
        assert_eq!(replies(b"*5\r\n", 100, 100), Err(RespError::Parts));
        assert_eq!(
            replies(b"*1\r\n*1\r\n", 100, 100),
            Err(RespError::Type(b'*'))
        );
        assert_eq!(replies(b"$1\r\nabc", 100, 100), Err(RespError::Length));
        let endless = vec![b'+'; LINE_BYTES_MAX + 1];
        assert_eq!(
            replies(&endless, LINE_BYTES_MAX + 1, LINE_BYTES_MAX),
            Err(RespError::Length)
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"*$:+-\r\n0123".to_vec())], 0..200), step in 1_usize..50) {
            let _ = replies(&bytes, step, 1000);
        }
    }

    #[test]
    fn commands_are_arrays_of_texts() {
        let mut out = Vec::new();
        put_command(&mut out, &[b"PUBLISH", b"c", b"\x00\r\n"]);
        assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$3\r\n\x00\r\n\r\n");
    }
}
