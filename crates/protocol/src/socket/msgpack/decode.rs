//! Msgpack to JSON text and attachments.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;

use super::json_text::put_json_text;
use super::reader::{Head, Reader};
use super::{Limits, timestamp};
use crate::socket::Arguments;

/// Why bytes cannot be read as msgpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value announces more than there is.
    #[error("msgpack ends in the middle of a value")]
    Truncated,
    /// Another kind of value stands where `expected` has to be.
    #[error("msgpack has something else where {expected} is expected")]
    Unexpected {
        /// What the reader looked for.
        expected: &'static str,
    },
    /// More arrays and maps inside each other than allowed.
    #[error("msgpack is nested deeper than {limit}")]
    TooDeep {
        /// [`Limits::depth_max`].
        limit: usize,
    },
    /// As JSON the value is too long.
    #[error("value is over the limit of {limit} bytes of JSON")]
    TooLarge {
        /// [`Limits::bytes_max`].
        limit: usize,
    },
    /// More binary values than allowed.
    #[error("message has more than {limit} binary values")]
    TooManyAttachments {
        /// [`Limits::attachments_max`].
        limit: usize,
    },
    /// A map that a client would take for a placeholder, next to real binary values. Clients close the connection over such a message.
    #[error("message has a map that looks like a placeholder")]
    ForgedPlaceholder,
}

/// How Node's encoder begins an `undefined`, up to the byte that says nothing.
pub(super) const UNDEFINED: [u8; 2] = [0xd4, 0];

/// Writes the JSON of one value as it reads it.
pub(super) struct Json<'r, 'a> {
    reader: &'r mut Reader<'a>,
    limits: &'r Limits,
    pub(super) out: Vec<u8>,
    attachments: Vec<Bytes>,
    /// Whether a map says `"_placeholder": true`.
    placeholder_seen: bool,
}

