//! The store against a naive model: whatever happens, a client that is recovered has received exactly what was for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Map;
use synapse_adapter::Target;
use synapse_protocol::{PrivateId, SocketId};

use super::history::{History, What};
use super::log::Audience;
use super::offset::Position;
use super::options::ConnectionStateRecovery;
use super::sessions::Session;
use super::store::{Restored, Store, Surroundings};
use super::tracked::Sent;

const CLIENTS: usize = 4;
const ROOMS: [&str; 3] = ["a", "b", "c"];
const SECOND: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_secs(10);
const UNNOTICED: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Operation {
    Broadcast {
        to: Vec<usize>,
        except: Vec<usize>,
        sender: Option<usize>,
    },
    Volatile,
    Emit(usize),
    Join(usize, usize),
    Leave(usize, usize),
    Arrive(usize, usize),
    Lose(usize),
    /// The client is back, and is let in at once or later.
    Return(usize, bool),
    LetIn(usize),
    Wait(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = || 0..CLIENTS;
    let rooms = |max| vec(0..ROOMS.len(), 0..max);
    prop_oneof![
        8 => (rooms(3), rooms(2), proptest::option::of(client()))
            .prop_map(|(to, except, sender)| Operation::Broadcast { to, except, sender }),
        1 => Just(Operation::Volatile),
        4 => client().prop_map(Operation::Emit),
        5 => (client(), 0..ROOMS.len()).prop_map(|(client, room)| Operation::Join(client, room)),
        3 => (client(), 0..ROOMS.len()).prop_map(|(client, room)| Operation::Leave(client, room)),
        6 => (client(), 1..4_usize).prop_map(|(client, count)| Operation::Arrive(client, count)),
        3 => client().prop_map(Operation::Lose),
        5 => (client(), any::<bool>()).prop_map(|(client, at_once)| Operation::Return(client, at_once)),
        2 => client().prop_map(Operation::LetIn),
        2 => (1..6_u64).prop_map(Operation::Wait),
    ]
}

/// What stands for the frames: an event's number, its offset as the client stores it, and when it was sent.
type Event = (Option<u32>, Option<String>, Instant);

enum Stage {
    Connected,
    Coming(Box<Restored<Event>>),
    Away { since: Instant },
}

struct Client {
    number: usize,
    stage: Stage,
    generation: u8,
    rooms: BTreeSet<&'static str>,
    since: Position,
    sent: Sent,
    history: History,
    wire: VecDeque<Event>,
    /// When the oldest packet was sent that the client has lost and not received again.
    lost: Option<Instant>,
    offset: Option<String>,
    received: Vec<u32>,
    expected: Vec<u32>,
}

impl Client {
    fn pid(&self) -> PrivateId {
        let mut random = [self.number as u8; 15];
        random[0] = self.generation;
        PrivateId::from_random(random)
    }

    fn id(&self) -> SocketId {
        let mut random = [self.number as u8; 15];
        random[1] = self.generation;
        SocketId::from_random(random)
    }

    fn is_meant(&self, target: &Target) -> bool {
        let own = self.id().to_string();
        let is_in = |name: &str| self.rooms.contains(name) || name == own;
        (target.rooms.is_empty() || target.rooms.iter().any(|room| is_in(room)))
            && !target.except.iter().any(|room| is_in(room))
    }

    fn arrive(&mut self, count: usize) {
        for (number, offset, _) in self.wire.drain(..count.min(self.wire.len())) {
            self.received.extend(number);
            self.offset = offset.or(self.offset.take());
        }
    }

    fn check(&self) {
        assert!(
            self.expected.starts_with(&self.received),
            "client {} has received {:?} of {:?}",
            self.number,
            self.received,
            self.expected
        );
    }
}

struct World {
    store: Store<Event>,
    clients: Vec<Client>,
    now: Instant,
    events: u32,
    room_changes_max: usize,
    must_recover: bool,
    recovered: usize,
}

impl World {
    fn new(options: &ConnectionStateRecovery, must_recover: bool) -> Self {
        let surroundings = Surroundings {
            unnoticed_for: UNNOTICED,
            replay_bytes_max: usize::MAX,
        };
        let store = Store::new(options, surroundings, 7);
        let client = |number| Client {
            number,
            stage: Stage::Connected,
            generation: 0,
            rooms: BTreeSet::new(),
            since: store.head(),
            sent: Sent::starting(store.head()),
            history: History::default(),
            wire: VecDeque::new(),
            lost: None,
            offset: None,
            received: Vec::new(),
            expected: Vec::new(),
        };
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            store,
            now: Instant::now(),
            events: 0,
            room_changes_max: options.room_changes_max,
            must_recover,
            recovered: 0,
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Broadcast { to, except, sender } => {
                let names = |rooms: Vec<usize>| rooms.into_iter().map(|room| ROOMS[room].into());
                let mut target = Target {
                    rooms: names(to).collect(),
                    except: names(except).collect(),
                };
                if let Some(sender) = sender {
                    target
                        .except
                        .push(self.clients[sender].id().to_string().into());
                }
                self.send(&Audience::Target(target.clone()), |client| {
                    client.is_meant(&target)
                });
            }
            Operation::Volatile => {
                for client in &mut self.clients {
                    if matches!(client.stage, Stage::Connected) && client.wire.is_empty() {
                        client.wire.push_back((None, None, self.now));
                    }
                }
            }
            Operation::Emit(number) => {
                let id = self.clients[number].id();
                self.send(&Audience::Socket(id), |client| client.number == number);
            }
            Operation::Join(number, room) => self.change(number, ROOMS[room], What::Joined),
            Operation::Leave(number, room) => self.change(number, ROOMS[room], What::Left),
            Operation::Arrive(number, count) => self.clients[number].arrive(count),
            Operation::Lose(number) => self.lose(number),
            Operation::Return(number, at_once) => {
                self.come_back(number);
                if at_once {
                    self.let_in(number);
                }
            }
            Operation::LetIn(number) => self.let_in(number),
            Operation::Wait(seconds) => {
                self.now += SECOND * seconds as u32;
                self.store.expire(self.now);
            }
        }
        self.clients.iter().for_each(Client::check);
    }

    fn send(&mut self, audience: &Audience, is_meant: impl Fn(&Client) -> bool) {
        self.events += 1;
        let (position, settled) = (self.store.head().next(), self.store.settled());
        let sent = (Some(self.events), Some(self.store.next_offset()), self.now);
        for client in &mut self.clients {
            if !is_meant(client) {
                continue;
            }
            client.expected.push(self.events);
            match client.stage {
                Stage::Connected => {
                    client.sent.mark_sent(position, settled);
                    client.wire.push_back(sent.clone());
                }
                Stage::Coming(_) | Stage::Away { .. } => {
                    client.lost.get_or_insert(self.now);
                }
            }
        }
        self.store.append(audience.clone(), sent, 10, self.now);
    }

    fn change(&mut self, number: usize, room: &'static str, what: What) {
        let client = &mut self.clients[number];
        if !matches!(client.stage, Stage::Connected) {
            return;
        }
        let is_changed = match what {
            What::Joined => client.rooms.insert(room),
            What::Left => client.rooms.remove(room),
        };
        let at = self.store.head();
        if is_changed && at > client.since {
            client.history.forget(self.store.cut());
            client
                .history
                .record(at, room.into(), what, self.room_changes_max);
        }
    }

    fn lose(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let stage = std::mem::replace(&mut client.stage, Stage::Away { since: self.now });
        match stage {
            Stage::Connected => {
                let oldest = client.wire.drain(..).next().map(|(_, _, at)| at);
                client.lost = client.lost.or(oldest);
                let session = Session {
                    pid: client.pid(),
                    id: client.id(),
                    rooms: client.rooms.iter().map(|room| Arc::from(*room)).collect(),
                    history: std::mem::take(&mut client.history),
                    since: client.since,
                    sent: client.sent,
                    ended: self.store.head(),
                    ended_at: self.now,
                    data: Map::new(),
                };
                self.store.keep(session, self.now);
            }
            Stage::Coming(restored) => {
                client.stage = Stage::Away {
                    since: restored.session.ended_at,
                };
                self.store.put_back(*restored, self.now);
            }
            Stage::Away { .. } => client.stage = stage,
        }
    }

    fn come_back(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Stage::Away { since } = client.stage else {
            return;
        };
        let restored = self
            .store
            .restore(client.pid(), client.offset.as_deref(), self.now);
        let is_in_time = self.now - since <= AWAY;
        let is_known = client
            .lost
            .is_none_or(|at| self.now - at <= AWAY + UNNOTICED);
        assert!(is_in_time || restored.is_none());
        assert!(!self.must_recover || !is_in_time || !is_known || restored.is_some());
        match restored {
            Some(restored) => client.stage = Stage::Coming(Box::new(restored)),
            None => self.start_anew(number),
        }
    }

    fn start_anew(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.generation += 1;
        client.stage = Stage::Connected;
        client.rooms.clear();
        client.history = History::default();
        client.since = self.store.head();
        client.sent = Sent::starting(self.store.head());
        client.lost = None;
        // The client keeps the offset of the socket that it had before.
        client.received.clear();
        client.expected.clear();
    }

    fn let_in(&mut self, number: usize) {
        let client = &mut self.clients[number];
        match std::mem::replace(&mut client.stage, Stage::Connected) {
            Stage::Coming(mut restored) => {
                if !self.store.complete(&mut restored) {
                    self.start_anew(number);
                    return;
                }
                self.recovered += 1;
                client.since = restored.from;
                client.sent = restored.sent;
                client.history = restored.session.history;
                client.history.forget(restored.from);
                client.lost = None;
                client.wire.extend(restored.missed);
            }
            stage @ (Stage::Connected | Stage::Away { .. }) => client.stage = stage,
        }
    }

    fn finish(&mut self) {
        for number in 0..CLIENTS {
            self.come_back(number);
            self.let_in(number);
            let client = &mut self.clients[number];
            client.arrive(usize::MAX);
            assert_eq!(client.received, client.expected, "client {number}");
        }
    }
}

fn options(
    packets_max: usize,
    sessions_max: usize,
    room_changes_max: usize,
) -> ConnectionStateRecovery {
    ConnectionStateRecovery {
        max_disconnection_duration: AWAY,
        packets_max,
        sessions_max,
        room_changes_max,
        ..ConnectionStateRecovery::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_client_that_is_back_in_time_has_everything_once(operations in vec(operation(), 1..150)) {
        let mut world = World::new(&options(10_000, 100, 64), true);
        operations.into_iter().for_each(|operation| world.run(operation));
        world.finish();
    }

    #[test]
    fn a_client_that_is_recovered_has_everything_however_little_is_kept(
        operations in vec(operation(), 1..150),
        packets_max in 0..12_usize,
        sessions_max in 0..4_usize,
        room_changes_max in 0..4_usize,
    ) {
        let mut world = World::new(&options(packets_max, sessions_max, room_changes_max), false);
        operations.into_iter().for_each(|operation| world.run(operation));
        world.finish();
    }
}
