//! Bytes of a connection in, messages out.

use super::deflate::inflate;
use super::error::WebSocketError;
use super::frame::{Header, Opcode, Role, Rules, apply_mask};
use super::message::Message;
use super::partial::{Found, Kind, Partial};

/// What one message may cost. There is no default: whoever accepts connections decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one message, all its fragments together. Checked from the header, before a byte of the payload is kept, and
    /// while a compressed message is inflated; more closes the connection with code 1009.
    pub message_bytes_max: usize,
    /// Most frames of one fragmented message, empty ones included; more closes the connection with code 1008. A message in a
    /// single frame is always allowed.
    pub fragments_max: usize,
}

/// Turns the bytes of one connection into messages. At most 16 bytes at rest: what is incomplete is boxed until it is complete.
///
/// A connection reads into a buffer that it shares with others and calls [`decode`](Self::decode) until there is no message:
///
/// ```
/// # use synapse_protocol::websocket::{Decoder, Limits, Message, Opcode, Role, WebSocketError, put_masked_frame};
/// # let mut buffer = Vec::new();
/// # put_masked_frame(&mut buffer, Opcode::Text, b"2probe", [1, 2, 3, 4]);
/// # put_masked_frame(&mut buffer, Opcode::Text, b"5", [5, 6, 7, 8]);
/// # let limits = Limits { message_bytes_max: 1_000_000, fragments_max: 1_000 };
/// # let mut texts = Vec::new();
/// let mut decoder = Decoder::new(Role::Server);
/// let mut input = &mut buffer[..];
/// loop {
///     let (taken, message) = decoder.decode(input, &limits)?;
///     match message {
///         Some(Message::Text(text)) => texts.push(text.to_owned()),
///         Some(_) => (),
///         None => break,
///     }
///     input = &mut input[taken..];
/// }
/// # assert_eq!(texts, ["2probe", "5"]);
/// # assert_eq!(decoder.heap_bytes(), 0);
/// # Ok::<(), WebSocketError>(())
/// ```
pub struct Decoder {
    partial: Option<Box<Partial>>,
    rules: Rules,
}

impl Decoder {
    /// A decoder for our end of a connection.
    pub fn new(role: Role) -> Self {
        Self {
            partial: None,
            rules: Rules::plain(role),
        }
    }

    /// The same for a connection that has negotiated permessage-deflate without context takeover: the other end may compress messages.
    pub fn with_deflate(self) -> Self {
        let rules = Rules {
            deflate: true,
            ..self.rules
        };
        Self { rules, ..self }
    }

