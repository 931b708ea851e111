//! The way of a client into a namespace: which it is, whether it comes into being, and whether the client is let in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use smallvec::SmallVec;
use synapse_engine::{Delivery, Version};
use synapse_protocol::socket::{Arguments, Outgoing};
use synapse_protocol::{CloseReason, SocketId};

use super::{Client, panicked};
use crate::event::{Event, Occasion};
use crate::handler::Running;
use crate::middleware::{BoxedMiddleware, ask};
use crate::namespace::NamespaceInner;
use crate::parent::{NamespaceRequest, Parent, find_parent};
use crate::recovery::{Claim, Recovery, Tracked};
use crate::refusal::Refusal;
use crate::socket::{Notice, Socket};
use crate::v2;

/// A client that asks for a namespace that there is not.
pub(super) struct Joining {
    pub(super) request: NamespaceRequest,
    deciding: Pin<Box<dyn Future<Output = Option<Arc<Parent>>> + Send>>,
}

impl Client {
    pub(super) fn handle_connect(
        &mut self,
        name: &str,
        auth: Option<&str>,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        self.forget_ended();
        if self.find(name).is_some() || self.is_joining(name) {
            return Err(CloseReason::ForcedServerClose);
        }
        if let Some(namespace) = self.server.namespaces.enter(name) {
            return self.join(&namespace, auth, cx);
        }
        let parents = self.server.namespaces.parents();
        if parents.is_empty() || !name.starts_with('/') {
            self.refuse(name, &Refusal::new("Invalid namespace"));
            return Ok(());
        }
        if self.is_full() {
            self.refuse(name, &Refusal::new("Too many namespaces"));
            return Ok(());
        }
        let request = NamespaceRequest::new(name, auth, Arc::clone(&self.connection));
        let deciding = Box::pin(find_parent(parents, request.clone()));
        self.decide(Joining { request, deciding }, cx)
    }

    fn is_full(&self) -> bool {
        let joining = self
            .pending
            .as_ref()
            .map_or(0, |pending| pending.joining.len());
        self.sockets.len() + joining >= self.server.limits().namespaces_max
    }

