//! Requests to all servers of the cluster: they end in time, with what has arrived and with what is missing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use synapse_adapter::{ClusterRequest, Responder, Response, Responses, Tally};
use synapse_protocol::socket::SerializeError;
use tokio::time::Sleep;

use crate::ack::AckError;
use crate::namespace::NamespaceInner;

/// What the requests of one namespace to other servers may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// How long answers are waited for when the call does not say. Default: 5 s, as in Node. A request ends sooner when everybody has answered.
    pub timeout: Duration,
    /// Requests that may be under way at a time. Default: 1,000. Further ones fail.
    pub pending_max: usize,
    /// Memory that the answers to one request may take, in bytes. Default: 64 MiB. Whoever answers beyond that counts as missing.
    pub response_bytes_max: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            pending_max: 1_000,
            response_bytes_max: 64 << 20,
        }
    }
}

/// Why a request across the cluster has not been answered, or not by everybody.
#[derive(Debug, thiserror::Error)]
pub enum RequestError<T> {
    /// Some have not answered in time, or never will.
    #[error("{missing}")]
    Incomplete {
        /// What has arrived.
        partial: T,
        /// Who has not answered.
        missing: Missing,
    },
    /// There are as many requests under way as the limit allows.
    #[error("{limit} requests of the namespace are unanswered already")]
    TooMany {
        /// [`RequestLimits::pending_max`].
        limit: usize,
    },
    /// The event could not be sent.
    #[error(transparent)]
    Serialize(#[from] SerializeError),
}

impl<T: Default> RequestError<T> {
    /// What has arrived, for those who can do with less than everything. Nothing when nothing was asked.
    ///
    /// ```no_run
    /// # use synapse_socket::{RequestError, Server};
    /// # async fn example(io: Server) {
    /// let sockets = io.fetch_sockets().await.unwrap_or_else(RequestError::into_partial);
    /// # }
    /// ```
    pub fn into_partial(self) -> T {
        match self {
            Self::Incomplete { partial, .. } => partial,
            Self::TooMany { .. } | Self::Serialize(_) => T::default(),
        }
    }
}

/// Who has not answered. Its text is the one that Node's adapters give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    question: Question,
    tally: Tally,
    unreadable: usize,
}

impl Missing {
    /// How many other servers have not answered. None when the cluster cannot be reached, so that nobody knows how many there are.
    pub fn servers(&self) -> Option<usize> {
        let Tally {
            servers,
            servers_answered,
            ..
        } = self.tally;
        servers.map(|servers| servers.saturating_sub(servers_answered))
    }

    /// How many clients have not acknowledged, of those that are known to have been asked.
    pub fn clients(&self) -> usize {
        self.tally
            .clients
            .saturating_sub(self.tally.clients_answered)
    }

    /// How many answers are not of the type that was asked for.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// How many of how many have answered.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            servers,
            servers_answered,
            ..
        } = self.tally;
        match (self.question, servers) {
            (Question::Acks, _) => f.write_str("operation has timed out"),
            (_, None) => f.write_str("the other servers cannot be reached"),
            (Question::Sockets, Some(_)) => {
                f.write_str("timeout reached while waiting for fetchSockets response")
            }
            (Question::Rooms, Some(_)) => {
                f.write_str("timeout reached while waiting for allRooms response")
            }
            (Question::Replies | Question::Servers, Some(servers)) => write!(
                f,
                "timeout reached: only {servers_answered} responses received out of {servers}"
            ),
        }
    }
}

/// What a request is about, which decides how its failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Servers,
    Sockets,
    Rooms,
    Replies,
    Acks,
}

/// A request under way. Dropping it ends it: late answers go nowhere.
pub(crate) struct Asking {
    namespace: Arc<NamespaceInner>,
    question: Question,
    responses: Responses,
    time: Pin<Box<Sleep>>,
    is_late: bool,
    unreadable: usize,
}

/// How many requests of a namespace are under way.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests(AtomicUsize);

/// There are as many requests under way as the limit allows.
pub(crate) struct TooMany {
    limit: usize,
}

impl Asking {
    /// Begins to wait; nobody has been asked yet.
    pub(crate) fn begin(
        namespace: &Arc<NamespaceInner>,
        question: Question,
        timeout: Option<Duration>,
    ) -> Result<Self, TooMany> {
        let limits = &namespace.limits().requests;
        let limit = limits.pending_max;
        let pending = &namespace.pending_requests().0;
        let more = |count| (count < limit).then_some(count + 1);
        pending
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| TooMany { limit })?;
        // By the runtime of the server, so that it can be awaited anywhere.
        let _context = namespace.runtime().enter();
        Ok(Self {
            question,
            responses: Responses::new(limits.response_bytes_max),
            time: Box::pin(tokio::time::sleep(timeout.unwrap_or(limits.timeout))),
            is_late: false,
            unreadable: 0,
            namespace: Arc::clone(namespace),
        })
    }

    /// Where the clients of this server answer.
    pub(crate) fn responder(&self) -> Responder {
        self.responses.responder()
    }

    /// Asks the other servers.
    pub(crate) fn ask_others(&self, request: &ClusterRequest) {
        match self.namespace.adapter() {
            Some(adapter) => adapter.request(request, &self.responder()),
            None => self.ask_nobody(),
        }
    }

    /// There are no other servers to ask.
    pub(crate) fn ask_nobody(&self) {
        self.responder().expect_servers(0);
    }

    /// The next answer. None when nothing more can come, or the time is up.
    pub(crate) async fn next(&mut self) -> Option<Response> {
        std::future::poll_fn(|context| {
            if let Poll::Ready(response) = self.responses.poll_next(context) {
                return Poll::Ready(response);
            }
            self.is_late = self.is_late || self.time.as_mut().poll(context).is_ready();
            if self.is_late {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Notes an answer that is not of the type that was asked for.
    pub(crate) fn note_unreadable(&mut self) {
        self.unreadable += 1;
    }

    pub(crate) fn tally(&self) -> Tally {
        self.responses.tally()
    }

    /// The answers, as complete as they are.
    pub(crate) fn end<T>(self, answers: T) -> Result<T, RequestError<T>> {
        let tally = self.tally();
        if tally.is_complete() && self.unreadable == 0 {
            return Ok(answers);
        }
        Err(RequestError::Incomplete {
            partial: answers,
            missing: Missing {
                question: self.question,
                tally,
                unreadable: self.unreadable,
            },
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.namespace
            .pending_requests()
            .0
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> From<TooMany> for RequestError<T> {
    fn from(TooMany { limit }: TooMany) -> Self {
        Self::TooMany { limit }
    }
}

impl From<TooMany> for AckError {
    fn from(TooMany { limit }: TooMany) -> Self {
        Self::TooManyRequests { limit }
    }
}