impl<'r, 'a> Json<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>, limits: &'r Limits) -> Self {
        // Enough for nearly all; a message made of thousands of values must not ask for thousands of large buffers.
        const CAPACITY_MAX: usize = 16 << 10;
        let capacity = (reader.rest.len() + 16).min(CAPACITY_MAX);
        Self {
            reader,
            limits,
            out: Vec::with_capacity(capacity),
            attachments: Vec::new(),
            placeholder_seen: false,
        }
    }

    pub(super) fn finish(self) -> Result<Arguments, DecodeError> {
        if self.placeholder_seen && !self.attachments.is_empty() {
            return Err(DecodeError::ForgedPlaceholder);
        }
        Ok(Arguments::from_validated(
            Bytes::from(self.out),
            self.attachments,
        ))
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.reader.head()? {
            Head::Nil => self.out.extend_from_slice(b"null"),
            Head::Bool(true) => self.out.extend_from_slice(b"true"),
            Head::Bool(false) => self.out.extend_from_slice(b"false"),
            Head::Number(number) => number.put(&mut self.out),
            Head::Text(text) => put_json_text(&mut self.out, &String::from_utf8_lossy(text)),
            Head::Bin(bytes) => self.attachment(bytes, depth)?,
            Head::Extension(kind, payload) => self.extension(kind, payload, depth)?,
            Head::Array(count) => self.array(count, depth)?,
            Head::Map(count) => self.map(count, depth)?,
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), DecodeError> {
        if self.out.len() > self.limits.bytes_max {
            return Err(DecodeError::TooLarge {
                limit: self.limits.bytes_max,
            });
        }
        Ok(())
    }

    fn enter(&self, depth: usize) -> Result<usize, DecodeError> {
        if depth >= self.limits.depth_max {
            return Err(DecodeError::TooDeep {
                limit: self.limits.depth_max,
            });
        }
        Ok(depth + 1)
    }

    fn array(&mut self, count: usize, depth: usize) -> Result<(), DecodeError> {
        let depth = self.enter(depth)?;
        self.out.push(b'[');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<(), DecodeError> {
        let depth = self.enter(depth)?;
        self.out.push(b'{');
        let mut is_first = true;
        for _ in 0..count {
            let key = self.key()?;
            if self.reader.rest.starts_with(&UNDEFINED) {
                // `JSON.stringify` leaves such a member out.
                self.reader.skip()?;
                continue;
            }
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            put_json_text(&mut self.out, &key);
            self.out.push(b':');
            self.placeholder_seen |=
                key == "_placeholder" && self.reader.rest.first() == Some(&0xc3);
            self.value(depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The property name that JavaScript makes of a key.
    fn key(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let mut ahead = self.reader.clone();
        match ahead.name() {
            Ok(name) => {
                *self.reader = ahead;
                Ok(name)
            }
            Err(DecodeError::Unexpected { .. }) => self
                .reader
                .skip()
                .map(|()| Cow::Borrowed("[object Object]")),
            Err(error) => Err(error),
        }
    }

    fn attachment(&mut self, bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
        // Its placeholder is an object, whose depth whoever reads the JSON counts.
        self.enter(depth)?;
        if self.attachments.len() >= self.limits.attachments_max {
            return Err(DecodeError::TooManyAttachments {
                limit: self.limits.attachments_max,
            });
        }
        write!(
            self.out,
            r#"{{"_placeholder":true,"num":{}}}"#,
            self.attachments.len()
        )
        .expect("writing to memory does not fail");
        self.attachments.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn extension(&mut self, kind: i8, payload: &[u8], depth: usize) -> Result<(), DecodeError> {
        // Type 0 of fixed length is what Node's encoder made of undefined (1 byte) and Date (8 bytes) before it wrote timestamps.
        let date = match (kind, payload) {
            (-1, payload) if matches!(payload.len(), 4 | 8 | 12) => {
                timestamp::milliseconds(payload)
            }
            (0, &[_]) => None,
            (0, &[a, b, c, d, e, f, g, h]) => {
                timestamp::in_range(i128::from(i64::from_be_bytes([a, b, c, d, e, f, g, h])))
            }
            (kind, payload) => {
                // Node's decoder hands out a pair of the type and the bytes.
                let depth = self.enter(depth)?;
                write!(self.out, "[{kind},").expect("writing to memory does not fail");
                self.attachment(payload, depth)?;
                self.out.push(b']');
                return Ok(());
            }
        };
        match date {
            Some(milliseconds) => timestamp::put_iso(&mut self.out, milliseconds),
            None => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], json: &str) {
        let mut reader = Reader::new(bytes);
        let arguments = reader
            .value(&Limits::default())
            .unwrap_or_else(|error| panic!("{bytes:02x?}: {error}"));
        assert_eq!(arguments.json(), format!("[{json}]"), "{bytes:02x?}");
        assert!(reader.rest().is_empty());
        serde_json::from_str::<serde_json::Value>(arguments.json()).unwrap();
        let mut skipping = Reader::new(bytes);
        assert_eq!(skipping.skip(), Ok(()));
        assert!(skipping.rest().is_empty());
    }

    #[test]
    fn values_become_json() {
        check(&[0xc0], "null");
        check(&[0xc1], "null");
        check(&[0xc3], "true");
        check(&[0x7f], "127");
        check(&[0xe0], "-32");
        check(
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
            "18446744073709551615",
        );
        check(&[0xd3, 128, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808");
        check(&[0xca, 0x3f, 0xc0, 0, 0], "1.5");
        check(b"\xa5a\"\\\n\x01", r#""a\"\\\n\u0001""#);
        check(b"\xa2\xff\xfe", "\"\u{fffd}\u{fffd}\"");
        check(
            b"\x83\x01\x02\xc3\x03\xa1k\x04",
            r#"{"1":2,"true":3,"k":4}"#,
        );
        check(b"\x81\x91\x01\x02", r#"{"[object Object]":2}"#);
    }

    #[test]
    fn floats_keep_their_value_and_what_json_lacks_is_null() {
        for number in [
            0.0,
            1.0,
            0.1,
            1e21,
            1e300,
            -1e-300,
            5e-324,
            f64::MAX,
            9_007_199_254_740_993.0,
            123_456.789,
        ] {
            let mut bytes = vec![0xcb];
            bytes.extend(f64::to_be_bytes(number));
            let arguments = Reader::new(&bytes).value(&Limits::default()).unwrap();
            let text = arguments.json().trim_matches(['[', ']']);
            assert_eq!(
                text.parse::<f64>().unwrap().to_bits(),
                number.to_bits(),
                "{text}"
            );
        }
        for (number, json) in [
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
            (-0.0, "0"),
        ] {
            let mut bytes = vec![0xcb];
            bytes.extend(f64::to_be_bytes(number));
            check(&bytes, json);
        }
    }

    #[test]
    fn dates_become_the_text_that_json_stringify_gives() {
        check(&[0xd6, 0xff, 0, 0, 0, 0], r#""1970-01-01T00:00:00.000Z""#);
        check(
            &[0xd7, 0xff, 0, 0x3d, 0x09, 0, 0, 0, 0, 0],
            r#""1970-01-01T00:00:00.001Z""#,
        );
        check(
            &[
                0xc7, 12, 0xff, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
            r#""1969-12-31T23:59:59.000Z""#,
        );
        check(
            &[0xd7, 0, 0, 0, 0, 0, 0, 0, 0x03, 0xe8],
            r#""1970-01-01T00:00:01.000Z""#,
        );
        check(&[0xd4, 7, 9], r#"[7,{"_placeholder":true,"num":0}]"#);
    }

    #[test]
    fn undefined_is_what_json_stringify_makes_of_it() {
        check(&[0xd4, 0, 0], "null");
        check(&[0x92, 0xd4, 0, 0, 1], "[null,1]");
        check(b"\x81\xa1a\xd4\x00\x00", "{}");
        check(
            b"\x84\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00\xa1d\x02",
            r#"{"b":1,"d":2}"#,
        );
        assert_eq!(
            Reader::new(b"\x81\xa1a\xd4\x00").value(&Limits::default()),
            Err(DecodeError::Truncated)
        );
    }

    #[test]
    fn an_array_buffer_of_any_length_is_binary() {
        for payload in [b"".as_slice(), b"1", b"12345678", b"123456789"] {
            let length = payload.len() as u8;
            for header in [
                [0xc7, length, 0].as_slice(),
                &[0xc8, 0, length, 0],
                &[0xc9, 0, 0, 0, length, 0],
            ] {
                let bytes = [header, payload].concat();
                check(&bytes, r#"{"_placeholder":true,"num":0}"#);
                let arguments = Reader::new(&bytes).value(&Limits::default()).unwrap();
                assert_eq!(arguments.attachments(), [Bytes::copy_from_slice(payload)]);
            }
        }
    }

    #[test]
    fn lies_about_lengths_are_refused_before_anything_is_allocated() {
        for bytes in [
            b"\xdd\xff\xff\xff\xff".as_slice(),
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\xff",
            b"\xdc\xff",
            b"\x92\x01",
            b"\xcf\x00",
            b"",
        ] {
            assert_eq!(
                Reader::new(bytes).value(&Limits::default()),
                Err(DecodeError::Truncated),
                "{bytes:02x?}"
            );
            assert_eq!(
                Reader::new(bytes).skip(),
                Err(DecodeError::Truncated),
                "{bytes:02x?}"
            );
        }
        assert_eq!(
            Reader::new(b"\x80").arguments(&Limits::default()),
            Err(DecodeError::Unexpected {
                expected: "an array"
            })
        );
    }

    #[test]
    fn depth_size_and_attachments_are_limited() {
        let deep = vec![0x91; 1_000_000];
        assert_eq!(
            Reader::new(&deep).value(&Limits::default()),
            Err(DecodeError::TooDeep { limit: 128 })
        );
        let mut deep = deep;
        deep.push(0xc0);
        assert_eq!(Reader::new(&deep).skip(), Ok(()));
        let mut keys = vec![0x81; 1_000_000];
        keys.push(0xc0);
        assert!(Reader::new(&keys).value(&Limits::default()).is_err());
        let limits = Limits {
            bytes_max: 100,
            attachments_max: 2,
            ..Limits::default()
        };
        assert_eq!(Reader::new(b"\xd9\x40\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01").value(&limits), Err(DecodeError::TooLarge { limit: 100 }));
        assert_eq!(
            Reader::new(b"\x93\xc4\x00\xc4\x00\xc4\x00").value(&limits),
            Err(DecodeError::TooManyAttachments { limit: 2 })
        );
    }

    #[test]
    fn a_forged_placeholder_is_refused_next_to_real_ones() {
        let map = b"\x82\xac_placeholder\xc3\xa3num\x05";
        check(map, r#"{"_placeholder":true,"num":5}"#);
        let both = [b"\x92\xc4\x01\x00".as_slice(), map].concat();
        assert_eq!(
            Reader::new(&both).arguments(&Limits::default()),
            Err(DecodeError::ForgedPlaceholder)
        );
    }
}
