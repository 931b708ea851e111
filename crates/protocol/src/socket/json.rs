//! One pass over JSON text: well-formed, not too deep, and what the packet rules ask about it. Builds and allocates nothing.
//!
//! JSON is what JavaScript's `JSON.parse` takes. Escapes of lone surrogates such as `"\ud800"` are part of that and stay as they are;
//! `serde_json` takes them too, as long as nobody asks for a Rust string.

use super::literal::{plain_bytes, unescape};

/// Why a text is not the JSON that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text breaks the grammar of JSON.
    #[error("not JSON at byte {at}")]
    Malformed {
        /// Where the first byte is that cannot be.
        at: usize,
    },
    /// Too many arrays and objects inside one another.
    #[error("JSON of more than {limit} levels")]
    TooDeep {
        /// The limit that was passed.
        limit: usize,
    },
    /// A placeholder does not name one of the attachments by an integer.
    #[error("a placeholder without attachment")]
    IllegalPlaceholder,
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

/// A text that is one JSON value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) kind: Kind,
    /// The text of the value, without white space after it.
    pub(super) text: &'a str,
    /// The first item, if the value is an array that has one.
    pub(super) first: Option<(Kind, &'a str)>,
}

/// No limit can be above this one, because the scanner recurses: all levels together fit into a quarter of a thread's stack.
const DEPTH_CEILING: usize = 512;

/// Checks that `text` is one JSON value. With `attachments`, every `{"_placeholder":true,"num":n}` in it must have an `n` below that;
/// without, such an object is plain data.
pub(super) fn scan(
    text: &str,
    depth_max: usize,
    attachments: Option<usize>,
) -> Result<Document<'_>, JsonError> {
    let depth_max = depth_max.min(DEPTH_CEILING);
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        depth_max,
        attachments,
        first: None,
    };
    let kind = scanner.value(0)?;
    let end = scanner.at;
    scanner.white_space();
    if scanner.at != text.len() {
        return Err(scanner.malformed());
    }
    Ok(Document {
        kind,
        text: &text[..end],
        first: scanner.first,
    })
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth_max: usize,
    attachments: Option<usize>,
    first: Option<(Kind, &'a str)>,
}

