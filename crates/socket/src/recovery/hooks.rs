//! Recovery in a namespace: what is done besides when its sockets come, get something, change rooms and go.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use synapse_adapter::{Broadcast, Flags, JoinError, Target};
use synapse_engine::{Delivery, Frames};
use synapse_protocol::socket::{Arguments, Outgoing};
use synapse_protocol::{CloseReason, PrivateId, SocketId};

use super::claim::Claim;
use super::history::What;
use super::live::{Live, Private};
use super::log::Audience;
use super::offset::Position;
use super::options::ConnectionStateRecovery;
use super::sessions::Session;
use super::store::{Restored, Store, Surroundings};
use super::tracked::{Past, Sent, Tracked};
use crate::namespace::{NamespaceInner, Reached};
use crate::socket::{Socket, Stage};

/// The recovery of one namespace.
///
/// One lock makes an order of all that matters: an event is noted and handed to the outboxes, a room joined, a session kept or taken, each
/// as a whole. So whatever a client has received last, everything before it has been sent to it before, and nothing falls between the
/// end of one socket and the beginning of the next. Rooms and connections are locked under this lock, never the other way round, and no
/// code of the application runs under it.
pub(crate) struct Recovery {
    state: Mutex<State>,
    skip_middlewares: bool,
    sweep_interval: Duration,
}

struct State {
    store: Store<Arc<Frames>>,
    live: Live<Socket>,
}

/// Where the session of a socket that has ended may be found.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    pid: PrivateId,
    ended_at: Instant,
}

impl Private for Socket {
    fn private_id(&self) -> PrivateId {
        let tracked = self.tracked().expect("every socket here is tracked");
        tracked.pid
    }
}

impl Recovery {
    pub(crate) fn new(options: &ConnectionStateRecovery, surroundings: Surroundings) -> Self {
        let mark = getrandom::u32().unwrap_or_else(|error| {
            tracing::error!(%error, "failed to draw the mark of a log");
            0
        });
        Self {
            state: Mutex::new(State {
                store: Store::new(options, surroundings, mark),
                live: Live::default(),
            }),
            skip_middlewares: options.skip_middlewares,
            sweep_interval: (options.max_disconnection_duration / 8)
                .clamp(Duration::from_millis(100), Duration::from_secs(10)),
        }
    }

    /// Whether recovered clients are let in unasked.
    pub(crate) fn skips_middlewares(&self) -> bool {
        self.skip_middlewares
    }

    /// How often [`expire`](Self::expire) is to be called.
    pub(crate) fn sweep_interval(&self) -> Duration {
        self.sweep_interval
    }

    /// Gives back the memory of what is too old.
    pub(crate) fn expire(&self) {
        self.state.lock().store.expire(Instant::now());
    }

    /// A new socket's part; none when the system has no randomness to give.
    pub(crate) fn track(&self) -> Option<Box<Tracked>> {
        let mut random = [0; 15];
        match getrandom::fill(&mut random) {
            Ok(()) => Some(Box::new(Tracked::fresh(PrivateId::from_random(random)))),
            Err(error) => {
                tracing::error!(%error, "failed to draw a private id");
                None
            }
        }
    }

    /// The socket that a client comes back to, in its rooms and made by `make` from its id and its part. A socket that is connected still
    /// gives way: its client is here, so its connection is dead.
    pub(crate) fn restore(
        &self,
        claim: &Claim<'_>,
        make: impl FnOnce(SocketId, Box<Tracked>) -> Socket,
    ) -> Option<Socket> {
        let before = self.state.lock().live.find(claim.pid).cloned();
        if let Some(before) = before {
            before.give_way();
        }
        let mut state = self.state.lock();
        let restored = state
            .store
            .restore(claim.pid, claim.offset.as_deref(), Instant::now())?;
        let rooms = restored.session.rooms.clone();
        let data = restored.session.data.clone();
        let socket = make(restored.id(), Box::new(Tracked::restored(restored)));
        for room in &rooms {
            if let Err(error) = socket.namespace().rooms().join(&socket, room) {
                tracing::debug!(socket = %socket.id(), %error, "failed to join a room again");
            }
        }
        state.live.insert(socket.clone());
        drop(state);
        socket.update_data(|now| *now = data);
        Some(socket)
    }

    /// The client is let in: it gets what it has missed, then its ids. Returns false if it has gone meanwhile or if something that it has
    /// missed is lost; then its connection is closed, and it comes back as a new client.
    pub(crate) fn begin(&self, socket: &Socket, tracked: &Tracked) -> bool {
        let mut state = self.state.lock();
        let mut past = tracked.past.lock();
        if let Some(restored) = &mut past.restored
            && !state.store.complete(restored)
        {
            past.restored = None;
            socket.connection().close(CloseReason::ForcedServerClose);
            return false;
        }
        if !socket.enter() {
            return false;
        }
        let head = state.store.head();
        if let Some(restored) = past.restored.take() {
            let Restored {
                session,
                from,
                missed,
                sent,
                ..
            } = *restored;
            for frames in &missed {
                socket.connection().send(Delivery::Kept, frames);
            }
            tracked.set_sent(sent);
            *past = Past {
                since: from,
                history: session.history,
                restored: None,
            };
            past.history.forget(from);
            let max = state.store.room_changes_max();
            note_changes(&mut past, head, &session.rooms, &socket.rooms(), max);
        } else {
            tracked.set_sent(Sent::starting(head));
            past.since = head;
            state.live.insert(socket.clone());
        }
        socket.welcome(Some(tracked.pid))
    }

