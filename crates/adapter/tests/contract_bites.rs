//! The contract finds out adapters that break it: for each promise, one that does not keep it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a fault concerns one kind of message"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use synapse_adapter::contract::{self, TwoNodes};
use synapse_adapter::{
    Adapter, AdapterFactory, Broadcast, Bus, ClusterMessage, ClusterRequest, Flags, LocalNamespace,
    Responder, Response, Target, Transport,
};
use synapse_protocol::socket::Arguments;

/// What an adapter does wrong.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Sends other messages than it was given, depending on how many came before.
    Sends(fn(ClusterMessage, u64) -> Vec<ClusterMessage>),
    DeliversToItself,
    MixesNamespaces,
    NeverCloses,
    NeverAttachesAgain,
    ForgetsItsNamesakes,
    /// Asks something else than it was told to, or nothing.
    Asks(fn(ClusterRequest) -> Option<ClusterRequest>),
    /// Says that so many servers are asked.
    Counts(usize),
    AnswersItself,
}

struct FaultyNode {
    inner: Arc<dyn AdapterFactory>,
    fault: Fault,
    adapters: Mutex<HashMap<String, Arc<dyn Adapter>>>,
}

struct FaultyAdapter {
    inner: Arc<dyn Adapter>,
    fault: Fault,
    local: Arc<dyn LocalNamespace>,
    sent: AtomicU64,
}

impl AdapterFactory for FaultyNode {
    fn attach(&self, namespace: &str, local: Arc<dyn LocalNamespace>) -> Arc<dyn Adapter> {
        let attach = |name: &str| self.inner.attach(name, local.clone());
        let inner = match self.fault {
            Fault::MixesNamespaces => attach("/"),
            Fault::NeverAttachesAgain => self
                .adapters
                .lock()
                .entry(namespace.into())
                .or_insert_with(|| attach(namespace))
                .clone(),
            Fault::ForgetsItsNamesakes => attach(namespace.trim_end_matches("ter")),
            Fault::None
            | Fault::Sends(_)
            | Fault::DeliversToItself
            | Fault::NeverCloses
            | Fault::Asks(_)
            | Fault::Counts(_)
            | Fault::AnswersItself => attach(namespace),
        };
        Arc::new(FaultyAdapter {
            inner,
            fault: self.fault,
            local,
            sent: AtomicU64::new(0),
        })
    }
}

impl Adapter for FaultyAdapter {
    fn publish(&self, message: &ClusterMessage) {
        let count = self.sent.fetch_add(1, Ordering::Relaxed);
        if let (Fault::DeliversToItself, ClusterMessage::Broadcast(broadcast)) =
            (self.fault, message)
        {
            self.local.broadcast(broadcast);
        }
        match self.fault {
            Fault::Sends(alter) => alter(message.clone(), count)
                .iter()
                .for_each(|message| self.inner.publish(message)),
            Fault::None
            | Fault::DeliversToItself
            | Fault::MixesNamespaces
            | Fault::NeverCloses
            | Fault::NeverAttachesAgain
            | Fault::ForgetsItsNamesakes
            | Fault::Asks(_)
            | Fault::Counts(_)
            | Fault::AnswersItself => self.inner.publish(message),
        }
    }

    fn request(&self, request: &ClusterRequest, responder: &Responder) {
        match self.fault {
            Fault::Asks(alter) => {
                if let Some(request) = alter(request.clone()) {
                    self.inner.request(&request, responder);
                }
            }
            Fault::Counts(count) => {
                self.inner.request(request, responder);
                responder.expect_servers(count);
            }
            Fault::AnswersItself => {
                self.inner.request(request, responder);
                responder.answer(Response::Ids(self.local.ids(&Target::default())));
                responder.expect_servers(2);
            }
            Fault::None
            | Fault::Sends(_)
            | Fault::DeliversToItself
            | Fault::MixesNamespaces
            | Fault::NeverCloses
            | Fault::NeverAttachesAgain
            | Fault::ForgetsItsNamesakes => self.inner.request(request, responder),
        }
    }

    fn close(&self) {
        if !matches!(self.fault, Fault::NeverCloses) {
            self.inner.close();
        }
    }
}