impl<'a> Scanner<'a> {
    fn malformed(&self) -> JsonError {
        JsonError::Malformed { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// One value that starts right here, `depth` levels down.
    fn value(&mut self, depth: usize) -> Result<Kind, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(|()| Kind::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Kind::Number),
            Some(b'[') => self.array(depth).map(|()| Kind::Array),
            Some(b'{') => self.object(depth).map(|()| Kind::Object),
            Some(b'n') => self.word("null", Kind::Null),
            Some(b't') => self.word("true", Kind::True),
            Some(b'f') => self.word("false", Kind::False),
            Some(_) | None => Err(self.malformed()),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Steps into an array or object whose bracket is next, and over the white space behind it.
    fn open(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth == self.depth_max {
            return Err(JsonError::TooDeep {
                limit: self.depth_max,
            });
        }
        self.at += 1;
        self.white_space();
        Ok(())
    }

    /// Steps over what stands behind an item: true if another one follows.
    fn another(&mut self, close: u8) -> Result<bool, JsonError> {
        self.white_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.white_space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) | None => Err(self.malformed()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.open(depth)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let start = self.at;
        let kind = self.value(depth + 1)?;
        if depth == 0 {
            self.first = Some((kind, &self.text[start..self.at]));
        }
        while self.another(b']')? {
            self.value(depth + 1)?;
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.open(depth)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        // Of two members of one name JavaScript keeps the later one, so each sets these anew.
        let (mut is_placeholder, mut has_attachment) = (false, false);
        loop {
            let key_start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.malformed());
            }
            self.string()?;
            let key = &self.text[key_start..self.at];
            self.white_space();
            self.expect(b':')?;
            self.white_space();
            let start = self.at;
            let kind = self.value(depth + 1)?;
            if let Some(attachments) = self.attachments {
                match &*unescape(key) {
                    "_placeholder" => is_placeholder = kind == Kind::True,
                    "num" => {
                        has_attachment = self.text[start..self.at]
                            .parse::<usize>()
                            .is_ok_and(|num| num < attachments)
                    }
                    _ => (),
                }
            }
            if !self.another(b'}')? {
                break;
            }
        }
        if is_placeholder && !has_attachment {
            Err(JsonError::IllegalPlaceholder)
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            self.at += plain_bytes(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(_) | None => return Err(self.malformed()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.malformed());
                    }
                    self.at += 1;
                }
            }
            Some(_) | None => return Err(self.malformed()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::socket::round_trip::value;

    fn is_json_for_serde(text: &str) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn what_json_parse_takes_is_taken() {
        let table = [
            ("null", Kind::Null),
            ("true ", Kind::True),
            ("false", Kind::False),
            ("0", Kind::Number),
            ("-0.5e-10", Kind::Number),
            ("1e400", Kind::Number),
            ("12345678901234567890123456789", Kind::Number),
            (r#""""#, Kind::String),
            (r#""\ud800""#, Kind::String),
            (r#""\udc00\ud800x""#, Kind::String),
            ("\"\u{7f}\u{2028}\u{20ac}\u{1f600}\"", Kind::String),
            (r#""\"\\\/\b\f\n\r\t\u00e9\u00E9""#, Kind::String),
            ("[]", Kind::Array),
            ("[ ]\t\r\n", Kind::Array),
            ("[1 , [ ] ,{ } ]", Kind::Array),
            ("{}", Kind::Object),
            (r#"{ "a" : 1 , "a" : [null] }"#, Kind::Object),
            (r#"{"__proto__":{"x":1}}"#, Kind::Object),
        ];
        for (text, kind) in table {
            let document = scan(text, 100, None).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (document.kind, document.text),
                (kind, text.trim_ascii_end()),
                "{text}"
            );
            assert!(is_json_for_serde(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_breaks() {
        let table = [
            ("", 0),
            (" 1", 0),
            ("1 2", 2),
            ("NaN", 0),
            ("-", 1),
            ("-Infinity", 1),
            ("01", 1),
            ("1.", 2),
            (".5", 0),
            ("+1", 0),
            ("1e", 2),
            ("1e+", 3),
            ("0x1", 1),
            ("nul", 0),
            ("nulll", 4),
            ("undefined", 0),
            ("'a'", 0),
            ("\"", 1),
            ("\"a", 2),
            ("\"a\nb\"", 2),
            ("\"\u{0}\"", 1),
            ("\"12345678\u{1f}\"", 9),
            (r#""\x""#, 2),
            (r#""\u12g4""#, 5),
            (r#""\u12"#, 5),
            (r#""\"#, 2),
            ("[", 1),
            ("[1", 2),
            ("[1,", 3),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[1 2]", 3),
            ("[1}", 2),
            ("]", 0),
            ("{", 1),
            ("{\"a\"", 4),
            ("{\"a\":", 5),
            ("{\"a\":1", 6),
            ("{\"a\":1,", 7),
            ("{\"a\":1,}", 7),
            ("{\"a\" 1}", 5),
            ("{a:1}", 1),
            ("{1:1}", 1),
            ("{\"a\":1]", 6),
            ("[]]", 2),
            ("\u{feff}[]", 0),
            ("[\u{a0}]", 1),
        ];
        for (text, at) in table {
            assert_eq!(
                scan(text, 100, None),
                Err(JsonError::Malformed { at }),
                "{text}"
            );
            assert!(text == " 1" || !is_json_for_serde(text), "{text}");
        }
    }

    #[test]
    fn depth_is_counted_in_arrays_and_objects() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(scan(&nested(5), 5, None).is_ok());
        assert_eq!(
            scan(&nested(6), 5, None),
            Err(JsonError::TooDeep { limit: 5 })
        );
        assert!(scan(r#"{"a":[{}]}"#, 3, None).is_ok());
        assert_eq!(
            scan(r#"{"a":[{}]}"#, 2, None),
            Err(JsonError::TooDeep { limit: 2 })
        );
        assert_eq!(scan("[]", 0, None), Err(JsonError::TooDeep { limit: 0 }));
        assert!(scan("1", 0, None).is_ok());
    }

    #[test]
    fn cve_2020_36049_deep_json_is_an_error_and_no_stack_overflow() {
        // A quarter of what a thread has by default, and a build for tests needs the most.
        let small_stack = std::thread::Builder::new().stack_size(512 * 1024);
        let deep = || {
            for opening in ["[", "{\"a\":", "[{\"a\":"] {
                let text = opening.repeat(1_000_000);
                assert_eq!(
                    scan(&text, usize::MAX, Some(1)),
                    Err(JsonError::TooDeep {
                        limit: DEPTH_CEILING
                    })
                );
            }
        };
        small_stack
            .spawn(deep)
            .expect("a thread starts")
            .join()
            .expect("no overflow");
    }

    #[test]
    fn the_first_item_is_found() {
        let table = [
            ("[]", None),
            ("{}", None),
            (r#""a""#, None),
            (r#"["a"]"#, Some((Kind::String, r#""a""#))),
            (r#"[ "a" , "b" ]"#, Some((Kind::String, r#""a""#))),
            (r#"[-1.5,["b"]]"#, Some((Kind::Number, "-1.5"))),
            (
                r#"[{"a":["b"]},"c"]"#,
                Some((Kind::Object, r#"{"a":["b"]}"#)),
            ),
            (r#"[[["b"]],"c"]"#, Some((Kind::Array, r#"[["b"]]"#))),
        ];
        for (text, first) in table {
            assert_eq!(
                scan(text, 100, None).map(|document| document.first),
                Ok(first),
                "{text}"
            );
        }
    }

    #[test]
    fn cve_2022_2421_a_placeholder_names_an_attachment() {
        let table = [
            (r#"{"_placeholder":true,"num":0}"#, true),
            (r#"{"_placeholder":true,"num":1}"#, true),
            (r#"{"num":0,"_placeholder":true}"#, true),
            (
                r#"{ "_placeholder" : true , "num" : 1 , "x" : null }"#,
                true,
            ),
            (
                r#"[[{"a":{"_placeholder":true,"num":1}}],{"_placeholder":true,"num":1}]"#,
                true,
            ),
            (r#"{"_placeholder":false,"num":9}"#, true),
            (r#"{"_placeholder":"true","num":9}"#, true),
            (r#"{"_placeholder":1}"#, true),
            (r#"{"num":9}"#, true),
            (
                r#"{"_placeholder":true,"_placeholder":false,"num":9}"#,
                true,
            ),
            (r#"{"_placeholder":true,"num":9,"num":0}"#, true),
            (r#"{"_placeholder":true,"num":2}"#, false),
            (r#"{"_placeholder":true,"num":-1}"#, false),
            (r#"{"_placeholder":true,"num":-0}"#, false),
            (r#"{"_placeholder":true,"num":0.5}"#, false),
            (r#"{"_placeholder":true,"num":1.5}"#, false),
            (r#"{"_placeholder":true,"num":1e9}"#, false),
            (
                r#"{"_placeholder":true,"num":99999999999999999999999}"#,
                false,
            ),
            (r#"{"_placeholder":true,"num":"splice"}"#, false),
            (r#"{"_placeholder":true,"num":"0"}"#, false),
            (r#"{"_placeholder":true,"num":null}"#, false),
            (r#"{"_placeholder":true,"num":[0]}"#, false),
            (r#"{"_placeholder":true,"num":{}}"#, false),
            (r#"{"_placeholder":true}"#, false),
            (
                r#"{"_placeholder":false,"_placeholder":true,"num":9}"#,
                false,
            ),
            (r#"{"_placeholder":true,"num":0,"num":9}"#, false),
            (r#"{"\u005fplaceholder":true,"num":9}"#, false),
            (r#"{"_placeholder":true,"n\u0075m":9}"#, false),
            (
                r#"["deep",[{"x":[{"_placeholder":true,"num":"splice"}]}]]"#,
                false,
            ),
        ];
        for (text, is_legal) in table {
            let expected = if is_legal {
                Ok(())
            } else {
                Err(JsonError::IllegalPlaceholder)
            };
            assert_eq!(scan(text, 100, Some(2)).map(|_| ()), expected, "{text}");
            assert!(
                scan(text, 100, None).is_ok(),
                "without attachments it is plain data: {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{}:, ]|"[a\\u0"]{0,3}"|true|null|-?[0-9.e+]{1,3}|"(k|\\n|\\ud8)":)*"#) {
            prop_assert_eq!(scan(&text, 400, None).is_ok(), is_json_for_serde(&text) && !text.starts_with(' '));
        }

        #[test]
        fn agrees_with_serde_json_about_mutated_json(
            value in value(),
            at in any::<prop::sample::Index>(),
            new in prop::option::of("[\\[\\]{}:,\"\\\\u0-9.eE+\u{0}-\u{1f}-]"),
        ) {
            let json = serde_json::to_string(&value).expect("a value serialises");
            prop_assert!(scan(&json, 400, None).is_ok());
            let mut characters: Vec<char> = json.chars().collect();
            let at = at.index(characters.len());
            characters.splice(at..=at, new.iter().flat_map(|new| new.chars()));
            let mutated: String = characters.into_iter().collect();
            let is_json = is_json_for_serde(&mutated) && !mutated.starts_with([' ', '\t', '\n', '\r']);
            prop_assert_eq!(scan(&mutated, 400, None).is_ok(), is_json, "{}", mutated);
        }

        #[test]
        fn any_text_is_survived(text in any::<String>(), depth_max in 0..600_usize, attachments in proptest::option::of(0..3_usize)) {
            // There is no claim about the result: arbitrary text is hardly ever JSON. It must not panic.
            let _ = scan(&text, depth_max, attachments);
        }
    }
}
