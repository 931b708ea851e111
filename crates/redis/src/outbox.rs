//! What waits to be published: bounded, in order, taken in batches.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use synapse_adapter::Responder;
use tokio::sync::Notify;

use crate::resp;

/// Most bytes that go out as one pipeline. What a dying connection takes with it is at most this, or one message.
const PIPELINE_BYTES_MAX: usize = 256 << 10;

/// A message for Redis: one command with one answer.
pub(crate) struct Message {
    pub(crate) channel: Bytes,
    command: Command,
}

enum Command {
    Publish { payload: Vec<u8> },
    Count { own: Bytes, count: Count },
}

/// Who wants to know how many servers there are.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) responder: Responder,
    /// Whether that is all it wants to know.
    pub(crate) is_all: bool,
}

impl Message {
    /// To whoever has subscribed to the channel.
    pub(crate) fn publish(channel: Bytes, payload: Vec<u8>) -> Self {
        Self {
            channel,
            command: Command::Publish { payload },
        }
    }

    /// To Redis itself: how many connections have subscribed to the channel of requests, and whether ours has to its `own` one.
    pub(crate) fn count(channel: Bytes, own: Bytes, responder: Responder, is_all: bool) -> Self {
        Self {
            channel,
            command: Command::Count {
                own,
                count: Count { responder, is_all },
            },
        }
    }

    /// What it counts for in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.channel.len()
            + match &self.command {
                Command::Publish { payload } => payload.len(),
                Command::Count { own, .. } => own.len(),
            }
    }
}

/// The queue between whoever publishes and the one task that writes.
pub(crate) struct Outbox {
    messages_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    in_flight: usize,
    /// Goes out before everything else, also while the queue is held.
    probe: Option<Message>,
    /// Whether messages may go out: only while delivery is proven.
    open: bool,
    /// Whether nothing is taken any more.
    closed: bool,
}

/// How many commands a batch has.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Whether the first command is the probe.
    pub(crate) probe: bool,
    /// The others.
    pub(crate) messages: usize,
    /// Which of the others count servers, in their order; all the rest publish.
    pub(crate) counts: VecDeque<(usize, Count)>,
}

impl Outbox {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max,
            bytes_max,
            inner: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Appends a message and returns how many had to go for it: the oldest ones, or itself when it alone is too much.
    pub(crate) fn push(&self, message: Message) -> usize {
        if message.bytes() > self.bytes_max || self.messages_max == 0 {
            return 1;
        }
        let mut inner = self.inner.lock();
        if inner.closed {
            return 1;
        }
        inner.bytes += message.bytes();
        inner.messages.push_back(message);
        let mut dropped = 0;
        while inner.messages.len() > self.messages_max || inner.bytes > self.bytes_max {
            let oldest = inner
                .messages
                .pop_front()
                .expect("a queue over its limit is not empty");
            inner.bytes -= oldest.bytes();
            dropped += 1;
        }
        let wake = inner.open;
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
        dropped
    }

    pub(crate) fn push_probe(&self, message: Message) {
        self.inner.lock().probe = Some(message);
        self.filled.notify_one();
    }

    /// Lets messages go out.
    pub(crate) fn open(&self) {
        self.inner.lock().open = true;
        self.filled.notify_one();
    }

    /// Holds messages back.
    pub(crate) fn hold(&self) {
        let mut inner = self.inner.lock();
        inner.open = false;
        inner.probe = None;
    }

    /// Takes nothing from here on; returns how many messages were still waiting.
    pub(crate) fn close(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.open = false;
        inner.probe = None;
        inner.bytes = 0;
        let messages = std::mem::take(&mut inner.messages);
        drop(inner);
        messages.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().messages.len()
    }

