//! Msgpack, value by value, bounded and without trust.

use std::borrow::Cow;
use std::io::Write as _;

use super::Limits;
use super::decode::{DecodeError, Json};
use crate::socket::Arguments;

/// Reads msgpack from the front of a slice. After an error its position means nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the header of an array: how many items follow. Never more than there are bytes.
    pub fn array_len(&mut self) -> Result<usize, DecodeError> {
        let Head::Array(count) = self.head()? else {
            return Err(DecodeError::Unexpected {
                expected: "an array",
            });
        };
        Ok(count)
    }

    /// Reads the header of a map: how many pairs follow. Never more than there are bytes.
    pub fn map_len(&mut self) -> Result<usize, DecodeError> {
        let Head::Map(count) = self.head()? else {
            return Err(DecodeError::Unexpected { expected: "a map" });
        };
        Ok(count)
    }

    /// Reads a text. What is no UTF-8 in it becomes U+FFFD.
    pub fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let Head::Text(text) = self.head()? else {
            return Err(DecodeError::Unexpected { expected: "a text" });
        };
        Ok(String::from_utf8_lossy(text))
    }

    /// Reads a text, or a number or truth value as the text that JavaScript makes of it when it is used as a name.
    pub fn name(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        match self.head()? {
            Head::Text(text) => Ok(String::from_utf8_lossy(text)),
            Head::Number(number) => {
                let mut text = Vec::new();
                number.put(&mut text);
                Ok(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
            }
            Head::Nil => Ok(Cow::Borrowed("null")),
            Head::Bool(true) => Ok(Cow::Borrowed("true")),
            Head::Bool(false) => Ok(Cow::Borrowed("false")),
            Head::Bin(_) | Head::Extension(..) | Head::Array(_) | Head::Map(_) => {
                Err(DecodeError::Unexpected { expected: "a name" })
            }
        }
    }

    /// Reads a number of any form.
    pub fn number(&mut self) -> Result<f64, DecodeError> {
        let Head::Number(number) = self.head()? else {
            return Err(DecodeError::Unexpected {
                expected: "a number",
            });
        };
        Ok(match number {
            Number::Unsigned(number) => number as f64,
            Number::Signed(number) => number as f64,
            Number::Float(number) => number,
        })
    }

    /// Reads any value as a truth value: whether it is `true`.
    pub fn is_true(&mut self) -> Result<bool, DecodeError> {
        let is_true = self.rest.first() == Some(&0xc3);
        self.skip()?;
        Ok(is_true)
    }

    /// Passes over nil when it comes next; whether it did.
    pub fn skip_nil(&mut self) -> bool {
        let rest = self.rest.strip_prefix(&[0xc0]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Passes over one value, however deep it is, without recursion.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let mut values = 1_usize;
        while values > 0 {
            values -= 1;
            let inside = match self.head()? {
                Head::Array(count) => count,
                Head::Map(count) => count * 2,
                Head::Nil
                | Head::Bool(_)
                | Head::Number(_)
                | Head::Text(_)
                | Head::Bin(_)
                | Head::Extension(..) => 0,
            };
            values = values.saturating_add(inside);
        }
        Ok(())
    }

    /// Reads an array as arguments: binary values become attachments.
    pub fn arguments(&mut self, limits: &Limits) -> Result<Arguments, DecodeError> {
        self.clone().array_len()?;
        let mut json = Json::new(self, limits);
        json.value(0)?;
        json.finish()
    }

    /// Reads any one value as arguments with that value alone.
    pub fn value(&mut self, limits: &Limits) -> Result<Arguments, DecodeError> {
        let mut json = Json::new(self, limits);
        json.out.push(b'[');
        json.value(0)?;
        json.out.push(b']');
        json.finish()
    }

    /// Reads the next value, or the header of one that has others inside.
    pub(super) fn head(&mut self) -> Result<Head<'a>, DecodeError> {
        let [first] = self.fixed()?;
        Ok(match first {
            0x00..=0x7f => Head::Number(Number::Unsigned(u64::from(first))),
            0x80..=0x8f => Head::Map(self.checked(usize::from(first & 0x0f))?),
            0x90..=0x9f => Head::Array(self.checked(usize::from(first & 0x0f))?),
            0xa0..=0xbf => Head::Text(self.take(usize::from(first & 0x1f))?),
            // 0xc1 is the one byte that msgpack leaves undefined.
            0xc0 | 0xc1 => Head::Nil,
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4 => Head::Bin(self.sized(1)?),
            0xc5 => Head::Bin(self.sized(2)?),
            0xc6 => Head::Bin(self.sized(4)?),
            0xc7 => self.sized_extension(1)?,
            0xc8 => self.sized_extension(2)?,
            0xc9 => self.sized_extension(4)?,
            0xca => Head::Number(Number::Float(f64::from(f32::from_be_bytes(self.fixed()?)))),
            0xcb => Head::Number(Number::Float(f64::from_be_bytes(self.fixed()?))),
            0xcc => Head::Number(Number::Unsigned(u64::from(u8::from_be_bytes(
                self.fixed()?,
            )))),
            0xcd => Head::Number(Number::Unsigned(u64::from(u16::from_be_bytes(
                self.fixed()?,
            )))),
            0xce => Head::Number(Number::Unsigned(u64::from(u32::from_be_bytes(
                self.fixed()?,
            )))),
            0xcf => Head::Number(Number::Unsigned(u64::from_be_bytes(self.fixed()?))),
            0xd0 => Head::Number(Number::Signed(i64::from(i8::from_be_bytes(self.fixed()?)))),
            0xd1 => Head::Number(Number::Signed(i64::from(i16::from_be_bytes(self.fixed()?)))),
            0xd2 => Head::Number(Number::Signed(i64::from(i32::from_be_bytes(self.fixed()?)))),
            0xd3 => Head::Number(Number::Signed(i64::from_be_bytes(self.fixed()?))),
            0xd4..=0xd8 => {
                let (kind, payload) = self.extension(1 << (first - 0xd4))?;
                Head::Extension(kind, payload)
            }
            0xd9 => Head::Text(self.sized(1)?),
            0xda => Head::Text(self.sized(2)?),
            0xdb => Head::Text(self.sized(4)?),
            0xdc => Head::Array(self.length(2).and_then(|count| self.checked(count))?),
            0xdd => Head::Array(self.length(4).and_then(|count| self.checked(count))?),
            0xde => Head::Map(self.length(2).and_then(|count| self.checked(count))?),
            0xdf => Head::Map(self.length(4).and_then(|count| self.checked(count))?),
            0xe0..=0xff => Head::Number(Number::Signed(i64::from(first as i8))),
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A big-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// What follows a length of `width` bytes.
    fn sized(&mut self, width: usize) -> Result<&'a [u8], DecodeError> {
        self.length(width).and_then(|length| self.take(length))
    }

    /// Every item takes at least a byte, so a count above what is left is a lie.
    fn checked(&self, count: usize) -> Result<usize, DecodeError> {
        if count > self.rest.len() {
            Err(DecodeError::Truncated)
        } else {
            Ok(count)
        }
    }

    /// An extension that says its length in `width` bytes. Of type 0 it is an `ArrayBuffer`, which Node's encoder wrote like that before it
    /// wrote bin; of fixed length that type means something else.
    fn sized_extension(&mut self, width: usize) -> Result<Head<'a>, DecodeError> {
        let length = self.length(width)?;
        Ok(match self.extension(length)? {
            (0, payload) => Head::Bin(payload),
            (kind, payload) => Head::Extension(kind, payload),
        })
    }

    fn extension(&mut self, length: usize) -> Result<(i8, &'a [u8]), DecodeError> {
        let kind = i8::from_be_bytes(self.fixed()?);
        Ok((kind, self.take(length)?))
    }
}

/// A value without others inside, or how many are inside.
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Number(Number),
    Text(&'a [u8]),
    Bin(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(usize),
    Map(usize),
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    /// Writes the number so that `JSON.parse` reads the same one; what JSON cannot say is null, as `JSON.stringify` has it.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
        match self {
            Self::Unsigned(number) => write!(out, "{number}"),
            Self::Signed(number) => write!(out, "{number}"),
            // Adding zero takes the sign off a negative one, which JSON.stringify does not write either.
            Self::Float(number) if number.trunc() == number && number.abs() <= SAFE_INTEGER_MAX => {
                write!(out, "{}", number + 0.0)
            }
            Self::Float(number) => match serde_json::Number::from_f64(number) {
                Some(number) => write!(out, "{number}"),
                None => write!(out, "null"),
            },
        }
        .expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_javascript_makes_of_them() {
        for (bytes, expected) in [
            (b"\xa1a".as_slice(), "a"),
            (b"\x05", "5"),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
            (b"\xc3", "true"),
        ] {
            assert_eq!(Reader::new(bytes).name().unwrap(), expected);
        }
        assert!(Reader::new(b"\x90").name().is_err());
    }
}
