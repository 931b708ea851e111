//! An outbox against a naive one, and by itself.

use super::*;
use crate::droppables::ENTRY_BYTES;

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
        again.kept == 0
            && again.droppables.is_none()
            && again.segments.is_empty()
            && again.tail.capacity() <= POOLED_TAIL_BYTES_MAX
    );
}

/// One message of the naive model.
struct Message {
    frames: Vec<u8>,
    droppable: bool,
    key: Option<u8>,
    begun: bool,
}

/// What an outbox does, said as simply as can be: a list of messages.
#[derive(Default)]
struct Model {
    messages: Vec<Message>,
    written: Vec<u8>,
    gone: Gone,
}

impl Model {
    fn push(&mut self, frames: Vec<u8>, droppable: bool, key: Option<u8>, room: usize) {
        let older = self
            .messages
            .iter_mut()
            .find(|older| key.is_some() && older.droppable && !older.begun && older.key == key);
        if let Some(older) = older {
            older.frames = frames;
            self.gone.replaced += 1;
        } else {
            self.messages.push(Message {
                frames,
                droppable,
                key,
                begun: false,
            });
        }
        let waiting = |messages: &[Message]| -> usize {
            let droppable = messages.iter().filter(|message| message.droppable);
            droppable
                .map(|message| message.frames.len() + ENTRY_BYTES)
                .sum()
        };
        while droppable && waiting(&self.messages) > room {
            let may_go = |message: &Message| message.droppable && !message.begun;
            let at = self
                .messages
                .iter()
                .position(|message| may_go(message) && message.key.is_none())
                .or_else(|| self.messages.iter().position(may_go));
            let Some(at) = at else { break };
            self.messages.remove(at);
            self.gone.dropped += 1;
        }
    }

    fn write(&mut self, mut bytes: usize) {
        while bytes > 0 && !self.messages.is_empty() {
            let first = &mut self.messages[0];
            let taken = first.frames.len().min(bytes);
            self.written.extend(first.frames.drain(..taken));
            first.begun = true;
            bytes -= taken;
            if first.frames.is_empty() {
                self.messages.remove(0);
            }
        }
    }
}

#[test]
fn a_slow_client_gets_whole_messages_in_order_and_those_that_the_model_keeps() {
    const ROOM: usize = 1_000;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let mut total = Gone::default();
    for _ in 0..40 {
        let (mut outbox, mut model) = (Outbox::default(), Model::default());
        let (mut written, mut gone) = (Vec::new(), Gone::default());
        for number in 0..200_u8 {
            let sizes = [3, 20, 90, 200, JOIN_BYTES_MAX + 1];
            let kind = next(6);
            let size = sizes[next(if kind < 3 { 5 } else { 4 })];
            let frames = vec![number; size];
            match kind {
                0..=2 => {
                    if kind == 0 {
                        outbox.push(&Bytes::from(frames.clone()));
                    } else {
                        outbox.write(|tail| tail.extend_from_slice(&frames));
                    }
                    model.push(frames, false, None, ROOM);
                }
                3 | 4 => {
                    let key = (kind == 4).then(|| u8::try_from(next(3)).unwrap());
                    let latest = key.map(|key| LatestKey::of(&key));
                    let more = outbox.push_droppable(frames.clone().into(), latest, ROOM);
                    gone.dropped += more.dropped;
                    gone.replaced += more.replaced;
                    model.push(frames, true, key, ROOM);
                }
                _ => {
                    let bytes = next(400).min(outbox.bytes());
                    let mut slices = [IoSlice::new(&[]); WRITE_SEGMENTS_MAX];
                    let count = outbox.slices(&mut slices);
                    let all: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
                    let bytes = bytes.min(all.len());
                    written.extend_from_slice(&all[..bytes]);
                    outbox.advance(bytes);
                    model.write(bytes);
                }
            }
            let waiting: usize = model.messages.iter().map(|m| m.frames.len()).sum();
            assert_eq!(outbox.bytes(), waiting);
        }
        assert_eq!(outbox.concat().len(), outbox.bytes());
        written.extend(drain(&mut outbox, 1 + next(3_000)));
        model.write(usize::MAX);
        assert!(written == model.written, "the streams differ");
        assert_eq!(gone, model.gone);
        total.dropped += gone.dropped;
        total.replaced += gone.replaced;
    }
    assert!(total.dropped > 200 && total.replaced > 200, "{total:?}");
}

#[test]
fn a_message_that_is_begun_is_finished() {
    let mut outbox = Outbox::default();
    let key = Some(LatestKey::of(&1));
    outbox.push_droppable(Bytes::from_static(b"first"), key, 1_000);
    outbox.advance(2);
    let gone = outbox.push_droppable(Bytes::from_static(b"second"), key, 1_000);
    assert_eq!(gone, Gone::default());
    let gone = outbox.push_droppable(Bytes::from_static(b"third"), key, 1_000);
    assert_eq!((gone.dropped, gone.replaced), (0, 1));
    assert_eq!(outbox.drop_droppables(), 1);
    assert_eq!(drain(&mut outbox, 1), b"rst");
    assert!(outbox.is_empty());
}

#[test]
fn what_does_not_fit_alone_is_dropped_and_nothing_else() {
    let mut outbox = Outbox::default();
    outbox.push_droppable(Bytes::from_static(b"small"), None, 1_000);
    let gone = outbox.push_droppable(Bytes::from(vec![0; 1_000]), None, 1_000);
    assert_eq!((gone.dropped, gone.replaced), (1, 0));
    assert_eq!(outbox.concat(), b"small");
}
