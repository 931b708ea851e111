//! A namespace that writes down what happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use synapse_protocol::SocketId;
use synapse_protocol::socket::Arguments;
use tokio::sync::watch;
use tokio::time::timeout;

use super::DEADLINE;
use crate::adapter::{LocalNamespace, OnAck, OnReply, SocketSnapshot};
use crate::message::{Broadcast, Flags, Target, Transport};
use crate::rooms::{Member, Memberships, RoomLimits, Rooms};

/// The name of the events by which two namespaces find out whether they hear each other. They are not written down.
pub(super) const PROBE: &str = "contract probe";

/// A socket without a client.
#[derive(Clone)]
pub(super) struct Socket(Arc<(SocketId, Memberships<Self>)>);

impl Socket {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let mut id = [b'c'; 15];
        id[7..].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self(Arc::new((
            SocketId::from_random(id),
            Memberships::default(),
        )))
    }

    /// The name of its own room.
    pub(super) fn name(&self) -> String {
        self.id().to_string()
    }
}

impl Member for Socket {
    fn id(&self) -> SocketId {
        self.0.0
    }

    fn memberships(&self) -> &Memberships<Self> {
        &self.0.1
    }
}

/// What has happened to a namespace.
#[derive(Default)]
pub(super) struct Record {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) server_side_events: Vec<Arguments>,
    pub(super) disconnected: Vec<(SocketId, Transport)>,
    pub(super) heard_broadcast: bool,
    pub(super) heard_server_side_event: bool,
}

impl Record {
    /// Whether probes of both kinds have come.
    pub(super) fn hears(&self) -> bool {
        self.heard_broadcast && self.heard_server_side_event
    }
}

/// An event for one socket.
pub(super) struct Delivery {
    pub(super) to: SocketId,
    pub(super) flags: Flags,
    pub(super) arguments: Arguments,
}

/// A namespace on the real rooms whose sockets have a record instead of clients.
pub(super) struct RecordingNamespace {
    pub(super) rooms: Rooms<Socket>,
    record: watch::Sender<Record>,
    is_silent: AtomicBool,
    unanswered: Mutex<Unanswered>,
}

/// What a silent namespace was asked.
#[derive(Default)]
struct Unanswered {
    replies: Vec<OnReply>,
    acks: Vec<OnAck>,
}

impl RecordingNamespace {
    pub(super) fn new() -> Self {
        Self {
            rooms: Rooms::new(RoomLimits::default()),
            record: watch::Sender::default(),
            is_silent: AtomicBool::new(false),
            unanswered: Mutex::default(),
        }
    }

    /// Answers none of what is asked from here on: neither its listeners nor its clients do.
    pub(super) fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Answers what it was asked since it fell silent, each question with one answer.
    pub(super) fn answer_late(&self) {
        let unanswered = std::mem::take(&mut *self.unanswered.lock());
        for reply in unanswered.replies {
            reply(late());
        }
        unanswered.acks.iter().for_each(|ack| ack(late()));
    }

    /// Waits until it has been asked so many questions that it has not answered.
    pub(super) async fn wait_until_asked(&self, questions: usize) {
        self.wait_until("a silent server is asked", |_| {
            let unanswered = self.unanswered.lock();
            unanswered.replies.len() + unanswered.acks.len() >= questions
        })
        .await;
    }

    /// A socket in these rooms.
    pub(super) fn socket(&self, rooms: &[&str]) -> Socket {
        let socket = Socket::new();
        assert!(self.rooms.insert(socket.clone()));
        for room in rooms {
            self.rooms
                .join(&socket, room)
                .expect("rooms of tests are within the limits");
        }
        socket
    }

