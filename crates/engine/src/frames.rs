//! One message for many connections: encoded once, in the form that each of them takes.

use std::sync::OnceLock;

use bytes::Bytes;
use synapse_protocol::websocket::{Deflate, deflate_frames};

/// Windows that messages are compressed with: 9 to 15 bits.
const WINDOWS: std::ops::RangeInclusive<u8> = 9..=15;

/// Complete WebSocket frames of one message, to be shared by every connection that gets it.
///
/// They are written as Engine.IO v4 has them, uncompressed. A connection that takes another form gets it made from these, once for all
/// connections of its kind.
#[derive(Clone, Debug)]
pub struct Frames {
    plain: Bytes,
    /// The compressed form for each window, made when first needed.
    deflated: OnceLock<Box<[OnceLock<Bytes>; 7]>>,
    is_compressible: bool,
}

impl Frames {
    /// Frames as they go to most clients.
    pub fn new(plain: impl Into<Bytes>) -> Self {
        Self {
            plain: plain.into(),
            deflated: OnceLock::new(),
            is_compressible: true,
        }
    }

    /// The same message, never to be compressed.
    pub fn uncompressed(self) -> Self {
        Self {
            is_compressible: false,
            ..self
        }
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
    fn small_messages_and_those_that_shall_not_be_compressed_stay_plain() {
        for frames in [frames(1_000), frames(5_000).uncompressed()] {
            let form = frames.form(Some(DEFLATE), || panic!("it is not compressed"));
            assert_eq!(form[0], 0x81);
            assert!(frames.deflated.get().is_none(), "nothing is allocated");
        }
    }
}
