//! Who gets an event, and what it carries.

use serde_json::{Value, json};
use synapse_protocol::socket::{Arguments, Binary};

use super::TwoNodes;
use super::pair::{Node, Pair, event, everyone, except, fence, room, rooms};
use crate::message::{Broadcast, Flags};

/// A broadcast without rooms reaches every socket of the other server.
pub async fn broadcast_reaches_everyone(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.check(everyone(), &[]).await;
    let [first, second] = [
        pair.second.local.socket(&[]),
        pair.second.local.socket(&["a"]),
    ];
    pair.check(everyone(), &[&first, &second]).await;
}

/// A broadcast to a room reaches its members, wherever the room also is.
pub async fn room_reaches_its_members(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [a, ab, _neither] = [
        local.socket(&["a"]),
        local.socket(&["a", "b"]),
        local.socket(&[]),
    ];
    pair.first.local.socket(&["a", "only on the first"]);
    pair.check(room("a"), &[&a, &ab]).await;
    pair.check(room("b"), &[&ab]).await;
    pair.check(room("only on the first"), &[]).await;
}

/// A socket in several rooms of a target gets one copy.
pub async fn several_rooms_reach_each_member_once(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [a, ab, c] = [
        local.socket(&["a"]),
        local.socket(&["a", "b"]),
        local.socket(&["c"]),
    ];
    pair.check(rooms(&["a", "b"]), &[&a, &ab]).await;
    pair.check(rooms(&["b", "c", "nobody"]), &[&ab, &c]).await;
    pair.check(rooms(&["a", &ab.name(), &c.name()]), &[&a, &ab, &c])
        .await;
}

/// Rooms and sockets that are excepted get nothing.
pub async fn exceptions_are_left_out(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [a, ab, b] = [
        local.socket(&["a"]),
        local.socket(&["a", "b"]),
        local.socket(&["b"]),
    ];
    pair.check(except(everyone(), &["a"]), &[&b]).await;
    pair.check(except(room("a"), &["b"]), &[&a]).await;
    pair.check(except(rooms(&["a", "b"]), &[&a.name(), &b.name()]), &[&ab])
        .await;
    pair.check(except(everyone(), &[&a.name()]), &[&ab, &b])
        .await;
    pair.check(except(everyone(), &["nobody"]), &[&a, &ab, &b])
        .await;
    pair.check(except(room("a"), &["a"]), &[]).await;
}

/// The id of a socket is a room with it alone, which others may join.
pub async fn socket_is_reached_by_its_id(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let local = &pair.second.local;
    let [first, second] = [local.socket(&[]), local.socket(&[])];
    pair.check(room(&first.name()), &[&first]).await;
    let listener = local.socket(&[&first.name()]);
    pair.check(room(&first.name()), &[&first, &listener]).await;
    pair.check(room(&second.name()), &[&second]).await;
}

/// Characters that mean something in a channel, a pattern or a key mean nothing in the name of a room; nor does the empty name.
pub async fn odd_room_names_are_ordinary(nodes: &TwoNodes) {
    const NAMES: &[&str] = &[
        "",
        "#",
        "x",
        "x#",
        "x#y",
        "#y",
        "{tag}",
        "{",
        "*",
        "?",
        "x*",
        "[a-z]",
        "\\",
        "line\nbreak",
        "\r\n",
        "\0",
        " ",
        "a b",
        "a,b",
        "/",
        "/chat",
        "\"",
        "1",
        "01",
        "ünïcödé",
        "部屋",
        "😀",
        "null",
        "__proto__",
    ];
    let pair = Pair::attach(nodes, "/").await;
    let members: Vec<_> = NAMES
        .iter()
        .map(|name| pair.second.local.socket(&[name]))
        .collect();
    for (name, member) in NAMES.iter().zip(&members) {
        pair.check(room(name), &[member]).await;
        pair.check(rooms(&[name, "nobody"]), &[member]).await;
    }
    let others: Vec<_> = members.iter().skip(1).collect();
    pair.check(except(everyone(), &[""]), &others).await;
}

