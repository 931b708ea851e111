//! The task that writes what the outbox holds: everything queued goes out as one pipeline.

use std::sync::Arc;

use tokio::time::timeout;

use crate::fault::Fault;
use crate::link::{self, Link, fill};
use crate::outbox::{Batch, Count};
use crate::resp::{Parts, Reply};
use crate::shared::Shared;

/// A pipeline buffer that one large message has blown up beyond this is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Publishes until the connection ends.
pub(crate) async fn run(shared: Arc<Shared>, mut link: Link) -> Fault {
    let mut pipeline = Vec::new();
    loop {
        pipeline.clear();
        pipeline.shrink_to(KEPT_BYTES_MAX);
        let batch = tokio::select! {
            batch = shared.outbox.take(&mut pipeline) => batch,
            // Nothing is asked, so nothing is answered: this is the end of the connection, seen before a message is lost to it.
            filled = fill(&mut link.decoder, &mut link.reader) => match filled.and_then(|()| unasked(&mut link)) {
                Ok(()) => continue,
                Err(fault) => return fault,
            },
        };
        if let Err(fault) = exchange(&shared, &mut link, &pipeline, batch).await {
            return fault;
        }
    }
}

fn unasked(link: &mut Link) -> Result<(), Fault> {
    match link.decoder.decode()? {
        None => Ok(()),
        Some(Reply::Error(line)) => Err(Fault::from_error_line(line)),
        Some(
            Reply::Status(_)
            | Reply::Integer(_)
            | Reply::Bulk(_)
            | Reply::Null
            | Reply::Array(_)
            | Reply::Oversized,
        ) => Err(Fault::Unexpected("answer to nothing")),
    }
}

/// Messages on their way. Those without an answer when the connection ends may have arrived or not: at most once means not to send them again.
struct InFlight<'a> {
    shared: &'a Shared,
    count: usize,
    answered: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let unconfirmed = self.count - self.answered;
        self.shared.counters.unconfirmed.add(unconfirmed);
        self.shared.outbox.finish(self.count);
    }
}

async fn exchange(
    shared: &Shared,
    link: &mut Link,
    pipeline: &[u8],
    mut batch: Batch,
) -> Result<(), Fault> {
    let limit = shared.options.probe_timeout;
    let mut in_flight = InFlight {
        shared,
        count: batch.messages,
        answered: 0,
    };
    link::write(&mut link.writer, pipeline, limit).await?;
    let mut probe = batch.probe;
    while probe || in_flight.answered < in_flight.count {
        match link.decoder.decode()? {
            None => timeout(limit, fill(&mut link.decoder, &mut link.reader))
                .await
                .map_err(|_| Fault::AnswerTimeout(limit))??,
            Some(Reply::Error(line)) if probe => return Err(Fault::from_error_line(line)),
            Some(_) if probe => probe = false,
            Some(reply) if next_is_count(&batch, in_flight.answered) => {
                let (_, count) = batch.counts.pop_front().expect("it has just been seen");
                count_servers(shared, &count, &reply)?;
                in_flight.answered += 1;
            }
            Some(Reply::Error(line)) => {
                shared.refused(line);
                in_flight.answered += 1;
            }
            Some(Reply::Integer(_)) => {
                shared.counters.published.add(1);
                in_flight.answered += 1;
            }
            Some(
                Reply::Status(_)
                | Reply::Bulk(_)
                | Reply::Null
                | Reply::Array(_)
                | Reply::Oversized,
            ) => {
                return Err(Fault::Unexpected("answer to PUBLISH"));
            }
        }
    }
    Ok(())
}

fn next_is_count(batch: &Batch, index: usize) -> bool {
    batch.counts.front().is_some_and(|(next, _)| *next == index)
}

/// Takes the answer to `PUBSUB NUMSUB`: each channel with the number of its subscribers. The own server is one of them.
fn count_servers(shared: &Shared, count: &Count, reply: &Reply<'_>) -> Result<(), Fault> {
    match reply {
        Reply::Array(parts) => {
            match others(parts).ok_or(Fault::Unexpected("answer to PUBSUB NUMSUB"))? {
                Some(servers) if count.is_all => count.responder.count_servers(servers),
                Some(servers) => count.responder.expect_servers(servers),
                // Not subscribed yet, so no answer would come to us.
                None => count.responder.unreachable(),
            }
        }
        // Redis may forbid the command to us; everything else works.
        Reply::Error(line) => {
            shared.refused(line);
            count.responder.unreachable();
        }
        Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Null | Reply::Oversized => {
            return Err(Fault::Unexpected("answer to PUBSUB NUMSUB"));
        }
    }
    Ok(())
}

/// The subscribers of the first channel but us; none inside when we are not subscribed to the second.
fn others(parts: &Parts<'_>) -> Option<Option<usize>> {
    let [_, all, _, own] = *parts.as_slice() else {
        return None;
    };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<usize>().ok();
    let (all, own) = (number(all)?, number(own)?);
    Some((own > 0).then(|| all.saturating_sub(1)))
}
