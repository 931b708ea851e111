//! What a decoder keeps of a message until the rest of it arrives.

use std::ops::Range;

use super::decoder::Limits;
use super::error::WebSocketError;
use super::frame::{HEADER_BYTES_MAX, Header, MASK_BYTES, Opcode, Rules, apply_mask};

/// The state between two reads that end inside a frame or inside a fragmented message.
#[derive(Default)]
pub(super) struct Partial {
    /// The bytes of a header that is not complete yet.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    frame: Option<OpenFrame>,
    message: Option<OpenMessage>,
    /// Payload of the message under way, or of the one that was just handed out.
    data: Vec<u8>,
    /// Payload of the control frame under way, or of the one that was just handed out.
    control: Vec<u8>,
}

/// A frame whose header is complete and whose payload is not.
struct OpenFrame {
    opcode: Opcode,
    is_final: bool,
    /// Turned so that its first byte is for the next byte of the payload.
    mask: [u8; MASK_BYTES],
    missing: usize,
}

/// A message whose last frame is not complete.
struct OpenMessage {
    opcode: Opcode,
    is_compressed: bool,
    fragments: usize,
}

/// What a complete message is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Of its first frame.
    pub(super) opcode: Opcode,
    pub(super) is_compressed: bool,
}

/// Where a complete message is.
pub(super) enum Found {
    /// In this part of the input, unmasked.
    InInput { kind: Kind, payload: Range<usize> },
    /// In the state, under [`Partial::kept`].
    Kept { kind: Kind },
}

impl Partial {
    /// Takes all of `input`, or as much as completes one message.
    pub(super) fn take_input(
        &mut self,
        input: &mut [u8],
        rules: Rules,
        limits: &Limits,
    ) -> Result<(usize, Option<Found>), WebSocketError> {
        let mut at = 0;
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let Some((header, taken)) = self.take_header(&input[at..], rules)? else {
                        return Ok((input.len(), None));
                    };
                    at += taken;
                    self.open_frame(&header, limits)?
                }
            };

            let end = at + frame.missing.min(input.len() - at);
            let payload = at..end;
            let chunk = &mut input[payload.clone()];
            apply_mask(chunk, frame.mask);
            frame.mask.rotate_left(chunk.len() % MASK_BYTES);
            frame.missing -= chunk.len();
            at = end;

            let is_complete = frame.is_final && frame.missing == 0;
            let buffer = if frame.opcode.is_control() {
                &mut self.control
            } else {
                &mut self.data
            };
            if is_complete && buffer.is_empty() {
                return Ok((
                    at,
                    Some(Found::InInput {
                        kind: self.close_message(&frame),
                        payload,
                    }),
                ));
            }
            append(buffer, chunk, &frame);
            if is_complete {
                return Ok((
                    at,
                    Some(Found::Kept {
                        kind: self.close_message(&frame),
                    }),
                ));
            }
            if frame.missing > 0 {
                self.frame = Some(frame);
                return Ok((at, None));
            }
        }
    }

    /// The state after a message whose payload was made of what arrived.
    pub(super) fn delivering(data: Vec<u8>) -> Box<Self> {
        Box::new(Self {
            data,
            ..Self::default()
        })
    }

    /// The payload that [`Found::Kept`] speaks of.
    pub(super) fn kept(&self, opcode: Opcode) -> &[u8] {
        if opcode.is_control() {
            &self.control
        } else {
            &self.data
        }
    }

    /// Lets go of what was handed out, and of itself when there is nothing else.
    pub(super) fn without_delivered(mut self: Box<Self>) -> Option<Box<Self>> {
        // A data message that was handed out was the last thing here, so it goes with the box.
        if !self
            .frame
            .as_ref()
            .is_some_and(|frame| frame.opcode.is_control())
        {
            self.control = Vec::new();
        }
        let is_at_rest = self.header_len == 0 && self.frame.is_none() && self.message.is_none();
        if is_at_rest { None } else { Some(self) }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.data.capacity() + self.control.capacity()
    }

    /// The header that `input` begins or goes on with, and how many of its bytes are there. `None`: all was kept, more is needed.
    fn take_header(
        &mut self,
        input: &[u8],
        rules: Rules,
    ) -> Result<Option<(Header, usize)>, WebSocketError> {
        let kept = self.header_len;
        let copied = input.len().min(HEADER_BYTES_MAX - kept);
        self.header[kept..kept + copied].copy_from_slice(&input[..copied]);
        match Header::parse(&self.header[..kept + copied], rules)? {
            Some((header, header_len)) => {
                self.header_len = 0;
                Ok(Some((header, header_len - kept)))
            }
            None => {
                self.header_len = kept + copied;
                Ok(None)
            }
        }
    }

    /// Checks what a header alone cannot tell: its place among the other frames and the limits.
    fn open_frame(
        &mut self,
        header: &Header,
        limits: &Limits,
    ) -> Result<OpenFrame, WebSocketError> {
        match (header.opcode, &mut self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => (),
            (Opcode::Continuation, None) => return Err(WebSocketError::ContinuationUnexpected),
            (Opcode::Continuation, Some(message)) => {
                message.fragments += 1;
                if message.fragments > limits.fragments_max {
                    return Err(WebSocketError::TooManyFragments {
                        limit: limits.fragments_max,
                    });
                }
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(WebSocketError::MessageUnfinished);
            }
            (opcode @ (Opcode::Text | Opcode::Binary), message) => {
                *message = Some(OpenMessage {
                    opcode,
                    is_compressed: header.is_compressed,
                    fragments: 1,
                })
            }
        }
        limits.check_message_bytes(self.data.len(), header)?;
        Ok(OpenFrame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask,
            missing: header.payload_len,
        })
    }

    /// Ends what this final frame ends.
    fn close_message(&mut self, frame: &OpenFrame) -> Kind {
        let control = Kind {
            opcode: frame.opcode,
            is_compressed: false,
        };
        if frame.opcode.is_control() {
            return control;
        }
        self.message.take().map_or(control, |message| Kind {
            opcode: message.opcode,
            is_compressed: message.is_compressed,
        })
    }
}

/// Appends what arrived. The buffer doubles, but not beyond the end of a final frame: it follows what arrived and never what a
/// header announces, or a header of 14 bytes would cost us the whole limit.
fn append(buffer: &mut Vec<u8>, chunk: &[u8], frame: &OpenFrame) {
    if buffer.capacity() - buffer.len() < chunk.len() {
        let useful = if frame.is_final {
            chunk.len() + frame.missing
        } else {
            usize::MAX
        };
        buffer.reserve_exact(buffer.len().min(useful).max(chunk.len()));
    }
    buffer.extend_from_slice(chunk);
}
