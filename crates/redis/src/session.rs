//! One pair of connections from its beginning to its end: subscribe, prove, deliver, prove again.
//!
//! ```text
//! connect both -> subscribe -> all confirmed -> probe -> came back: Connected -> deliver, probe each interval
//!        any fault on the way ends both connections; the supervisor in adapter.rs starts the next pair
//! ```

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::fault::Fault;
use crate::link::{self, Link, fill};
use crate::outbox::Message;
use crate::publisher;
use crate::resp::Reply;
use crate::shared::{Shared, random_id};
use crate::subscriptions::{Role, Subscriptions};

/// A probe may be behind this many timeouts of other messages: a server that lags is not cut off from Redis, and to reconnect would
/// lose all that it has yet to read.
const LAG_TIMEOUTS_MAX: u32 = 5;
const PROBE_CHARS: usize = 12;

/// A task that ends with its owner.
pub(crate) struct Owned<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until a fault, or until the adapter is closed. Both connections are gone when it returns, so the next ones never subscribe beside
/// the old ones.
pub(crate) async fn run(shared: Arc<Shared>) -> Result<(), Fault> {
    let (subscriber, publisher) = tokio::select! {
        links = async { tokio::try_join!(Link::open(&shared), Link::open(&shared)) } => links?,
        () = shared.closed() => return Ok(()),
    };
    let mut publisher = Owned(tokio::spawn(publisher::run(shared.clone(), publisher)));
    let ended = deliver(&shared, subscriber, &mut publisher.0).await;
    if !publisher.0.is_finished() {
        publisher.0.abort();
        // Ended by us, or by a fault at the same moment: the outcome is known either way.
        let _ = (&mut publisher.0).await;
    }
    ended
}

async fn deliver(
    shared: &Arc<Shared>,
    mut subscriber: Link,
    publisher: &mut JoinHandle<Fault>,
) -> Result<(), Fault> {
    let mut session = Session::new(shared);
    let closed = shared.closed();
    tokio::pin!(closed);
    loop {
        let mut heard = false;
        while let Some(reply) = subscriber.decoder.decode()? {
            session.handle(&reply)?;
            heard = true;
        }
        if heard {
            // The publisher may wait for this very thread, where no other can take it over, and more may have come in already.
            tokio::task::yield_now().await;
            // Taken after the delivery, whose length says nothing about Redis.
            session.heard = Instant::now();
        }
        session.update(&mut subscriber).await?;
        let wake_up = session.wake_up();
        tokio::select! {
            filled = fill(&mut subscriber.decoder, &mut subscriber.reader) => filled?,
            () = shared.changed.notified() => {}
            () = async { match wake_up { Some(at) => sleep_until(at).await, None => pending().await } } => session.handle_timeout()?,
            fault = &mut *publisher => return Err(fault.unwrap_or(Fault::Panicked)),
            () = &mut closed => return session.shut_down(&mut subscriber).await,
        }
    }
}

