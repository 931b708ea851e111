//! JSON text and attachments to msgpack, with the number and length forms that Node's encoder chooses.

use bytes::Bytes;

use super::Limits;
use super::json_text::unescape;
use super::put::{put_bin, put_int, put_number, put_str, put_uint};
use crate::socket::Arguments;

/// Why arguments cannot be written as msgpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A placeholder may stand for the same attachment many times, so a short text can be a long message.
    #[error("message is over the limit of {limit} bytes")]
    TooLarge {
        /// [`Limits::bytes_max`].
        limit: usize,
    },
    /// More arrays and objects inside each other than allowed.
    #[error("value is nested deeper than {limit}")]
    TooDeep {
        /// [`Limits::depth_max`].
        limit: usize,
    },
    /// The text is not JSON, which validated arguments never are.
    #[error("text is not JSON")]
    Malformed,
}

/// Appends `arguments` as a msgpack array. After an error `out` is as before.
pub fn put_arguments(
    out: &mut Vec<u8>,
    arguments: &Arguments,
    limits: &Limits,
) -> Result<(), EncodeError> {
    put_text(out, arguments.json(), arguments.attachments(), limits)
}

/// Appends the first of `arguments` as a single value; nil when there is none. After an error `out` is as before.
pub fn put_first(
    out: &mut Vec<u8>,
    arguments: &Arguments,
    limits: &Limits,
) -> Result<(), EncodeError> {
    let mut transcoder = Transcoder::new(out, arguments.json(), arguments.attachments(), limits);
    transcoder.skip_space();
    let result = match transcoder.next() {
        Some(b'[') => {
            transcoder.skip_space();
            if transcoder.peek() == Some(b']') {
                transcoder.out.push(0xc0);
                Ok(())
            } else {
                transcoder.value(1)
            }
        }
        Some(_) | None => Err(EncodeError::Malformed),
    };
    transcoder.finish(result)
}

pub(super) fn put_text(
    out: &mut Vec<u8>,
    json: &str,
    attachments: &[Bytes],
    limits: &Limits,
) -> Result<(), EncodeError> {
    let mut transcoder = Transcoder::new(out, json, attachments, limits);
    let result = transcoder.whole();
    transcoder.finish(result)
}

struct Transcoder<'a> {
    out: &'a mut Vec<u8>,
    /// Length of `out` before the first byte of ours.
    start: usize,
    json: &'a str,
    at: usize,
    attachments: &'a [Bytes],
    limits: &'a Limits,
}

impl<'a> Transcoder<'a> {
    fn new(
        out: &'a mut Vec<u8>,
        json: &'a str,
        attachments: &'a [Bytes],
        limits: &'a Limits,
    ) -> Self {
        Self {
            start: out.len(),
            out,
            json,
            at: 0,
            attachments,
            limits,
        }
    }

    fn finish(self, result: Result<(), EncodeError>) -> Result<(), EncodeError> {
        if result.is_err() {
            self.out.truncate(self.start);
        }
        result
    }

