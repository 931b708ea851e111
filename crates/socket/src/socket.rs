//! One client in one namespace.

mod life;
mod listening;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use synapse_adapter::{Flags, JoinError, Member, Memberships};
use synapse_engine::{Batch, Connection, Delivery, Frames, TransportKind, Version};
use synapse_protocol::socket::{Arguments, Outgoing, SerializeError};
use synapse_protocol::{CloseReason, SocketId};
use tokio::sync::oneshot;

pub(crate) use self::life::{Notice, Stage};
use crate::ack::{AckError, PendingAcks, Waiting};
use crate::broadcast::Broadcaster;
use crate::handshake::Handshake;
use crate::listeners::Listeners;
use crate::namespace::NamespaceInner;
use crate::recovery::{Recovery, Tracked, without_offset};
use crate::rooms::IntoRooms;
use crate::typed::EventType;
use crate::v2;

/// One client in one namespace. Cloning it is cheap, and every clone is the same socket.
///
/// ```no_run
/// use std::time::Duration;
/// use synapse_socket::{Refusal, Socket};
///
/// async fn welcome(socket: Socket) -> Result<(), Refusal> {
///     socket.join(["lobby", "news"])?;
///     socket.emit("welcome", (socket.id().to_string(), socket.rooms().len()))?;
///     socket.to("lobby").emit("joined", socket.id().to_string())?;
///
///     let timeout = Some(Duration::from_secs(5));
///     let name: String = socket.emit_with_ack("who are you?", (), timeout).await?;
///     socket.update_data(|data| data.insert("name".to_owned(), name.into()));
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Socket(Arc<SocketInner>);

pub(crate) struct SocketInner {
    id: SocketId,
    namespace: Arc<NamespaceInner>,
    connection: Arc<Connection>,
    auth: Option<Box<str>>,
    memberships: Memberships<Socket>,
    /// There where the namespace has a recovery.
    tracked: Option<Box<Tracked>>,
    stage: AtomicU8,
    /// What there is in the listeners of its own.
    listening: AtomicU8,
    /// What most sockets never need.
    extra: Mutex<Option<Box<Extra>>>,
}

#[derive(Default)]
struct Extra {
    listeners: Listeners,
    acks: PendingAcks,
    data: Map<String, Value>,
}

impl Extra {
    /// Takes what may hold the socket itself. The data stays for the last handlers.
    fn end(&mut self) -> Self {
        let data = std::mem::take(&mut self.data);
        std::mem::replace(
            self,
            Self {
                data,
                ..Self::default()
            },
        )
    }
}

impl Member for Socket {
    fn id(&self) -> SocketId {
        self.0.id
    }

    fn memberships(&self) -> &Memberships<Self> {
        &self.0.memberships
    }
}

impl Socket {
    /// A socket on its way into a namespace that it has [entered](NamespaceInner::enter). It leaves at its [end](Self::end).
    pub(crate) fn new(
        id: SocketId,
        namespace: Arc<NamespaceInner>,
        connection: Arc<Connection>,
        auth: Option<Box<str>>,
        tracked: Option<Box<Tracked>>,
    ) -> Self {
        Self(Arc::new(SocketInner {
            id,
            namespace,
            connection,
            auth,
            memberships: Memberships::default(),
            tracked,
            stage: AtomicU8::new(life::CONNECTING),
            listening: AtomicU8::new(0),
            extra: Mutex::new(None),
        }))
    }

    /// The socket's public id, which is also the name of its own room.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// What the client takes for the id of its socket, and what it tells others: the [`id`](Self::id). Clients of Socket.IO 2 know the id of
    /// their session only: in the main namespace it is that of the socket as well, in any other they call themselves `/namespace#<that id>`,
    /// and the socket is in a room of that name.
    pub fn client_id(&self) -> String {
        match self.version() {
            Version::V3 => v2::client_id(self.namespace_name(), self.0.connection.id()),
            Version::V4 => self.0.id.to_string(),
        }
    }

    /// The name of the namespace, with its leading slash.
    pub fn namespace_name(&self) -> &str {
        self.0.namespace.name()
    }