    /// The socket has ended, and is kept if its client may come back. Returns what it was before.
    pub(crate) fn end(
        &self,
        socket: &Socket,
        tracked: &Tracked,
        reason: CloseReason,
    ) -> (Stage, Option<Kept>) {
        let data = socket.data();
        let now = Instant::now();
        let mut state = self.state.lock();
        let stage = socket.leave_stage();
        if stage == Stage::Disconnected {
            return (stage, None);
        }
        state.live.remove(tracked.pid);
        let past = std::mem::take(&mut *tracked.past.lock());
        if !is_recoverable(reason) {
            return (stage, None);
        }
        match (stage, past.restored) {
            (Stage::Connecting, Some(restored)) => {
                state.store.put_back(*restored, now);
                (stage, None)
            }
            (Stage::Connecting | Stage::Disconnected, _) => (stage, None),
            (Stage::Connected, _) => {
                let session = Session {
                    pid: tracked.pid,
                    id: socket.id(),
                    rooms: socket.rooms(),
                    history: past.history,
                    since: past.since,
                    sent: tracked.sent(),
                    ended: state.store.head(),
                    ended_at: now,
                    data,
                };
                state.store.keep(session, now);
                let kept = Kept {
                    pid: tracked.pid,
                    ended_at: now,
                };
                (stage, Some(kept))
            }
        }
    }

    /// What the last handlers have left with a socket that has ended.
    pub(crate) fn update_data(&self, kept: Kept, data: Map<String, Value>) {
        if let Some(session) = self.state.lock().store.kept(kept.pid, kept.ended_at) {
            session.data = data;
        }
    }

    /// Delivers an event to the target's sockets here, and to those whose clients are away.
    pub(crate) fn deliver(
        &self,
        namespace: &NamespaceInner,
        broadcast: &Broadcast,
        delivery: Delivery,
        reached: &mut Reached,
    ) {
        let mut state = self.state.lock();
        let arguments = broadcast
            .arguments
            .with_last_text(&state.store.next_offset());
        let Some(frames) = frames(namespace, &arguments, &broadcast.flags) else {
            return;
        };
        let (position, settled) = (state.store.head().next(), state.store.settled());
        let mut is_for_somebody = false;
        let (target, delivery) = (&broadcast.target, in_order(delivery));
        namespace.fan_out(target, &frames, delivery, reached, |socket| {
            is_for_somebody = true;
            if let Some(tracked) = socket.tracked() {
                tracked.mark_sent(position, settled);
            }
        });
        if is_for_somebody || state.store.awaits(target) {
            let audience = Audience::Target(target.clone());
            let len = frames.byte_len();
            state.store.append(audience, frames, len, Instant::now());
        }
    }

    /// Sends an event to one socket, or keeps it for the client if that is away. Returns whether it was taken.
    pub(crate) fn emit(
        &self,
        socket: &Socket,
        tracked: &Tracked,
        arguments: &Arguments,
        delivery: Delivery,
        flags: &Flags,
    ) -> bool {
        let mut state = self.state.lock();
        let live = state.live.find(tracked.pid).cloned();
        if live.is_none() && !state.store.awaits_socket(socket.id()) {
            return false;
        }
        let arguments = arguments.with_last_text(&state.store.next_offset());
        let Some(frames) = frames(socket.namespace(), &arguments, flags) else {
            return false;
        };
        let (position, settled) = (state.store.head().next(), state.store.settled());
        if let Some(live) = live.filter(Socket::is_in) {
            if let Some(tracked) = live.tracked() {
                tracked.mark_sent(position, settled);
            }
            live.connection().send(in_order(delivery), &frames);
        }
        let audience = Audience::Socket(socket.id());
        let len = frames.byte_len();
        state.store.append(audience, frames, len, Instant::now());
        true
    }

    /// Joins a room.
    pub(crate) fn join(
        &self,
        socket: &Socket,
        tracked: &Tracked,
        room: &str,
    ) -> Result<(), JoinError> {
        let state = self.state.lock();
        if socket.namespace().rooms().join(socket, room)? {
            note_change(&state.store, socket, tracked, room, What::Joined);
        }
        Ok(())
    }

    /// Leaves a room.
    pub(crate) fn leave(&self, socket: &Socket, tracked: &Tracked, room: &str) {
        let state = self.state.lock();
        if socket.namespace().rooms().leave(socket, room) {
            note_change(&state.store, socket, tracked, room, What::Left);
        }
    }

