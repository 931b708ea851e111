//! What an event or an ack carries: a JSON array and the binary values that its placeholders stand for.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::binary::Scope;
use super::literal;
use super::packet::is_reserved_event;
use super::spread::{Shape, SpreadDeserializer};

/// The arguments of an event (its name is the first) or of an ack.
///
/// They are kept as the bytes that came in or go out: validated once, forwarded without being rebuilt. `{"_placeholder":true,"num":n}`
/// in the text stands for `attachments[n]`; without attachments such an object is plain data.
///
/// A Rust value stands for arguments like this, both ways: a tuple or an array of fixed size is all of them, `()` none, anything else,
/// a `Vec` too, one. As in a JavaScript function, an argument that is missing is `null` and one too many is ignored.
#[derive(Clone, PartialEq, Eq)]
pub struct Arguments {
    json: Bytes,
    attachments: Vec<Bytes>,
}

/// A value that cannot be the arguments of an event or an ack.
#[derive(Debug, thiserror::Error)]
pub enum SerializeError {
    /// The client would close the connection.
    #[error("the event name {0:?} is reserved")]
    ReservedName(String),
    /// The value does not fit into JSON, or refused.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Arguments that are not of the type that was asked for.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeserializeError(#[from] serde_json::Error);

/// What most events fit into. One allocation that may be too large is cheaper than growing to the right size.
const TYPICAL_BYTES: usize = 128;

impl Arguments {
    /// Arguments from the text of a JSON array that the caller has validated, with every placeholder naming an attachment.
    pub fn from_validated(json: Bytes, attachments: Vec<Bytes>) -> Self {
        debug_assert!(
            std::str::from_utf8(&json)
                .is_ok_and(|text| serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok())
        );
        Self { json, attachments }
    }

    /// An event as it goes out: its name, then what the value stands for. [`Binary`](super::Binary) values become attachments.
    pub fn event<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Self, SerializeError> {
        if is_reserved_event(name) {
            return Err(SerializeError::ReservedName(name.to_owned()));
        }
        let mut out = Vec::with_capacity(TYPICAL_BYTES);
        put_name(&mut out, name);
        let name_end = out.len();
        let scope = Scope::enter(Vec::new());
        match Shape::of(value) {
            Shape::Nothing => out.push(b']'),
            Shape::One => {
                out.push(b',');
                serde_json::to_writer(&mut out, value)?;
                out.push(b']');
            }
            Shape::Tuple => {
                // The tuple's own bracket closes the array, and a comma takes the place of the one that opens it.
                serde_json::to_writer(&mut out, value)?;
                out[name_end] = b',';
            }
        }
        Ok(Self {
            json: out.into(),
            attachments: scope.leave(),
        })
    }

    /// An ack as it goes out: what the value stands for.
    pub fn ack<T: Serialize + ?Sized>(value: &T) -> Result<Self, SerializeError> {
        let shape = Shape::of(value);
        if shape == Shape::Nothing {
            return Ok(Self::default());
        }
        let mut out = Vec::with_capacity(TYPICAL_BYTES);
        let scope = Scope::enter(Vec::new());
        if shape == Shape::One {
            out.push(b'[');
        }
        serde_json::to_writer(&mut out, value)?;
        if shape == Shape::One {
            out.push(b']');
        }
        Ok(Self {
            json: out.into(),
            attachments: scope.leave(),
        })
    }

    /// The arguments of an event, after its name.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, DeserializeError> {
        self.read(SpreadDeserializer::after_name(self.json()))
    }

    /// The arguments of an ack, which has no name.
    pub fn get_ack<T: DeserializeOwned>(&self) -> Result<T, DeserializeError> {
        self.read(SpreadDeserializer::all(self.json()))
    }

    fn read<T: DeserializeOwned>(
        &self,
        deserializer: SpreadDeserializer<'_>,
    ) -> Result<T, DeserializeError> {
        let _scope = Scope::enter(self.attachments.clone());
        Ok(T::deserialize(deserializer)?)
    }