/// Volatile and compress arrive as they were sent.
pub async fn flags_travel(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    pair.second.local.socket(&[]);
    for volatile in [false, true] {
        for compress in [None, Some(false), Some(true)] {
            let flags = Flags {
                volatile,
                compress,
                timeout: None,
            };
            pair.first.broadcast(Broadcast {
                target: everyone(),
                flags,
                arguments: event("flags", 0),
            });
            pair.second
                .local
                .wait_until("an event arrives", |record| !record.deliveries.is_empty())
                .await;
            pair.second.local.read(|record| {
                let flags = record.deliveries[0].flags;
                assert_eq!((flags.volatile, flags.compress), (volatile, compress));
            });
            pair.second.local.forget_deliveries();
        }
    }
}

/// Binary values arrive at their places, empty ones and deep ones too.
pub async fn attachments_travel(nodes: &TwoNodes) {
    let binary = |bytes: &[u8]| Binary(bytes.to_vec().into());
    let every_byte: Vec<u8> = (0..=255).collect();
    let pair = Pair::attach(nodes, "/").await;
    for arguments in [
        Arguments::event("upload", &binary(b"\x00\xff")),
        Arguments::event("upload", &(binary(&every_byte), "between", binary(b""))),
        Arguments::event(
            "upload",
            &vec![
                vec![Some(binary(b"deep")), None],
                vec![Some(binary(b"deeper"))],
            ],
        ),
        Arguments::event("none", &json!({ "data": [] })),
    ] {
        check_arrives(&pair, arguments.expect("the value is good")).await;
    }
}

/// Whatever JSON can say arrives as it was.
pub async fn arguments_travel_unchanged(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    for value in [
        Value::Null,
        json!([true, false, null, "", [], {}, [[]], { "": {} }]),
        json!([
            0,
            -1,
            127,
            128,
            -128,
            -129,
            65_535,
            65_536,
            4_294_967_296_i64,
            -2_147_483_649_i64,
            9_007_199_254_740_991_i64
        ]),
        json!([0.5, -0.25, 1e100, 1.5e-7]),
        json!("Grüße, 世界, 😀, \u{0}\u{7f}\u{2028}, \"quoted\" \\ / \n\t"),
        json!({ "ключ": "値", "b": 1, "a": { "_placeholder": false, "num": 0 } }),
    ] {
        check_arrives(
            &pair,
            Arguments::event("value", &value).expect("the value is good"),
        )
        .await;
    }
    check_arrives(
        &pair,
        Arguments::event("no arguments", &()).expect("the value is good"),
    )
    .await;
    check_arrives(
        &pair,
        Arguments::event("événement 名", &(1, "two", [3])).expect("the value is good"),
    )
    .await;
}

/// A megabyte of text and a megabyte of bytes arrive.
pub async fn large_payloads_travel(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let text = "0123456789abcdé\n".repeat(64 << 10);
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    check_arrives(
        &pair,
        Arguments::event("text", &text).expect("the value is good"),
    )
    .await;
    check_arrives(
        &pair,
        Arguments::event("bytes", &Binary(bytes.into())).expect("the value is good"),
    )
    .await;
}

/// The server that sends gets no copy: it has delivered to its own sockets already.
pub async fn own_node_is_not_among_the_receivers(nodes: &TwoNodes) {
    let pair = Pair::attach(nodes, "/").await;
    let [own, other] = [
        pair.first.local.socket(&["a"]),
        pair.second.local.socket(&["a"]),
    ];
    pair.check(everyone(), &[&other]).await;
    pair.check(room("a"), &[&other]).await;
    pair.check(rooms(&["a", &own.name()]), &[&other]).await;
    pair.check(room(&own.name()), &[]).await;
    fence(&pair.second, &pair.first).await;
    assert_eq!(pair.first.local.receivers("check"), []);
}