    /// Takes bytes from the front of `input`, unmasking in place, until one message is complete. Returns how many bytes were
    /// taken and the message, which borrows from `input` when it is whole there (no copy, no allocation) and from the decoder
    /// otherwise, as every compressed one does. `None`: all of `input` was taken, and more is needed.
    ///
    /// A message that borrows from the decoder is given back to the allocator by the next call, so call until `None`, also when
    /// nothing is left in `input`. After an error the decoder is of no further use: close with `error.close_code()`.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
    ) -> Result<(usize, Option<Message<'a>>), WebSocketError> {
        let mut partial = match self.partial.take().and_then(Partial::without_delivered) {
            Some(partial) => partial,
            None if input.is_empty() => return Ok((0, None)),
            None => {
                // Nearly every frame takes this path: a whole message in the input, and nothing before it.
                if let Some((header, header_len)) = Header::parse(input, self.rules)?
                    && header.is_final
                    && header.opcode != Opcode::Continuation
                    && header.payload_len <= input.len() - header_len
                {
                    limits.check_message_bytes(0, &header)?;
                    let end = header_len + header.payload_len;
                    let payload = &mut input[header_len..end];
                    apply_mask(payload, header.mask);
                    let kind = Kind {
                        opcode: header.opcode,
                        is_compressed: header.is_compressed,
                    };
                    return Ok((end, Some(self.lend(kind, payload, limits)?)));
                }
                Box::default()
            }
        };

        let (taken, found) = partial.take_input(input, self.rules, limits)?;
        let message = match found {
            None => {
                self.partial = Some(partial);
                None
            }
            Some(Found::InInput { kind, payload }) => {
                self.partial = partial.without_delivered();
                Some(self.lend(kind, &input[payload], limits)?)
            }
            Some(Found::Kept { kind }) if kind.is_compressed => {
                Some(self.inflated(kind.opcode, partial.kept(kind.opcode), limits)?)
            }
            Some(Found::Kept { kind }) => Some(Message::parse(
                kind.opcode,
                self.partial.insert(partial).kept(kind.opcode),
            )?),
        };
        Ok((taken, message))
    }

    /// A message that is whole in the input, which is lent as it is unless it is compressed.
    fn lend<'a>(
        &'a mut self,
        kind: Kind,
        payload: &'a [u8],
        limits: &Limits,
    ) -> Result<Message<'a>, WebSocketError> {
        if kind.is_compressed {
            self.inflated(kind.opcode, payload, limits)
        } else {
            Message::parse(kind.opcode, payload)
        }
    }

    /// A compressed message. It is the last thing that the decoder knew of, so nothing else is kept at this moment.
    fn inflated(
        &mut self,
        opcode: Opcode,
        compressed: &[u8],
        limits: &Limits,
    ) -> Result<Message<'_>, WebSocketError> {
        let data = inflate(compressed, limits.message_bytes_max)?;
        let partial = self.partial.insert(Partial::delivering(data));
        Message::parse(opcode, partial.kept(opcode))
    }

    /// Bytes on the heap that an incomplete message, or one that was just handed out from here, takes. 0 at rest.
    pub fn heap_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.heap_bytes())
    }
}