    /// The first item as text: the name of an event. A number is given as its digits, and anything that is no name as its JSON. Empty when
    /// there is none.
    pub fn event_name(&self) -> Cow<'_, str> {
        literal::split_first(self.json())
            .map_or(Cow::Borrowed(""), |(first, _)| literal::unescape(first))
    }

    /// The text of the event's argument number `index`, which is 0 for the first one after the name. `None` if there are fewer.
    pub fn argument(&self, index: usize) -> Option<&str> {
        let (_, mut items) = literal::split_first(self.json())?;
        for _ in 0..index {
            (_, items) = literal::split_item(items)?;
        }
        literal::split_item(items).map(|(item, _)| item)
    }

    /// The arguments after the name, as an array of their own. One allocation, or none if there are no arguments.
    pub fn without_name(&self) -> Self {
        let items = literal::split_first(self.json()).map_or("", |(_, items)| items);
        if items.is_empty() {
            return Self::default();
        }
        let mut out = Vec::with_capacity(items.len() + 2);
        out.push(b'[');
        out.extend_from_slice(items.as_bytes());
        out.push(b']');
        Self {
            json: out.into(),
            attachments: self.attachments.clone(),
        }
    }

    /// The event of this name with these arguments: `["name", ...arguments]`.
    pub fn with_name(name: &str, arguments: &Self) -> Self {
        let items = arguments
            .json()
            .trim()
            .strip_prefix('[')
            .unwrap_or("]")
            .trim_start();
        let mut out = Vec::with_capacity(name.len() + items.len() + 4);
        put_name(&mut out, name);
        if items != "]" {
            out.push(b',');
        }
        out.extend_from_slice(items.as_bytes());
        Self {
            json: out.into(),
            attachments: arguments.attachments.clone(),
        }
    }

    /// The same with a text after the last argument. The text is written as it is, so it holds nothing that JSON would escape.
    pub fn with_last_text(&self, text: &str) -> Self {
        debug_assert!(!text.contains(|c: char| c == '"' || c == '\\' || c.is_control()));
        self.with_last(&["\"", text, "\""])
    }

    /// The same with `null` after the last argument.
    pub fn with_last_null(&self) -> Self {
        self.with_last(&["null"])
    }

    fn with_last(&self, value: &[&str]) -> Self {
        let items = self.json().trim_end().strip_suffix(']').unwrap_or("[");
        let separator = if items.trim() == "[" { "" } else { "," };
        let len: usize = value.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(items.len() + len + 2);
        out.extend_from_slice(items.as_bytes());
        out.extend_from_slice(separator.as_bytes());
        for part in value {
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b']');
        Self {
            json: out.into(),
            attachments: self.attachments.clone(),
        }
    }

    /// Whether the last argument is a text; without any, whether the name is one.
    pub fn ends_with_text(&self) -> bool {
        self.json()
            .trim_end()
            .strip_suffix(']')
            .is_some_and(|items| items.trim_end().ends_with('"'))
    }

    /// The JSON array as text.
    pub fn json(&self) -> &str {
        // Only validated text gets in, and what cannot be is an empty one rather than a panic.
        std::str::from_utf8(&self.json).unwrap_or_default()
    }

    /// The JSON array as shared bytes.
    pub fn json_bytes(&self) -> &Bytes {
        &self.json
    }

    /// The binary values, in the order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }
}

/// Opens an array whose first item is the name.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'[');
    // A vector takes everything and a string always serialises.
    serde_json::to_writer(out, name).expect("a string is written to memory");
}

