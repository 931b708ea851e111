//! What the parts of the adapter have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rand::Rng as _;
use synapse_protocol::socket::msgpack;
use tokio::sync::{Notify, watch};

use crate::fault::Fault;
use crate::namespace::Namespace;
use crate::options::RedisOptions;
use crate::outbox::{Message, Outbox};
use crate::settings::RedisSettings;
use crate::status::{Counters, RedisState, RedisStatus};
use crate::subscriptions::Routes;

/// Messages that are dropped for what they are get a line in the log at most this often; all are counted.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Shared {
    pub(crate) settings: RedisSettings,
    pub(crate) options: RedisOptions,
    /// Names this process on Redis: its probe channel and its connections.
    pub(crate) uid: String,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Counters,
    pub(crate) state: watch::Sender<RedisState>,
    /// The version of the namespaces whose channels Redis has all confirmed.
    pub(crate) settled: watch::Sender<u64>,
    pub(crate) closing: watch::Sender<bool>,
    /// The namespaces have changed.
    pub(crate) changed: Notify,
    namespaces: Mutex<HashMap<Box<str>, Arc<Namespace>>>,
    version: AtomicU64,
    details: Mutex<Details>,
    complained: Mutex<Option<Instant>>,
}

struct Details {
    since: SystemTime,
    round_trip: Option<Duration>,
    proofs: u64,
    last_error: Option<String>,
}

impl Shared {
    pub(crate) fn new(settings: RedisSettings, options: RedisOptions) -> Self {
        Self {
            outbox: Outbox::new(
                options.publish_queue_messages_max,
                options.publish_queue_bytes_max,
            ),
            settings,
            options,
            uid: random_id(16),
            counters: Counters::default(),
            state: watch::Sender::new(RedisState::Connecting),
            settled: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            changed: Notify::new(),
            namespaces: Mutex::default(),
            version: AtomicU64::new(1),
            details: Mutex::new(Details {
                since: SystemTime::now(),
                round_trip: None,
                proofs: 0,
                last_error: None,
            }),
            complained: Mutex::new(None),
        }
    }

    pub(crate) fn probe_channel(&self) -> String {
        format!("{}-probe#{}#", self.options.key, self.uid)
    }

    pub(crate) fn limits(&self) -> msgpack::Limits {
        msgpack::Limits {
            bytes_max: self.options.message_bytes_max,
            ..msgpack::Limits::default()
        }
    }

    pub(crate) fn publish(&self, message: Message) {
        let bytes_max = self.options.publish_queue_bytes_max;
        if message.bytes() > bytes_max {
            let error = format_args!("over the limit of {bytes_max} bytes for all that is queued");
            return self.unpublished(&message.channel, &error);
        }
        self.counters.dropped.add(self.outbox.push(message));
    }

    /// Counts a message of ours that cannot be published.
    pub(crate) fn unpublished(&self, channel: &[u8], error: &dyn std::fmt::Display) {
        self.counters.dropped.add(1);
        self.complain(channel, error, "a message to other servers was dropped");
    }

    /// Adds a namespace; one of the same name that was there is detached.
    pub(crate) fn attach(&self, namespace: Arc<Namespace>) {
        let mut namespaces = self.namespaces.lock();
        if let Some(former) = namespaces.insert(namespace.name().into(), namespace) {
            former.detach();
        }
        self.version.fetch_add(1, Ordering::Release);
        drop(namespaces);
        self.changed.notify_one();
    }

