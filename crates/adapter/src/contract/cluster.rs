//! What servers do for each other besides events, and when they begin and end to hear each other.

use synapse_protocol::socket::Arguments;

use super::broadcasts::assert_same;
use super::pair::{Pair, event, everyone, except, fence, room, rooms};
use super::{TwoNodes, namespace::Socket};
use crate::message::{ClusterMessage, Target, Transport};
use crate::rooms::Member;

/// Namespaces whose names resemble each other hear nothing of each other.
pub async fn namespaces_are_kept_apart(nodes: &TwoNodes) {
    const NAMES: &[&str] = &["/", "/chat", "/chatter", "/chat/eu", "/#chat", "/ünïcödé"];
    let mut pairs = Vec::new();
    for name in NAMES {
        let pair = Pair::attach(nodes, name).await;
        pair.second.local.socket(&["a"]);
        pairs.push(pair);
    }
    for (number, pair) in pairs.iter().enumerate() {
        pair.first
            .emit(everyone(), event("to everyone", number as u64));
        pair.first
            .emit(room("a"), event("to a room", number as u64));
        pair.first
            .adapter
            .publish(&ClusterMessage::ServerSideEmit(event(
                "to the server",
                number as u64,
            )));
    }
    for (number, pair) in pairs.iter().enumerate() {
        let complete = |deliveries: usize, events: usize| deliveries >= 2 && events >= 1;
        let local = &pair.second.local;
        local
            .wait_until("all have arrived", |record| {
                complete(record.deliveries.len(), record.server_side_events.len())
            })
            .await;
        pair.fence().await;
        local.read(|record| {
            let delivered = record.deliveries.iter().map(|delivery| &delivery.arguments);
            let all: Vec<&Arguments> = delivered
                .chain(&record.server_side_events)
                .filter(|event| event.event_name() != "fence")
                .collect();
            assert_eq!(all.len(), 3, "{all:?} in {}", NAMES[number]);
            for arguments in all {
                assert_eq!(
                    arguments.get::<usize>().ok(),
                    Some(number),
                    "{arguments:?} in {}",
                    NAMES[number]
                );
            }
        });
    }
}

/// A server makes the sockets of another join rooms.
pub async fn sockets_join_by_target(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [a, ab, neither] = [
        local.socket(&["a"]),
        local.socket(&["a", "b"]),
        local.socket(&[]),
    ];
    let own = pair.first.local.socket(&["a"]);
    let join = |target: Target, names: &[&str]| {
        let rooms = names.iter().map(|&name| name.into()).collect();
        pair.first
            .adapter
            .publish(&ClusterMessage::Join { target, rooms });
    };
    let all_in = |members: &[&Socket], room: &str| {
        members.iter().all(|member| local.rooms.is_in(member, room))
    };

    join(room("a"), &["c", "d#{1}\n"]);
    local
        .wait_until("members of a room have joined", |_| {
            all_in(&[&a, &ab], "c") && all_in(&[&a, &ab], "d#{1}\n")
        })
        .await;
    join(except(everyone(), &["b"]), &["e"]);
    local
        .wait_until("those who are not excepted have joined", |_| {
            all_in(&[&a, &neither], "e")
        })
        .await;
    join(room(&neither.name()), &["", &a.name()]);
    local
        .wait_until("one socket has joined", |_| {
            all_in(&[&neither], "") && all_in(&[&neither], &a.name())
        })
        .await;

    let names = |member: &Socket| {
        local
            .rooms
            .rooms_of(member)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&a), ["a", "c", "d#{1}\n", "e"]);
    assert_eq!(names(&ab), ["a", "b", "c", "d#{1}\n"]);
    assert_eq!(names(&neither), ["e", "", &*a.name()]);
    fence(&pair.second, &pair.first).await;
    assert_eq!(pair.first.local.rooms.rooms_of(&own).len(), 1);
    pair.check(room("c"), &[&a, &ab]).await;
}

/// A server makes the sockets of another leave rooms.
pub async fn sockets_leave_by_target(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [first, second, third] = [(); 3].map(|()| local.socket(&["a", "b", "c"]));
    local.rooms.leave(&third, "c");
    let leave = |target: Target, names: &[&str]| {
        let rooms = names.iter().map(|&name| name.into()).collect();
        pair.first
            .adapter
            .publish(&ClusterMessage::Leave { target, rooms });
    };
    let is_in = |member: &Socket, room: &str| local.rooms.is_in(member, room);

    leave(room(&first.name()), &["a", "nobody"]);
    local
        .wait_until("one socket has left", |_| !is_in(&first, "a"))
        .await;
    leave(except(room("c"), &[&first.name()]), &["b"]);
    local
        .wait_until("a member of the room has left", |_| !is_in(&second, "b"))
        .await;
    leave(everyone(), &["c"]);
    local
        .wait_until("all have left", |_| !local.rooms.has_room("c"))
        .await;

    let names = |member: &Socket| {
        local
            .rooms
            .rooms_of(member)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        [names(&first), names(&second), names(&third)],
        [vec!["b"], vec!["a"], vec!["a", "b"]]
    );
    assert_eq!(local.rooms.len(), 3);
}