impl Limits {
    /// Whether a message that has `kept` bytes may get the payload of this frame too. Control frames have their own limit.
    #[inline]
    pub(super) fn check_message_bytes(
        &self,
        kept: usize,
        header: &Header,
    ) -> Result<(), WebSocketError> {
        let limit = self.message_bytes_max;
        match kept.saturating_add(header.payload_len) {
            size if size > limit && !header.opcode.is_control() => {
                Err(WebSocketError::MessageTooBig { size, limit })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::put_masked_frame;
    use super::super::fixture::{LIMITS, MASK, Owned, decode_reads, frame, text};
    use super::*;

    /// Every kind of frame, lengths on both sides of 126, fragments with control frames between them, a character cut in two.
    fn mixed_stream() -> (Vec<u8>, Vec<Owned>) {
        let long = "long ".repeat(30);
        let frames = [
            frame(0x81, b"2probe"),
            frame(0x82, &[0, 1, 2, 3, 255]),
            frame(0x89, b"are you there?"),
            frame(0x8a, b""),
            frame(0x81, long.as_bytes()),
            frame(0x01, b"na\xc3"),
            frame(0x89, b""),
            frame(0x00, b""),
            frame(0x8a, b"yes"),
            frame(0x80, b"\xafve"),
            frame(0x02, b""),
            frame(0x80, b""),
            frame(0x81, b""),
            frame(0x88, b"\x03\xe9bye"),
        ];
        let messages = vec![
            text("2probe"),
            Owned::Binary(vec![0, 1, 2, 3, 255]),
            Owned::Ping(b"are you there?".to_vec()),
            Owned::Pong(Vec::new()),
            text(&long),
            Owned::Ping(Vec::new()),
            Owned::Pong(b"yes".to_vec()),
            text("naïve"),
            Owned::Binary(Vec::new()),
            text(""),
            Owned::Close(Some((1001, "bye".to_owned()))),
        ];
        (frames.concat(), messages)
    }

    #[test]
    fn size_of_a_decoder_at_rest_is_at_most_16_bytes() {
        assert!(size_of::<Decoder>() <= 16);
        assert_eq!(Decoder::new(Role::Server).heap_bytes(), 0);
    }

    #[test]
    fn messages_are_the_same_wherever_the_stream_is_cut() {
        let (stream, expected) = mixed_stream();
        let expected = (expected, Ok(()));
        for first in 1..stream.len() {
            assert_eq!(
                decode_reads(Role::Server, &LIMITS, &stream, &[first, stream.len()]),
                expected,
                "cut at {first}"
            );
            assert_eq!(
                decode_reads(Role::Server, &LIMITS, &stream, &[first]),
                expected,
                "cut every {first}"
            );
        }
        // Two cuts, so that a header and a payload are both met in three parts.
        for first in 1..stream.len() {
            for second in 1..18.min(stream.len() - first) {
                let read_sizes = [first, second, stream.len()];
                assert_eq!(
                    decode_reads(Role::Server, &LIMITS, &stream, &read_sizes),
                    expected,
                    "cuts {read_sizes:?}"
                );
            }
        }
    }

    #[test]
    fn whole_message_borrows_from_the_input() {
        let mut stream = Vec::new();
        put_masked_frame(&mut stream, Opcode::Binary, &[7; 60_000], MASK);
        put_masked_frame(&mut stream, Opcode::Text, b"hi", MASK);
        let addresses = stream.as_ptr_range();
        let mut decoder = Decoder::new(Role::Server);
        let (taken, message) = decoder.decode(&mut stream, &LIMITS).expect("valid");
        let Some(Message::Binary(data)) = message else {
            panic!("{message:?}")
        };
        assert_eq!(data, [7; 60_000]);
        assert!(addresses.contains(&data.as_ptr()));
        assert_eq!(taken, 8 + 60_000);
        assert_eq!(decoder.heap_bytes(), 0);
        assert_eq!(
            decoder.decode(&mut stream[taken..], &LIMITS),
            Ok((8, Some(Message::Text("hi"))))
        );
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn payload_is_not_copied_when_only_its_header_was_cut() {
        let mut stream = frame(0x81, b"payload");
        let (header, payload) = stream.split_at_mut(3);
        let addresses = payload.as_ptr_range();
        let mut decoder = Decoder::new(Role::Server);
        assert_eq!(decoder.decode(header, &LIMITS), Ok((3, None)));
        assert_ne!(decoder.heap_bytes(), 0);
        let (_, message) = decoder.decode(payload, &LIMITS).expect("valid");
        let Some(Message::Text(text)) = message else {
            panic!("{message:?}")
        };
        assert_eq!(text, "payload");
        assert!(addresses.contains(&text.as_ptr()));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn kept_message_is_freed_by_the_next_call() {
        let mut decoder = Decoder::new(Role::Server);
        let mut stream = [
            frame(0x01, b"one "),
            frame(0x89, b"ping"),
            frame(0x80, b"two"),
        ]
        .concat();
        let cut = stream.len() - 1;
        let (head, tail) = stream.split_at_mut(cut);
        let (taken, message) = decoder.decode(head, &LIMITS).expect("valid");
        assert_eq!(message, Some(Message::Ping(b"ping")));
        assert_eq!(
            decoder.decode(&mut head[taken..], &LIMITS),
            Ok((cut - taken, None))
        );
        assert_ne!(decoder.heap_bytes(), 0);
        assert_eq!(
            decoder.decode(tail, &LIMITS),
            Ok((1, Some(Message::Text("one two"))))
        );
        assert_eq!(decoder.decode(&mut [], &LIMITS), Ok((0, None)));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn cut_control_frame_leaves_the_message_around_it_alone() {
        let mut decoder = Decoder::new(Role::Server);
        let mut stream = [frame(0x02, &[1; 100]), frame(0x89, &[2; 125])].concat();
        let (head, tail) = stream.split_at_mut(106 + 50);
        assert_eq!(decoder.decode(head, &LIMITS), Ok((156, None)));
        assert_eq!(
            decoder.decode(tail, &LIMITS),
            Ok((75 + 6, Some(Message::Ping(&[2; 125]))))
        );
        let with_ping = decoder.heap_bytes();
        assert_eq!(decoder.decode(&mut [], &LIMITS), Ok((0, None)));
        assert!(decoder.heap_bytes() <= with_ping - 125);
        let expected = [[1; 100], [3; 100]].concat();
        assert_eq!(
            decoder.decode(&mut frame(0x80, &[3; 100]), &LIMITS),
            Ok((106, Some(Message::Binary(&expected))))
        );
    }

    #[test]
    fn announced_length_costs_nothing_until_it_arrives() {
        let mut stream = Vec::new();
        put_masked_frame(
            &mut stream,
            Opcode::Binary,
            &vec![9; LIMITS.message_bytes_max],
            MASK,
        );
        let mut decoder = Decoder::new(Role::Server);
        assert_eq!(decoder.decode(&mut stream[..14], &LIMITS), Ok((14, None)));
        assert!(
            decoder.heap_bytes() <= 256,
            "{} bytes for a header",
            decoder.heap_bytes()
        );
        assert_eq!(decoder.decode(&mut stream[14..24], &LIMITS), Ok((10, None)));
        assert!(
            decoder.heap_bytes() <= 256 + 10,
            "{} bytes for 10 bytes",
            decoder.heap_bytes()
        );
    }

    #[test]
    fn long_message_takes_at_most_twice_what_arrived_and_exactly_its_size_in_the_end() {
        let mut stream = Vec::new();
        put_masked_frame(&mut stream, Opcode::Binary, &vec![9; 1_000_000], MASK);
        let mut decoder = Decoder::new(Role::Server);
        let mut arrived = 0;
        for read in stream.chunks_mut(65_536) {
            arrived += read.len();
            let (_, message) = decoder.decode(read, &LIMITS).expect("valid");
            assert_eq!(message.is_some(), arrived == 1_000_014);
            assert!(
                decoder.heap_bytes() <= 256 + 2 * arrived,
                "{} of {arrived}",
                decoder.heap_bytes()
            );
        }
        assert!(decoder.heap_bytes() <= 256 + 1_000_000);
        assert_eq!(decoder.decode(&mut [], &LIMITS), Ok((0, None)));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn cve_2026_48779_tiny_fragments_and_tiny_reads_cost_only_their_bytes() {
        let limits = Limits {
            message_bytes_max: 100_000,
            fragments_max: 100_000,
        };
        let fragments: Vec<Vec<u8>> = (0..5_000)
            .map(|at| frame(if at == 0 { 0x02 } else { 0x00 }, b"x"))
            .collect();
        let mut one_frame = Vec::new();
        put_masked_frame(&mut one_frame, Opcode::Binary, &[b'x'; 5_000], MASK);
        one_frame.pop();
        for (name, stream) in [("fragments", fragments.concat()), ("reads", one_frame)] {
            let mut decoder = Decoder::new(Role::Server);
            let mut growths = 0;
            let mut heap_bytes = 0;
            for byte in stream {
                assert_eq!(decoder.decode(&mut [byte], &limits), Ok((1, None)));
                growths += usize::from(decoder.heap_bytes() != heap_bytes);
                heap_bytes = decoder.heap_bytes();
            }
            assert!(heap_bytes <= 256 + 2 * 5_000, "{name}: {heap_bytes} bytes");
            assert!(growths <= 20, "{name}: {growths} allocations");
        }
    }

    #[test]
    fn error_frees_what_was_kept() {
        let mut decoder = Decoder::new(Role::Server);
        assert_eq!(
            decoder.decode(&mut frame(0x02, &[0; 100_000]), &LIMITS),
            Ok((100_014, None))
        );
        assert!(decoder.heap_bytes() > 100_000);
        assert_eq!(
            decoder.decode(&mut frame(0x81, b"x"), &LIMITS),
            Err(WebSocketError::MessageUnfinished)
        );
        assert_eq!(decoder.heap_bytes(), 0);
    }
}