fn two_nodes(fault: Fault) -> TwoNodes {
    let bus = Bus::new();
    let node = || {
        Arc::new(FaultyNode {
            inner: bus.node(),
            fault,
            adapters: Mutex::default(),
        })
    };
    TwoNodes {
        first: node(),
        second: node(),
        guard: Box::new(()),
    }
}

/// Sends broadcasts with a change.
fn broadcasts(message: ClusterMessage, change: impl FnOnce(&mut Broadcast)) -> Vec<ClusterMessage> {
    vec![match message {
        ClusterMessage::Broadcast(mut broadcast) => {
            change(&mut broadcast);
            ClusterMessage::Broadcast(broadcast)
        }
        other => other,
    }]
}

/// Sends messages with a change to their targets.
fn targets(mut message: ClusterMessage, change: impl FnOnce(&mut Target)) -> Vec<ClusterMessage> {
    match &mut message {
        ClusterMessage::Broadcast(Broadcast { target, .. })
        | ClusterMessage::Join { target, .. }
        | ClusterMessage::Leave { target, .. }
        | ClusterMessage::Disconnect { target, .. } => change(target),
        ClusterMessage::ServerSideEmit(_) => (),
    }
    vec![message]
}

fn without_attachments(arguments: &Arguments) -> Arguments {
    Arguments::from_validated(arguments.json_bytes().clone(), Vec::new())
}

macro_rules! finds_out {
    ($($name:ident: $fault:expr => $($case:ident)+;)*) => {
        $(
            mod $name {
                use super::*;
                $(
                    // Time stands still but for waiting in vain, so that no deadline is really waited for.
                    #[tokio::test(start_paused = true)]
                    async fn $case() {
                        contract::run(async || two_nodes(Fault::None), contract::$case).await;
                        let case = contract::run(async || two_nodes($fault), contract::$case);
                        let outcome = tokio::task::LocalSet::new().run_until(async { tokio::task::spawn_local(case).await }).await;
                        assert!(outcome.is_err_and(|error| error.is_panic()), "the contract has not noticed");
                    }
                )+
            }
        )*
    };
}

