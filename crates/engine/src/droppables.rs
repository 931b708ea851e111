//! Messages in the outbox of a slow client that may still be dropped.
//!
//! They lie beside what is kept, each with the place in the stream of kept bytes where it belongs. So dropping one moves nothing else, and
//! small frames that are kept go on being joined. A message is taken out with all of its frames, attachments included, or not at all.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::delivery::LatestKey;

/// What a waiting message costs beside its frames.
pub(crate) const ENTRY_BYTES: usize = size_of::<Droppable>();

#[derive(Default, Debug)]
pub(crate) struct Droppables {
    waiting: VecDeque<Droppable>,
    /// Of all frames that wait.
    bytes: usize,
    /// Kept bytes that have been written since there are droppable messages: where the stream is.
    kept_written: u64,
    /// The first message has been written in part, so that the rest of it has to follow.
    is_begun: bool,
}

#[derive(Debug)]
struct Droppable {
    frames: Bytes,
    /// Where it belongs: after so many kept bytes.
    place: u64,
    key: Option<LatestKey>,
}

/// How many messages did not wait any longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Gave way because there was no room.
    pub(crate) dropped: usize,
    /// A newer one of their key took their place.
    pub(crate) replaced: usize,
}

impl Droppables {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message that belongs after `kept` bytes that wait, and makes room for it. One that does not fit alone is dropped itself.
    pub(crate) fn push(
        &mut self,
        frames: Bytes,
        key: Option<LatestKey>,
        kept: usize,
        room: usize,
    ) -> Gone {
        let mut gone = Gone::default();
        if frames.len() + ENTRY_BYTES > room {
            gone.dropped = 1;
            return gone;
        }
        self.bytes += frames.len();
        if let Some(at) = key.and_then(|key| self.position_of(key)) {
            // In the older one's place: at the end, a key that is never quiet would never come to the front.
            let older = std::mem::replace(&mut self.waiting[at].frames, frames);
            self.bytes -= older.len();
            gone.replaced = 1;
        } else {
            let place = self.kept_written + kept as u64;
            self.waiting.push_back(Droppable { frames, place, key });
        }
        while self.bytes + self.waiting.len() * ENTRY_BYTES > room && self.drop_oldest() {
            gone.dropped += 1;
        }
        gone
    }

    /// The message that one of this key replaces.
    fn position_of(&self, key: LatestKey) -> Option<usize> {
        let begun = usize::from(self.is_begun);
        let mut waiting = self.waiting.iter().skip(begun);
        waiting
            .position(|older| older.key == Some(key))
            .map(|position| begun + position)
    }

    /// Those with a key, each the latest of its own, stay longest.
    fn drop_oldest(&mut self) -> bool {
        let begun = usize::from(self.is_begun);
        let without_key = self
            .waiting
            .iter()
            .skip(begun)
            .position(|older| older.key.is_none());
        let oldest = self.waiting.remove(begun + without_key.unwrap_or(0));
        self.bytes -= oldest.as_ref().map_or(0, |oldest| oldest.frames.len());
        oldest.is_some()
    }

    /// Drops all of them but one that is half written. Returns how many.
    pub(crate) fn drop_all(&mut self) -> usize {
        let before = self.waiting.len();
        self.waiting.truncate(usize::from(self.is_begun));
        self.bytes = self.waiting.iter().map(|begun| begun.frames.len()).sum();
        before - self.waiting.len()
    }

    /// The messages in order, each with how many kept bytes come before it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let ahead = |place: u64| usize::try_from(place - self.kept_written).unwrap_or(usize::MAX);
        self.waiting
            .iter()
            .map(move |droppable| (ahead(droppable.place), &*droppable.frames))
    }

    /// Forgets what has been written. Returns how much of it was kept bytes.
    pub(crate) fn advance(&mut self, mut written: usize) -> usize {
        let mut kept = 0;
        while let Some(first) = self.waiting.front_mut() {
            let before = usize::try_from(first.place - self.kept_written).unwrap_or(usize::MAX);
            let before = before.min(written);
            self.kept_written += before as u64;
            kept += before;
            written -= before;
            let of_first = first.frames.len().min(written);
            self.bytes -= of_first;
            written -= of_first;
            if of_first < first.frames.len() {
                first.frames.advance(of_first);
                self.is_begun |= of_first > 0;
                return kept;
            }
            self.is_begun = false;
            self.waiting.pop_front();
        }
        kept + written
    }
}
