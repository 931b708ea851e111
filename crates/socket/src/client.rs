//! One client of the server: its session, with its sockets in the namespaces it has joined.

mod joining;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream as _};
use smallvec::SmallVec;
use synapse_engine::{Connection, Version};
use synapse_protocol::CloseReason;
use synapse_protocol::engine::Message;
use synapse_protocol::socket::{Arguments, Assembler, Incoming};
use tokio::time::{Instant, Sleep, sleep};

use self::joining::Joining;
use crate::error::SocketError;
use crate::event::{Event, Occasion};
use crate::gate::Gate;
use crate::handler::{BoxedHandler, Running};
use crate::listeners::calls;
use crate::pace::Pace;
use crate::server::ServerInner;
use crate::socket::{Notice, Socket};
use crate::v2;

/// The application's side of one session. Lives in the session's task.
pub struct Client {
    server: Arc<ServerInner>,
    connection: Arc<Connection>,
    sockets: SmallVec<[Socket; 1]>,
    assembler: Assembler,
    /// What most clients have none of at most times.
    pending: Option<Box<Pending>>,
    /// When the attachments that are awaited must have arrived, once the task has had to wait for them.
    attachments_due: Option<Pin<Box<Sleep>>>,
    pace: Option<Box<Pace>>,
}

/// What waits for something.
#[derive(Default)]
struct Pending {
    handlers: FuturesUnordered<Running>,
    gates: Vec<Gate>,
    joining: Vec<Joining>,
}

impl Client {
    pub(crate) fn new(server: Arc<ServerInner>, connection: Arc<Connection>) -> Self {
        Self {
            server,
            connection,
            sockets: SmallVec::new(),
            assembler: Assembler::default(),
            pending: None,
            attachments_due: None,
            pace: None,
        }
    }

    fn handle(&mut self, incoming: Incoming<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        match incoming {
            Incoming::Connect {
                namespace,
                query,
                auth,
            } => match self.connection.version() {
                Version::V3 => {
                    let auth = v2::auth(query.unwrap_or_default());
                    self.handle_connect(namespace, Some(&auth), cx)
                }
                Version::V4 => self.handle_connect(namespace, auth.as_deref(), cx),
            },
            Incoming::Disconnect { namespace } => {
                if let Some(socket) = self.find(namespace) {
                    socket.end(CloseReason::ClientNamespaceDisconnect, Notice::None);
                    self.forget_ended();
                } else if let Some(pending) = &mut self.pending {
                    let joining = &mut pending.joining;
                    joining.retain(|joining| joining.request.name() != namespace);
                }
                Ok(())
            }
            Incoming::Event {
                namespace,
                id,
                arguments,
            } => self.handle_event(namespace, id, &arguments, cx),
            Incoming::Ack {
                namespace,
                id,
                arguments,
            } => {
                let socket = self.find(namespace).ok_or(CloseReason::ForcedServerClose)?;
                if let Some(waiting) = socket.take_ack(id) {
                    waiting.answer(arguments);
                }
                Ok(())
            }
            // Only servers refuse.
            Incoming::ConnectError { .. } => Err(CloseReason::ForcedServerClose),
        }
    }

    fn find(&self, namespace: &str) -> Option<&Socket> {
        self.sockets
            .iter()
            .find(|socket| socket.namespace_name() == namespace && !socket.has_ended())
    }

    fn forget_ended(&mut self) {
        self.sockets.retain(|socket| !socket.has_ended());
        if let Some(pending) = &mut self.pending {
            pending.gates.retain(|gate| !gate.socket().has_ended());
        }
    }

    fn waiting_callers(&self) -> usize {
        self.sockets.iter().map(Socket::waiting_callers).sum()
    }

