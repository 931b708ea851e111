//! The decoders of what strangers send, for fuzzing. Not for applications.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use synapse_protocol::socket::msgpack::Limits;

use crate::resp::Decoder;
use crate::wire::broadcast::{self, Received};
use crate::wire::request;

const LIMITS: Limits = Limits {
    depth_max: 32,
    bytes_max: 1 << 20,
    attachments_max: 64,
};
/// Small, so that a fuzzer finds what happens beyond it.
const PART_BYTES_MAX: usize = 64;

/// Reads an event as another server would have published it. One that can be read is written the same again.
///
/// # Panics
/// If that is not so.
pub fn broadcast(payload: &[u8]) {
    let Ok(Received::Broadcast(read)) = broadcast::decode(payload, "self", "/", &LIMITS) else {
        return;
    };
    let written = broadcast::encode("other", "/", &read, &LIMITS).expect("what was read fits");
    let again = broadcast::decode(&written, "self", "/", &LIMITS).expect("what we write is valid");
    assert!(matches!(again, Received::Broadcast(again) if again == read));
}

/// Reads a request.
pub fn request(payload: &[u8]) {
    let _ = request::decode(payload, &LIMITS);
}

/// What a connection makes of a stream that comes in reads of this size: each reply, then how it ended.
///
/// # Panics
/// If the decoder waits though there is nothing to wait for.
pub fn replies(stream: &[u8], read_size: usize) -> Vec<String> {
    let mut decoder = Decoder::new(PART_BYTES_MAX);
    let mut replies = Vec::new();
    for mut read in stream.chunks(read_size) {
        while !read.is_empty() {
            let filled =
                pin!(decoder.fill(&mut read)).poll(&mut Context::from_waker(Waker::noop()));
            assert!(
                matches!(filled, Poll::Ready(Ok(_))),
                "memory is always ready"
            );
        }
        loop {
            match decoder.decode() {
                Ok(Some(reply)) => replies.push(format!("{reply:?}")),
                Ok(None) => break,
                Err(error) => {
                    replies.push(error.to_string());
                    return replies;
                }
            }
        }
    }
    replies
}