    /// Waits until `reached` is true of the record, or of the rooms.
    pub(super) async fn wait_until(&self, what: &str, reached: impl Fn(&Record) -> bool) {
        let mut changes = self.record.subscribe();
        let waited = timeout(DEADLINE, changes.wait_for(|record| reached(record))).await;
        assert!(
            waited.is_ok_and(|record| record.is_ok()),
            "within {DEADLINE:?} not reached: {what}"
        );
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.record.borrow())
    }

    /// Who got events of that name, in the order of delivery.
    pub(super) fn receivers(&self, event: &str) -> Vec<SocketId> {
        self.read(|record| receivers(record, event))
    }

    pub(super) fn forget_deliveries(&self) {
        self.record.send_modify(|record| record.deliveries.clear());
    }

    /// The members are written down after `select`, under whose locks nothing else may happen.
    fn deliver(&self, broadcast: &Broadcast) -> usize {
        let members = self.rooms.members(&broadcast.target);
        self.record.send_modify(|record| {
            record.heard_broadcast |= broadcast.arguments.event_name() == PROBE;
            if broadcast.arguments.event_name() != PROBE {
                record
                    .deliveries
                    .extend(members.iter().map(|member| Delivery {
                        to: member.id(),
                        flags: broadcast.flags,
                        arguments: broadcast.arguments.clone(),
                    }));
            }
        });
        members.len()
    }

    fn changed(&self) {
        self.record.send_modify(|_| ());
    }
}

/// What a silent server answers in the end.
pub(super) fn late() -> Arguments {
    Arguments::ack("late").expect("a text is JSON")
}

pub(super) fn receivers(record: &Record, event: &str) -> Vec<SocketId> {
    let of_name = record
        .deliveries
        .iter()
        .filter(|delivery| delivery.arguments.event_name() == event);
    of_name.map(|delivery| delivery.to).collect()
}

impl LocalNamespace for RecordingNamespace {
    fn has_room(&self, room: &str) -> bool {
        self.rooms.has_room(room)
    }

    fn broadcast(&self, broadcast: &Broadcast) {
        self.deliver(broadcast);
    }

    fn broadcast_with_ack(&self, broadcast: &Broadcast, on_ack: OnAck) -> usize {
        let asked = self.deliver(broadcast);
        if self.is_silent.load(Ordering::Relaxed) {
            self.unanswered.lock().acks.push(on_ack);
            self.changed();
            return asked;
        }
        (0..asked).for_each(|_| on_ack(broadcast.arguments.without_name()));
        asked
    }

    fn join(&self, target: &Target, rooms: &[Box<str>]) {
        for member in self.rooms.members(target) {
            for room in rooms {
                self.rooms
                    .join(&member, room)
                    .expect("rooms of tests are within the limits");
            }
        }
        self.changed();
    }

    fn leave(&self, target: &Target, rooms: &[Box<str>]) {
        for member in self.rooms.members(target) {
            rooms.iter().for_each(|room| {
                self.rooms.leave(&member, room);
            });
        }
        self.changed();
    }

    fn disconnect(&self, target: &Target, transport: Transport) {
        let members = self.rooms.members(target);
        members.iter().for_each(|member| {
            self.rooms.remove(member);
        });
        self.record.send_modify(|record| {
            record
                .disconnected
                .extend(members.iter().map(|member| (member.id(), transport)))
        });
    }

    fn sockets(&self, target: &Target) -> Vec<SocketSnapshot> {
        let snapshot = |member: &Socket| SocketSnapshot {
            id: member.name(),
            handshake: r#"{"url":"/socket.io/","auth":{}}"#.to_owned(),
            rooms: std::iter::once(member.name())
                .chain(self.rooms.rooms_of(member).iter().map(ToString::to_string))
                .collect(),
            data: r#"{"name":"ünï"}"#.to_owned(),
        };
        self.rooms.members(target).iter().map(snapshot).collect()
    }

    fn ids(&self, target: &Target) -> Vec<String> {
        self.rooms
            .members(target)
            .iter()
            .map(Socket::name)
            .collect()
    }

    fn rooms(&self) -> Vec<String> {
        self.rooms.room_names()
    }

    fn server_side_emit(&self, arguments: Arguments, on_reply: Option<OnReply>) {
        if let Some(on_reply) = on_reply {
            if self.is_silent.load(Ordering::Relaxed) {
                self.unanswered.lock().replies.push(on_reply);
            } else {
                on_reply(arguments.without_name());
            }
        }
        self.record.send_modify(|record| {
            if arguments.event_name() == PROBE {
                record.heard_server_side_event = true;
            } else {
                record.server_side_events.push(arguments);
            }
        });
    }
}