    /// Whether a client is away.
    pub(crate) fn awaits_somebody(&self) -> bool {
        self.state.lock().store.awaits(&Target::default())
    }

    /// Whether a room is on this server: somebody is in it, or was when its connection was lost.
    pub(crate) fn has_room(&self, namespace: &NamespaceInner, room: &str) -> bool {
        let state = self.state.lock();
        state.store.awaits_room(room) || namespace.rooms().has_room(room)
    }
}

/// None if the event cannot be written. Shared by all that get it, later ones too, since they may hold compressed forms.
fn frames(namespace: &NamespaceInner, arguments: &Arguments, flags: &Flags) -> Option<Arc<Frames>> {
    let packet = Outgoing::Event {
        namespace: namespace.name(),
        id: None,
        arguments,
    };
    namespace.frames(&packet, flags).map(Arc::new)
}

/// An event that is not kept must not be taken for one that is: a client stores the last argument of any event as its offset, if it is a text.
pub(crate) fn without_offset(arguments: &Arguments) -> Cow<'_, Arguments> {
    if arguments.ends_with_text() {
        Cow::Owned(arguments.with_last_null())
    } else {
        Cow::Borrowed(arguments)
    }
}

/// An event that overtakes others would tell its client to have received them. So those that replace one another only give way.
fn in_order(delivery: Delivery) -> Delivery {
    match delivery {
        Delivery::KeepLatest(_) => Delivery::DropOldest,
        Delivery::Kept | Delivery::Volatile | Delivery::DropOldest => delivery,
    }
}

fn note_change(
    store: &Store<Arc<Frames>>,
    socket: &Socket,
    tracked: &Tracked,
    room: &str,
    what: What,
) {
    let mut past = tracked.past.lock();
    let at = store.head();
    // Nothing was sent to the socket before, so nobody will ask.
    if socket.is_in() && at > past.since {
        past.history.forget(store.cut());
        let max = store.room_changes_max();
        past.history.record(at, room.into(), what, max);
    }
}

/// Middlewares may have changed the rooms of a socket that is back.
fn note_changes(
    past: &mut Past,
    at: Position,
    before: &[Arc<str>],
    after: &[Arc<str>],
    max: usize,
) {
    if at <= past.since || before == after {
        return;
    }
    let mut note = |rooms: &[Arc<str>], others: &[Arc<str>], what| {
        for room in rooms.iter().filter(|room| !others.contains(room)) {
            past.history.record(at, Arc::clone(room), what, max);
        }
    };
    note(before, after, What::Left);
    note(after, before, What::Joined);
}

/// Whether a client whose socket ended for this reason may come back to it. A namespace that was left on purpose is not recovered.
fn is_recoverable(reason: CloseReason) -> bool {
    match reason {
        CloseReason::TransportError
        | CloseReason::TransportClose
        | CloseReason::ForcedClose
        | CloseReason::PingTimeout
        | CloseReason::ServerShuttingDown
        | CloseReason::ForcedServerClose => true,
        CloseReason::ParseError
        | CloseReason::ClientNamespaceDisconnect
        | CloseReason::ServerNamespaceDisconnect => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use synapse_adapter::LocalNamespace as _;
    use synapse_engine::{listen, serve};
    use synapse_hostile::{Client, eventually};

    use super::*;
    use crate::local::Local;
    use crate::server::Server;

    fn start(max_disconnection_duration: Duration) -> (Server, SocketAddr) {
        let io = Server::builder()
            .connection_state_recovery(ConnectionStateRecovery {
                max_disconnection_duration,
                ..ConnectionStateRecovery::default()
            })
            .build();
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending();
        tokio::spawn(serve(listener, io.service(), io.config().limits, never));
        (io, address)
    }

    async fn join_and_leave(io: &Server, address: SocketAddr) -> SocketId {
        let main = io.of("/");
        let mut client = Client::open(address).await;
        client.send("40").await;
        let sid = client.next().await[r#"40{"sid":""#.len()..][..20]
            .parse()
            .unwrap();
        main.socket(sid).unwrap().join("a").unwrap();
        drop(client);
        eventually("the client to be gone", || main.socket_count() == 0).await;
        sid
    }

    #[tokio::test]
    async fn rooms_of_clients_that_are_away_are_here() {
        let (io, address) = start(Duration::from_secs(60));
        let sid = join_and_leave(&io, address).await;
        let main = io.of("/");
        let local = Local(Arc::downgrade(main.inner()));
        assert!(local.has_room("a") && local.has_room(&sid.to_string()));
        assert!(!local.has_room("b"));
    }

    #[tokio::test]
    async fn memory_is_given_back_in_time_without_anything_happening() {
        let (io, address) = start(Duration::from_millis(1));
        let sid = join_and_leave(&io, address).await;
        let main = io.of("/");
        let recovery = main.inner().recovery().unwrap();
        eventually("the session to be forgotten", || {
            !recovery.has_room(main.inner(), &sid.to_string())
        })
        .await;
    }
}
