//! Binary values inside the arguments of an event or an ack.
//!
//! serde has no way to hand something around the format that is written, so the attachments of the call that is under way lie in a
//! thread-local. Only our own calls put them there, and each restores what it found.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::ser::{self, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A binary value: what JavaScript calls an `ArrayBuffer`, a `Buffer` or a `Blob`.
///
/// It may stand anywhere inside the value of [`Arguments::event`](super::Arguments::event) and its kin, at any depth, and becomes an
/// attachment; what comes in from an attachment is read back the same way. Anywhere else serialising it is an error: JSON has no
/// binary values, and a silent list of numbers would surprise the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Bytes);

impl From<Vec<u8>> for Binary {
    fn from(data: Vec<u8>) -> Self {
        Self(data.into())
    }
}

impl From<Bytes> for Binary {
    fn from(data: Bytes) -> Self {
        Self(data)
    }
}

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

thread_local! {
    static ATTACHMENTS: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
}

/// While it lives, [`Binary`] values of this thread go to or come from its attachments.
pub(super) struct Scope {
    outer: Option<Vec<Bytes>>,
}

impl Scope {
    pub(super) fn enter(attachments: Vec<Bytes>) -> Self {
        Self {
            outer: ATTACHMENTS.replace(Some(attachments)),
        }
    }

    /// The attachments, with those that were added.
    pub(super) fn leave(self) -> Vec<Bytes> {
        ATTACHMENTS.take().unwrap_or_default()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        ATTACHMENTS.set(self.outer.take());
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut placeholder = serializer.serialize_map(Some(2))?;
        // Only after the serializer took the map: one that merely asks what the value is refuses it, and gets no attachment.
        let num = ATTACHMENTS.with_borrow_mut(|attachments| {
            let attachments = attachments.as_mut()?;
            attachments.push(self.0.clone());
            Some(attachments.len() - 1)
        });
        let num = num.ok_or_else(|| {
            ser::Error::custom("binary is only possible inside the arguments of an event or an ack")
        })?;
        placeholder.serialize_entry("_placeholder", &true)?;
        placeholder.serialize_entry("num", &num)?;
        placeholder.end()
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PlaceholderVisitor)
    }
}

struct PlaceholderVisitor;

