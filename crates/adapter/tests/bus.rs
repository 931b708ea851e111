//! The bus: the contract of all adapters, and what it promises beyond that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use synapse_adapter::contract::TwoNodes;
use synapse_adapter::{
    Adapter, Broadcast, Bus, ClusterMessage, ClusterRequest, LocalNamespace, OnAck, OnReply,
    Responses, SocketSnapshot, Target, Transport, alone,
};
use synapse_protocol::socket::Arguments;

mod contract {
    synapse_adapter::adapter_contract!(super::two_nodes);
}

async fn two_nodes() -> TwoNodes {
    let bus = Bus::new();
    TwoNodes {
        first: bus.node(),
        second: bus.node(),
        guard: Box::new(()),
    }
}

type React = Box<dyn Fn() + Send + Sync>;

/// Counts server-side events, and does something at each.
#[derive(Default)]
struct Reacting {
    heard: AtomicUsize,
    react: Mutex<Option<Arc<React>>>,
    /// Replies that are owed, once it keeps them.
    replies: Mutex<Option<Vec<OnReply>>>,
}

impl Reacting {
    fn react(&self, react: impl Fn() + Send + Sync + 'static) {
        *self.react.lock() = Some(Arc::new(Box::new(react)));
    }

    fn keep_replies(&self) {
        *self.replies.lock() = Some(Vec::new());
    }

    fn drop_replies(&self) {
        *self.replies.lock() = None;
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl LocalNamespace for Reacting {
    fn has_room(&self, _room: &str) -> bool {
        false
    }
    fn broadcast(&self, _broadcast: &Broadcast) {}
    fn broadcast_with_ack(&self, _broadcast: &Broadcast, _on_ack: OnAck) -> usize {
        0
    }
    fn join(&self, _target: &Target, _rooms: &[Box<str>]) {}
    fn leave(&self, _target: &Target, _rooms: &[Box<str>]) {}
    fn disconnect(&self, _target: &Target, _transport: Transport) {}
    fn sockets(&self, _target: &Target) -> Vec<SocketSnapshot> {
        Vec::new()
    }
    fn ids(&self, _target: &Target) -> Vec<String> {
        Vec::new()
    }
    fn rooms(&self) -> Vec<String> {
        Vec::new()
    }
    fn server_side_emit(&self, _arguments: Arguments, on_reply: Option<OnReply>) {
        if let Some(replies) = &mut *self.replies.lock() {
            replies.extend(on_reply);
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        let react = self.react.lock().clone();
        if let Some(react) = react {
            react();
        }
    }
}

fn hello() -> ClusterMessage {
    ClusterMessage::ServerSideEmit(
        Arguments::event("hello", &()).expect("the name is not reserved"),
    )
}

fn attached<const N: usize>(bus: &Bus) -> [(Arc<Reacting>, Arc<dyn Adapter>); N] {
    std::array::from_fn(|_| {
        let local = Arc::new(Reacting::default());
        (local.clone(), bus.node().attach("/", local))
    })
}

#[test]
fn a_delivery_may_publish_attach_and_close() {
    let bus = Bus::new();
    let [(first, sender), (second, answering), (third, closing)] = attached(&bus);
    second.react({
        let (bus, answering) = (bus.clone(), Arc::clone(&answering));
        let once = AtomicUsize::new(0);
        move || {
            if once.fetch_add(1, Ordering::Relaxed) == 0 {
                bus.node().attach("/", Arc::new(Reacting::default()));
                answering.publish(&hello());
                answering.close();
            }
        }
    });
    third.react(move || closing.close());
    sender.publish(&hello());
    // The third heard the answer, closed itself, and was then passed over by the first message.
    assert_eq!((first.heard(), second.heard(), third.heard()), (1, 1, 1));
    sender.publish(&hello());
    assert_eq!((first.heard(), second.heard(), third.heard()), (1, 1, 1));
}

#[test]
fn everybody_else_hears_a_message_once() {
    let bus = Bus::new();
    let nodes: [_; 5] = attached(&bus);
    let elsewhere = Arc::new(Reacting::default());
    Bus::new().node().attach("/", elsewhere.clone());
    nodes[2].1.publish(&hello());
    assert_eq!(
        nodes.each_ref().map(|(local, _)| local.heard()),
        [1, 1, 0, 1, 1]
    );
    assert_eq!(elsewhere.heard(), 0);
}

#[test]
fn a_namespace_ends_with_its_attachment() {
    let bus = Bus::new();
    let [(local, adapter), (_, other)] = attached(&bus);
    assert_eq!(Arc::strong_count(&local), 2);
    adapter.close();
    assert_eq!(Arc::strong_count(&local), 1);
    other.close();
    adapter.publish(&hello());
    other.publish(&hello());
}

#[test]
fn nodes_come_and_go_while_others_publish() {
    let bus = Bus::new();
    let [(staying, _adapter), (_, sender)] = attached(&bus);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let [(_, adapter)] = attached(&bus);
                    adapter.publish(&hello());
                    adapter.close();
                }
            });
        }
        (0..2_000).for_each(|_| sender.publish(&hello()));
    });
    assert_eq!(staying.heard(), 6_000);
}

#[test]
fn a_server_that_is_alone_has_nobody_to_hear() {
    let factory = alone();
    let locals = [(); 2].map(|()| Arc::new(Reacting::default()));
    let adapters = locals
        .each_ref()
        .map(|local| factory.attach("/", local.clone()));
    adapters[0].publish(&hello());
    adapters[1].close();
    assert_eq!(locals.map(|local| local.heard()), [0, 0]);
}

/// Sends a server-side event that wants answers.
fn ask(adapter: &Arc<dyn Adapter>) -> Responses {
    let responses = Responses::new(1 << 20);
    let hello = Arguments::event("hello", &()).expect("the name is not reserved");
    adapter.request(
        &ClusterRequest::ServerSideEmit(hello),
        &responses.responder(),
    );
    responses
}

fn is_over(responses: &mut Responses) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match responses.poll_next(&mut context) {
            Poll::Ready(Some(_)) => (),
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
}

#[test]
fn a_server_that_leaves_while_it_is_asked_is_missing_at_once() {
    let bus = Bus::new();
    let [(_, asking), (silent, leaving), (other, staying)] = attached(&bus);
    [&silent, &other]
        .iter()
        .for_each(|local| local.keep_replies());
    let mut responses = ask(&asking);
    assert!(!is_over(&mut responses));
    leaving.close();
    assert!(!is_over(&mut responses));
    // A listener that drops the event will never answer either.
    other.drop_replies();
    assert!(is_over(&mut responses));
    let tally = responses.tally();
    assert_eq!((tally.servers, tally.servers_answered), (Some(2), 0));
    staying.close();
}

#[test]
fn a_server_remembers_only_what_it_has_yet_to_answer() {
    let bus = Bus::new();
    let [(_, asking), (local, leaving)] = attached(&bus);
    let answered: Vec<Responses> = (0..1_000).map(|_| ask(&asking)).collect();
    local.keep_replies();
    let mut waiting: Vec<Responses> = (0..10).map(|_| ask(&asking)).collect();
    leaving.close();
    assert!(waiting.iter_mut().all(is_over));
    // Nobody answered, so the thousand before were over with their events.
    assert!(
        answered
            .iter()
            .all(|responses| responses.tally().servers_answered == 0)
    );
}
