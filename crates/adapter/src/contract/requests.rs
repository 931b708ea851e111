//! What servers ask each other, and that a request ends.

use synapse_protocol::socket::Arguments;
use tokio::time::timeout;

use super::broadcasts::assert_same;
use super::namespace::{Socket, late};
use super::pair::{Pair, event, everyone, except, fence, rest, room, rooms};
use super::{DEADLINE, TwoNodes};
use crate::message::{Broadcast, Flags, Target};
use crate::request::{ClusterRequest, Response};
use crate::responses::Tally;

/// Each server knows how many others there are.
pub async fn servers_are_counted(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    for node in [&pair.first, &pair.second] {
        let (answers, responses) = node.answers(&ClusterRequest::Servers).await;
        assert_eq!((answers, responses.tally().servers), (vec![], Some(1)));
    }
}

/// A server asks for the sockets of another, and gets those that it means with all that is known of them.
pub async fn sockets_are_fetched_by_target(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.first.local.socket(&["a"]);
    for (target, expected) in targets(&pair) {
        let (answers, responses) = pair
            .first
            .answers(&ClusterRequest::Sockets(target.clone()))
            .await;
        let [Response::Sockets(mut sockets)] =
            <[_; 1]>::try_from(answers).expect("one server has answered")
        else {
            panic!("not answered with sockets");
        };
        sockets.sort_by(|a, b| a.id.cmp(&b.id));
        let ids: Vec<&String> = sockets.iter().map(|socket| &socket.id).collect();
        assert_eq!(ids, expected.iter().collect::<Vec<_>>(), "{target:?}");
        for socket in &sockets {
            assert_eq!(socket.rooms.first(), Some(&socket.id));
            let json =
                |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
            assert_eq!(json(&socket.handshake)["url"], "/socket.io/");
            assert_eq!(json(&socket.data)["name"], "ünï");
        }
        assert!(responses.tally().is_complete());
    }
}

/// The same with the ids alone.
pub async fn socket_ids_are_fetched_by_target(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.first.local.socket(&["a"]);
    for (target, expected) in targets(&pair) {
        let (answers, responses) = pair
            .first
            .answers(&ClusterRequest::Ids(target.clone()))
            .await;
        let [Response::Ids(mut ids)] =
            <[_; 1]>::try_from(answers).expect("one server has answered")
        else {
            panic!("not answered with ids");
        };
        ids.sort();
        assert_eq!(ids, expected, "{target:?}");
        assert!(responses.tally().is_complete());
    }
}

/// Targets among sockets of the second server, and the sorted ids that they mean.
fn targets(pair: &Pair) -> Vec<(Target, Vec<String>)> {
    let local = &pair.second.local;
    let [a, ab, neither] = [
        local.socket(&["a"]),
        local.socket(&["a", "b"]),
        local.socket(&[]),
    ];
    let ids = |sockets: &[&Socket]| {
        let mut ids: Vec<String> = sockets.iter().map(|socket| socket.name()).collect();
        ids.sort();
        ids
    };
    vec![
        (everyone(), ids(&[&a, &ab, &neither])),
        (room("a"), ids(&[&a, &ab])),
        (rooms(&["a", "b"]), ids(&[&a, &ab])),
        (except(room("a"), &["b"]), ids(&[&a])),
        (except(everyone(), &[&neither.name()]), ids(&[&a, &ab])),
        (room(&neither.name()), ids(&[&neither])),
        (room("nobody"), vec![]),
    ]
}

/// A server asks for the rooms of another.
pub async fn rooms_are_fetched(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let socket = pair.second.local.socket(&["a", "", "d#{1}\n"]);
    pair.first.local.socket(&["here"]);
    let (answers, _) = pair.first.answers(&ClusterRequest::Rooms).await;
    let [Response::Rooms(mut names)] =
        <[_; 1]>::try_from(answers).expect("one server has answered")
    else {
        panic!("not answered with rooms");
    };
    names.sort();
    let mut expected = [socket.name(), "a".into(), String::new(), "d#{1}\n".into()];
    expected.sort();
    assert_eq!(names, expected);
}

/// An event for the other server is answered by it.
pub async fn server_side_events_are_answered(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let binary = Arguments::from_validated(
        r#"["e",{"a":[{"_placeholder":true,"num":0}]}]"#.into(),
        vec![b"\x00\xff".as_slice().into()],
    );
    for sent in [
        event("e", 7),
        Arguments::event("e", "ünï \"x\"\n").expect("a text is JSON"),
        binary,
    ] {
        let request = ClusterRequest::ServerSideEmit(sent.clone());
        let (answers, responses) = pair.first.answers(&request).await;
        let [Response::Reply(reply)] =
            <[_; 1]>::try_from(answers).expect("one server has answered")
        else {
            panic!("not answered with a reply");
        };
        assert_same(&reply, &sent.without_name());
        assert!(responses.tally().is_complete());
        pair.second
            .local
            .wait_until("the event is heard", |record| {
                record.server_side_events.last() == Some(&sent)
            })
            .await;
    }
    fence(&pair.second, &pair.first).await;
    assert!(
        pair.first
            .local
            .read(|record| record.server_side_events.is_empty())
    );
}