/// Ten thousand messages arrive in the order of their sending, none lost and none twice.
pub async fn messages_of_one_sender_keep_their_order(nodes: &TwoNodes) {
    const COUNT: u64 = 10_000;
    let pair = Pair::attach(nodes, "/").await;
    pair.second.local.socket(&["a"]);
    for number in 0..COUNT {
        pair.first.emit(room("a"), event("numbered", number));
    }
    let local = &pair.second.local;
    local
        .wait_until("all have arrived", |record| {
            record.deliveries.len() >= COUNT as usize
        })
        .await;
    pair.fence().await;
    assert!(numbers(&pair.second, "numbered").into_iter().eq(0..COUNT));
}

/// Threads that send at once each keep their order.
pub async fn senders_at_once_keep_their_orders(nodes: &TwoNodes) {
    const COUNT: u64 = 1_000;
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    let pair = Pair::attach(nodes, "/").await;
    pair.second.local.socket(&[]);
    std::thread::scope(|scope| {
        for name in NAMES {
            let first = &pair.first;
            scope.spawn(move || {
                (0..COUNT).for_each(|number| first.emit(everyone(), event(name, number)))
            });
        }
    });
    let all = NAMES.len() * COUNT as usize;
    pair.second
        .local
        .wait_until("all have arrived", |record| record.deliveries.len() >= all)
        .await;
    pair.fence().await;
    for name in NAMES {
        assert!(
            numbers(&pair.second, name).into_iter().eq(0..COUNT),
            "{name}"
        );
    }
}

/// Both servers send at once, and nothing is lost or comes twice.
pub async fn both_directions_at_once(nodes: &TwoNodes) {
    const COUNT: u64 = 2_000;
    let pair = Pair::attach(nodes, "/").await;
    for node in [&pair.first, &pair.second] {
        node.local.socket(&["a"]);
    }
    std::thread::scope(|scope| {
        for (node, name) in [(&pair.first, "from first"), (&pair.second, "from second")] {
            scope.spawn(move || {
                for number in 0..COUNT {
                    let target = if number % 2 == 0 {
                        room("a")
                    } else {
                        everyone()
                    };
                    node.emit(target, event(name, number));
                }
            });
        }
    });
    for node in [&pair.first, &pair.second] {
        node.local
            .wait_until("all have arrived", |record| {
                record.deliveries.len() >= COUNT as usize
            })
            .await;
    }
    fence(&pair.first, &pair.second).await;
    fence(&pair.second, &pair.first).await;
    assert!(numbers(&pair.first, "from second").into_iter().eq(0..COUNT));
    assert!(numbers(&pair.second, "from first").into_iter().eq(0..COUNT));
    assert!(
        numbers(&pair.first, "from first").is_empty()
            && numbers(&pair.second, "from second").is_empty()
    );
}

async fn check_arrives(pair: &Pair, arguments: Arguments) {
    let socket = pair.second.local.socket(&[]);
    for target in [everyone(), room(&socket.name())] {
        pair.first.emit(target, arguments.clone());
        let local = &pair.second.local;
        local
            .wait_until("the event arrives", |record| !record.deliveries.is_empty())
            .await;
        local.read(|record| assert_same(&record.deliveries[0].arguments, &arguments));
        local.forget_deliveries();
    }
    pair.second.local.rooms.remove(&socket);
}

/// The numbers of the events of that name, in the order of their arrival.
fn numbers(node: &Node, name: &str) -> Vec<u64> {
    node.local.read(|record| {
        let of_name = record
            .deliveries
            .iter()
            .filter(|delivery| delivery.arguments.event_name() == name);
        of_name
            .map(|delivery| {
                delivery
                    .arguments
                    .get()
                    .expect("these events carry a number")
            })
            .collect()
    })
}

/// Equal to a client: text may be written in more than one way.
pub(super) fn assert_same(arrived: &Arguments, sent: &Arguments) {
    let value = |arguments: &Arguments| {
        serde_json::from_str::<Value>(arguments.json()).expect("arguments are valid JSON")
    };
    assert_eq!(value(arrived), value(sent));
    assert_eq!(arrived.attachments(), sent.attachments());
}