impl<'de> Visitor<'de> for PlaceholderVisitor {
    type Value = Binary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a binary value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Binary, A::Error> {
        let (mut is_placeholder, mut num) = (false, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "_placeholder" => is_placeholder = map.next_value()?,
                "num" => num = Some(map.next_value::<usize>()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let num = num
            .filter(|_| is_placeholder)
            .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Map, &self))?;
        ATTACHMENTS
            .with_borrow(|attachments| attachments.as_ref()?.get(num).cloned())
            .map(Binary)
            .ok_or_else(|| de::Error::custom(format_args!("no attachment has the number {num}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::socket::Arguments;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Upload {
        name: String,
        parts: Vec<Part>,
        thumbnail: Option<Binary>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Part {
        Inline { data: Binary },
        Map { parts: BTreeMap<String, Binary> },
        Nothing,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: BTreeMap<String, Binary>,
    }

    fn binary(data: &[u8]) -> Binary {
        data.to_vec().into()
    }

    #[test]
    fn binary_at_any_depth_becomes_an_attachment_and_back() {
        let upload = Upload {
            name: "a".into(),
            parts: vec![
                Part::Inline {
                    data: binary(b"one"),
                },
                Part::Nothing,
                Part::Map {
                    parts: BTreeMap::from([
                        ("x".into(), binary(b"")),
                        ("y".into(), binary(b"three")),
                    ]),
                },
            ],
            thumbnail: Some(binary(b"four")),
        };
        let flat = Flat {
            rest: BTreeMap::from([("z".into(), binary(b"five"))]),
        };
        let arguments =
            Arguments::event("upload", &(&upload, binary(b"first"), &flat)).expect("it serialises");
        let texts: Vec<&[u8]> = arguments.attachments().iter().map(AsRef::as_ref).collect();
        assert_eq!(
            texts,
            [&b"one"[..], b"", b"three", b"four", b"first", b"five"]
        );
        assert_eq!(arguments.json().matches("\"_placeholder\":true").count(), 6);
        let back: (Upload, Binary, Flat) = arguments.get().expect("it is of the type it was");
        assert_eq!(back, (upload, binary(b"first"), flat));
    }

    #[test]
    fn a_lone_binary_is_one_argument() {
        let arguments = Arguments::ack(&binary(b"\x01\x02")).expect("it serialises");
        assert_eq!(arguments.json(), r#"[{"_placeholder":true,"num":0}]"#);
        assert_eq!(
            arguments.get_ack::<Binary>().expect("it is binary"),
            binary(b"\x01\x02")
        );
    }

    #[test]
    fn an_attachment_is_shared_and_not_copied() {
        let data = Bytes::from(vec![1, 2, 3]);
        let arguments = Arguments::event("e", &Binary(data.clone())).expect("it serialises");
        assert_eq!(arguments.attachments()[0].as_ptr(), data.as_ptr());
        assert_eq!(
            arguments.get::<Binary>().expect("it is binary").0.as_ptr(),
            data.as_ptr()
        );
    }

    #[test]
    fn binary_outside_of_arguments_is_an_error() {
        assert!(serde_json::to_string(&binary(b"x")).is_err());
        assert!(serde_json::to_value([binary(b"x")]).is_err());
        assert!(serde_json::from_str::<Binary>(r#"{"_placeholder":true,"num":0}"#).is_err());
    }

    #[test]
    fn what_is_no_attachment_is_no_binary() {
        let data = || vec![Bytes::from_static(b"x")];
        let table = [
            (r#"["e",{"_placeholder":true,"num":1}]"#, data()),
            (r#"["e",{"_placeholder":true,"num":0}]"#, vec![]),
            (r#"["e",{"_placeholder":true,"num":-1}]"#, data()),
            (r#"["e",{"_placeholder":true}]"#, data()),
            (r#"["e",{"_placeholder":false,"num":0}]"#, data()),
            (r#"["e",{}]"#, data()),
            (r#"["e",[1,2]]"#, data()),
            (r#"["e","x"]"#, data()),
            (r#"["e",null]"#, data()),
            (r#"["e"]"#, data()),
        ];
        for (json, attachments) in table {
            let arguments =
                Arguments::from_validated(Bytes::from_static(json.as_bytes()), attachments);
            assert!(arguments.get::<Binary>().is_err(), "{json}");
        }
    }

    #[test]
    fn a_call_inside_of_a_call_keeps_its_attachments_apart() {
        struct Forwarder;
        impl Serialize for Forwarder {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let inner = Arguments::ack(&(binary(b"inner"), binary(b"inner")))
                    .map_err(ser::Error::custom)?;
                assert_eq!(inner.attachments().len(), 2);
                binary(b"outer").serialize(serializer)
            }
        }
        let arguments = Arguments::event("e", &[Forwarder, Forwarder]).expect("it serialises");
        assert_eq!(arguments.attachments(), [&b"outer"[..], b"outer"]);
        assert!(serde_json::to_string(&binary(b"x")).is_err());
    }

    #[test]
    fn a_failed_call_leaves_nothing_behind() {
        struct Refusing;
        impl Serialize for Refusing {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("no"))
            }
        }
        assert!(Arguments::event("e", &(binary(b"x"), Refusing)).is_err());
        assert!(Arguments::ack(&Refusing).is_err());
        assert!(serde_json::to_string(&binary(b"x")).is_err());
        assert_eq!(
            Arguments::ack(&binary(b"y"))
                .expect("it serialises")
                .attachments(),
            [&b"y"[..]]
        );
    }
}
