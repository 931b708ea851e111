//! One client of the server: its session, with its sockets in the namespaces it has joined.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream as _};
use smallvec::SmallVec;
use synapse_engine::{Connection, Delivery};
use synapse_protocol::engine::Message;
use synapse_protocol::socket::{Arguments, Assembler, Incoming, Outgoing};
use synapse_protocol::{CloseReason, SocketId};
use tokio::time::{Instant, Sleep, sleep};

use crate::ack::Ack;
use crate::extract::Event;
use crate::handler::Running;
use crate::middleware::{BoxedMiddleware, Refusal};
use crate::pace::Pace;
use crate::server::ServerInner;
use crate::socket::{Notice, Socket};

/// The application's side of one session. Lives in the session's task.
pub struct Client {
    server: Arc<ServerInner>,
    connection: Arc<Connection>,
    sockets: SmallVec<[Socket; 1]>,
    assembler: Assembler,
    /// Handlers that wait for something.
    running: Option<Box<FuturesUnordered<Running>>>,
    /// When the attachments that are awaited must have arrived, once the task has had to wait for them.
    attachments_due: Option<Pin<Box<Sleep>>>,
    pace: Option<Box<Pace>>,
}

impl Client {
    pub(crate) fn new(server: Arc<ServerInner>, connection: Arc<Connection>) -> Self {
        Self {
            server,
            connection,
            sockets: SmallVec::new(),
            assembler: Assembler::default(),
            running: None,
            attachments_due: None,
            pace: None,
        }
    }

    fn handle(&mut self, incoming: Incoming<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        match incoming {
            Incoming::Connect { namespace, auth } => self.handle_connect(namespace, auth, cx),
            Incoming::Disconnect { namespace } => {
                if let Some(socket) = self.find(namespace) {
                    socket.end(CloseReason::ClientNamespaceDisconnect, Notice::None);
                    self.sockets.retain(|socket| !socket.has_ended());
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

    fn handle_connect(
        &mut self,
        name: &str,
        auth: Option<Cow<'_, str>>,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        self.sockets.retain(|socket| !socket.has_ended());
        if self.find(name).is_some() {
            return Err(CloseReason::ForcedServerClose);
        }
        let Some(namespace) = self.server.find_namespace(name) else {
            self.refuse(name, &Refusal::new("Invalid namespace"));
            return Ok(());
        };
        if self.sockets.len() >= self.server.limits.namespaces_max {
            self.refuse(name, &Refusal::new("Too many namespaces"));
            return Ok(());
        }
        let Some(id) = new_socket_id() else {
            return Err(CloseReason::ForcedServerClose);
        };
        let middlewares = namespace.middlewares();
        let socket = Socket::new(
            id,
            namespace,
            Arc::clone(&self.connection),
            auth.map(Box::from),
        );
        self.sockets.push(socket.clone());
        if middlewares.is_empty() {
            self.welcome(&socket, cx)
        } else {
            self.run(Box::pin(admit(socket, middlewares)), cx)
        }
    }

    /// Lets a client in and runs the handlers that wait for it.
    fn welcome(&mut self, socket: &Socket, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if socket.begin() {
            let started = catch_unwind(AssertUnwindSafe(|| start_connect_handlers(socket)));
            for running in started.map_err(|_| panicked())? {
                self.run(running, cx)?;
            }
        }
        Ok(())
    }

    fn waiting_callers(&self) -> usize {
        self.sockets.iter().map(Socket::waiting_callers).sum()
    }

    fn refuse(&self, namespace: &str, refusal: &Refusal) {
        let json = refusal.to_json();
        let packet = Outgoing::ConnectError {
            namespace,
            json: &json,
        };
        self.server
            .parser
            .send(&self.connection, Delivery::Kept, &packet);
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
        let handlers = socket.handlers(&arguments.event_name());
        let ack = Ack::new(socket.clone(), id);
        for handler in handlers {
            let event = Event {
                socket: &socket,
                arguments,
                ack: &ack,
            };
            let started = catch_unwind(AssertUnwindSafe(|| handler(&event)));
            match started {
                Ok(Some(running)) => self.run(running, cx)?,
                Ok(None) => (),
                Err(_) => return Err(panicked()),
            }
        }
        Ok(())
    }

    /// Polls a handler once, at its event. One that waits for something stays in this task, where the cost of waking it is least.
    fn run(&mut self, mut running: Running, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(())) => Ok(()),
            Ok(Poll::Pending) => {
                self.running.get_or_insert_default().push(running);
                Ok(())
            }
            Err(_) => Err(panicked()),
        }
    }
}

/// A handler that panics costs its own client the connection, and nobody else anything.
fn panicked() -> CloseReason {
    tracing::error!("a handler panicked; its client is disconnected");
    CloseReason::ForcedServerClose
}

/// Asks the middlewares one after the other, then lets the client in or refuses it.
async fn admit(socket: Socket, middlewares: Vec<BoxedMiddleware>) {
    let arguments = Arguments::default();
    let ack = Ack::new(socket.clone(), None);
    for middleware in middlewares {
        let deciding = middleware(&Event {
            socket: &socket,
            arguments: &arguments,
            ack: &ack,
        });
        let decision = match deciding {
            Ok(deciding) => deciding.await,
            Err(refusal) => Err(refusal),
        };
        if socket.has_ended() {
            return;
        }
        if let Err(refusal) = decision {
            let json = refusal.to_json();
            socket.send(&Outgoing::ConnectError {
                namespace: socket.namespace_name(),
                json: &json,
            });
            socket.end(CloseReason::ServerNamespaceDisconnect, Notice::None);
            return;
        }
    }
    if socket.begin() {
        let handlers: FuturesUnordered<Running> =
            start_connect_handlers(&socket).into_iter().collect();
        futures_util::StreamExt::collect::<()>(handlers).await;
    }
}

/// Handlers of a client that has gone end in a task of their own. One that panics ends none of the others.
async fn run_to_the_end(mut running: Box<FuturesUnordered<Running>>) {
    std::future::poll_fn(|cx| {
        loop {
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *running).poll_next(cx))) {
                Ok(Poll::Ready(Some(()))) => (),
                Ok(Poll::Ready(None)) => return Poll::Ready(()),
                Ok(Poll::Pending) => return Poll::Pending,
                Err(_) => tracing::error!("a handler panicked after its client had gone"),
            }
        }
    })
    .await;
}

