//! One attached namespace: what comes in for it is decoded, delivered and answered here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use synapse_adapter::{LocalNamespace, Target};
use synapse_protocol::socket::Arguments;

use crate::outbox::Message;
use crate::requests::Requests;
use crate::shared::{Shared, random_id};
use crate::wire::broadcast::{self, Received};
use crate::wire::channels::{Channels, Scope};
use crate::wire::request::{self, Body, Request, answer as answers};

/// Node's ids of adapters and requests have this many characters.
const UID_CHARS: usize = 6;

pub(crate) struct Namespace {
    shared: Arc<Shared>,
    /// Names this namespace of this server to the others; our own messages come back with it.
    uid: String,
    channels: Channels,
    local: Arc<dyn LocalNamespace>,
    detached: AtomicBool,
    requests: Requests,
}

impl Namespace {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, local: Arc<dyn LocalNamespace>) -> Self {
        let uid = random_id(UID_CHARS);
        let channels = Channels::new(&shared.options.key, name, &uid);
        Self {
            shared: shared.clone(),
            uid,
            channels,
            local,
            detached: AtomicBool::new(false),
            requests: Requests::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.channels.namespace
    }

    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Delivers nothing from here on.
    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// An event for the sockets of a room or of the namespace.
    pub(crate) fn handle_broadcast(&self, channel: &[u8], payload: &[u8]) {
        if self.is_detached() {
            return;
        }
        match self.channels.scope(channel) {
            // Redis reads a pattern; that this is our channel is for us to see.
            None => return,
            Some(Scope::Room(room)) if !self.local.has_room(room) => {
                self.shared.counters.discarded_unheard.add(1);
                return;
            }
            Some(Scope::Room(_) | Scope::Namespace) => {}
            Some(Scope::Malformed) => {
                self.shared
                    .malformed(channel, &"the channel has no room name");
                return;
            }
        }
        match broadcast::decode(payload, &self.uid, self.name(), &self.shared.limits()) {
            Ok(Received::Own | Received::Elsewhere) => {}
            Ok(Received::Broadcast(broadcast)) => {
                self.shared.counters.received.add(1);
                self.local.broadcast(&broadcast);
            }
            Err(error) => self.shared.malformed(channel, &error),
        }
    }

    /// Something that another server, or an emitter, wants of all servers.
    pub(crate) fn handle_request(self: &Arc<Self>, channel: &[u8], payload: &[u8]) {
        if self.is_detached() {
            return;
        }
        match request::decode(payload, &self.shared.limits()) {
            // What we asked ourselves has been done here already.
            Ok(request) if request.uid.as_deref() == Some(&self.uid) => {}
            Ok(request) => {
                self.shared.counters.received.add(1);
                self.serve(request);
            }
            Err(error) => self.shared.malformed(channel, &error),
        }
    }

    fn serve(self: &Arc<Self>, request: Request) {
        let answer = Answer {
            namespace: self.clone(),
            uid: request.uid,
            request_id: request.request_id,
        };
        match request.body {
            Body::Sockets { rooms } => {
                let target = Target {
                    rooms,
                    ..Target::default()
                };
                let ids = self.local.ids(&target);
                answer.send(|request_id| answers::sockets_answer(request_id, &ids));
            }
            Body::AllRooms => {
                answer.send(|request_id| answers::rooms_answer(request_id, &self.local.rooms()))
            }
            Body::Fetch { target } => answer
                .send(|request_id| answers::fetch_answer(request_id, self.local.sockets(&target))),
            Body::Join { target, rooms } => self.local.join(&target, &rooms),
            Body::Leave { target, rooms } => self.local.leave(&target, &rooms),
            Body::Disconnect { target, transport } => self.local.disconnect(&target, transport),
            Body::JoinOne { sid, room } => {
                self.with_socket(&sid, &answer, |target| self.local.join(target, &[room]))
            }
            Body::LeaveOne { sid, room } => {
                self.with_socket(&sid, &answer, |target| self.local.leave(target, &[room]))
            }
            Body::DisconnectOne { sid, transport } => self.with_socket(&sid, &answer, |target| {
                self.local.disconnect(target, transport)
            }),
            Body::ServerSideEmit { arguments } => self.server_side_emit(arguments, answer),
            Body::Broadcast { broadcast } => self.broadcast_with_ack(&broadcast, answer),
        }
    }

    /// The old form of a request for one socket: only the server that has it acts and answers.
    fn with_socket(&self, sid: &str, answer: &Answer, act: impl FnOnce(&Target)) {
        if self.local.has_room(sid) {
            act(&Target {
                rooms: [sid.into()].into_iter().collect(),
                ..Target::default()
            });
            answer.send(answers::done_answer);
        }
    }

    fn server_side_emit(&self, arguments: Arguments, answer: Answer) {
        if answer.request_id.is_none() {
            return self.local.server_side_emit(arguments, None);
        }
        let limits = self.shared.limits();
        let on_reply = move |reply: Arguments| {
            answer.send_shared(|request_id| answers::emit_answer(request_id, &reply, &limits))
        };
        self.local
            .server_side_emit(arguments, Some(Box::new(on_reply)));
    }

    /// The count of clients is published after the packets went to them, also when it is 0, and before the first of their acks.
    fn broadcast_with_ack(&self, broadcast: &synapse_adapter::Broadcast, answer: Answer) {
        let answer = Arc::new(answer);
        let early = Arc::new(Mutex::new(Some(Vec::new())));
        let limits = self.shared.limits();
        let on_ack = {
            let (answer, early) = (answer.clone(), early.clone());
            move |ack: Arguments| match &mut *early.lock() {
                Some(waiting) => waiting.push(ack),
                None => answer.send(|request_id| answers::ack_answer(request_id, &ack, &limits)),
            }
        };
        let count = self.local.broadcast_with_ack(broadcast, Box::new(on_ack));
        answer.send(|request_id| answers::count_answer(request_id, count));
        let mut early = early.lock();
        for ack in early.take().into_iter().flatten() {
            answer.send(|request_id| answers::ack_answer(request_id, &ack, &limits));
        }
    }
}

/// The way back to whoever sent a request.
struct Answer {
    namespace: Arc<Namespace>,
    uid: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl Answer {
    /// Answers on the asker's own channel, which only it reads; on the shared one when it has not said who it is.
    fn send(&self, payload: impl FnOnce(&str) -> Option<Vec<u8>>) {
        let channels = &self.namespace.channels;
        self.send_on(
            || {
                self.uid.as_deref().map_or_else(
                    || channels.response.clone(),
                    |uid| channels.response_of(uid),
                )
            },
            payload,
        );
    }

    /// Answers to server-side events are read on the shared channel, whatever the asker's settings are.
    fn send_shared(&self, payload: impl FnOnce(&str) -> Option<Vec<u8>>) {
        self.send_on(|| self.namespace.channels.response.clone(), payload);
    }

    fn send_on(
        &self,
        channel: impl FnOnce() -> Bytes,
        payload: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) {
        // Without an id nobody could match an answer to its question.
        let Some(request_id) = &self.request_id else {
            return;
        };
        match payload(request_id) {
            Some(payload) => self
                .namespace
                .shared
                .publish(Message::publish(channel(), payload)),
            None => self
                .namespace
                .shared
                .unpublished(&channel(), &"an answer is over the limits"),
        }
    }
}