    pub(crate) fn detach(&self, namespace: &Namespace) {
        namespace.detach();
        let mut namespaces = self.namespaces.lock();
        // One of the same name may have been attached since.
        if namespaces
            .get(namespace.name())
            .is_some_and(|current| std::ptr::eq(&**current, namespace))
        {
            namespaces.remove(namespace.name());
            self.version.fetch_add(1, Ordering::Release);
            drop(namespaces);
            self.changed.notify_one();
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is to be subscribed, and whom it concerns.
    pub(crate) fn routes(&self) -> Routes {
        let namespaces = self.namespaces.lock();
        Routes::new(self.version(), &self.probe_channel(), namespaces.values())
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    pub(crate) fn proofs(&self) -> u64 {
        self.details.lock().proofs
    }

    /// Delivery is proven from here on.
    pub(crate) fn connected(&self, round_trip: Duration) {
        let reconnects = {
            let mut details = self.details.lock();
            details.since = SystemTime::now();
            details.round_trip = Some(round_trip);
            details.last_error = None;
            details.proofs += 1;
            details.proofs - 1
        };
        // The state is for the server to tell, in its operators' words.
        tracing::debug!(
            address = self.settings.address(),
            tls = self.settings.tls,
            round_trip_us = round_trip.as_micros() as u64,
            reconnects,
            queued = self.outbox.len(),
            "delivery over Redis is proven"
        );
        self.state.send_replace(RedisState::Connected);
        self.outbox.open();
    }

    pub(crate) fn round_trip(&self, round_trip: Duration) {
        self.details.lock().round_trip = Some(round_trip);
    }

    /// The connections are gone.
    pub(crate) fn lost(&self, fault: &Fault) {
        self.outbox.hold();
        let error = fault.describe(&self.settings);
        let address = self.settings.address();
        let was_connected = {
            let mut details = self.details.lock();
            let was_connected = *self.state.borrow() == RedisState::Connected;
            if was_connected {
                details.since = SystemTime::now();
                details.round_trip = None;
            }
            details.last_error = Some(error.clone());
            was_connected
        };
        if was_connected {
            tracing::debug!(address, reason = error, "delivery over Redis is lost");
            self.state.send_replace(RedisState::Disconnected);
        } else {
            tracing::debug!(
                address,
                reason = error,
                "delivery over Redis cannot be proven"
            );
        }
    }

    pub(crate) fn ended(&self) {
        self.counters.dropped.add(self.outbox.close());
        let mut details = self.details.lock();
        details.since = SystemTime::now();
        details.round_trip = None;
        details.last_error = Some("the adapter was closed".to_owned());
        drop(details);
        self.state.send_replace(RedisState::Disconnected);
        tracing::debug!(address = self.settings.address(), "left the cluster");
    }

    /// Redis refused one message; the connection is fine.
    pub(crate) fn refused(&self, line: &[u8]) {
        let error = Fault::from_error_line(line).describe(&self.settings);
        self.unpublished(b"", &error);
        self.details.lock().last_error = Some(error);
    }

    /// Counts a message that is not what its channel carries.
    pub(crate) fn malformed(&self, channel: &[u8], error: &dyn std::fmt::Display) {
        self.counters.malformed.add(1);
        self.complain(channel, error, "a message from Redis was dropped");
    }

    fn complain(&self, channel: &[u8], error: &dyn std::fmt::Display, what: &str) {
        const CHANNEL_BYTES_MAX: usize = 200;
        let channel = channel[..channel.len().min(CHANNEL_BYTES_MAX)].escape_ascii();
        let mut complained = self.complained.lock();
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            drop(complained);
            let (malformed, dropped) = (
                self.counters.malformed.value(),
                self.counters.dropped.value(),
            );
            tracing::warn!(%channel, %error, malformed, dropped, "{what}");
        } else {
            tracing::debug!(%channel, %error, "{what}");
        }
    }

    pub(crate) fn status(&self) -> RedisStatus {
        let details = self.details.lock();
        RedisStatus {
            state: *self.state.borrow(),
            since: details.since,
            round_trip: details.round_trip,
            reconnects: details.proofs.saturating_sub(1),
            last_error: details.last_error.clone(),
            published: self.counters.published.value(),
            dropped: self.counters.dropped.value(),
            unconfirmed: self.counters.unconfirmed.value(),
            received: self.counters.received.value(),
            discarded_unheard: self.counters.discarded_unheard.value(),
            malformed: self.counters.malformed.value(),
            queued: self.outbox.len(),
            namespaces: self.namespaces.lock().len(),
        }
    }
}

/// Random characters of the set that Node uses for its ids.
pub(crate) fn random_id(length: usize) -> String {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(CHARS[random.random_range(0..CHARS.len())]))
        .collect()
}
