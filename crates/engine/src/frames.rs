//! One message for many connections: encoded once, in the form that each of them takes.

use std::sync::OnceLock;

use bytes::Bytes;
use synapse_protocol::engine::v3::{self, BinaryForm};
use synapse_protocol::websocket::{Deflate, deflate_frames};

/// Windows that messages are compressed with: 9 to 15 bits.
const WINDOWS: std::ops::RangeInclusive<u8> = 9..=15;

/// How packets are written for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As Engine.IO v4 has them.
    V4,
    /// As version 3 has them.
    V3(BinaryForm),
}

impl Form {
    /// These frames, which are of version 4, in the form; none if they are the same in both.
    pub(crate) fn convert(self, frames: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::V4 => None,
            Self::V3(binary) => {
                let mut converted = Vec::new();
                v3::put_frames(&mut converted, frames, binary).then_some(converted)
            }
        }
    }
}

/// Complete WebSocket frames of one message, to be shared by every connection that gets it.
///
/// They are written as Engine.IO v4 has them, uncompressed. A connection that takes another form gets it made from these, once for all
/// connections of its kind.
#[derive(Clone, Debug)]
pub struct Frames {
    plain: Bytes,
    /// The compressed form for each window, made when first needed.
    deflated: OnceLock<Box<[OnceLock<Bytes>; 7]>>,
    /// The same message for version 3, in bytes and in base64, made when first needed; nothing where it is written alike.
    v3: [OnceLock<Option<Box<Self>>>; 2],
    is_compressible: bool,
}

impl Frames {
    /// Frames as they go to most clients.
    pub fn new(plain: impl Into<Bytes>) -> Self {
        Self {
            plain: plain.into(),
            deflated: OnceLock::new(),
            v3: [const { OnceLock::new() }; 2],
            is_compressible: true,
        }
    }

    /// The length of all of them as they go to most clients, headers included.
    pub fn byte_len(&self) -> usize {
        self.plain.len()
    }

    /// The same message, never to be compressed.
    pub fn uncompressed(self) -> Self {
        Self {
            is_compressible: false,
            ..self
        }
    }

    /// The message as it is written for a connection.
    pub(crate) fn written(&self, form: Form) -> &Self {
        let made = match form {
            Form::V4 => return self,
            Form::V3(BinaryForm::Bytes) => &self.v3[0],
            Form::V3(BinaryForm::Base64) => &self.v3[1],
        };
        let made = made.get_or_init(|| {
            let plain = form.convert(&self.plain)?;
            Some(Box::new(Self {
                is_compressible: self.is_compressible,
                ..Self::new(plain)
            }))
        });
        made.as_deref().unwrap_or(self)
    }

    /// The frames for a connection that takes them as they are, or compressed in this way. `count` is called for each compression.
    ///
    /// The threshold and the level are those of the first connection that asked: they belong to the engine, and so do all of its connections.
    pub(crate) fn form(&self, deflate: Option<Deflate>, count: impl FnOnce()) -> &Bytes {
        let Some(deflate) = deflate.filter(|deflate| self.wants(deflate)) else {
            return &self.plain;
        };
        let forms = self.deflated.get_or_init(Box::default);
        let window = deflate.window_bits.clamp(*WINDOWS.start(), *WINDOWS.end()) - WINDOWS.start();
        forms[usize::from(window)].get_or_init(|| {
            count();
            deflate_frames(&self.plain, deflate).map_or_else(|| self.plain.clone(), Bytes::from)
        })
    }

    /// Whether the message may be compressed, on whichever transport.
    pub(crate) fn is_compressible(&self) -> bool {
        self.is_compressible
    }

    fn wants(&self, deflate: &Deflate) -> bool {
        self.is_compressible && self.plain.len() >= deflate.threshold
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use synapse_protocol::websocket::{Opcode, put_frame};

    use super::*;

    const DEFLATE: Deflate = Deflate {
        window_bits: 15,
        level: 2,
        threshold: 1024,
    };

    fn frames(payload_len: usize) -> Frames {
        let mut plain = Vec::new();
        put_frame(&mut plain, Opcode::Text, &vec![b'x'; payload_len]);
        Frames::new(plain)
    }

    #[test]
    fn a_message_is_compressed_once_for_each_window() {
        let frames = frames(5_000);
        let count = Cell::new(0);
        for _ in 0..100 {
            for window_bits in [15, 15, 10] {
                let deflate = Deflate {
                    window_bits,
                    ..DEFLATE
                };
                let form = frames.form(Some(deflate), || count.set(count.get() + 1));
                assert_eq!(form[0], 0xc1);
                assert!(form.len() < 100);
            }
            let plain = frames.form(None, || panic!("it is there"));
            assert_eq!(plain.len(), 5_004);
        }
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn a_form_of_version_3_is_made_once_and_only_where_it_differs() {
        let text = frames(5_000);
        let mut plain = Vec::new();
        put_frame(&mut plain, Opcode::Text, b"45");
        put_frame(&mut plain, Opcode::Binary, &[1; 2_000]);
        let binary = Frames::new(plain);
        for form in [BinaryForm::Bytes, BinaryForm::Base64].map(Form::V3) {
            assert!(std::ptr::eq(text.written(form), &raw const text));
            let written = binary.written(form);
            assert!(std::ptr::eq(written, binary.written(form)));
            assert!(!std::ptr::eq(written, &raw const binary));
            let plain = written.form(None, || panic!("it is not compressed"));
            let compressed = written.form(Some(DEFLATE), || ());
            assert!(compressed.len() < plain.len());
        }
        let bytes = binary.written(Form::V3(BinaryForm::Bytes));
        assert_eq!(bytes.plain[..10], *b"\x81\x0245\x82\x7e\x07\xd1\x04\x01");
        let base64 = binary.written(Form::V3(BinaryForm::Base64));
        assert_eq!(base64.plain[..10], *b"\x81\x0245\x81\x7e\x0a\x6eb4");
        assert!(!frames(1).uncompressed().written(Form::V4).is_compressible);
    }

    #[test]
    fn small_messages_and_those_that_shall_not_be_compressed_stay_plain() {
        for frames in [frames(1_000), frames(5_000).uncompressed()] {
            let form = frames.form(Some(DEFLATE), || panic!("it is not compressed"));
            assert_eq!(form[0], 0x81);
            assert!(frames.deflated.get().is_none(), "nothing is allocated");
        }
    }
}
