//! What waits to be written to one client: complete WebSocket frames, whatever the transport.
//!
//! A frame shared by many clients is kept as a clone of its `Bytes`. Small frames that come one after the other are joined in one owned
//! tail buffer, because the kernel's price is per write and per segment, not per byte. What a slow client may lose waits beside them.

use std::cell::RefCell;
use std::collections::{VecDeque, vec_deque};
use std::io::IoSlice;
use std::iter::Peekable;

use bytes::{Buf, Bytes};

use crate::delivery::LatestKey;
use crate::droppables::{Droppables, Gone};

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
            Self::Many(Some(queue)) => queue.kept + queue.droppable_bytes(),
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

    /// Appends a message that may be dropped until the first of it is written. Those that wait like it may take no more than `room`.
    pub(crate) fn push_droppable(
        &mut self,
        frames: Bytes,
        key: Option<LatestKey>,
        room: usize,
    ) -> Gone {
        let queue = self.queue();
        let droppables = queue.droppables.get_or_insert_default();
        let gone = droppables.push(frames, key, queue.kept, room);
        if droppables.is_empty() {
            queue.droppables = None;
        }
        gone
    }

    /// Drops every message that may be dropped. Returns how many.
    pub(crate) fn drop_droppables(&mut self) -> usize {
        match self {
            Self::Many(Some(queue)) => queue
                .droppables
                .as_mut()
                .map_or(0, |droppables| droppables.drop_all()),
            Self::Many(None) | Self::One(_) => 0,
        }
    }

    /// Bytes that may not be dropped.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Many(Some(queue)) => queue.kept,
            Self::Many(None) | Self::One(_) => self.bytes(),
        }
    }

    /// Everything as one message's frames, shared if they are.
    pub(crate) fn into_frames(mut self) -> Bytes {
        if let Self::One(frames) = self {
            return frames;
        }
        let frames = self.concat().into();
        self.clear();
        frames
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
    /// Bytes of the segments and the tail.
    kept: usize,
    /// What may be dropped, as long as there is any.
    droppables: Option<Box<Droppables>>,
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
        queue.kept = 0;
        queue.droppables = None;
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
        self.kept += frames.len();
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
        self.kept += self.tail.len() - before;
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let mut sealed = Bytes::from(std::mem::take(&mut self.tail));
            sealed.advance(std::mem::take(&mut self.tail_written));
            self.segments.push_back(sealed);
        }
    }

    fn droppable_bytes(&self) -> usize {
        self.droppables
            .as_ref()
            .map_or(0, |droppables| droppables.bytes())
    }

    fn front(&self) -> &[u8] {
        self.pieces().next().unwrap_or_default()
    }

    fn single(&self) -> Option<&[u8]> {
        let mut pieces = self.pieces();
        let first = pieces.next().unwrap_or_default();
        pieces.next().is_none().then_some(first)
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; WRITE_SEGMENTS_MAX]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces()) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn concat(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.kept + self.droppable_bytes());
        self.pieces().for_each(|piece| all.extend_from_slice(piece));
        all
    }

    /// What is to be written, in order.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        Pieces {
            segments: self.segments.iter(),
            tail: &self.tail[self.tail_written..],
            piece: &[],
            at: 0,
            droppables: self
                .droppables
                .iter()
                .flat_map(|droppables| droppables.iter())
                .peekable(),
        }
    }

    fn advance(&mut self, written: usize) {
        let kept = match &mut self.droppables {
            None => written,
            Some(droppables) => {
                let kept = droppables.advance(written);
                if droppables.is_empty() {
                    self.droppables = None;
                }
                kept
            }
        };
        self.advance_kept(kept);
    }

    fn advance_kept(&mut self, mut written: usize) {
        self.kept = self.kept.saturating_sub(written);
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
}

/// Kept bytes up to where the next droppable message belongs, then that message, and so on.
struct Pieces<'a, D: Iterator<Item = (usize, &'a [u8])>> {
    segments: vec_deque::Iter<'a, Bytes>,
    tail: &'a [u8],
    /// What is left of the segment under way.
    piece: &'a [u8],
    /// Kept bytes before it.
    at: usize,
    droppables: Peekable<D>,
}

impl<'a, D: Iterator<Item = (usize, &'a [u8])>> Iterator for Pieces<'a, D> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some((_, frames)) = self.droppables.next_if(|(place, _)| *place <= self.at) {
            return Some(frames);
        }
        if self.piece.is_empty() {
            self.piece = match self.segments.next() {
                Some(segment) => segment,
                None => std::mem::take(&mut self.tail),
            };
        }
        let until = self
            .droppables
            .peek()
            .map_or(usize::MAX, |(place, _)| place - self.at);
        let (piece, rest) = self.piece.split_at(self.piece.len().min(until));
        self.at += piece.len();
        self.piece = rest;
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests;
