//! What waits to be written to one client: complete WebSocket frames, whatever the transport.
//!
//! A frame shared by many clients is kept as a clone of its `Bytes`. Small frames that come one after the other are joined in one owned
//! tail buffer, because the kernel's price is per write and per segment, not per byte.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Frames up to this size are joined with their neighbours instead of being segments of their own.
const JOIN_BYTES_MAX: usize = 2048;
/// Segments handed to one vectored write.
pub(crate) const WRITE_SEGMENTS_MAX: usize = 64;
/// A pooled outbox keeps no larger tail than this.
const POOLED_TAIL_BYTES_MAX: usize = 16 * 1024;
/// Outboxes kept for reuse on each thread.
const POOL_MAX: usize = 256;

#[derive(Default, Debug)]
pub(crate) struct Outbox {
    segments: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the tail that are written already; only while there are no segments before it.
    tail_written: usize,
    bytes: usize,
}

thread_local! {
    static POOL: RefCell<Vec<Box<Outbox>>> = const { RefCell::new(Vec::new()) };
}

impl Outbox {
    /// An empty outbox, from this thread's pool if it has one.
    pub(crate) fn take() -> Box<Self> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives an outbox back for reuse.
    pub(crate) fn recycle(mut outbox: Box<Self>) {
        outbox.segments.clear();
        outbox.tail.clear();
        outbox.tail_written = 0;
        outbox.bytes = 0;
        if outbox.tail.capacity() > POOLED_TAIL_BYTES_MAX {
            outbox.tail = Vec::new();
        }
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOL_MAX {
                pool.push(outbox);
            }
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends frames that others may share.
    pub(crate) fn push(&mut self, frames: &Bytes) {
        self.bytes += frames.len();
        let alone = self.segments.is_empty() && self.tail.is_empty();
        if alone || frames.len() > JOIN_BYTES_MAX {
            self.seal_tail();
            self.segments.push_back(frames.clone());
        } else {
            self.tail.extend_from_slice(frames);
        }
    }

    /// Appends frames that only this client gets, written in place.
    pub(crate) fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        put(&mut self.tail);
        self.bytes += self.tail.len() - before;
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let mut sealed = Bytes::from(std::mem::take(&mut self.tail));
            sealed.advance(std::mem::take(&mut self.tail_written));
            self.segments.push_back(sealed);
        }
    }

    /// The first bytes to write, as far as they lie in one piece.
    pub(crate) fn front(&self) -> &[u8] {
        self.segments.front().map_or(&self.tail[self.tail_written..], |segment| segment)
    }

    /// The bytes to write next, when they are one segment.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        match (self.segments.len(), self.tail.is_empty()) {
            (0, _) => Some(&self.tail[self.tail_written..]),
            (1, true) => Some(&self.segments[0]),
            (_, _) => None,
        }
    }

    /// The segments to write next; returns how many were set.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; WRITE_SEGMENTS_MAX]) -> usize {
        let mut count = 0;
        for segment in self.segments.iter().take(WRITE_SEGMENTS_MAX) {
            slices[count] = IoSlice::new(segment);
            count += 1;
        }
        if count < WRITE_SEGMENTS_MAX && !self.tail.is_empty() {
            slices[count] = IoSlice::new(&self.tail[self.tail_written..]);
            count += 1;
        }
        count
    }

    /// Forgets what has been written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(front) = self.segments.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.segments.pop_front();
        }
        self.tail_written += written;
        if self.tail_written >= self.tail.len() {
            self.tail.clear();
            self.tail_written = 0;
        }
    }

    /// Every byte in one piece, for transports that do not write frames as they are.
    pub(crate) fn concat(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes);
        for segment in &self.segments {
            all.extend_from_slice(segment);
        }
        all.extend_from_slice(&self.tail[self.tail_written..]);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drains an outbox as a socket would that takes `step` bytes at a time.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let taken = match outbox.single() {
                Some(bytes) => bytes[..bytes.len().min(step)].to_vec(),
                None => {
                    let mut slices = [IoSlice::new(&[]); WRITE_SEGMENTS_MAX];
                    let count = outbox.slices(&mut slices);
                    let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                    all[..all.len().min(step)].to_vec()
                }
            };
            outbox.advance(taken.len());
            out.extend(taken);
        }
        out
    }

    #[test]
    fn what_goes_in_comes_out_in_order_however_it_is_written() {
        let large = vec![b'L'; JOIN_BYTES_MAX + 1];
        let frames: Vec<Vec<u8>> =
            vec![b"one".to_vec(), b"two".to_vec(), large.clone(), b"three".to_vec(), b"four".to_vec(), large, b"five".to_vec()];
        let expected = frames.concat();
        for step in [1, 2, 3, 5, 100, JOIN_BYTES_MAX, 100_000] {
            let mut outbox = Outbox::default();
            for (index, frame) in frames.iter().enumerate() {
                if index % 2 == 0 {
                    outbox.push(&Bytes::from(frame.clone()));
                } else {
                    outbox.write(|tail| tail.extend_from_slice(frame));
                }
            }
            assert_eq!(outbox.bytes(), expected.len());
            assert_eq!(outbox.concat(), expected);
            assert_eq!(drain(&mut outbox, step), expected, "{step} at a time");
        }
    }

    #[test]
    fn pushing_between_partial_writes_keeps_the_order() {
        let mut outbox = Outbox::default();
        outbox.write(|tail| tail.extend_from_slice(b"abcdef"));
        outbox.advance(2);
        outbox.push(&Bytes::from(vec![b'L'; JOIN_BYTES_MAX + 1]));
        outbox.push(&Bytes::from_static(b"xyz"));
        let expected = [b"cdef".to_vec(), vec![b'L'; JOIN_BYTES_MAX + 1], b"xyz".to_vec()].concat();
        assert_eq!(drain(&mut outbox, 7), expected);
    }

    #[test]
    fn small_frames_share_a_segment() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push(&Bytes::from_static(b"frame"));
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SEGMENTS_MAX];
        assert_eq!(outbox.slices(&mut slices), 2);
    }

    #[test]
    fn a_recycled_outbox_is_empty_and_small() {
        let mut outbox = Outbox::take();
        outbox.push(&Bytes::from(vec![0; 100_000]));
        outbox.write(|tail| tail.extend_from_slice(&[0; 100_000]));
        Outbox::recycle(outbox);
        let again = Outbox::take();
        assert!(again.is_empty() && again.tail.capacity() <= POOLED_TAIL_BYTES_MAX);
    }
}
