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
const POOL_MAX: usize = 2048;

/// What waits for one client. A single shared frame, which is what a broadcast leaves, needs no memory of its own.
///
/// Two variants, not three: then the discriminant hides in the pointers and the outbox is as large as a `Bytes`.
#[derive(Debug)]
pub(crate) enum Outbox {
    One(Bytes),
    Many(Option<Box<Queue>>),
}

impl Default for Outbox {
    fn default() -> Self {
        Self::Many(None)
    }
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Many(None) => 0,
            Self::One(frames) => frames.len(),
            Self::Many(Some(queue)) => queue.bytes,
        }
    }

    /// Appends frames that others may share.
    pub(crate) fn push(&mut self, frames: &Bytes) {
        match self {
            Self::Many(None) => *self = Self::One(frames.clone()),
            Self::One(_) | Self::Many(Some(_)) => self.queue().push(frames),
        }
    }

    /// Appends frames that only this client gets, written in place.
    pub(crate) fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.queue().write(put);
    }

    fn queue(&mut self) -> &mut Queue {
        if let Self::One(first) = self {
            let mut queue = Queue::take();
            queue.push(first);
            *self = Self::Many(Some(queue));
        }
        match self {
            Self::Many(queue) => queue.get_or_insert_with(Queue::take),
            Self::One(_) => unreachable!("a lone frame has just been made a queue"),
        }
    }

    /// The first bytes to write, as far as they lie in one piece.
    pub(crate) fn front(&self) -> &[u8] {
        match self {
            Self::Many(None) => &[],
            Self::One(frames) => frames,
            Self::Many(Some(queue)) => queue.front(),
        }
    }

    /// The bytes to write next, when they are one segment.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        match self {
            Self::Many(None) | Self::One(_) => Some(self.front()),
            Self::Many(Some(queue)) => queue.single(),
        }
    }

    /// The segments to write next; returns how many were set.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; WRITE_SEGMENTS_MAX]) -> usize {
        match self {
            Self::Many(None) => 0,
            Self::One(frames) => {
                slices[0] = IoSlice::new(frames);
                1
            }
            Self::Many(Some(queue)) => queue.slices(slices),
        }
    }

    /// Forgets what has been written.
    pub(crate) fn advance(&mut self, written: usize) {
        match self {
            Self::Many(None) => (),
            Self::One(frames) => frames.advance(written.min(frames.len())),
            Self::Many(Some(queue)) => queue.advance(written),
        }
    }

    /// Every byte in one piece, for transports that do not write frames as they are.
    pub(crate) fn concat(&self) -> Vec<u8> {
        match self {
            Self::Many(None) | Self::One(_) => self.front().to_vec(),
            Self::Many(Some(queue)) => queue.concat(),
        }
    }

    /// Empties the outbox and keeps its memory for another one.
    pub(crate) fn clear(&mut self) {
        if let Self::Many(Some(queue)) = std::mem::take(self) {
            Queue::recycle(queue);
        }
    }
}

#[derive(Default, Debug)]
pub(crate) struct Queue {
    segments: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the tail that are written already; only while there are no segments before it.
    tail_written: usize,
    bytes: usize,
}

thread_local! {
    // Boxed, because a queue is handed from the pool to an outbox and back as it is.
    #[expect(clippy::vec_box, reason = "moving a box is cheaper than moving a queue")]
    static POOL: RefCell<Vec<Box<Queue>>> = const { RefCell::new(Vec::new()) };
}

impl Queue {
    /// An empty queue, from this thread's pool if it has one.
    fn take() -> Box<Self> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives a queue back for reuse.
    fn recycle(mut queue: Box<Self>) {
        queue.segments.clear();
        queue.tail.clear();
        queue.tail_written = 0;
        queue.bytes = 0;
        if queue.tail.capacity() > POOLED_TAIL_BYTES_MAX {
            queue.tail = Vec::new();
        }
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOL_MAX {
                pool.push(queue);
            }
        });
    }

    /// A small frame is copied: what is joined in the tail goes out by one plain `send`.
    fn push(&mut self, frames: &Bytes) {
        self.bytes += frames.len();
        if frames.len() > JOIN_BYTES_MAX {
            self.seal_tail();
            self.segments.push_back(frames.clone());
        } else {
            self.tail.extend_from_slice(frames);
        }
    }

    fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
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

    fn front(&self) -> &[u8] {
        self.segments
            .front()
            .map_or(&self.tail[self.tail_written..], |segment| segment)
    }

    fn single(&self) -> Option<&[u8]> {
        match (self.segments.len(), self.tail.is_empty()) {
            (0, _) => Some(&self.tail[self.tail_written..]),
            (1, true) => Some(&self.segments[0]),
            (_, _) => None,
        }
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; WRITE_SEGMENTS_MAX]) -> usize {
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

    fn advance(&mut self, mut written: usize) {
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

    fn concat(&self) -> Vec<u8> {
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
                    let all: Vec<u8> = slices[..count]
                        .iter()
                        .flat_map(|slice| slice.iter().copied())
                        .collect();
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
        let frames: Vec<Vec<u8>> = vec![
            b"one".to_vec(),
            b"two".to_vec(),
            large.clone(),
            b"three".to_vec(),
            b"four".to_vec(),
            large,
            b"five".to_vec(),
        ];
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
        let expected = [
            b"cdef".to_vec(),
            vec![b'L'; JOIN_BYTES_MAX + 1],
            b"xyz".to_vec(),
        ]
        .concat();
        assert_eq!(drain(&mut outbox, 7), expected);
    }

    #[test]
    fn small_frames_share_a_segment() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push(&Bytes::from_static(b"frame"));
        }
        assert_eq!(
            size_of::<Outbox>(),
            size_of::<Bytes>(),
            "a lone frame is kept in place"
        );
        let mut slices = [IoSlice::new(&[]); WRITE_SEGMENTS_MAX];
        assert_eq!(outbox.slices(&mut slices), 1);
        assert_eq!(outbox.single().map(<[u8]>::len), Some(500));
    }

    #[test]
    fn a_recycled_outbox_is_empty_and_small() {
        let mut outbox = Outbox::default();
        outbox.push(&Bytes::from(vec![0; 100_000]));
        outbox.write(|tail| tail.extend_from_slice(&[0; 100_000]));
        outbox.clear();
        assert!(outbox.is_empty());
        let again = Queue::take();
        assert!(
            again.bytes == 0
                && again.segments.is_empty()
                && again.tail.capacity() <= POOLED_TAIL_BYTES_MAX
        );
    }
}