/// No arguments: `[]`.
impl Default for Arguments {
    fn default() -> Self {
        Self {
            json: Bytes::from_static(b"[]"),
            attachments: Vec::new(),
        }
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with {} attachments",
            self.json(),
            self.attachments.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn arguments(json: &'static str) -> Arguments {
        Arguments::from_validated(Bytes::from_static(json.as_bytes()), Vec::new())
    }

    fn check<T: Serialize + ?Sized>(value: &T, event: &str, ack: &str) {
        assert_eq!(
            Arguments::event("e", value).expect("it serialises").json(),
            event
        );
        assert_eq!(Arguments::ack(value).expect("it serialises").json(), ack);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        x: i32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(i32, i32);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapper<T>(T);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        Unit,
        New(i32),
        Tuple(i32, i32),
        Struct { a: i32 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Marker;

    #[test]
    fn a_tuple_is_all_arguments() {
        check(&("hi",), r#"["e","hi"]"#, r#"["hi"]"#);
        check(
            &("hi", 1, None::<i32>),
            r#"["e","hi",1,null]"#,
            r#"["hi",1,null]"#,
        );
        check(&((1, 2), [3, 4]), r#"["e",[1,2],[3,4]]"#, "[[1,2],[3,4]]");
        check(&[1, 2], r#"["e",1,2]"#, "[1,2]");
        check(&&&(1, 2), r#"["e",1,2]"#, "[1,2]");
        check(&Box::new((1,)), r#"["e",1]"#, "[1]");
    }

    #[test]
    fn nothing_is_no_argument() {
        check(&(), r#"["e"]"#, "[]");
        check(&[0; 0], r#"["e"]"#, "[]");
    }

    #[test]
    fn everything_else_is_one_argument() {
        check("hi", r#"["e","hi"]"#, r#"["hi"]"#);
        check(&1.5, r#"["e",1.5]"#, "[1.5]");
        check(&None::<()>, r#"["e",null]"#, "[null]");
        check(&Some((1, 2)), r#"["e",[1,2]]"#, "[[1,2]]");
        check(&vec![1, 2], r#"["e",[1,2]]"#, "[[1,2]]");
        check(&Vec::<i32>::new(), r#"["e",[]]"#, "[[]]");
        check([1, 2].as_slice(), r#"["e",[1,2]]"#, "[[1,2]]");
        check(&json!([1, "a"]), r#"["e",[1,"a"]]"#, r#"[[1,"a"]]"#);
        check(&Point { x: 1 }, r#"["e",{"x":1}]"#, r#"[{"x":1}]"#);
        check(&Pair(1, 2), r#"["e",[1,2]]"#, "[[1,2]]");
        check(&Wrapper((1, 2)), r#"["e",[1,2]]"#, "[[1,2]]");
        check(&Marker, r#"["e",null]"#, "[null]");
        check(&Choice::Unit, r#"["e","Unit"]"#, r#"["Unit"]"#);
        check(
            &Choice::Tuple(1, 2),
            r#"["e",{"Tuple":[1,2]}]"#,
            r#"[{"Tuple":[1,2]}]"#,
        );
        check(
            &RawValue::from_string("[1,  2]".into()).expect("it is JSON"),
            r#"["e",[1,  2]]"#,
            "[[1,  2]]",
        );
    }

    #[test]
    fn a_name_is_escaped_and_never_reserved() {
        let event = Arguments::event("a\"\n\u{20ac}", &()).expect("it serialises");
        assert_eq!(event.json(), "[\"a\\\"\\n\u{20ac}\"]");
        assert_eq!(event.event_name(), "a\"\n\u{20ac}");
        assert!(
            matches!(Arguments::event("disconnect", &()), Err(SerializeError::ReservedName(name)) if name == "disconnect")
        );
    }

    #[test]
    fn an_argument_is_found_by_its_number() {
        let event = arguments(r#" [ "say" , "a,]" , {"x":[1,2]} , 3 ] "#);
        let texts: Vec<_> = (0..5).map(|index| event.argument(index)).collect();
        let expected = [
            Some(r#""a,]""#),
            Some(r#"{"x":[1,2]}"#),
            Some("3"),
            None,
            None,
        ];
        assert_eq!(texts, expected);
        assert_eq!(arguments("[]").argument(0), None);
    }

    #[test]
    fn a_last_text_is_put_after_everything() {
        for (before, is_text, after) in [
            ("[]", false, r#"["x"]"#),
            (" [ ] ", false, r#" [ "x"]"#),
            (r#"["e"]"#, true, r#"["e","x"]"#),
            (r#"["e",1]"#, false, r#"["e",1,"x"]"#),
            (r#"["e","]"] "#, true, r#"["e","]","x"]"#),
            (r#"["e",["a"]]"#, false, r#"["e",["a"],"x"]"#),
            (r#"["e","a" ] "#, true, r#"["e","a" ,"x"]"#),
        ] {
            assert_eq!(arguments(before).ends_with_text(), is_text, "{before}");
            assert_eq!(arguments(before).with_last_text("x").json(), after);
            let null = after.replace(r#""x"]"#, "null]");
            assert_eq!(arguments(before).with_last_null().json(), null);
        }
        let binary = Arguments::from_validated(
            Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#),
            vec![Bytes::from_static(b"abc")],
        );
        assert_eq!(
            format!("{:?}", binary.with_last_text("x")),
            r#"["e",{"_placeholder":true,"num":0},"x"] with 1 attachments"#
        );
    }

    #[test]
    fn a_tuple_takes_all_arguments() {
        let event = arguments(r#" [ "say" , "hi" , {"x":1} , [2,3] ] "#);
        assert_eq!(
            event.get::<(String, Point, Pair)>().expect("types"),
            ("hi".into(), Point { x: 1 }, Pair(2, 3))
        );
        assert_eq!(
            event
                .get::<(String, Value)>()
                .expect("one too many is ignored"),
            ("hi".into(), json!({"x":1}))
        );
        let (text, _, _, missing) = event
            .get::<(String, Value, Value, Option<i32>)>()
            .expect("missing is null");
        assert_eq!((text.as_str(), missing), ("hi", None));
        assert!(
            event.get::<(String, Value, Value, String)>().is_err(),
            "null is no string"
        );
        assert!(event.get::<(i32,)>().is_err());
        assert_eq!(
            arguments("[1,2]").get_ack::<(i32, i32)>().expect("types"),
            (1, 2)
        );
        assert_eq!(
            arguments("[1,2]").get_ack::<[i32; 2]>().expect("types"),
            [1, 2]
        );
        assert_eq!(
            arguments("[]")
                .get_ack::<(Value, Option<i32>, ())>()
                .expect("missing is null"),
            (Value::Null, None, ())
        );
    }

    #[test]
    fn every_other_type_takes_the_first_argument() {
        let event = arguments(r#"["e",[1,2],"x"]"#);
        assert_eq!(event.get::<Vec<i32>>().expect("types"), [1, 2]);
        assert_eq!(event.get::<Pair>().expect("types"), Pair(1, 2));
        assert_eq!(
            event.get::<Wrapper<Pair>>().expect("types"),
            Wrapper(Pair(1, 2))
        );
        assert_eq!(
            event.get::<Option<(i32, i32)>>().expect("types"),
            Some((1, 2))
        );
        assert_eq!(event.get::<Value>().expect("types"), json!([1, 2]));
        assert_eq!(event.get::<Box<RawValue>>().expect("types").get(), "[1,2]");
        event
            .get::<()>()
            .expect("arguments that nobody asks for are ignored");
        assert!(event.get::<String>().is_err());
        assert_eq!(
            arguments(r#"["e","x"]"#).get::<String>().expect("types"),
            "x"
        );
        assert_eq!(
            arguments(r#"["e",{"x":1}]"#).get::<Point>().expect("types"),
            Point { x: 1 }
        );
        assert_eq!(
            arguments(r#"["e",null]"#).get::<Marker>().expect("types"),
            Marker
        );
        assert_eq!(
            arguments(r#"["e"]"#)
                .get::<Option<i32>>()
                .expect("missing is null"),
            None
        );
        assert_eq!(
            arguments(r#"["e"]"#)
                .get::<Value>()
                .expect("missing is null"),
            Value::Null
        );
        assert!(arguments(r#"["e"]"#).get::<i32>().is_err());
        assert_eq!(arguments("[7,8]").get_ack::<i32>().expect("types"), 7);
        assert_eq!(
            arguments("[]")
                .get_ack::<Option<i32>>()
                .expect("missing is null"),
            None
        );
        for choice in [
            Choice::Unit,
            Choice::New(1),
            Choice::Tuple(1, 2),
            Choice::Struct { a: 1 },
        ] {
            assert_eq!(
                Arguments::event("e", &choice)
                    .expect("it serialises")
                    .get::<Choice>()
                    .expect("types"),
                choice
            );
        }
    }

    #[test]
    fn the_name_is_the_first_item() {
        let table = [
            (r#"["say"]"#, "say"),
            (r#"[ "say" , 1]"#, "say"),
            (r#"["a,]\"b",1]"#, "a,]\"b"),
            (r#"["\u0061\ud83d\ude00"]"#, "a\u{1f600}"),
            (r#"["\ud800"]"#, "\u{fffd}"),
            (r#"[""]"#, ""),
            ("[12,1]", "12"),
            ("[-1.5]", "-1.5"),
            ("[]", ""),
            ("[ ]", ""),
        ];
        for (json, name) in table {
            assert_eq!(arguments(json).event_name(), name, "{json}");
        }
        assert!(matches!(
            arguments(r#"["say"]"#).event_name(),
            Cow::Borrowed("say")
        ));
    }

    #[test]
    fn names_are_taken_off_and_put_on() {
        let table = [
            (r#"["e"]"#, "[]"),
            ("[ ]", "[]"),
            (r#"["e",1]"#, "[1]"),
            (r#" [ "e" , 1 , [ 2 ] ] "#, "[1 , [ 2 ]]"),
            (r#"["e\"],",{"a":"]"}]"#, r#"[{"a":"]"}]"#),
        ];
        for (json, tail) in table {
            let without_name = arguments(json).without_name();
            assert_eq!(without_name.json(), tail, "{json}");
            let named = Arguments::with_name("\"n\"", &without_name);
            assert_eq!(named.event_name(), "\"n\"");
            assert_eq!(named.without_name(), without_name);
        }
        assert_eq!(
            Arguments::with_name("n", &arguments(" [ ] ")).json().trim(),
            r#"["n"]"#
        );
        assert_eq!(
            Arguments::with_name("n", &arguments("[1]")).json(),
            r#"["n",1]"#
        );
        let attachments = vec![Bytes::from_static(b"x")];
        let json = Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#);
        let event = Arguments::from_validated(json, attachments.clone());
        assert_eq!(event.without_name().attachments(), attachments);
        assert_eq!(
            Arguments::with_name("n", &event.without_name()).attachments(),
            attachments
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_kept_as_it_came() {
        let event = arguments(r#"["\ud800","\udfff",1]"#);
        assert_eq!(event.without_name().json(), r#"["\udfff",1]"#);
        assert_eq!(
            event.get::<(Box<RawValue>, i32)>().expect("types").0.get(),
            r#""\udfff""#
        );
        assert!(event.get::<String>().is_err(), "no Rust string holds it");
    }

    #[test]
    fn no_arguments_are_an_empty_array() {
        assert_eq!(Arguments::default().json(), "[]");
    }
}
