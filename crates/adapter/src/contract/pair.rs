//! One namespace on both servers.

use std::sync::Arc;
use std::time::Duration;

use synapse_protocol::SocketId;
use synapse_protocol::socket::Arguments;
use tokio::time::{Instant, timeout};

use super::namespace::{PROBE, Record, RecordingNamespace, Socket, receivers};
use super::{DEADLINE, TwoNodes};
use crate::adapter::{Adapter, AdapterFactory};
use crate::message::{Broadcast, ClusterMessage, Flags, Target, Transport};
use crate::request::{ClusterRequest, Response};
use crate::responses::Responses;
use crate::rooms::Member;

/// One namespace of one server.
pub(super) struct Node {
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) local: Arc<RecordingNamespace>,
}

impl Node {
    fn attach(factory: &dyn AdapterFactory, namespace: &str) -> Self {
        let local = Arc::new(RecordingNamespace::new());
        Self {
            adapter: factory.attach(namespace, local.clone()),
            local,
        }
    }

    pub(super) fn emit(&self, target: Target, arguments: Arguments) {
        self.broadcast(Broadcast {
            target,
            flags: Flags::default(),
            arguments,
        });
    }

    pub(super) fn broadcast(&self, broadcast: Broadcast) {
        self.adapter.publish(&ClusterMessage::Broadcast(broadcast));
    }

    pub(super) fn disconnect(&self, target: Target, transport: Transport) {
        self.adapter
            .publish(&ClusterMessage::Disconnect { target, transport });
    }

    /// Asks the other servers.
    pub(super) fn ask(&self, request: &ClusterRequest) -> Responses {
        let responses = Responses::new(RESPONSE_BYTES_MAX);
        self.adapter.request(request, &responses.responder());
        responses
    }

    /// Asks the other servers and waits until nothing more can come.
    pub(super) async fn answers(&self, request: &ClusterRequest) -> (Vec<Response>, Responses) {
        let mut responses = self.ask(request);
        let answers = timeout(DEADLINE, rest(&mut responses)).await;
        let answers = answers.unwrap_or_else(|_| {
            panic!(
                "not answered within {DEADLINE:?}: {request:?}, {:?}",
                responses.tally()
            )
        });
        (answers, responses)
    }

    fn probe(&self) {
        self.emit(Target::default(), event(PROBE, 0));
        self.adapter
            .publish(&ClusterMessage::ServerSideEmit(event(PROBE, 0)));
    }

    fn hears(&self) -> bool {
        self.local.read(Record::hears)
    }
}

/// One namespace on both servers, which hear each other.
pub(super) struct Pair {
    pub(super) first: Node,
    pub(super) second: Node,
}

impl Pair {
    /// Attaches both and sends probes until each has heard the other.
    pub(super) async fn attach(nodes: &TwoNodes, namespace: &str) -> Self {
        let pair = Self {
            first: Node::attach(nodes.first.as_ref(), namespace),
            second: Node::attach(nodes.second.as_ref(), namespace),
        };
        let give_up_at = Instant::now() + DEADLINE;
        while !(pair.first.hears() && pair.second.hears()) {
            assert!(
                Instant::now() < give_up_at,
                "the servers do not hear each other in {namespace}"
            );
            pair.first.probe();
            pair.second.probe();
            // Not heard in time: the subscription was not there yet, and the probe is lost.
            for node in [&pair.first, &pair.second] {
                let _ = timeout(
                    PROBE_AGAIN_AFTER,
                    node.local.wait_until("a probe is heard", Record::hears),
                )
                .await;
            }
        }
        pair
    }

    /// Sends an event from the first server and checks who gets it at the second, each once and nobody else.
    pub(super) async fn check(&self, target: Target, expected: &[&Socket]) {
        let what = format!("{target:?} reaches {} sockets", expected.len());
        self.first.emit(target, event("check", 0));
        let mut expected: Vec<SocketId> = expected.iter().map(|socket| socket.id()).collect();
        expected.sort_unstable();
        let local = &self.second.local;
        local
            .wait_until(&what, |record| {
                receivers(record, "check").len() >= expected.len()
            })
            .await;
        // What should not have come was sent before this, so it is here when this is.
        let witness = self.fence().await;
        let mut reached = local.receivers("check");
        // The witness may have been there before the event was.
        reached.retain(|id| *id != witness);
        reached.sort_unstable();
        assert_eq!(reached, expected, "{what}");
        local.forget_deliveries();
    }

    /// Waits until everything has arrived that the first server has sent. Returns the socket that was there for it.
    pub(super) async fn fence(&self) -> SocketId {
        fence(&self.first, &self.second).await
    }
}

const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// All answers that are still to come.
pub(super) async fn rest(responses: &mut Responses) -> Vec<Response> {
    let mut all = Vec::new();
    while let Some(response) = responses.next().await {
        all.push(response);
    }
    all
}

const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Waits until everything has arrived that `from` has sent to `to` from this thread.
pub(super) async fn fence(from: &Node, to: &Node) -> SocketId {
    let witness = to.local.socket(&[]);
    from.emit(room(&witness.name()), event("fence", 0));
    to.local
        .wait_until("a fence arrives", |record| {
            receivers(record, "fence").contains(&witness.id())
        })
        .await;
    to.local.rooms.remove(&witness);
    witness.id()
}

/// An event with a number.
pub(super) fn event(name: &str, number: u64) -> Arguments {
    Arguments::event(name, &number).expect("the names of tests are not reserved")
}

pub(super) fn everyone() -> Target {
    Target::default()
}

pub(super) fn room(name: &str) -> Target {
    rooms(&[name])
}

pub(super) fn rooms(names: &[&str]) -> Target {
    Target {
        rooms: names.iter().map(|&name| name.into()).collect(),
        ..Target::default()
    }
}

/// The target without those in the rooms.
pub(super) fn except(target: Target, names: &[&str]) -> Target {
    Target {
        except: names.iter().map(|&name| name.into()).collect(),
        ..target
    }
}