    fn whole(&mut self) -> Result<(), EncodeError> {
        self.value(0)?;
        self.skip_space();
        if self.at == self.json.len() {
            Ok(())
        } else {
            Err(EncodeError::Malformed)
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), EncodeError> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'[') => self.array(depth)?,
            Some(b'{') => self.object(depth)?,
            Some(b'n') => self.literal("null", 0xc0)?,
            Some(b't') => self.literal("true", 0xc3)?,
            Some(b'f') => self.literal("false", 0xc2)?,
            Some(_) | None => return Err(EncodeError::Malformed),
        }
        if self.out.len() - self.start > self.limits.bytes_max {
            return Err(EncodeError::TooLarge {
                limit: self.limits.bytes_max,
            });
        }
        Ok(())
    }

    fn literal(&mut self, text: &str, byte: u8) -> Result<(), EncodeError> {
        if !self.json[self.at..].starts_with(text) {
            return Err(EncodeError::Malformed);
        }
        self.at += text.len();
        self.out.push(byte);
        Ok(())
    }

    fn number(&mut self) -> Result<(), EncodeError> {
        let length = self.json[self.at..]
            .bytes()
            .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
            .count();
        let text = &self.json[self.at..self.at + length];
        self.at += length;
        if let Ok(number) = text.parse::<u64>() {
            put_uint(self.out, number);
        } else if let Ok(number) = text.parse::<i64>() {
            put_int(self.out, number);
        } else {
            put_number(self.out, text.parse().map_err(|_| EncodeError::Malformed)?);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), EncodeError> {
        self.at += 1;
        let text = &self.json[self.at..];
        let end = text
            .bytes()
            .position(|byte| byte == b'"' || byte == b'\\')
            .ok_or(EncodeError::Malformed)?;
        if text.as_bytes()[end] == b'"' {
            put_str(self.out, &text[..end]);
            self.at += end + 1;
        } else {
            let (text, length) = unescape(text).ok_or(EncodeError::Malformed)?;
            put_str(self.out, &text);
            self.at += length;
        }
        Ok(())
    }

    fn enter(&self, depth: usize) -> Result<usize, EncodeError> {
        if depth >= self.limits.depth_max {
            return Err(EncodeError::TooDeep {
                limit: self.limits.depth_max,
            });
        }
        Ok(depth + 1)
    }

    fn array(&mut self, depth: usize) -> Result<(), EncodeError> {
        let depth = self.enter(depth)?;
        let header = self.open();
        let mut count = 0;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value(depth)?;
                count += 1;
                self.skip_space();
                match self.next() {
                    Some(b',') => {}
                    Some(b']') => break,
                    Some(_) | None => return Err(EncodeError::Malformed),
                }
            }
        }
        self.close(header, count, 0x90, 0xdc);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), EncodeError> {
        let depth = self.enter(depth)?;
        let header = self.open();
        let mut count = 0;
        let mut placeholder = Placeholder::default();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.skip_space();
                if self.peek() != Some(b'"') {
                    return Err(EncodeError::Malformed);
                }
                let key = self.out.len();
                self.string()?;
                self.skip_space();
                if self.next() != Some(b':') {
                    return Err(EncodeError::Malformed);
                }
                let (value, value_at) = (self.out.len(), self.at);
                self.value(depth)?;
                placeholder.see(&self.out[key..value], &self.json[value_at..self.at]);
                count += 1;
                self.skip_space();
                match self.next() {
                    Some(b',') => {}
                    Some(b'}') => break,
                    Some(_) | None => return Err(EncodeError::Malformed),
                }
            }
        }
        match placeholder.attachment(self.attachments) {
            Some(attachment) => {
                self.out.truncate(header);
                put_bin(self.out, attachment);
            }
            None => self.close(header, count, 0x80, 0xde),
        }
        Ok(())
    }

    /// Leaves one byte for a header, which is all that a small array or object needs.
    fn open(&mut self) -> usize {
        self.at += 1;
        self.out.push(0);
        self.out.len() - 1
    }

    fn close(&mut self, header: usize, count: usize, fixed: u8, wide: u8) {
        if count < 16 {
            self.out[header] = fixed | count as u8;
        } else if let Ok(count) = u16::try_from(count) {
            let [a, b] = count.to_be_bytes();
            self.out.splice(header..=header, [wide, a, b]);
        } else {
            // A text of 4 GiB would be needed for more.
            let [a, b, c, d] = (count as u32).to_be_bytes();
            self.out.splice(header..=header, [wide + 1, a, b, c, d]);
        }
    }
}

/// What an object says of itself: with a true `_placeholder` and the number of an attachment it stands for that attachment.
#[derive(Default)]
struct Placeholder {
    marked: bool,
    number: Option<usize>,
}

impl Placeholder {
    fn see(&mut self, key: &[u8], value: &str) {
        match key {
            b"\xac_placeholder" => self.marked = value.trim() == "true",
            b"\xa3num" => self.number = value.trim().parse().ok(),
            _ => {}
        }
    }