    /// Waits for something to send and writes it to `out` as commands. Cancelling loses nothing.
    pub(crate) async fn take(&self, out: &mut Vec<u8>) -> Batch {
        loop {
            if let Some(batch) = self.try_take(out) {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn try_take(&self, out: &mut Vec<u8>) -> Option<Batch> {
        let mut inner = self.inner.lock();
        let probe = inner.probe.take();
        let mut messages = Vec::new();
        let mut bytes = 0;
        while inner.open && bytes < PIPELINE_BYTES_MAX {
            let Some(message) = inner.messages.pop_front() else {
                break;
            };
            bytes += message.bytes();
            messages.push(message);
        }
        inner.bytes -= bytes;
        inner.in_flight += messages.len();
        // Copying takes a while, and whoever publishes must not wait for it.
        drop(inner);
        let mut batch = Batch {
            probe: probe.is_some(),
            messages: messages.len(),
            counts: VecDeque::new(),
        };
        if let Some(probe) = probe {
            put(out, probe);
        }
        for (index, message) in messages.into_iter().enumerate() {
            batch
                .counts
                .extend(put(out, message).map(|count| (index, count)));
        }
        (batch.probe || batch.messages > 0).then_some(batch)
    }

    /// Messages that were taken are on their way no longer: confirmed, refused or lost.
    pub(crate) fn finish(&self, count: usize) {
        let mut inner = self.inner.lock();
        inner.in_flight -= count;
        if inner.in_flight == 0 && inner.messages.is_empty() {
            self.drained.notify_waiters();
        }
    }

    /// Waits until nothing is queued or on its way.
    pub(crate) async fn drain(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let inner = self.inner.lock();
                if inner.in_flight == 0 && inner.messages.is_empty() {
                    return;
                }
            }
            drained.await;
        }
    }
}

/// Appends the command; returns who waits for its answer.
fn put(out: &mut Vec<u8>, Message { channel, command }: Message) -> Option<Count> {
    match command {
        Command::Publish { payload } => {
            resp::put_command(out, &[b"PUBLISH", &channel, &payload]);
            None
        }
        Command::Count { own, count } => {
            resp::put_command(out, &[b"PUBSUB", b"NUMSUB", &channel, &own]);
            Some(count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static str) -> Message {
        Message::publish(Bytes::from_static(b"c"), payload.into())
    }

    /// Whether a probe is in the batch, and how many messages are.
    type Sizes = (bool, usize);

    fn sizes(batch: Option<Batch>) -> Option<Sizes> {
        batch.map(|batch| (batch.probe, batch.messages))
    }

    fn taken(outbox: &Outbox) -> (Option<Sizes>, String) {
        let mut out = Vec::new();
        let batch = outbox.try_take(&mut out);
        (
            sizes(batch),
            String::from_utf8(out)
                .unwrap()
                .replace("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\n", "")
                .replace("\r\n", ""),
        )
    }

    #[test]
    fn messages_wait_until_the_queue_is_open_and_keep_their_order() {
        let outbox = Outbox::new(10, 100);
        for payload in ["1", "2", "3"] {
            assert_eq!(outbox.push(message(payload)), 0);
        }
        assert_eq!(taken(&outbox), (None, String::new()));
        outbox.push_probe(message("p"));
        assert_eq!(taken(&outbox), (Some((true, 0)), "p".into()));
        outbox.open();
        outbox.push_probe(message("q"));
        assert_eq!(taken(&outbox), (Some((true, 3)), "q123".into()));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn the_oldest_make_room_in_a_full_queue() {
        let outbox = Outbox::new(2, 100);
        assert_eq!(
            ["1", "2", "3"].map(|payload| outbox.push(message(payload))),
            [0, 0, 1]
        );
        outbox.open();
        assert_eq!(taken(&outbox).1, "23");
        let outbox = Outbox::new(10, 4);
        assert_eq!(
            ["1", "2", "3"].map(|payload| outbox.push(message(payload))),
            [0, 0, 1]
        );
        assert_eq!(outbox.push(message("four!")), 1);
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn a_batch_ends_at_its_size() {
        let outbox = Outbox::new(10, 10 << 20);
        let large = vec![b'x'; PIPELINE_BYTES_MAX / 2 + 1];
        for _ in 0..3 {
            outbox.push(Message::publish(Bytes::from_static(b"c"), large.clone()));
        }
        outbox.open();
        assert_eq!(sizes(outbox.try_take(&mut Vec::new())), Some((false, 2)));
        assert_eq!(sizes(outbox.try_take(&mut Vec::new())), Some((false, 1)));
        assert_eq!(sizes(outbox.try_take(&mut Vec::new())), None);
    }

    #[tokio::test]
    async fn drained_means_confirmed() {
        let outbox = Outbox::new(10, 100);
        outbox.drain().await;
        outbox.push(message("1"));
        outbox.open();
        let mut out = Vec::new();
        assert_eq!(sizes(Some(outbox.take(&mut out).await)), Some((false, 1)));
        {
            let drain = outbox.drain();
            tokio::pin!(drain);
            tokio::select! {
                biased;
                () = &mut drain => panic!("drained while a message was on its way"),
                () = std::future::ready(()) => {}
            }
            outbox.finish(1);
            drain.await;
        }
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let outbox = Outbox::new(10, 100);
        outbox.open();
        assert_eq!(outbox.push(message("1")), 0);
        assert_eq!(outbox.close(), 1);
        assert_eq!(outbox.push(message("2")), 1);
        assert_eq!((outbox.len(), taken(&outbox).0), (0, None));
    }

    #[test]
    fn counting_servers_is_a_command_between_others() {
        let outbox = Outbox::new(10, 100);
        let responses = synapse_adapter::Responses::new(0);
        let count = Message::count(
            Bytes::from_static(b"q"),
            Bytes::from_static(b"r"),
            responses.responder(),
            true,
        );
        outbox.push(message("1"));
        outbox.push(count);
        outbox.push(message("2"));
        outbox.open();
        let mut out = Vec::new();
        let batch = outbox.try_take(&mut out).unwrap();
        let indexes: Vec<usize> = batch.counts.iter().map(|(index, _)| *index).collect();
        assert_eq!((batch.messages, indexes), (3, vec![1]));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("*4\r\n$6\r\nPUBSUB\r\n$6\r\nNUMSUB\r\n$1\r\nq\r\n$1\r\nr\r\n*3"));
    }
}
