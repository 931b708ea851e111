//! Events for many sockets, all of which acknowledge.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use synapse_adapter::{Broadcast, ClusterRequest, OnAck, Response};
use synapse_engine::{Batch, Delivery};
use synapse_protocol::SocketId;
use synapse_protocol::socket::{Arguments, Outgoing};

use crate::ack::Waiting;
use crate::broadcast::Broadcaster;
use crate::namespace::NamespaceInner;
use crate::request::{Asking, Question, RequestError, TooMany};

/// How long the acks of a broadcast are kept when the asking server did not say.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

impl Broadcaster {
    /// Sends an event and waits for the answers of all clients, on all servers: the first argument of each, in the order of their arrival.
    /// It ends when everybody has answered who is still there, and at the latest after the [`timeout`](Self::timeout), without which
    /// it is [`RequestLimits::timeout`](crate::RequestLimits::timeout) (where Node fails at once).
    ///
    /// # Errors
    /// [`RequestError::Incomplete`] with what has arrived, when a client or a server has not answered.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use synapse_socket::{RequestError, Server};
    /// # async fn example(io: Server) {
    /// let asked = io.to("players").timeout(Duration::from_secs(1));
    /// match asked.emit_with_ack::<bool>("ready?", ()).await {
    ///     Ok(answers) => println!("{} are ready", answers.iter().filter(|ready| **ready).count()),
    ///     Err(RequestError::Incomplete { partial, missing }) => {
    ///         println!("{} have answered, {} have not", partial.len(), missing.clients());
    ///     }
    ///     Err(error) => println!("failed to ask: {error}"),
    /// }
    /// # }
    /// ```
    pub async fn emit_with_ack<R: DeserializeOwned>(
        self,
        event: &str,
        data: impl Serialize,
    ) -> Result<Vec<R>, RequestError<Vec<R>>> {
        let (mut asking, _asked) = self.ask(Arguments::event(event, &data)?)?;
        let mut answers = Vec::new();
        while let Some(response) = asking.next().await {
            let Response::Ack(ack) = response else {
                continue;
            };
            match ack.get_ack() {
                Ok(answer) => answers.push(answer),
                Err(_) => asking.note_unreadable(),
            }
        }
        asking.end(answers)
    }

    /// Sends an event whose acks are wanted.
    pub(crate) fn ask(self, arguments: Arguments) -> Result<(Asking, AskedClients), TooMany> {
        let (namespace, target, mut flags, is_local) = self.into_parts();
        // Other servers keep the question for as long as it is waited for here.
        let timeout = *flags
            .timeout
            .get_or_insert(namespace.limits().requests.timeout);
        let asking = Asking::begin(&namespace, Question::Acks, Some(timeout))?;
        let broadcast = Broadcast {
            target,
            flags,
            arguments,
        };
        let own = asking.responder().own();
        let acknowledging = own.clone();
        let on_ack = move |ack| acknowledging.answer(Response::Ack(ack));
        let asked = namespace.ask_clients(&broadcast, Box::new(on_ack));
        own.answer(Response::Clients(asked.len()));
        if is_local {
            asking.ask_nobody();
        } else {
            asking.ask_others(&ClusterRequest::Broadcast(broadcast));
        }
        Ok((asking, asked))
    }
}

/// Clients of this server that have been asked together. Dropping it stops waiting for them.
pub(crate) struct AskedClients {
    /// Kept for as long as another server says, so it keeps neither sockets nor the namespace.
    namespace: Weak<NamespaceInner>,
    ack_id: u64,
    sockets: Vec<SocketId>,
}

impl AskedClients {
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }
}

impl Drop for AskedClients {
    fn drop(&mut self) {
        let Some(namespace) = self.namespace.upgrade() else {
            return;
        };
        for id in &self.sockets {
            if let Some(socket) = namespace.rooms().find(*id) {
                drop(socket.take_ack(self.ack_id));
            }
        }
    }
}

impl NamespaceInner {
    /// Delivers an event to the target's sockets here and hands each answer to `on_ack`, which is dropped when no more can come.
    pub(crate) fn ask_clients(
        self: &Arc<Self>,
        broadcast: &Broadcast,
        on_ack: OnAck,
    ) -> AskedClients {
        let ack_id = self.next_ack_id();
        let on_ack = Arc::new(on_ack);
        let packet = Outgoing::Event {
            namespace: self.name(),
            id: Some(ack_id),
            arguments: &broadcast.arguments,
        };
        let mut asked = AskedClients {
            namespace: Arc::downgrade(self),
            ack_id,
            sockets: Vec::new(),
        };
        let Some(frames) = self.frames(&packet, &broadcast.flags) else {
            return asked;
        };
        let mut sockets = self.rooms().members(&broadcast.target);
        sockets.retain(|socket| {
            socket
                .wait_for_ack(ack_id, Waiting::Broadcast(Arc::clone(&on_ack)))
                .is_ok()
        });
        let delivery = if broadcast.flags.volatile {
            Delivery::Volatile
        } else {
            // Somebody waits for the answer, so what is declared droppable is kept here.
            Delivery::Kept
        };
        let mut batch = Batch::default();
        for socket in &sockets {
            socket.send_in_batch(&frames, delivery, &mut batch);
        }
        drop(batch);
        for socket in &sockets {
            socket.show(&broadcast.arguments);
        }
        asked.sockets = sockets.iter().map(|socket| socket.id()).collect();
        asked
    }

    /// The same for another server, which says how long it waits. Returns how many were asked.
    pub(crate) fn deliver_with_ack(
        self: &Arc<Self>,
        broadcast: &Broadcast,
        on_ack: OnAck,
    ) -> usize {
        let asked = self.ask_clients(broadcast, on_ack);
        let count = asked.len();
        if count > 0 {
            let timeout = broadcast.flags.timeout.unwrap_or(ACK_TIMEOUT);
            self.runtime().spawn(async move {
                tokio::time::sleep(timeout).await;
                drop(asked);
            });
        }
        count
    }
}
