//! Answers to events, both ways.

use hashbrown::HashMap;
use serde::Serialize;
use synapse_adapter::OnAck;
use synapse_protocol::socket::{Arguments, DeserializeError, Outgoing, SerializeError};
use tokio::sync::oneshot;

use std::sync::Arc;

use crate::refusal::Refusal;
use crate::reply::IntoAck;
use crate::socket::Socket;

/// Answers an event of a client. Sending without the client waiting does nothing, and so does sending twice for the client: it takes
/// the first answer.
///
/// A handler that answers at its end returns the answer instead: see [`IntoAck`]. With an `Ack` it may answer earlier, or long after it has
/// ended.
///
/// ```no_run
/// use synapse_socket::{Ack, Data, Server};
///
/// # async fn print(_: &str) -> Result<u32, std::io::Error> { Ok(1) }
/// # fn example(io: Server) {
/// io.of("/").on("print", |Data(text): Data<String>, ack: Ack| async move {
///     tokio::spawn(async move {
///         match print(&text).await {
///             Ok(pages) => ack.send(pages),
///             Err(_) => ack.refuse("out of paper"),
///         }
///     });
/// });
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Ack {
    socket: Socket,
    id: Option<u64>,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: Option<u64>) -> Self {
        Self { socket, id }
    }

    /// Whether the client waits for an answer.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Answers. A tuple gives several arguments, `()` none. A value that does not fit into JSON is dropped, which is logged.
    pub fn send<T: Serialize>(&self, data: T) {
        if self.id.is_some() {
            match Arguments::ack(&data) {
                Ok(arguments) => self.send_arguments(&arguments),
                Err(error) => tracing::warn!(%error, "failed to answer an event"),
            }
        }
    }

    /// Answers with `{ "error": message, "data": data }`, as it is answered for a handler that returns an error.
    pub fn refuse(&self, refusal: impl Into<Refusal>) {
        if self.id.is_some() {
            self.send_arguments(&refusal.into().to_arguments());
        }
    }

    /// Answers with what a handler has returned.
    pub(crate) fn conclude(&self, returned: impl IntoAck) {
        if let Err(refusal) = returned.answer(self) {
            tracing::debug!(socket = %self.socket.id(), %refusal, "a handler refused an event");
            self.refuse_and_raise(refusal);
        }
    }

    /// Tells the client, if it waits, and the handlers of errors.
    pub(crate) fn refuse_and_raise(&self, refusal: Refusal) {
        self.refuse(refusal.clone());
        self.socket.raise(refusal.into());
    }

    /// Answers with arguments that are encoded already.
    pub fn send_arguments(&self, arguments: &Arguments) {
        if let Some(id) = self.id {
            self.socket.send(&Outgoing::Ack {
                namespace: self.socket.namespace_name(),
                id,
                arguments,
            });
        }
    }
}

/// Why an answer of a client is missing.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// The time is up. The text is the one that JavaScript users know.
    #[error("operation has timed out")]
    TimedOut,
    /// The socket was disconnected before it answered, or is not connected at all.
    #[error("socket has been disconnected")]
    Disconnected,
    /// There are as many unanswered events as the limit allows.
    #[error("{limit} events of the socket are unanswered already")]
    TooMany {
        /// The limit in force.
        limit: usize,
    },
    /// There are as many requests across the cluster as the limit allows.
    #[error("{limit} requests of the namespace are unanswered already")]
    TooManyRequests {
        /// [`RequestLimits::pending_max`](crate::RequestLimits::pending_max).
        limit: usize,
    },
    /// The event could not be sent.
    #[error(transparent)]
    Serialize(#[from] SerializeError),
    /// The answer is not of the type that was asked for.
    #[error("answer does not fit: {0}")]
    Deserialize(#[from] DeserializeError),
}

/// Who waits for an answer.
pub(crate) enum Waiting {
    /// A caller of `emit_with_ack`.
    Caller(oneshot::Sender<Arguments>),
    /// A broadcast, of which this is one of many answers.
    Broadcast(Arc<OnAck>),
}

/// The events of one socket that wait for their answers.
#[derive(Default)]
pub(crate) struct PendingAcks {
    waiting: HashMap<u64, Waiting>,
    callers: usize,
}

impl PendingAcks {
    pub(crate) fn insert(
        &mut self,
        id: u64,
        waiting: Waiting,
        limit: usize,
    ) -> Result<(), AckError> {
        if self.waiting.len() >= limit {
            return Err(AckError::TooMany { limit });
        }
        self.callers += usize::from(waiting.is_caller());
        self.waiting.insert(id, waiting);
        Ok(())
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Waiting> {
        let taken = self.waiting.remove(&id);
        self.callers -= usize::from(taken.as_ref().is_some_and(Waiting::is_caller));
        taken
    }

    /// How many of them are callers of `emit_with_ack`.
    pub(crate) fn callers(&self) -> usize {
        self.callers
    }
}

impl Waiting {
    fn is_caller(&self) -> bool {
        matches!(self, Self::Caller(_))
    }

    pub(crate) fn answer(self, arguments: Arguments) {
        match self {
            // The caller may have stopped waiting.
            Self::Caller(caller) => drop(caller.send(arguments)),
            Self::Broadcast(on_ack) => on_ack(arguments),
        }
    }
}
