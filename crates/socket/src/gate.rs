//! The way of one socket's events through its middlewares, one event after the other.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use synapse_protocol::socket::Arguments;

use crate::ack::Ack;
use crate::event::Occasion;
use crate::listeners::calls;
use crate::middleware::{BoxedMiddleware, Deciding, ask};
use crate::socket::Socket;

/// An event and the id by which the client waits for its answer.
type Waiting = (Arguments, Option<u64>);

/// Holds a socket's events back while a middleware decides about the first of them, so that they stay in order. Exists only as long as
/// there is one.
pub(crate) struct Gate {
    socket: Socket,
    deciding: Option<Deciding>,
    queue: VecDeque<Waiting>,
}

impl Gate {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            deciding: None,
            queue: VecDeque::with_capacity(1),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn push(&mut self, arguments: Arguments, id: Option<u64>) {
        self.queue.push_back((arguments, id));
    }

    /// How many events have not passed.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The next event that may pass; none when there are no more. Those that are refused are told so on the way.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Waiting>> {
        loop {
            if self.socket.has_ended() {
                return Poll::Ready(None);
            }
            let Some((arguments, id)) = self.queue.front() else {
                return Poll::Ready(None);
            };
            let decision = match &mut self.deciding {
                Some(deciding) => ready!(deciding.as_mut().poll(cx)),
                None => {
                    let middlewares = middlewares(&self.socket);
                    if !middlewares.is_empty() {
                        self.deciding = Some(Box::pin(ask(
                            middlewares,
                            self.socket.clone(),
                            arguments.clone(),
                            Occasion::Event { id: *id },
                        )));
                        continue;
                    }
                    Ok(())
                }
            };
            self.deciding = None;
            let Some(event) = self.queue.pop_front() else {
                return Poll::Ready(None);
            };
            if self.socket.has_ended() {
                return Poll::Ready(None);
            }
            match decision {
                Ok(()) => return Poll::Ready(Some(event)),
                Err(refusal) => {
                    tracing::debug!(socket = %self.socket.id(), "a middleware refused an event");
                    Ack::new(self.socket.clone(), event.1).refuse_and_raise(refusal);
                }
            }
        }
    }
}

/// Those of the namespace, then the socket's own.
fn middlewares(socket: &Socket) -> Vec<BoxedMiddleware> {
    let mut middlewares: Vec<_> = calls(&socket.namespace().handlers().listeners.middlewares);
    if socket.has_middlewares() {
        middlewares
            .extend(socket.read_listeners(|listeners| calls::<_, Vec<_>>(&listeners.middlewares)));
    }
    middlewares
}