    /// Goes on with the decision whether a namespace comes into being.
    pub(super) fn decide(
        &mut self,
        mut joining: Joining,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        let polled = catch_unwind(AssertUnwindSafe(|| joining.deciding.as_mut().poll(cx)));
        let request = &joining.request;
        match polled.map_err(|_| panicked())? {
            Poll::Pending => {
                self.pending.get_or_insert_default().joining.push(joining);
                Ok(())
            }
            Poll::Ready(None) => {
                self.refuse(request.name(), &Refusal::new("Invalid namespace"));
                Ok(())
            }
            Poll::Ready(Some(parent)) => {
                match self.server.namespaces.enter_child(&parent, request.name()) {
                    Ok(namespace) => self.join(&namespace, request.auth_text(), cx),
                    Err(refusal) => {
                        self.refuse(request.name(), &refusal);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Makes a client join a namespace that has been entered for it.
    fn join(
        &mut self,
        namespace: &Arc<NamespaceInner>,
        auth: Option<&str>,
        cx: &mut Context<'_>,
    ) -> Result<(), CloseReason> {
        if self.is_full() {
            self.refuse(namespace.name(), &Refusal::new("Too many namespaces"));
            namespace.leave();
            return Ok(());
        }
        let handlers = namespace.handlers();
        let (socket, middlewares) = if let Some(socket) = self.restore(namespace, auth) {
            let recovery = namespace.recovery();
            let skips = recovery.is_some_and(Recovery::skips_middlewares);
            (socket, (!skips).then(|| handlers.middlewares.clone()))
        } else if let Some(socket) = self.new_socket(namespace, auth) {
            (socket, Some(handlers.middlewares.clone()))
        } else {
            namespace.leave();
            return Err(CloseReason::ForcedServerClose);
        };
        let middlewares = middlewares.unwrap_or_default();
        self.sockets.push(socket.clone());
        if middlewares.is_empty() {
            self.welcome(&socket, cx)
        } else {
            self.run(Box::pin(admit(socket, middlewares)), cx)
        }
    }

    /// The socket that the client had, if it may have it again.
    fn restore(&self, namespace: &Arc<NamespaceInner>, auth: Option<&str>) -> Option<Socket> {
        let recovery = self.recovery(namespace)?;
        let claim = Claim::read(auth?)?;
        recovery.restore(&claim, |id, tracked| {
            self.socket(id, namespace, auth, Some(tracked))
        })
    }

    /// Clients of Socket.IO 2 know nothing of recovery.
    fn recovery<'a>(&self, namespace: &'a NamespaceInner) -> Option<&'a Recovery> {
        let recovery = namespace.recovery();
        recovery.filter(|_| self.connection.version() == Version::V4)
    }

    /// None when the system has no randomness to give.
    fn new_socket(&self, namespace: &Arc<NamespaceInner>, auth: Option<&str>) -> Option<Socket> {
        let id = match self.connection.version() {
            Version::V3 if namespace.name() == "/" => self.connection.id().to_socket_id(),
            Version::V3 | Version::V4 => new_socket_id()?,
        };
        let tracked = match self.recovery(namespace) {
            Some(recovery) => Some(recovery.track()?),
            None => None,
        };
        Some(self.socket(id, namespace, auth, tracked))
    }

    fn socket(
        &self,
        id: SocketId,
        namespace: &Arc<NamespaceInner>,
        auth: Option<&str>,
        tracked: Option<Box<Tracked>>,
    ) -> Socket {
        let connection = Arc::clone(&self.connection);
        let auth = auth.map(Box::from);
        Socket::new(id, Arc::clone(namespace), connection, auth, tracked)
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

    fn is_joining(&self, name: &str) -> bool {
        let pending = self.pending.as_ref();
        pending.is_some_and(|pending| {
            let mut joining = pending.joining.iter();
            joining.any(|joining| joining.request.name() == name)
        })
    }

    fn refuse(&self, namespace: &str, refusal: &Refusal) {
        let json = refusal.to_json();
        let packet = Outgoing::ConnectError {
            namespace,
            json: &json,
        };
        self.server
            .parser()
            .send(&self.connection, Delivery::Kept, &packet);
    }
}

/// Asks the middlewares one after the other, then lets the client in or refuses it.
async fn admit(socket: Socket, middlewares: Vec<BoxedMiddleware>) {
    let decision = ask(
        middlewares,
        socket.clone(),
        Arguments::default(),
        Occasion::Connect,
    )
    .await;
    if socket.has_ended() {
        return;
    }
    if let Err(refusal) = decision {
        let json = match socket.version() {
            Version::V3 => v2::refusal(&refusal),
            Version::V4 => refusal.to_json(),
        };
        socket.send(&Outgoing::ConnectError {
            namespace: socket.namespace_name(),
            json: &json,
        });
        socket.end(CloseReason::ServerNamespaceDisconnect, Notice::None);
        return;
    }
    if socket.begin() {
        let handlers: FuturesUnordered<Running> =
            start_connect_handlers(&socket).into_iter().collect();
        futures_util::StreamExt::collect::<()>(handlers).await;
    }
}

fn start_connect_handlers(socket: &Socket) -> SmallVec<[Running; 1]> {
    let event = Event::of_moment(socket, &Occasion::Connect);
    let handlers = socket.namespace().handlers();
    let started = handlers.connect.iter().map(|handler| handler(&event));
    started
        .filter_map(|started| match started {
            Ok(running) => Some(running),
            Err(error) => {
                tracing::debug!(event = event.name, %error, "did not call a handler");
                socket.raise(Refusal::from(error).into());
                None
            }
        })
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