    /// What the client connected with.
    pub fn handshake(&self) -> Handshake<'_> {
        Handshake::new(self.0.connection.request(), self.0.auth.as_deref())
    }

    /// Whether the client is in the namespace at this moment.
    pub fn is_connected(&self) -> bool {
        self.is_in() && !self.0.connection.is_closed()
    }

    /// Whether the client has come back to the socket that it had before its connection was lost: with its id, its rooms and its data, and
    /// nothing is missing that was sent to it meanwhile. Never without
    /// [`connection_state_recovery`](crate::ServerBuilder::connection_state_recovery).
    pub fn recovered(&self) -> bool {
        self.tracked().is_some_and(Tracked::is_recovered)
    }

    /// How the client's packets travel at this moment.
    pub fn transport(&self) -> TransportKind {
        self.0.connection.transport()
    }

    /// Sends an event. A tuple gives several arguments, `()` none, anything else one; [`Binary`](crate::Binary) values become attachments.
    /// Sent before the socket is connected or after it has gone, it is lost, unless the client may be
    /// [recovered](crate::ConnectionStateRecovery): then it waits for the client.
    ///
    /// An array of fixed size gives several arguments as a tuple does; a `Vec` or a slice is one.
    ///
    /// ```no_run
    /// # use synapse_socket::{Binary, SerializeError, Socket};
    /// # fn example(socket: Socket) -> Result<(), SerializeError> {
    /// socket.emit("ready", ())?;
    /// socket.emit("move", (120, 80, "fast"))?;
    /// socket.emit("scores", vec![1, 2, 3])?;
    /// socket.emit("picture", ("cat.png", Binary::from(vec![0x89, 0x50])))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name is reserved, such as `disconnect`, or the value is no JSON, such as a map whose keys are lists. Never because of the
    /// client.
    pub fn emit<T: Serialize>(&self, event: &str, data: T) -> Result<(), SerializeError> {
        self.emit_arguments(&Arguments::event(event, &data)?);
        Ok(())
    }

    /// Sends an event that has a type of its own.
    pub fn emit_event<E: EventType + Serialize>(&self, event: &E) -> Result<(), SerializeError> {
        self.emit(E::NAME, event)
    }

    /// Sends an event that is encoded already, its name first.
    pub fn emit_arguments(&self, arguments: &Arguments) {
        let delivery = self.0.namespace.delivery(arguments);
        self.emit_as(arguments, delivery, &Flags::default());
    }

    /// Sends an event only if it can go out at once: it is dropped while anything else waits to be sent. Returns whether it was taken.
    ///
    /// # Errors
    /// As with [`emit`](Self::emit).
    pub fn emit_volatile<T: Serialize>(
        &self,
        event: &str,
        data: T,
    ) -> Result<bool, SerializeError> {
        let arguments = Arguments::event(event, &data)?;
        Ok(self.emit_as(&arguments, Delivery::Volatile, &Flags::default()))
    }

    /// Sends an event that is never compressed, such as one that holds a secret beside what others can choose: see
    /// [`PerMessageDeflate`](crate::PerMessageDeflate).
    ///
    /// # Errors
    /// As with [`emit`](Self::emit).
    pub fn emit_uncompressed<T: Serialize>(
        &self,
        event: &str,
        data: T,
    ) -> Result<(), SerializeError> {
        let arguments = Arguments::event(event, &data)?;
        let flags = Flags {
            compress: Some(false),
            ..Flags::default()
        };
        self.emit_as(&arguments, self.0.namespace.delivery(&arguments), &flags);
        Ok(())
    }

    /// Returns whether the event was taken.
    fn emit_as(&self, arguments: &Arguments, delivery: Delivery, flags: &Flags) -> bool {
        let is_in = self.is_in();
        if is_in {
            self.show(arguments);
        }
        let arguments = match self.recovery() {
            None => Cow::Borrowed(arguments),
            Some(_) if delivery == Delivery::Volatile => without_offset(arguments),
            Some((recovery, tracked)) => {
                return recovery.emit(self, tracked, arguments, delivery, flags);
            }
        };
        if !is_in {
            return false;
        }
        let namespace = &self.0.namespace;
        let packet = Outgoing::Event {
            namespace: namespace.name(),
            id: None,
            arguments: &arguments,
        };
        if flags.compress == Some(false) {
            let frames = namespace.frames(&packet, flags);
            frames.is_some_and(|frames| self.0.connection.send(delivery, &frames))
        } else {
            self.send_as(delivery, &packet)
        }
    }

    /// Whether the client has been let in and the socket has not ended.
    pub(crate) fn is_in(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == life::CONNECTED
    }

    /// Sends an event and waits for the client's answer: a tuple takes all of its arguments, any other type the first. Without a
    /// `timeout` it waits for as long as the socket is connected. It may be awaited anywhere, inside of a runtime or not.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use synapse_socket::{AckError, Socket};
    /// # async fn example(socket: Socket) {
    /// let timeout = Some(Duration::from_secs(5));
    /// match socket.emit_with_ack::<bool>("go on?", (), timeout).await {
    ///     Ok(answer) => println!("{answer}"),
    ///     Err(AckError::TimedOut) => println!("no answer"),
    ///     Err(error) => println!("failed to ask: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AckError`]: no answer in time, the client has gone, its answer does not fit, or too many events wait for one
    /// ([`SocketLimits::pending_acks_max`](crate::SocketLimits::pending_acks_max)).
    pub async fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Option<Duration>,
    ) -> Result<R, AckError> {
        let arguments = Arguments::event(event, &data)?;
        let id = self.0.namespace.next_ack_id();
        let (sender, answer) = oneshot::channel();
        self.wait_for_ack(id, Waiting::Caller(sender))?;
        let _forget = ForgetAck { socket: self, id };
        self.show(&arguments);
        self.send(&Outgoing::Event {
            namespace: self.namespace_name(),
            id: Some(id),
            arguments: &arguments,
        });
        // Handlers may wait for this answer, so it has to be read however many of them there are.
        self.0.connection.resume();
        let answer = match timeout {
            Some(timeout) => self
                .within(timeout, answer)
                .await
                .map_err(|_| AckError::TimedOut)?,
            None => answer.await,
        };
        Ok(answer.map_err(|_| AckError::Disconnected)?.get_ack()?)
    }

    /// A timeout by the runtime of the server.
    fn within<F: Future>(&self, timeout: Duration, future: F) -> tokio::time::Timeout<F> {
        let _context = self.0.connection.runtime().enter();
        tokio::time::timeout(timeout, future)
    }

    pub(crate) fn wait_for_ack(&self, id: u64, waiting: Waiting) -> Result<(), AckError> {
        let limit = self.0.namespace.limits().pending_acks_max;
        let mut extra = self.0.extra.lock();
        if !self.is_in() {
            return Err(AckError::Disconnected);
        }
        extra
            .get_or_insert_default()
            .acks
            .insert(id, waiting, limit)
    }

    /// How many callers wait for answers of the client.
    pub(crate) fn waiting_callers(&self) -> usize {
        let extra = self.0.extra.lock();
        extra.as_ref().map_or(0, |extra| extra.acks.callers())
    }

    pub(crate) fn take_ack(&self, id: u64) -> Option<Waiting> {
        self.0.extra.lock().as_mut()?.acks.take(id)
    }

    /// A value that was given to [`ServerBuilder::state`](crate::ServerBuilder::state), by its type; none if there is none of it.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.0.namespace.states().get()
    }

    /// Changes what is kept with the socket, which other servers of the cluster see as its `data`. Returns what `change` returns. The socket is
    /// locked meanwhile, so `change` must not use it.
    ///
    /// ```no_run
    /// # use synapse_socket::Socket;
    /// # fn example(socket: Socket) {
    /// socket.update_data(|data| data.insert("user".to_owned(), "ada".into()));
    /// assert_eq!(socket.data()["user"], "ada");
    /// # }
    /// ```
    pub fn update_data<R>(&self, change: impl FnOnce(&mut Map<String, Value>) -> R) -> R {
        change(&mut self.0.extra.lock().get_or_insert_default().data)
    }

    /// A copy of what is kept with the socket.
    pub fn data(&self) -> Map<String, Value> {
        self.0
            .extra
            .lock()
            .as_ref()
            .map_or_else(Map::new, |extra| extra.data.clone())
    }

    /// Joins rooms. The first that cannot be joined ends it.
    ///
    /// # Errors
    /// When the socket is in as many rooms as it may be, a name is too long ([`RoomLimits`](crate::RoomLimits)), or the socket has left.
    pub fn join(&self, rooms: impl IntoRooms) -> Result<(), JoinError> {
        for room in rooms.into_rooms() {
            match self.recovery() {
                Some((recovery, tracked)) => recovery.join(self, tracked, &room)?,
                None => drop(self.0.namespace.rooms().join(self, &room)?),
            }
        }
        Ok(())
    }

    /// Leaves rooms.
    pub fn leave(&self, rooms: impl IntoRooms) {
        for room in rooms.into_rooms() {
            match self.recovery() {
                Some((recovery, tracked)) => recovery.leave(self, tracked, &room),
                None => drop(self.0.namespace.rooms().leave(self, &room)),
            }
        }
    }

    /// The rooms the socket is in, without its own.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        let mut rooms = self.0.namespace.rooms().rooms_of(self);
        if self.version() == Version::V3 {
            let own = self.client_id();
            rooms.retain(|room| **room != *own);
        }
        rooms
    }

    /// Everyone in the namespace but this socket.
    pub fn broadcast(&self) -> Broadcaster {
        Broadcaster::new(Arc::clone(&self.0.namespace)).except(self.0.id)
    }

    /// The members of rooms, without this socket.
    pub fn to(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.broadcast().to(rooms)
    }

    /// Everyone in the namespace but this socket and the members of rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> Broadcaster {
        self.broadcast().except(rooms)
    }

    /// Puts the client out of the namespace; its connection stays.
    pub fn disconnect(&self) {
        self.end(CloseReason::ServerNamespaceDisconnect, Notice::Packet);
    }

    /// Puts the client out of all its namespaces and closes its connection.
    pub fn disconnect_client(&self) {
        self.disconnect();
        self.0
            .connection
            .disconnect(CloseReason::ServerNamespaceDisconnect);
    }

    /// What the client speaks.
    pub(crate) fn version(&self) -> Version {
        self.0.connection.version()
    }

    pub(crate) fn namespace(&self) -> &Arc<NamespaceInner> {
        &self.0.namespace
    }

    /// Whether it can be forgotten by its client.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == life::DISCONNECTED
    }

    pub(crate) fn send(&self, packet: &Outgoing<'_>) {
        self.send_as(Delivery::Kept, packet);
    }

    fn send_as(&self, delivery: Delivery, packet: &Outgoing<'_>) -> bool {
        let parser = self.0.namespace.parser();
        parser.send(&self.0.connection, delivery, packet)
    }

    /// Sends what a broadcast has for it. A client that middlewares have not let in yet may be in rooms already, but gets nothing of them.
    pub(crate) fn send_in_batch(&self, frames: &Frames, delivery: Delivery, batch: &mut Batch) {
        if self.is_in() {
            batch.send(&self.0.connection, delivery, frames);
        }
    }

    pub(crate) fn tracked(&self) -> Option<&Tracked> {
        self.0.tracked.as_deref()
    }

    fn recovery(&self) -> Option<(&Recovery, &Tracked)> {
        self.0.namespace.recovery().zip(self.tracked())
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }
}

/// Stops waiting for an answer when the caller does.
struct ForgetAck<'a> {
    socket: &'a Socket,
    id: u64,
}

impl Drop for ForgetAck<'_> {
    fn drop(&mut self) {
        drop(self.socket.take_ack(self.id));
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({}, {})", self.namespace_name(), self.0.id)
    }
}

#[cfg(test)]
impl Socket {
    pub(crate) fn downgrade(&self) -> std::sync::Weak<SocketInner> {
        Arc::downgrade(&self.0)
    }
}