    fn handle_event(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        arguments: &Arguments,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        let socket = self
            .find(namespace)
            .ok_or(CloseReason::ForcedServerClose)?
            .clone();
        if !socket.is_connected() {
            // An event before the middlewares have let the client in.
            return Err(CloseReason::ForcedServerClose);
        }
        let namespace = socket.namespace().handlers();
        let listeners = &namespace.listeners;
        let name = arguments.event_name();
        let occasion = Occasion::Event { id };
        let event = Event {
            socket: &socket,
            name: &name,
            arguments,
            occasion: &occasion,
        };
        if socket.has_listeners() {
            let own: Vec<BoxedHandler> = socket.read_listeners(|listeners| calls(&listeners.any));
            self.start_all(&own, &event, cx)?;
        }
        for listener in &listeners.any {
            self.start(listener.call(), &event, cx)?;
        }
        if let Some(gate) = self.gate_of(&socket) {
            gate.push(arguments.clone(), id);
            return Ok(());
        }
        if listeners.middlewares.is_empty() && !socket.has_middlewares() {
            return self.dispatch(&event, cx);
        }
        let mut gate = Gate::new(socket.clone());
        gate.push(arguments.clone(), id);
        if self.pass(&mut gate, cx)?.is_pending() {
            self.pending.get_or_insert_default().gates.push(gate);
        }
        Ok(())
    }

    fn gate_of(&mut self, socket: &Socket) -> Option<&mut Gate> {
        let gates = &mut self.pending.as_mut()?.gates;
        gates
            .iter_mut()
            .find(|gate| gate.socket().id() == socket.id())
    }

    /// Lets events through until one has to wait.
    fn pass(&mut self, gate: &mut Gate, cx: &mut Context<'_>) -> Result<Poll<()>, CloseReason> {
        loop {
            let polled = catch_unwind(AssertUnwindSafe(|| gate.poll(cx)));
            match polled.map_err(|_| panicked())? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(None) => return Ok(Poll::Ready(())),
                Poll::Ready(Some((arguments, id))) => {
                    let socket = gate.socket().clone();
                    self.dispatch(
                        &Event {
                            socket: &socket,
                            name: &arguments.event_name(),
                            arguments: &arguments,
                            occasion: &Occasion::Event { id },
                        },
                        cx,
                    )?;
                }
            }
        }
    }

    /// Calls the handlers of an event that has passed all middlewares.
    fn dispatch(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        self.start_all(&event.socket.take_handlers(event.name), event, cx)?;
        let namespace = event.socket.namespace().handlers();
        let listeners = namespace.listeners.events.get(event.name);
        for listener in listeners.into_iter().flatten() {
            self.start(listener.call(), event, cx)?;
        }
        Ok(())
    }

    fn start_all(
        &mut self,
        handlers: &[BoxedHandler],
        event: &Event<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        handlers
            .iter()
            .try_for_each(|handler| self.start(handler, event, cx))
    }

    fn start(
        &mut self,
        handler: &BoxedHandler,
        event: &Event<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        let started = catch_unwind(AssertUnwindSafe(|| handler(event)));
        match started.map_err(|_| panicked())? {
            Ok(running) => self.run(running, cx),
            Err(error) => {
                tracing::debug!(event = event.name, %error, "did not call a handler");
                event.ack().refuse_and_raise(error.into());
                Ok(())
            }
        }
    }

    /// Polls a handler once, at its event. One that waits for something stays in this task, where the cost of waking it is least.
    fn run(&mut self, mut running: Running, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(())) => Ok(()),
            Ok(Poll::Pending) => {
                self.pending.get_or_insert_default().handlers.push(running);
                Ok(())
            }
            Err(_) => Err(panicked()),
        }
    }

    /// Goes on with what waits.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let handlers = &mut pending.handlers;
        while catch_unwind(AssertUnwindSafe(|| {
            matches!(
                Pin::new(&mut *handlers).poll_next(cx),
                Poll::Ready(Some(()))
            )
        }))
        .map_err(|_| panicked())?
        {}
        let joining = std::mem::take(&mut pending.joining);
        for mut gate in std::mem::take(&mut pending.gates) {
            if self.pass(&mut gate, cx)?.is_pending() {
                self.pending.get_or_insert_default().gates.push(gate);
            }
        }
        for joining in joining {
            self.decide(joining, cx)?;
        }
        self.pending.take_if(|pending| {
            pending.handlers.is_empty() && pending.gates.is_empty() && pending.joining.is_empty()
        });
        Ok(())
    }
}

/// A handler that panics costs its own client the connection, and nobody else anything.
fn panicked() -> CloseReason {
    tracing::error!("a handler panicked; its client is disconnected");
    CloseReason::ForcedServerClose
}

