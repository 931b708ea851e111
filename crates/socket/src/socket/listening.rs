//! How an application listens to one socket, and what is called when there is something to hear.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use synapse_protocol::socket::Arguments;

use super::Socket;
use crate::detached::run_detached;
use crate::error::SocketError;
use crate::event::{Event, Occasion};
use crate::handler::{BoxedHandler, Handler};
use crate::listeners::{Listener, ListenerId, Listeners, Place, Tap, ids, run_taps};
use crate::middleware::Middleware;
use crate::refusal::Refusal;
use crate::typed::{EventHandler, EventType};

/// Listens to one socket. What is heard of every socket of a namespace is better listened to there: it costs nothing per client.
///
/// Listeners go with the socket. Once it has ended, none can be added.
impl Socket {
    /// Registers a handler of an event of this socket alone. See [`Namespace::on`](crate::Namespace::on).
    pub fn on<P>(&self, event: &str, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| listeners.on(event, handler))
    }

    /// Registers a handler that runs at the next event of this name, and never again.
    pub fn once<P>(&self, event: &str, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::once(handler.into_boxed().0);
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
    /// use synapse_socket::{Arguments, EventName, Socket};
    ///
    /// # fn example(socket: Socket) {
    /// socket.on_any(|EventName(name): EventName, event: Arguments| async move {
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

    /// Registers a listener of every event that goes out to it, those of broadcasts included: it gets the socket, and the event's
    /// name and arguments. Answers to events of the client are not shown.
    ///
    /// It is called by whoever sends, at once, so it must not block; and it must not emit to the socket, which would call it again.
    ///
    /// ```no_run
    /// use synapse_socket::{Socket};
    ///
    /// # fn example(socket: Socket) {
    /// socket.on_any_outgoing(|socket, event| println!("{} <- {}", socket.id(), event.json()));
    /// # }
    /// ```
    pub fn on_any_outgoing(
        &self,
        listener: impl Fn(&Self, &Arguments) + Send + Sync + 'static,
    ) -> ListenerId {
        self.add_any_outgoing(Arc::new(listener), Place::Last)
    }

    /// The same as [`on_any_outgoing`](Self::on_any_outgoing), before those that are registered already.
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&Self, &Arguments) + Send + Sync + 'static,
    ) -> ListenerId {
        self.add_any_outgoing(Arc::new(listener), Place::First)
    }

    /// Registers a middleware that every event passes on its way to the handlers, one after the other in the order of their
    /// registration, after those of its namespace. One that refuses ends the event: the client gets `{ "error": message, "data": data }` if it waits for an answer,
    /// and the handlers of [`on_error`](Self::on_error) are told.
    ///
    /// Events of one socket stay in order: while a middleware waits, those that follow wait behind it, up to
    /// [`SocketLimits::running_handlers_max`](crate::SocketLimits::running_handlers_max), then nothing more is read from the client. So a
    /// middleware that asks its own client should do so with a timeout. When the socket ends, what still waits is dropped.
    ///
    /// ```no_run
    /// use synapse_socket::{EventName, Refusal, Socket};
    ///
    /// # async fn may_call(_: &str) -> bool { true }
    /// # fn example(socket: Socket) {
    /// socket.use_event_middleware(|EventName(name): EventName| async move {
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

    /// Registers a handler that runs when the socket is about to be disconnected: it still is in its rooms until the handler first waits. It
    /// takes the [`CloseReason`](crate::CloseReason) and whatever else it needs.
    pub fn on_disconnecting<P>(&self, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| {
            listeners.disconnecting.push(handler)
        })
    }

    /// Registers a handler that runs when the socket has been disconnected. It takes the [`CloseReason`](crate::CloseReason) and whatever
    /// else it needs.
    ///
    /// ```no_run
    /// use synapse_socket::{CloseReason, Socket};
    ///
    /// # fn example(socket: Socket) {
    /// socket.on_disconnect(|socket: Socket, reason: CloseReason| async move {
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

    /// Registers a handler of what goes wrong between the client and the handlers of events: it takes the
    /// [`SocketError`](crate::SocketError) and whatever else it needs.
    ///
    /// ```no_run
    /// use synapse_socket::{Socket, SocketError};
    ///
    /// # fn example(socket: Socket) {
    /// socket.on_error(|socket: Socket, error: SocketError| async move {
    ///     println!("{}: {error}", socket.id());
    /// });
    /// # }
    /// ```
    pub fn on_error<P>(&self, handler: impl Handler<P>) -> ListenerId {
        let handler = Listener::new(handler.into_boxed().0);
        self.add(handler, |listeners, handler| listeners.errors.push(handler))
    }

    /// Takes off what was registered with this id, whatever it listens to (what listens to its whole namespace goes by
    /// [`Namespace::off`](crate::Namespace::off)). Handlers that are under way go on.
    pub fn off(&self, id: ListenerId) {
        self.change_listeners(|listeners| listeners.off(id));
    }

    /// Takes off all handlers of an event that listen to this socket alone.
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

    /// The handlers of an event that listen to this socket alone, in their order.
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

    /// Does nothing once the socket has gone: a handler that holds its own socket would keep both for ever.
    pub(crate) fn change_listeners(&self, change: impl FnOnce(&mut Listeners)) {
        let mut extra = self.0.extra.lock();
        if self.has_ended() {
            return;
        }
        let listeners = &mut extra.get_or_insert_default().listeners;
        change(listeners);
        self.0
            .listening
            .store(listening(listeners), Ordering::Release);
    }

    pub(crate) fn read_listeners<R: Default>(&self, read: impl FnOnce(&Listeners) -> R) -> R {
        let extra = self.0.extra.lock();
        extra
            .as_ref()
            .map_or_else(R::default, |extra| read(&extra.listeners))
    }

    /// Whether the socket has listeners of its own for what comes in. Most have none, and then nothing is locked to find that out.
    pub(crate) fn has_listeners(&self) -> bool {
        self.0.listening.load(Ordering::Acquire) & LISTENS != 0
    }

    /// Whether the socket has middlewares of its own.
    pub(crate) fn has_middlewares(&self) -> bool {
        self.0.listening.load(Ordering::Acquire) & ASKS != 0
    }

    /// The socket's own handlers of an event. Those that are meant to run once are taken.
    pub(crate) fn take_handlers(&self, event: &str) -> SmallVec<[BoxedHandler; 1]> {
        let mut handlers = SmallVec::new();
        if self.has_listeners() {
            self.change_listeners(|listeners| handlers = listeners.take_handlers(event));
        }
        handlers
    }

    /// Whether somebody wants to see what goes out to this socket.
    pub(crate) fn has_taps(&self) -> bool {
        self.0.listening.load(Ordering::Acquire) & TAPS != 0
    }

    /// Shows an event that goes out to those who want to see it.
    pub(crate) fn show(&self, arguments: &Arguments) {
        if self.has_taps() {
            let taps = self.read_listeners(|listeners| listeners.any_outgoing.clone());
            run_taps(&taps, self, arguments);
        }
        let namespace = &self.0.namespace;
        if namespace.has_taps() {
            run_taps(
                &namespace.handlers().listeners.any_outgoing,
                self,
                arguments,
            );
        }
    }

    /// Tells the handlers of errors.
    pub(crate) fn raise(&self, error: SocketError) {
        let own = self.read_listeners(|listeners| listeners.errors.clone());
        let all = self.0.namespace.handlers().listeners.errors.clone();
        self.run_detached([own, all], &Occasion::Error(error));
    }

    /// Runs handlers of a moment, whoever brought it about.
    pub(super) fn run_detached(
        &self,
        handlers: [Vec<Listener<BoxedHandler>>; 2],
        occasion: &Occasion,
    ) {
        for handler in handlers.into_iter().flatten() {
            let (socket, occasion) = (self.clone(), occasion.clone());
            run_detached(self.0.connection.runtime(), move || {
                let event = Event::of_moment(&socket, &occasion);
                handler.call()(&event).unwrap_or_else(|error| {
                    let refusal = Refusal::from(error);
                    tracing::debug!(event = event.name(), %refusal, "did not call a handler");
                    Box::pin(async {})
                })
            });
        }
    }
}

/// There is something to be called when an event comes in.
const LISTENS: u8 = 1;
/// There is a middleware to be asked before.
const ASKS: u8 = 2;
/// There is something to be called when an event goes out.
const TAPS: u8 = 4;

fn listening(listeners: &Listeners) -> u8 {
    let listens = !(listeners.events.is_empty() && listeners.any.is_empty());
    u8::from(listens) * LISTENS
        + u8::from(!listeners.middlewares.is_empty()) * ASKS
        + u8::from(!listeners.any_outgoing.is_empty()) * TAPS
}
