//! The task that writes what the outbox holds: everything queued goes out as one pipeline.

use std::sync::Arc;

use tokio::time::timeout;

use crate::fault::Fault;
use crate::link::{self, Link, fill};
use crate::outbox::Batch;
use crate::resp::Reply;
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
    batch: Batch,
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