/// Handlers of a client that has gone end in a task of their own. One that panics ends none of the others.
async fn run_to_the_end(mut running: FuturesUnordered<Running>) {
    std::future::poll_fn(|cx| {
        loop {
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut running).poll_next(cx))) {
                Ok(Poll::Ready(Some(()))) => (),
                Ok(Poll::Ready(None)) => return Poll::Ready(()),
                Ok(Poll::Pending) => return Poll::Pending,
                Err(_) => tracing::error!("a handler panicked after its client had gone"),
            }
        }
    })
    .await;
}

impl synapse_engine::Client for Client {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        match self.connection.version() {
            // Clients of Socket.IO 2 are in the main namespace without asking for it.
            Version::V3 => self.handle_connect("/", None, cx),
            Version::V4 => Ok(()),
        }
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let limits = self.server.limits().packets;
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        };
        // The assembler lends the namespace of a packet, so it is not a part of `self` while the packet is handled.
        let mut assembler = std::mem::take(&mut self.assembler);
        let incoming = self
            .server
            .parser()
            .decode(&message, &mut assembler, &limits);
        let is_whole = matches!(incoming, Ok(Some(_)));
        if is_whole {
            self.attachments_due = None;
        }
        self.keep_pace(usize::from(is_whole), bytes);
        let handled = match incoming {
            Ok(Some(incoming)) => self.handle(incoming, cx),
            // Attachments of a client that is in no namespace are never wanted: it must not make us hold them (GHSA-55mf-67qm-4wpg).
            Ok(None) if self.sockets.is_empty() => Err(CloseReason::ForcedServerClose),
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "failed to decode a packet");
                for socket in self.sockets.iter().filter(|socket| socket.is_in()) {
                    socket.raise(SocketError::Packet(error.clone()));
                }
                Err(CloseReason::ForcedClose)
            }
        };
        self.assembler = assembler;
        handled
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Err(reason) = self.poll_pending(cx) {
            self.connection.close(reason);
        }
        if let Some(pace) = &mut self.pace {
            // What is left unread is read in the next run.
            let _ = pace.poll(cx);
        }
        if self.assembler.is_pending() {
            self.poll_attachments(cx);
        }
    }

    fn is_busy(&self) -> bool {
        let waiting = self.pending.as_ref().map_or(0, |pending| {
            let held_back: usize = pending.gates.iter().map(Gate::len).sum();
            pending.handlers.len() + held_back
        });
        let limit = self.server.limits().running_handlers_max;
        // The answers to what handlers have asked the client lie behind its events: they would wait for each other.
        let is_full = waiting >= limit && waiting >= limit.saturating_add(self.waiting_callers());
        is_full || self.pace.as_ref().is_some_and(|pace| pace.is_paused())
    }

    fn disconnecting(&mut self) {
        for socket in &self.sockets {
            socket.end(CloseReason::ServerNamespaceDisconnect, Notice::Packet);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        for socket in self.sockets.drain(..) {
            socket.end(reason, Notice::None);
        }
        if let Some(pending) = self.pending.take()
            && !pending.handlers.is_empty()
        {
            let ending = run_to_the_end(pending.handlers);
            self.connection.runtime().spawn(ending);
        }
    }
}

impl Client {
    fn keep_pace(&mut self, events: usize, bytes: usize) {
        let limits = self.server.limits();
        if limits.events_per_second.is_some() || limits.bytes_per_second.is_some() {
            let now = Instant::now();
            self.pace
                .get_or_insert_with(|| Box::new(Pace::new(now)))
                .note(limits, events, bytes, now);
        }
    }

    /// Ends a client that keeps us waiting for attachments. The timer is there only while the task waits for some.
    fn poll_attachments(&mut self, cx: &mut Context<'_>) {
        let timeout = self.server.limits().attachment_timeout;
        let is_busy = synapse_engine::Client::is_busy(self);
        let due = self
            .attachments_due
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        if is_busy {
            // They may have come and lie unread.
            due.as_mut().reset(Instant::now() + timeout);
        }
        if due.as_mut().poll(cx).is_ready() {
            tracing::debug!(?timeout, "attachments of a packet did not arrive in time");
            self.connection.close(CloseReason::ForcedClose);
        }
    }
}
