//! How an application listens to all sockets of a namespace.

use std::sync::Arc;

use synapse_protocol::socket::Arguments;

use super::Namespace;
use crate::handler::{BoxedHandler, Handler};
use crate::listeners::{Listener, ListenerId, Listeners, Place, Tap, ids};
use crate::middleware::Middleware;
use crate::socket::Socket;
use crate::typed::{EventHandler, EventType};

/// Listens to the events and the ends of all its sockets. It costs nothing per client, and sockets that are there already are heard as well.
/// A socket's own listeners come before those of its namespace.
impl Namespace {
    /// Registers a handler of an event. What clients get of it is described at [`IntoAck`](crate::IntoAck).
    ///
    /// ```no_run
    /// use synapse_socket::{Data, Reply, Server, Socket};
    ///
    /// # fn example(io: Server) {
    /// io.of("/chat").on("say", |socket: Socket, Data((room, text)): Data<(String, String)>| async move {
    ///     let _ = socket.to(room).emit("said", text);
    ///     Reply("delivered")
    /// });
    /// # }
    /// ```
    ///
    /// Names that are [reserved](synapse_protocol::socket::is_reserved_event) never come from a client: a handler of one is left out, which
    /// is logged as an error. The end of a socket is heard by [`on_disconnect`](Self::on_disconnect).
    pub fn on<P>(&self, event: &str, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| listeners.on(event, handler))
    }

    /// Registers a handler of an event that has a type of its own, which is its first parameter. See [`EventType`].
    pub fn on_event<E: EventType, P>(&self, handler: impl EventHandler<E, P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| listeners.on(E::NAME, handler))
    }

    /// Registers a handler of every event that comes in, whatever its name. It is called before middlewares and other handlers, also for
    /// events that a middleware then refuses.
    ///
    /// ```no_run
    /// use synapse_socket::{Arguments, EventName, Namespace};
    ///
    /// # fn example(chat: Namespace) {
    /// chat.on_any(|EventName(name): EventName, event: Arguments| async move {
    ///     println!("{name}: {}", event.json());
    /// });
    /// # }
    /// ```
    pub fn on_any<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.add_any(handler.into_boxed().0, Place::Last)
    }

    /// The same as [`on_any`](Self::on_any), before those that are registered already.
    pub fn prepend_any<P>(&self, handler: impl Handler<P>) -> ListenerId {
        self.add_any(handler.into_boxed().0, Place::First)
    }

    /// Registers a listener of every event that goes out to its sockets, those of broadcasts included: it gets the socket, and the event's
    /// name and arguments. Answers to events of the client are not shown.
    ///
    /// It is called by whoever sends, at once, so it must not block; and it must not emit to the socket, which would call it again.
    ///
    /// ```no_run
    /// use synapse_socket::{Namespace};
    ///
    /// # fn example(chat: Namespace) {
    /// chat.on_any_outgoing(|socket, event| println!("{} <- {}", socket.id(), event.json()));
    /// # }
    /// ```
    pub fn on_any_outgoing(
        &self,
        listener: impl Fn(&Socket, &Arguments) + Send + Sync + 'static,
    ) -> ListenerId {
        self.add_any_outgoing(Arc::new(listener), Place::Last)
    }

    /// The same as [`on_any_outgoing`](Self::on_any_outgoing), before those that are registered already.
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&Socket, &Arguments) + Send + Sync + 'static,
    ) -> ListenerId {
        self.add_any_outgoing(Arc::new(listener), Place::First)
    }

    /// Registers a middleware that every event passes on its way to the handlers, one after the other in the order of their
    /// registration, before those of the socket itself. One that refuses ends the event: the client gets `{ "error": message, "data": data }` if it waits for an answer,
    /// and the handlers of [`on_error`](Self::on_error) are told.
    ///
    /// Events of one socket stay in order: while a middleware waits, those that follow wait behind it, up to
    /// [`SocketLimits::running_handlers_max`](crate::SocketLimits::running_handlers_max), then nothing more is read from the client. So a
    /// middleware that asks its own client should do so with a timeout. When the socket ends, what still waits is dropped.
    ///
    /// ```no_run
    /// use synapse_socket::{EventName, Refusal, Namespace};
    ///
    /// # async fn may_call(_: &str) -> bool { true }
    /// # fn example(chat: Namespace) {
    /// chat.use_event_middleware(|EventName(name): EventName| async move {
    ///     if may_call(&name).await { Ok(()) } else { Err(Refusal::new("not allowed")) }
    /// });
    /// # }
    /// ```
    pub fn use_event_middleware<P>(&self, middleware: impl Middleware<P>) -> ListenerId {
        let middleware = Listener::new(middleware.into_boxed().0);
        self.add(middleware, |listeners, middleware| {
            listeners.middlewares.push(middleware)
        })
    }

    /// Registers a handler that runs when a socket is about to be disconnected: it still is in its rooms until the handler first waits. It
    /// takes the [`CloseReason`](crate::CloseReason) and whatever else it needs.
    pub fn on_disconnecting<P>(&self, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| {
            listeners.disconnecting.push(handler)
        })
    }

    /// Registers a handler that runs when a socket has been disconnected. It takes the [`CloseReason`](crate::CloseReason) and whatever
    /// else it needs.
    ///
    /// ```no_run
    /// use synapse_socket::{CloseReason, Namespace, Socket};
    ///
    /// # fn example(chat: Namespace) {
    /// chat.on_disconnect(|socket: Socket, reason: CloseReason| async move {
    ///     println!("{} has gone: {reason}", socket.id());
    /// });
    /// # }
    /// ```
    pub fn on_disconnect<P>(&self, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| {
            listeners.disconnected.push(handler)
        })
    }

    /// Registers a handler of what goes wrong between a client and the handlers of events: it takes the
    /// [`SocketError`](crate::SocketError) and whatever else it needs.
    ///
    /// ```no_run
    /// use synapse_socket::{Namespace, Socket, SocketError};
    ///
    /// # fn example(chat: Namespace) {
    /// chat.on_error(|socket: Socket, error: SocketError| async move {
    ///     println!("{}: {error}", socket.id());
    /// });
    /// # }
    /// ```
    pub fn on_error<P>(&self, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| listeners.errors.push(handler))
    }

    /// Takes off what was registered with this id, whatever it listens to (what listens to one socket alone goes by [`Socket::off`]). Handlers that are under way go on.
    pub fn off(&self, id: ListenerId) {
        self.change_listeners(|listeners| listeners.off(id));
    }

    /// Takes off all handlers of an event that listen to the whole namespace.
    pub fn off_event(&self, event: &str) {
        self.change_listeners(|listeners| drop(listeners.events.remove(event)));
    }

    /// Takes off all handlers of [`on_any`](Self::on_any).
    pub fn off_any(&self) {
        self.change_listeners(|listeners| listeners.any.clear());
    }

    /// Takes off all listeners of [`on_any_outgoing`](Self::on_any_outgoing).
    pub fn off_any_outgoing(&self) {
        self.change_listeners(|listeners| listeners.any_outgoing.clear());
    }

    /// The handlers of an event that listen to the whole namespace, in their order.
    pub fn listeners(&self, event: &str) -> Vec<ListenerId> {
        self.read_listeners(|listeners| {
            listeners
                .events
                .get(event)
                .map(|handlers| ids(handlers))
                .unwrap_or_default()
        })
    }

    /// The handlers of [`on_any`](Self::on_any), in their order.
    pub fn listeners_any(&self) -> Vec<ListenerId> {
        self.read_listeners(|listeners| ids(&listeners.any))
    }

    /// The listeners of [`on_any_outgoing`](Self::on_any_outgoing), in their order.
    pub fn listeners_any_outgoing(&self) -> Vec<ListenerId> {
        self.read_listeners(|listeners| ids(&listeners.any_outgoing))
    }

    fn add_any(&self, handler: BoxedHandler, place: Place) -> ListenerId {
        self.add(Listener::new(handler), |listeners, handler| {
            place.insert(&mut listeners.any, handler)
        })
    }

    fn add_any_outgoing(&self, tap: Tap, place: Place) -> ListenerId {
        self.add(Listener::new(tap), |listeners, tap| {
            place.insert(&mut listeners.any_outgoing, tap)
        })
    }

    fn add<T>(
        &self,
        listener: Listener<T>,
        add: impl FnOnce(&mut Listeners, Listener<T>),
    ) -> ListenerId {
        let id = listener.id;
        self.change_listeners(|listeners| add(listeners, listener));
        id
    }

    fn change_listeners(&self, change: impl FnOnce(&mut Listeners)) {
        self.0.change(|handlers| change(&mut handlers.listeners));
    }

    fn read_listeners<R>(&self, read: impl FnOnce(&Listeners) -> R) -> R {
        read(&self.0.handlers().listeners)
    }
}
