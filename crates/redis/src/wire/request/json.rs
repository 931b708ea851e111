//! The JSON form of a request.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize as DeserializeFields;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use synapse_adapter::{Flags, Target};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::Limits;

use super::fields::{Fields, Names};
use crate::wire::broadcast::timeout;
use crate::wire::{NAMES_MAX, WireError};

impl Fields {
    /// Reads the JSON form.
    pub(super) fn from_json(payload: &[u8], limits: &Limits) -> Result<Self, WireError> {
        let text = std::str::from_utf8(payload).map_err(|_| WireError::NotUtf8)?;
        let json: JsonFields<'_> =
            serde_json::from_str(text).map_err(|error| WireError::Json(error.column()))?;
        let names = |names: Option<NameList>| names.unwrap_or_default().0;
        Ok(Self {
            uid: json.uid.map(|name| name.0),
            request_id: json.request_id.map(|name| name.0),
            request_type: json.request_type,
            opts: json.opts.map(|opts| {
                let flags = opts.flags.map_or_else(Flags::default, |flags| Flags {
                    volatile: flags.volatile == Some(true),
                    compress: flags.compress,
                    timeout: flags.timeout.and_then(timeout),
                });
                (
                    Target {
                        rooms: names(opts.rooms),
                        except: names(opts.except),
                    },
                    flags,
                )
            }),
            rooms: json.rooms.map(|rooms| rooms.0),
            data: json
                .data
                .map(|data| json_arguments(data, limits))
                .transpose()?,
            packet: json
                .packet
                .and_then(|packet| packet.data)
                .map(|data| json_arguments(data, limits))
                .transpose()?,
            close: json.close,
            sid: json.sid.map(|name| name.0),
            room: json.room.map(|name| name.0),
        })
    }
}

#[derive(DeserializeFields)]
struct JsonFields<'a> {
    uid: Option<Name>,
    #[serde(rename = "requestId")]
    request_id: Option<Name>,
    #[serde(rename = "type")]
    request_type: Option<f64>,
    opts: Option<JsonOpts>,
    rooms: Option<NameList>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<JsonPacket<'a>>,
    #[serde(default)]
    close: bool,
    sid: Option<Name>,
    room: Option<Name>,
}

#[derive(DeserializeFields)]
struct JsonOpts {
    rooms: Option<NameList>,
    except: Option<NameList>,
    flags: Option<JsonFlags>,
}

#[derive(DeserializeFields)]
struct JsonFlags {
    volatile: Option<bool>,
    compress: Option<bool>,
    timeout: Option<f64>,
}

#[derive(DeserializeFields)]
struct JsonPacket<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A text, or a number where JavaScript takes one as a name.
struct Name(Box<str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.into()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

/// A list of those, within the limit.
#[derive(Default)]
struct NameList(Names);

impl<'de> Deserialize<'de> for NameList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = NameList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NameList, A::Error> {
                let mut names = Names::new();
                while let Some(Name(name)) = list.next_element()? {
                    if names.len() == NAMES_MAX {
                        return Err(de::Error::custom(WireError::TooManyNames));
                    }
                    names.push(name);
                }
                Ok(NameList(names))
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

/// Arguments as they came. A Buffer in JSON is `{"type":"Buffer","data":[..]}`, plain data for Node's listeners and for ours.
fn json_arguments(raw: &RawValue, limits: &Limits) -> Result<Arguments, WireError> {
    let text = raw.get();
    if !text.starts_with('[') {
        return Err(WireError::Missing("the array of an event"));
    }
    if depth(text) > limits.depth_max {
        return Err(WireError::TooDeep(limits.depth_max));
    }
    Ok(Arguments::from_validated(
        Bytes::copy_from_slice(text.as_bytes()),
        Vec::new(),
    ))
}

/// How many arrays and objects a valid JSON text has inside each other.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        for (json, expected) in [
            ("[]", 1),
            ("[[],[{}]]", 3),
            (r#"["[[[\"[[",{}]"#, 2),
            ("1", 0),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn a_list_has_a_limit() {
        for (count, refused) in [(NAMES_MAX, false), (NAMES_MAX + 1, true)] {
            let payload = format!(r#"{{"type":0,"rooms":[{}]}}"#, vec!["1"; count].join(","));
            let fields = Fields::from_json(payload.as_bytes(), &Limits::default());
            assert_eq!(fields.is_err(), refused, "{count}");
        }
    }
}
