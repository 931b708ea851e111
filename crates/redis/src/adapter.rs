//! The adapter itself: what a server starts, attaches its namespaces to, asks and closes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use synapse_adapter::{
    Adapter, AdapterFactory, ClusterMessage, ClusterRequest, LocalNamespace, Responder,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault::Fault;
use crate::namespace::Namespace;
use crate::options::RedisOptions;
use crate::outbox::Message;
use crate::session::{self, Owned};
use crate::settings::RedisSettings;
use crate::shared::Shared;
use crate::status::{RedisState, RedisStatus};
use crate::wire;

/// Joins the namespaces of one server to a cluster over Redis, on the wire of Node's classic adapter.
///
/// One per process and key: Node servers count the subscribed connections to know how many answers to wait for.
///
/// A server takes it as its adapter; whoever started it closes it after the server.
///
/// ```no_run
/// use synapse_redis::{RedisAdapter, RedisOptions, RedisSettings};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = RedisSettings::from_url("REDIS_URL", &std::env::var("REDIS_URL")?)?;
/// let redis = RedisAdapter::start(settings, RedisOptions::default());
/// // let io = Server::builder().adapter(redis.clone()).build();
/// redis.ready().await;
/// println!("{:?}", redis.status().round_trip);
/// redis.close().await;
/// # Ok(())
/// # }
/// ```
pub struct RedisAdapter {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl RedisAdapter {
    /// Starts to connect in the background, now and whenever the connection is lost. Never fails and never blocks; has to be called within a
    /// tokio runtime.
    pub fn start(settings: RedisSettings, options: RedisOptions) -> Arc<Self> {
        let shared = Arc::new(Shared::new(settings, options));
        let supervisor = tokio::spawn(supervise(shared.clone()));
        Arc::new(Self {
            shared,
            supervisor: Mutex::new(Some(supervisor)),
        })
    }

    /// The adapter at this instant.
    pub fn status(&self) -> RedisStatus {
        self.shared.status()
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<RedisState> {
        self.shared.state.subscribe()
    }

    /// Waits until delivery is proven and Redis has confirmed the channels of every namespace that is attached at the time of the call. A
    /// namespace that is attached to a connected adapter hears nothing for the moment that this takes; the state does not show it.
    pub async fn ready(&self) {
        let version = self.shared.version();
        let mut settled = self.shared.settled.subscribe();
        let mut state = self.shared.state.subscribe();
        loop {
            // The senders live in `self`, so waiting cannot fail.
            let _ = state
                .wait_for(|state| *state == RedisState::Connected)
                .await;
            let _ = settled.wait_for(|settled| *settled >= version).await;
            if *state.borrow() == RedisState::Connected {
                return;
            }
        }
    }

    /// Leaves the cluster: unsubscribes first, so that nobody waits for answers from here, publishes what is queued for as long as the
    /// options allow, and closes the connections. Whatever is published afterwards is dropped.
    pub async fn close(&self) {
        self.shared.closing.send_replace(true);
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor {
            // The supervisor ends by itself; a panic in it has been logged.
            let _ = supervisor.await;
        }
    }
}

impl Drop for RedisAdapter {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}

impl AdapterFactory for RedisAdapter {
    fn attach(&self, namespace: &str, local: Arc<dyn LocalNamespace>) -> Arc<dyn Adapter> {
        let namespace = Arc::new(Namespace::new(&self.shared, namespace, local));
        self.shared.attach(namespace.clone());
        Arc::new(RedisNamespace {
            shared: self.shared.clone(),
            namespace,
        })
    }
}

/// One namespace's way to the other servers.
struct RedisNamespace {
    shared: Arc<Shared>,
    namespace: Arc<Namespace>,
}

impl Adapter for RedisNamespace {
    fn publish(&self, message: &ClusterMessage) {
        let (uid, channels) = (self.namespace.uid(), self.namespace.channels());
        match wire::encode(uid, channels, message, &self.shared.limits()) {
            Ok((channel, payload)) => self.shared.publish(Message::publish(channel, payload)),
            Err(error) => self.shared.unpublished(&channels.broadcast, &error),
        }
    }

    fn request(&self, request: &ClusterRequest, responder: &Responder) {
        self.namespace.request(request, responder);
    }

    fn close(&self) {
        self.shared.detach(&self.namespace);
    }
}

/// Starts a pair of connections, and the next one when it ends, until the adapter is closed.
async fn supervise(shared: Arc<Shared>) {
    let mut attempt = 0;
    while !shared.is_closing() {
        let proofs = shared.proofs();
        // In a task of its own, so that a listener that panics costs one pair of connections and not the adapter.
        let ended = (&mut Owned(tokio::spawn(session::run(shared.clone()))).0).await;
        let Err(fault) = ended.unwrap_or(Err(Fault::Panicked)) else {
            break;
        };
        shared.lost(&fault);
        if shared.proofs() > proofs {
            attempt = 0;
        }
        let wait = back_off(&shared.options, attempt);
        attempt += 1;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.closed() => {}
        }
    }
    shared.ended();
}

/// Doubled with each attempt up to the longest, then somewhere between half of it and all, so that servers do not come back in step.
fn back_off(options: &RedisOptions, attempt: u32) -> Duration {
    let longest = options
        .reconnect_min
        .saturating_mul(1 << attempt.min(16))
        .min(options.reconnect_max);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let options = RedisOptions::default();
        for (attempt, longest) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 800),
            (4, 1000),
            (40, 1000),
        ] {
            let wait = back_off(&options, attempt).as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{attempt}: {wait}");
        }
    }
}
