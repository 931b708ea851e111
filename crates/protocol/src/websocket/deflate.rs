//! Messages that are compressed one by one (RFC 7692). The contexts are the thread's: a connection keeps nothing of them.
//!
//! That works because neither side takes its context over from one message to the next, which is what we always negotiate.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::encode::{header_len, own_frames, put_compressed_frame, put_frame};
use super::error::WebSocketError;

/// Smallest window that zlib can compress raw data with, as a power of two. RFC 7692 has 8 too.
pub(super) const DEFLATE_BITS_MIN: u8 = 9;
/// Largest window there is, as a power of two. What was compressed with a smaller one can be inflated with it.
pub(super) const WINDOW_BITS_MAX: u8 = 15;

/// The end of compressed data that has been flushed: an empty stored block without its first bits. It is not sent.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// What is inflated behind a message: its tail and an empty last block. Data that was cut off does not end with it.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// Bytes that are inflated at once, before the size is checked.
const CHUNK_BYTES: usize = 16 * 1024;
/// A thread keeps no larger buffer than this for what it compresses.
const KEPT_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How messages for one client are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// The window as a power of two, from 9 to 15; the nearest of them for any other number.
    pub window_bits: u8,
    /// 1 (fast) to 9 (small); any larger number is 9, and 0 only packs.
    pub level: u8,
    /// Payloads with fewer bytes stay as they are.
    pub threshold: usize,
}

/// Compresses the frames of a buffer that was written here: those of data that reach the threshold and become smaller. `None` if there are
/// none, so that the plain frames are to be sent.
pub fn deflate_frames(frames: &[u8], deflate: Deflate) -> Option<Vec<u8>> {
    DEFLATERS.with_borrow_mut(|deflaters| {
        let mut out = Vec::new();
        let mut plain_before = 0;
        for (opcode, payload) in own_frames(frames) {
            let may_be = !opcode.is_control() && payload.len() >= deflate.threshold;
            match may_be
                .then(|| deflaters.deflate(payload, deflate))
                .flatten()
            {
                Some(compressed) => {
                    out.extend_from_slice(&frames[..plain_before]);
                    plain_before = 0;
                    put_compressed_frame(&mut out, opcode, compressed);
                }
                None if out.is_empty() => {
                    plain_before += header_len(payload.len()) + payload.len();
                }
                None => put_frame(&mut out, opcode, payload),
            }
        }
        deflaters.trim();
        (!out.is_empty()).then_some(out)
    })
}

/// The message whose compressed payload this is. It never takes more memory than the limit.
pub(super) fn inflate(
    compressed: &[u8],
    message_bytes_max: usize,
) -> Result<Vec<u8>, WebSocketError> {
    // What a flush leaves of an empty message when it has nothing to say.
    if compressed.is_empty() {
        return Ok(Vec::new());
    }
    INFLATER.with_borrow_mut(|inflater| inflater.inflate(compressed, message_bytes_max))
}

thread_local! {
    static INFLATER: RefCell<Inflater> = RefCell::new(Inflater {
        stream: Decompress::new_with_window_bits(false, WINDOW_BITS_MAX),
        chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
    });
    static DEFLATERS: RefCell<Deflaters> = const { RefCell::new(Deflaters { streams: Vec::new(), buffer: Vec::new() }) };
}

struct Inflater {
    stream: Decompress,
    chunk: Box<[u8]>,
}

impl Inflater {
    fn inflate(&mut self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, WebSocketError> {
        let mut message = Vec::new();
        self.stream.reset(false);
        self.take(compressed, limit, &mut message)?;
        // Only what ends where its data ends was whole.
        if self.take(&END, limit, &mut message)? {
            Ok(message)
        } else {
            Err(WebSocketError::DeflateDataInvalid)
        }
    }

    /// Inflates all of `input`. Returns whether its last byte was the last one of a last block.
    fn take(
        &mut self,
        mut input: &[u8],
        limit: usize,
        message: &mut Vec<u8>,
    ) -> Result<bool, WebSocketError> {
        loop {
            let (taken_before, given_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, &mut self.chunk, FlushDecompress::None)
                .map_err(|_| WebSocketError::DeflateDataInvalid)?;
            // Neither can be larger than the slice it is about.
            let taken = (self.stream.total_in() - taken_before) as usize;
            let given = (self.stream.total_out() - given_before) as usize;
            input = &input[taken..];
            append(message, &self.chunk[..given], limit)?;
            match status {
                Status::StreamEnd => {
                    // RFC 7692, section 7.2.3.4: a last block may come anywhere, and more blocks behind it.
                    self.stream.reset(false);
                    if input.is_empty() {
                        return Ok(true);
                    }
                }
                Status::Ok | Status::BufError if given == self.chunk.len() => (),
                Status::Ok | Status::BufError if input.is_empty() => return Ok(false),
                Status::Ok | Status::BufError if taken > 0 || given > 0 => (),
                Status::Ok | Status::BufError => return Err(WebSocketError::DeflateDataInvalid),
            }
        }
    }
}

/// The buffer doubles, but never beyond the limit.
fn append(message: &mut Vec<u8>, chunk: &[u8], limit: usize) -> Result<(), WebSocketError> {
    let size = message.len() + chunk.len();
    if size > limit {
        return Err(WebSocketError::MessageTooBig { size, limit });
    }
    if size > message.capacity() {
        let capacity = size.max(2 * message.len()).min(limit);
        message.reserve_exact(capacity - message.len());
    }
    message.extend_from_slice(chunk);
    Ok(())
}

/// A stream for each window and level that was asked for, which are few.
struct Deflaters {
    streams: Vec<(u8, u8, Compress)>,
    buffer: Vec<u8>,
}

impl Deflaters {
    /// The payload compressed, without its tail; none if it would not become smaller.
    fn deflate(&mut self, payload: &[u8], deflate: Deflate) -> Option<&[u8]> {
        let window_bits = deflate.window_bits.clamp(DEFLATE_BITS_MIN, WINDOW_BITS_MAX);
        let level = deflate.level.min(9);
        let known = self
            .streams
            .iter()
            .position(|(bits, of_level, _)| (*bits, *of_level) == (window_bits, level));
        let at = known.unwrap_or_else(|| {
            let compression = Compression::new(level.into());
            let stream = Compress::new_with_window_bits(compression, false, window_bits);
            self.streams.push((window_bits, level, stream));
            self.streams.len() - 1
        });
        let (_, _, stream) = &mut self.streams[at];
        stream.reset();
        self.buffer.clear();
        self.buffer.reserve(payload.len());
        stream
            .compress_vec(payload, &mut self.buffer, FlushCompress::Sync)
            .ok()?;
        // A flush that found no room for all it had leaves no tail, or not all of the payload was taken: it is too large either way.
        let is_whole = stream.total_in() == payload.len() as u64;
        let compressed = self.buffer.strip_suffix(&TAIL).filter(|_| is_whole)?;
        (compressed.len() < payload.len()).then_some(compressed)
    }

    fn trim(&mut self) {
        if self.buffer.capacity() > KEPT_BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }
}