/// A server disconnects the sockets of another.
pub async fn sockets_disconnect_by_target(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let own = pair.first.local.socket(&["a"]);
    let [a, b, excepted, stays] = [
        local.socket(&["a"]),
        local.socket(&["b"]),
        local.socket(&["b"]),
        local.socket(&[]),
    ];

    pair.first.disconnect(room("a"), Transport::Keep);
    local
        .wait_until("the member of a room is gone", |record| {
            !record.disconnected.is_empty()
        })
        .await;
    pair.first.disconnect(
        except(rooms(&["a", "b"]), &[&excepted.name()]),
        Transport::Close,
    );
    local
        .wait_until("another one is gone", |record| {
            record.disconnected.len() >= 2
        })
        .await;
    pair.first
        .disconnect(room(&excepted.name()), Transport::Keep);
    local
        .wait_until("a third one is gone", |record| {
            record.disconnected.len() >= 3
        })
        .await;

    let expected = [
        (a.id(), Transport::Keep),
        (b.id(), Transport::Close),
        (excepted.id(), Transport::Keep),
    ];
    local.read(|record| assert_eq!(record.disconnected, expected));
    assert!(local.rooms.find(stays.id()).is_some() && local.rooms.len() == 1);
    fence(&pair.second, &pair.first).await;
    assert!(pair.first.local.rooms.find(own.id()).is_some());
}

/// An event for the servers themselves arrives at the other one, and in order.
pub async fn server_side_events_travel(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let sent = [
        Arguments::event("hello", &()).expect("the value is good"),
        Arguments::event("hello", &(1, "zwei", [3.5], [Some("fünf"), None]))
            .expect("the value is good"),
        event("a\"b\\c\nd", 1),
    ];
    for arguments in &sent {
        pair.first
            .adapter
            .publish(&ClusterMessage::ServerSideEmit(arguments.clone()));
    }
    pair.second
        .local
        .wait_until("all have arrived", |record| {
            record.server_side_events.len() >= sent.len()
        })
        .await;
    pair.fence().await;
    pair.second.local.read(|record| {
        assert_eq!(record.server_side_events.len(), sent.len());
        record
            .server_side_events
            .iter()
            .zip(&sent)
            .for_each(|(arrived, sent)| assert_same(arrived, sent));
    });
    fence(&pair.second, &pair.first).await;
    assert!(
        pair.first
            .local
            .read(|record| record.server_side_events.is_empty())
    );
}

/// A namespace that was closed hears nothing, and others of its server hear on.
pub async fn nothing_arrives_after_close(nodes: &TwoNodes) {
    let (closed, open) = (
        Pair::attach(nodes, "/closed").await,
        Pair::attach(nodes, "/open").await,
    );
    let socket = closed.second.local.socket(&["a"]);
    closed.check(everyone(), &[&socket]).await;
    closed.second.adapter.close();
    closed.second.adapter.close();

    for target in [everyone(), room("a"), room(&socket.name())] {
        closed.first.emit(target.clone(), event("late", 0));
        closed.first.adapter.publish(&ClusterMessage::Join {
            target: target.clone(),
            rooms: vec!["late".into()],
        });
        closed.first.disconnect(target, Transport::Keep);
    }
    closed
        .first
        .adapter
        .publish(&ClusterMessage::ServerSideEmit(event("late", 0)));
    // A closed adapter may still be asked to send, by whoever has not heard of its end.
    closed.second.emit(everyone(), event("late", 0));

    // What was sent after all that on the same way has arrived, so it has had its time.
    open.fence().await;
    closed.second.local.read(|record| {
        assert_eq!(record.deliveries.len(), 0);
        assert_eq!(record.server_side_events, []);
        assert_eq!(record.disconnected, []);
    });
    assert!(!closed.second.local.rooms.has_room("late"));
}

/// A namespace comes and goes as its clients do; the one that comes anew is whole, and the old one stays silent.
pub async fn namespace_can_be_attached_again(nodes: &TwoNodes) {
    let old = Pair::attach(nodes, "/").await;
    old.second.local.socket(&[]);
    old.first.adapter.close();
    old.second.adapter.close();

    let new = Pair::attach(nodes, "/").await;
    let socket = new.second.local.socket(&["a"]);
    new.check(everyone(), &[&socket]).await;
    new.check(room("a"), &[&socket]).await;
    assert_eq!(old.second.local.receivers("check"), []);
}