fn start_connect_handlers(socket: &Socket) -> SmallVec<[Running; 1]> {
    let arguments = Arguments::default();
    let ack = Ack::new(socket.clone(), None);
    let event = Event {
        socket,
        arguments: &arguments,
        ack: &ack,
    };
    socket
        .namespace()
        .connect_handlers()
        .iter()
        .filter_map(|handler| handler(&event))
        .collect()
}

/// An id that cannot be guessed; none when the system has no randomness to give.
fn new_socket_id() -> Option<SocketId> {
    let mut random = [0; 15];
    match getrandom::fill(&mut random) {
        Ok(()) => Some(SocketId::from_random(random)),
        Err(error) => {
            tracing::error!(%error, "failed to draw a socket id");
            None
        }
    }
}

impl synapse_engine::Client for Client {
    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let limits = self.server.limits.packets;
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        };
        // The assembler lends the namespace of a packet, so it is not a part of `self` while the packet is handled.
        let mut assembler = std::mem::take(&mut self.assembler);
        let incoming = self.server.parser.decode(&message, &mut assembler, &limits);
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
                Err(CloseReason::ForcedClose)
            }
        };
        self.assembler = assembler;
        handled
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        self.poll_running(cx);
        if let Some(pace) = &mut self.pace {
            // What is left unread is read in the next run.
            let _ = pace.poll(cx);
        }
        if self.assembler.is_pending() {
            self.poll_attachments(cx);
        }
    }

    fn is_busy(&self) -> bool {
        let limit = self.server.limits.running_handlers_max;
        let running = self.running.as_ref().map_or(0, |running| running.len());
        // The answers to what handlers have asked the client lie behind its events: they would wait for each other.
        let is_full = running >= limit && running >= limit.saturating_add(self.waiting_callers());
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
        if let Some(running) = self.running.take() {
            self.connection.runtime().spawn(run_to_the_end(running));
        }
    }
}

impl Client {
    fn poll_running(&mut self, cx: &mut Context<'_>) {
        let Some(running) = &mut self.running else {
            return;
        };
        loop {
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut **running).poll_next(cx))) {
                Ok(Poll::Ready(Some(()))) => (),
                Ok(Poll::Ready(None)) => break,
                Ok(Poll::Pending) => return,
                Err(_) => {
                    self.connection.close(panicked());
                    return;
                }
            }
        }
        self.running = None;
    }

    fn keep_pace(&mut self, events: usize, bytes: usize) {
        let limits = &self.server.limits;
        if limits.events_per_second.is_some() || limits.bytes_per_second.is_some() {
            let now = Instant::now();
            self.pace
                .get_or_insert_with(|| Box::new(Pace::new(now)))
                .note(limits, events, bytes, now);
        }
    }

    /// Ends a client that keeps us waiting for attachments. The timer is there only while the task waits for some.
    fn poll_attachments(&mut self, cx: &mut Context<'_>) {
        let timeout = self.server.limits.attachment_timeout;
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