finds_out! {
    it_loses_some: Fault::Sends(|message, count| if count % 500 == 499 { vec![] } else { vec![message] }) =>
        messages_of_one_sender_keep_their_order senders_at_once_keep_their_orders both_directions_at_once;
    it_loses_the_last: Fault::Sends(|message, count| if count > 10_000 { vec![] } else { vec![message] }) =>
        messages_of_one_sender_keep_their_order;
    it_repeats_some: Fault::Sends(|message, count| if count % 500 == 499 { vec![message.clone(), message] } else { vec![message] }) =>
        messages_of_one_sender_keep_their_order senders_at_once_keep_their_orders both_directions_at_once;
    it_repeats_all: Fault::Sends(|message, _| vec![message.clone(), message]) =>
        broadcast_reaches_everyone room_reaches_its_members several_rooms_reach_each_member_once
        socket_is_reached_by_its_id server_side_events_travel own_node_is_not_among_the_receivers;
    it_ignores_rooms: Fault::Sends(|message, _| targets(message, |target| target.rooms.clear())) =>
        room_reaches_its_members several_rooms_reach_each_member_once socket_is_reached_by_its_id
        odd_room_names_are_ordinary sockets_join_by_target sockets_leave_by_target sockets_disconnect_by_target;
    it_knows_one_room: Fault::Sends(|message, _| targets(message, |target| target.rooms.truncate(1))) =>
        several_rooms_reach_each_member_once sockets_disconnect_by_target;
    it_ignores_exceptions: Fault::Sends(|message, _| targets(message, |target| target.except.clear())) =>
        exceptions_are_left_out sockets_join_by_target sockets_leave_by_target sockets_disconnect_by_target;
    it_sends_a_room_each: Fault::Sends(|message, _| match message {
        ClusterMessage::Broadcast(broadcast) if broadcast.target.rooms.len() > 1 => {
            let one = |room: &str| Target { rooms: [room.into()].into_iter().collect(), ..broadcast.target.clone() };
            broadcast.target.rooms.iter().map(|room| ClusterMessage::Broadcast(Broadcast { target: one(room), ..broadcast.clone() })).collect()
        }
        message => vec![message],
    }) => several_rooms_reach_each_member_once;
    it_cuts_names: Fault::Sends(|message, _| targets(message, |target| {
        target.rooms.iter_mut().for_each(|room| *room = room.split('#').next().unwrap_or_default().into());
    })) => odd_room_names_are_ordinary;
    it_takes_an_empty_name_for_none: Fault::Sends(|message, _| targets(message, |target| target.rooms.retain(|room| !room.is_empty()))) =>
        odd_room_names_are_ordinary;
    it_drops_flags: Fault::Sends(|message, _| broadcasts(message, |broadcast| broadcast.flags = Flags::default())) => flags_travel;
    it_takes_no_compression_for_the_default: Fault::Sends(|message, _| {
        broadcasts(message, |broadcast| broadcast.flags.compress = broadcast.flags.compress.filter(|&on| on))
    }) => flags_travel;
    it_drops_attachments: Fault::Sends(|message, _| {
        broadcasts(message, |broadcast| broadcast.arguments = without_attachments(&broadcast.arguments))
    }) => attachments_travel large_payloads_travel;
    it_cuts_large_ones: Fault::Sends(|message, _| match message {
        ClusterMessage::Broadcast(broadcast) if broadcast.arguments.json().len() > 1 << 20 => vec![],
        message => vec![message],
    }) => large_payloads_travel;
    it_sends_ascii_only: Fault::Sends(|message, _| broadcasts(message, |broadcast| {
        let ascii = broadcast.arguments.json().replace(|c: char| !c.is_ascii(), "?");
        broadcast.arguments = Arguments::from_validated(ascii.into(), broadcast.arguments.attachments().to_vec());
    })) => arguments_travel_unchanged;
    it_delivers_to_itself: Fault::DeliversToItself => own_node_is_not_among_the_receivers both_directions_at_once;
    it_mixes_namespaces: Fault::MixesNamespaces => namespaces_are_kept_apart;
    it_takes_a_name_for_another: Fault::ForgetsItsNamesakes => namespaces_are_kept_apart;
    it_never_closes: Fault::NeverCloses => nothing_arrives_after_close namespace_can_be_attached_again;
    it_never_attaches_again: Fault::NeverAttachesAgain => namespace_can_be_attached_again;
    it_always_closes_connections: Fault::Sends(|message, _| match message {
        ClusterMessage::Disconnect { target, .. } => vec![ClusterMessage::Disconnect { target, transport: Transport::Close }],
        message => vec![message],
    }) => sockets_disconnect_by_target;
    it_never_asks: Fault::Asks(|_| None) =>
        servers_are_counted sockets_are_fetched_by_target socket_ids_are_fetched_by_target rooms_are_fetched
        server_side_events_are_answered broadcasts_are_acknowledged requests_at_once_get_their_own_answers
        server_that_never_answers_is_missing;
    it_asks_for_all: Fault::Asks(|mut request| {
        if let ClusterRequest::Sockets(target) | ClusterRequest::Ids(target) | ClusterRequest::Broadcast(Broadcast { target, .. }) = &mut request {
            target.rooms.clear();
        }
        Some(request)
    }) => sockets_are_fetched_by_target socket_ids_are_fetched_by_target broadcasts_are_acknowledged;
    it_asks_for_the_excepted: Fault::Asks(|mut request| {
        if let ClusterRequest::Sockets(target) | ClusterRequest::Ids(target) = &mut request {
            target.except.clear();
        }
        Some(request)
    }) => sockets_are_fetched_by_target socket_ids_are_fetched_by_target;
    it_waits_for_nobody: Fault::Counts(0) => servers_are_counted server_that_never_answers_is_missing;
    it_waits_for_too_many: Fault::Counts(2) =>
        servers_are_counted sockets_are_fetched_by_target server_side_events_are_answered broadcasts_are_acknowledged;
    it_answers_itself: Fault::AnswersItself => socket_ids_are_fetched_by_target;
    it_knows_no_requests: Fault::Sends(|message, _| if matches!(message, ClusterMessage::Broadcast(_)) { vec![message] } else { vec![] }) =>
        broadcast_reaches_everyone sockets_join_by_target server_side_events_travel;
}