enum Probe {
    /// Not before everything is confirmed.
    Waiting,
    Due(Instant),
    Out {
        token: String,
        sent: Instant,
    },
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    subscriptions: Subscriptions,
    /// When the commands went out that are not all confirmed.
    asked: Option<Instant>,
    probe: Probe,
    /// When anything came in.
    heard: Instant,
    proven: bool,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        Self {
            shared,
            subscriptions: Subscriptions::new(),
            asked: None,
            probe: Probe::Waiting,
            heard: Instant::now(),
            proven: false,
        }
    }

    /// Subscribes to what is new and leaves what is gone.
    async fn update(&mut self, link: &mut Link) -> Result<(), Fault> {
        if self.subscriptions.version() == self.shared.version() {
            return Ok(());
        }
        let commands = self.subscriptions.update(self.shared.routes());
        if !commands.is_empty() {
            self.asked = Some(Instant::now());
            link::write(
                &mut link.writer,
                &commands,
                self.shared.options.probe_timeout,
            )
            .await?;
        }
        self.settle();
        Ok(())
    }

    fn handle(&mut self, reply: &Reply<'_>) -> Result<(), Fault> {
        let parts = match reply {
            Reply::Array(parts) => parts.as_slice(),
            Reply::Oversized => {
                self.shared.malformed(
                    b"",
                    &format_args!(
                        "over the limit of {} bytes",
                        self.shared.options.message_bytes_max
                    ),
                );
                return Ok(());
            }
            Reply::Error(line) => return Err(Fault::from_error_line(line)),
            Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Null => {
                return Err(Fault::Unexpected("answer on the subscribed connection"));
            }
        };
        match *parts {
            [b"pmessage", pattern, channel, payload] => {
                self.deliver_broadcast(pattern, channel, payload);
                return Ok(());
            }
            [b"message", channel, payload] => {
                self.deliver(channel, payload);
                return Ok(());
            }
            [b"subscribe", channel, _] => self.subscriptions.confirmed(false, channel),
            [b"psubscribe", pattern, _] => self.subscriptions.confirmed(true, pattern),
            [b"unsubscribe", channel, _] => self.subscriptions.left(false, channel)?,
            [b"punsubscribe", pattern, _] => self.subscriptions.left(true, pattern)?,
            _ => return Err(Fault::Unexpected("message on the subscribed connection")),
        }
        self.settle();
        Ok(())
    }

    fn deliver_broadcast(&self, pattern: &[u8], channel: &[u8], payload: &[u8]) {
        if let Some(namespace) = self
            .subscriptions
            .pattern(pattern)
            .and_then(|route| route.namespace.as_ref())
        {
            namespace.handle_broadcast(channel, payload);
        }
    }

    fn deliver(&mut self, channel: &[u8], payload: &[u8]) {
        let Some(route) = self.subscriptions.channel(channel).cloned() else {
            return;
        };
        match (route.role, route.namespace) {
            (Role::Request, Some(namespace)) => namespace.handle_request(channel, payload),
            (Role::Response, Some(namespace)) => namespace.handle_response(channel, payload),
            (Role::Probe, _) => self.handle_probe(payload),
            (Role::Broadcast | Role::Request | Role::Response, _) => {}
        }
    }

    fn handle_probe(&mut self, payload: &[u8]) {
        let Probe::Out { token, sent } = &self.probe else {
            return;
        };
        if token.as_bytes() != payload {
            return;
        }
        let round_trip = sent.elapsed();
        self.probe = Probe::Due(*sent + self.shared.options.probe_interval);
        if self.proven {
            self.shared.round_trip(round_trip);
        } else {
            self.proven = true;
            self.shared.connected(round_trip);
        }
    }

    /// Notes that everything is confirmed, which lets the first probe go.
    fn settle(&mut self) {
        if self.subscriptions.is_settled() {
            self.asked = None;
            let version = self.subscriptions.version();
            self.shared
                .settled
                .send_if_modified(|settled| std::mem::replace(settled, version) != version);
            if matches!(self.probe, Probe::Waiting) {
                self.send_probe();
            }
        }
    }

    fn send_probe(&mut self) {
        let token = random_id(PROBE_CHARS);
        self.shared.outbox.push_probe(Message::publish(
            Bytes::from(self.shared.probe_channel()),
            token.clone().into(),
        ));
        self.probe = Probe::Out {
            token,
            sent: Instant::now(),
        };
    }

    fn wake_up(&self) -> Option<Instant> {
        let limit = self.shared.options.probe_timeout;
        let probe = match &self.probe {
            Probe::Waiting => None,
            Probe::Due(at) => Some(*at),
            Probe::Out { sent, .. } => Some(self.give_up_at(*sent)),
        };
        let confirmation = self.asked.map(|asked| asked.max(self.heard) + limit);
        probe.into_iter().chain(confirmation).min()
    }

    /// When a probe is lost: nothing at all came for the timeout, or others came for far too long.
    fn give_up_at(&self, sent: Instant) -> Instant {
        let limit: Duration = self.shared.options.probe_timeout;
        (sent.max(self.heard) + limit).min(sent + limit * LAG_TIMEOUTS_MAX)
    }

    fn handle_timeout(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let limit = self.shared.options.probe_timeout;
        if self
            .asked
            .is_some_and(|asked| asked.max(self.heard) + limit <= now)
        {
            return Err(Fault::SubscribeTimeout(limit));
        }
        match &self.probe {
            Probe::Out { sent, .. } if self.give_up_at(*sent) <= now => {
                return Err(Fault::ProbeLost(limit));
            }
            Probe::Due(at) if *at <= now => self.send_probe(),
            Probe::Waiting | Probe::Due(_) | Probe::Out { .. } => {}
        }
        Ok(())
    }

    /// Leaves the channels, so that nobody waits for our answers, then lets what is queued go out.
    async fn shut_down(&mut self, link: &mut Link) -> Result<(), Fault> {
        let commands = self.subscriptions.leave();
        link::write(
            &mut link.writer,
            &commands,
            self.shared.options.probe_timeout,
        )
        .await?;
        let limit = self.shared.options.drain_timeout;
        let left = async {
            loop {
                while let Some(reply) = link.decoder.decode()? {
                    self.handle(&reply)?;
                }
                if self.subscriptions.is_settled() {
                    return Ok::<(), Fault>(());
                }
                fill(&mut link.decoder, &mut link.reader).await?;
            }
        };
        // Whether Redis confirms or not: the connection closes next, which ends the subscriptions as well.
        let _ = timeout(limit, left).await;
        if self.proven {
            let _ = timeout(limit, self.shared.outbox.drain()).await;
        }
        Ok(())
    }
}