    fn attachment<'a>(&self, attachments: &'a [Bytes]) -> Option<&'a Bytes> {
        attachments.get(self.number.filter(|_| self.marked)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &[u8]) {
        let mut out = b"kept".to_vec();
        assert_eq!(
            put_text(&mut out, json, &[], &Limits::default()),
            Ok(()),
            "{json}"
        );
        assert_eq!(&out[4..], expected, "{json}");
    }

    #[test]
    fn numbers_take_the_forms_that_node_chooses() {
        check("0", &[0]);
        check("-0", &[0]);
        check("127", &[127]);
        check("128", &[0xcc, 128]);
        check("256", &[0xcd, 1, 0]);
        check("65536", &[0xce, 0, 1, 0, 0]);
        check("70000", &[0xce, 0, 1, 0x11, 0x70]);
        check("1099511627776", &[0xcf, 0, 0, 1, 0, 0, 0, 0, 0]);
        check(
            "18446744073709551615",
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        check("-1", &[0xff]);
        check("-32", &[0xe0]);
        check("-33", &[0xd0, 0xdf]);
        check("-157", &[0xd1, 0xff, 0x63]);
        check("-40000", &[0xd2, 0xff, 0xff, 0x63, 0xc0]);
        check("-1099511627776", &[0xd3, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
        check("1.5", &[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        check("1.0", &[1]);
        check("1e3", &[0xcd, 3, 0xe8]);
        check("-2.0", &[0xfe]);
        check(
            "1e20",
            &[0xcb, 0x44, 0x15, 0xaf, 0x1d, 0x78, 0xb5, 0x8c, 0x40],
        );
        check("1e999", &[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn texts_are_unescaped() {
        check(r#""a""#, b"\xa1a");
        check(r#""\"\\\/\b\f\n\r\t\u0041""#, b"\xa9\"\\/\x08\x0c\n\r\tA");
        check("\"\\u00e9\u{e9}\"", b"\xa4\xc3\xa9\xc3\xa9");
        check(r#""\ud83d\ude00""#, b"\xa4\xf0\x9f\x98\x80");
        for lonely in [r#""\ud83d""#, r#""\ude00""#, r#""\udfff""#, r#""\ud800""#] {
            check(lonely, b"\xa3\xef\xbf\xbd");
        }
        check(r#""\ud83dx""#, b"\xa4\xef\xbf\xbdx");
        check(
            r#""\ud83d\ud83d\ude00""#,
            b"\xa7\xef\xbf\xbd\xf0\x9f\x98\x80",
        );
    }

    #[test]
    fn containers_keep_their_order_and_grow_their_headers() {
        check(
            r#" { "b" : 1 , "a" : [ null , true , false ] } "#,
            b"\x82\xa1b\x01\xa1a\x93\xc0\xc3\xc2",
        );
        check("[]", &[0x90]);
        check("{}", &[0x80]);
        for (count, header) in [
            (15, vec![0x9f]),
            (16, vec![0xdc, 0, 16]),
            (65_535, vec![0xdc, 255, 255]),
            (65_536, vec![0xdd, 0, 1, 0, 0]),
        ] {
            let json = format!("[{}]", vec!["7"; count].join(","));
            check(&json, &[header, vec![7; count]].concat());
        }
        let long = "x".repeat(300);
        check(
            &format!("\"{long}\""),
            &[b"\xda\x01\x2c".as_slice(), long.as_bytes()].concat(),
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for json in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1,}",
            "{1:2}",
            "nul",
            "\"",
            "\"\\",
            "\"\\u12",
            "\"\\x\"",
            "1 2",
            "-",
            "[}",
            "é",
        ] {
            let mut out = b"kept".to_vec();
            assert_eq!(
                put_text(&mut out, json, &[], &Limits::default()),
                Err(EncodeError::Malformed),
                "{json}"
            );
            assert_eq!(out, b"kept");
        }
    }

    #[test]
    fn depth_and_size_are_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let limits = Limits {
            depth_max: 5,
            ..Limits::default()
        };
        assert_eq!(put_text(&mut Vec::new(), &nested(5), &[], &limits), Ok(()));
        assert_eq!(
            put_text(&mut Vec::new(), &nested(6), &[], &limits),
            Err(EncodeError::TooDeep { limit: 5 })
        );
        // One attachment of 1 KB named 100 times is a message of 100 KB.
        let json = format!(
            "[{}]",
            vec![r#"{"_placeholder":true,"num":0}"#; 100].join(",")
        );
        let limits = Limits {
            bytes_max: 10_000,
            ..Limits::default()
        };
        assert_eq!(
            put_text(
                &mut Vec::new(),
                &json,
                &[Bytes::from(vec![0; 1000])],
                &limits
            ),
            Err(EncodeError::TooLarge { limit: 10_000 })
        );
    }

    #[test]
    fn only_a_whole_placeholder_stands_for_an_attachment() {
        let attachments = [Bytes::from_static(b"\x09")];
        for (json, expected) in [
            (
                r#"{"_placeholder":true,"num":0}"#,
                b"\xc4\x01\x09".as_slice(),
            ),
            (r#"{ "num" : 0 , "_placeholder" : true }"#, b"\xc4\x01\x09"),
            (
                r#"{"_placeholder":true,"num":1}"#,
                b"\x82\xac_placeholder\xc3\xa3num\x01",
            ),
            (
                r#"{"_placeholder":false,"num":0}"#,
                b"\x82\xac_placeholder\xc2\xa3num\x00",
            ),
            (
                r#"{"_placeholder":"true","num":0}"#,
                b"\x82\xac_placeholder\xa4true\xa3num\x00",
            ),
            (r#"{"_placeholder":true}"#, b"\x81\xac_placeholder\xc3"),
        ] {
            let mut out = Vec::new();
            assert_eq!(
                put_text(&mut out, json, &attachments, &Limits::default()),
                Ok(())
            );
            assert_eq!(out, expected, "{json}");
        }
        check(
            r#"{"_placeholder":true,"num":0}"#,
            b"\x82\xac_placeholder\xc3\xa3num\x00",
        );
    }
}