/// An event reaches the sockets of the other server, which all acknowledge it.
pub async fn broadcasts_are_acknowledged(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.first.local.socket(&["a"]);
    for (number, (target, expected)) in targets(&pair).into_iter().enumerate() {
        let broadcast = ask(target, event("ask", number as u64));
        let (answers, responses) = pair.first.answers(&broadcast).await;
        let clients = expected.len();
        assert_eq!(answers.len(), clients, "{answers:?} of {broadcast:?}");
        for answer in answers {
            let Response::Ack(ack) = answer else {
                panic!("not an ack");
            };
            assert_eq!(ack.get_ack::<usize>().ok(), Some(number));
        }
        let complete = Tally {
            servers: Some(1),
            servers_answered: 1,
            clients,
            clients_answered: clients,
        };
        assert_eq!(responses.tally(), complete);
        let mut reached: Vec<String> = pair
            .second
            .local
            .receivers("ask")
            .iter()
            .map(ToString::to_string)
            .collect();
        reached.sort();
        assert_eq!(reached, expected);
        pair.second.local.forget_deliveries();
    }
    assert_eq!(pair.first.local.receivers("ask"), []);
}

/// Requests that are under way together, in both directions and of several namespaces, are not taken for each other.
pub async fn requests_at_once_get_their_own_answers(nodes: &TwoNodes) {
    let pairs = [
        Pair::attach(nodes, "/").await,
        Pair::attach(nodes, "/chat").await,
    ];
    let mut asked = Vec::new();
    for number in 0..200_u64 {
        for (name, node) in pairs
            .iter()
            .flat_map(|pair| [&pair.first, &pair.second])
            .enumerate()
        {
            let sent = Arguments::event("e", &((number, name),)).expect("numbers are JSON");
            asked.push((
                (number, name),
                node.ask(&ClusterRequest::ServerSideEmit(sent)),
            ));
        }
    }
    for (expected, mut responses) in asked {
        let answers = timeout(DEADLINE, rest(&mut responses)).await;
        let answers = answers.unwrap_or_else(|_| panic!("{expected:?} is not answered"));
        let [Response::Reply(reply)] =
            <[_; 1]>::try_from(answers).expect("one server has answered")
        else {
            panic!("not answered with a reply");
        };
        let (got,) = reply
            .get_ack::<((u64, usize),)>()
            .expect("it is what was sent");
        assert_eq!(got, expected);
    }
}

/// A server that does not answer is waited for, is known to be missing, and may answer late.
pub async fn server_that_never_answers_is_missing(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.second.local.socket(&[]);
    pair.second.local.fall_silent();
    let mut emitted = pair
        .first
        .ask(&ClusterRequest::ServerSideEmit(event("e", 1)));
    let mut broadcast = pair.first.ask(&ask(everyone(), event("ask", 1)));
    pair.second.local.wait_until_asked(2).await;
    // Other requests are answered meanwhile, and what had been answered before them would be here.
    let (answers, _) = pair.first.answers(&ClusterRequest::Rooms).await;
    assert_eq!(answers.len(), 1);
    let tally = emitted.tally();
    assert_eq!((tally.servers, tally.servers_answered), (Some(1), 0));
    let tally = broadcast.tally();
    assert_eq!((tally.servers, tally.servers_answered), (Some(1), 1));
    assert_eq!((tally.clients, tally.clients_answered), (1, 0));

    pair.second.local.answer_late();
    let answers = timeout(DEADLINE, rest(&mut emitted))
        .await
        .expect("it is answered in the end");
    assert_eq!(answers, [Response::Reply(late())]);
    let answers = timeout(DEADLINE, rest(&mut broadcast))
        .await
        .expect("it is answered in the end");
    assert_eq!(answers, [Response::Ack(late())]);
    assert!(emitted.tally().is_complete() && broadcast.tally().is_complete());
}

/// A request that nobody waits for any more is forgotten, and a late answer goes nowhere.
pub async fn request_that_was_dropped_is_forgotten(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.second.local.socket(&[]);
    pair.second.local.fall_silent();
    let responders = [
        ClusterRequest::ServerSideEmit(event("e", 1)),
        ask(everyone(), event("ask", 1)),
    ]
    .map(|request| pair.first.ask(&request).responder());
    pair.second.local.wait_until_asked(2).await;
    assert!(responders.iter().all(|responder| !responder.is_wanted()));
    pair.second.local.answer_late();
    let (answers, responses) = pair.first.answers(&ClusterRequest::Rooms).await;
    assert!(answers.len() == 1 && responses.tally().is_complete());
}

/// Who has left the cluster asks nobody, and is told so.
pub async fn requests_after_close_are_over_at_once(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.first.adapter.close();
    for request in [
        ClusterRequest::Servers,
        ClusterRequest::Ids(everyone()),
        ask(everyone(), event("late", 1)),
    ] {
        let (answers, responses) = pair.first.answers(&request).await;
        assert_eq!(answers, []);
        assert!(!responses.tally().is_complete());
    }
}

fn ask(target: Target, arguments: Arguments) -> ClusterRequest {
    ClusterRequest::Broadcast(Broadcast {
        target,
        flags: Flags {
            timeout: Some(DEADLINE),
            ..Flags::default()
        },
        arguments,
    })
}
