//! Arguments as msgpack and back, as the servers of a cluster exchange them, and as clients of the msgpack parser do.
//!
//! In msgpack a binary value is a `bin` and nothing is announced; in JSON it is an attachment with a placeholder in the text.
//! [`put_arguments`] turns the second into the first, [`Reader::arguments`] the first into the second. Neither builds a tree, and what
//! comes in is taken for hostile: every length is compared with what is there, depth and size are limited. [`decode_packet`] and
//! [`put_packet_frame`] do the same for the whole packet of a client.

mod decode;
mod encode;
mod json_text;
mod packet;
mod put;
mod reader;
mod timestamp;

pub use decode::DecodeError;
pub use encode::{EncodeError, put_arguments, put_first};
pub use packet::{decode_packet, put_packet_frame};
pub use put::{put_array_len, put_bin, put_bool, put_map_len, put_nil, put_str, put_uint};
pub use reader::Reader;

/// What a transcoded value may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arrays and maps inside each other. Default: 128, as many as Rust's own JSON reader follows. The stack grows with it.
    pub depth_max: usize,
    /// Bytes of the result, attachments not counted when the result is JSON. Default: 16 MiB. A value is held in memory as a whole.
    pub bytes_max: usize,
    /// Binary values in one message. Default: 1,024. Each costs a placeholder of some 30 bytes and an allocation.
    pub attachments_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 128,
            bytes_max: 16 << 20,
            attachments_max: 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::socket::Arguments;

    fn encoded(json: &str, attachments: &[&'static [u8]]) -> Vec<u8> {
        let attachments = attachments
            .iter()
            .map(|bytes| Bytes::from_static(bytes))
            .collect();
        let mut out = Vec::new();
        put_arguments(
            &mut out,
            &Arguments::from_validated(Bytes::copy_from_slice(json.as_bytes()), attachments),
            &Limits::default(),
        )
        .unwrap();
        out
    }

    fn decoded(bytes: &[u8]) -> Arguments {
        Reader::new(bytes).arguments(&Limits::default()).unwrap()
    }

    /// Any JSON value, as text that serde_json would write.
    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<u64>().prop_map(serde_json::Value::from),
            any::<f64>()
                .prop_filter("JSON has no other", |number| number.is_finite())
                .prop_map(serde_json::Value::from),
            ".{0,40}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".{0,12}", inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Numbers compared as JavaScript does, where 1.0 and 1 are one value.
    fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((a_key, a), (b_key, b))| a_key == b_key && same(a, b))
            }
            (a, b) => a == b,
        }
    }

    proptest! {
        #[test]
        fn values_survive_the_way_there_and_back(values in prop::collection::vec(json_value(), 0..8)) {
            let value = serde_json::Value::from(values);
            let back = decoded(&encoded(&value.to_string(), &[]));
            let back: serde_json::Value = serde_json::from_str(back.json()).unwrap();
            prop_assert!(same(&value, &back), "{value} became {back}");
        }

        #[test]
        fn garbage_is_refused_or_understood_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reader::new(&bytes).skip();
            if let Ok(arguments) = Reader::new(&bytes).value(&Limits::default()) {
                let text: Result<serde_json::Value, _> = serde_json::from_str(arguments.json());
                prop_assert!(text.is_ok(), "{:?}", arguments);
                let mut out = Vec::new();
                prop_assert_eq!(put_first(&mut out, &arguments, &Limits::default()), Ok(()));
            }
        }

        #[test]
        fn half_a_message_is_refused(values in prop::collection::vec(json_value(), 1..4), at in any::<prop::sample::Index>()) {
            let bytes = encoded(&serde_json::Value::from(values).to_string(), &[]);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert!(Reader::new(cut).arguments(&Limits::default()).is_err());
            prop_assert!(Reader::new(cut).skip().is_err());
        }

        #[test]
        fn text_that_is_no_json_is_refused_without_a_panic(text in ".{0,60}") {
            // The constructor asserts validity in debug builds, so the text goes to the transcoder alone.
            let mut out = Vec::new();
            let _ = encode::put_text(&mut out, &text, &[], &Limits::default());
        }
    }

    #[test]
    fn attachments_become_bin_and_bin_becomes_attachments() {
        let json =
            r#"["bin",{"_placeholder":true,"num":1},{"deep":[{"_placeholder":true,"num":0}]}]"#;
        let bytes = encoded(json, &[b"\x01\x02", b"\x03"]);
        assert_eq!(
            bytes,
            b"\x93\xa3bin\xc4\x01\x03\x81\xa4deep\x91\xc4\x02\x01\x02"
        );
        let back = decoded(&bytes);
        assert_eq!(
            back.json(),
            r#"["bin",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]"#
        );
        assert_eq!(
            back.attachments(),
            [Bytes::from_static(b"\x03"), Bytes::from_static(b"\x01\x02")]
        );
    }

    #[test]
    fn single_values_are_one_element_arguments() {
        let mut out = Vec::new();
        put_first(
            &mut out,
            &Arguments::from_validated(Bytes::from_static(br#"[{"v":7},8]"#), Vec::new()),
            &Limits::default(),
        )
        .unwrap();
        assert_eq!(out, b"\x81\xa1v\x07");
        assert_eq!(
            Reader::new(&out).value(&Limits::default()).unwrap().json(),
            r#"[{"v":7}]"#
        );
        out.clear();
        put_first(
            &mut out,
            &Arguments::from_validated(Bytes::from_static(b"[]"), Vec::new()),
            &Limits::default(),
        )
        .unwrap();
        assert_eq!(out, [0xc0]);
    }
}
