//! Attaching, detaching, closing; who is subscribed to what.

use synapse_adapter::{AdapterFactory as _, Broadcast, ClusterMessage, Flags, Target};
use synapse_redis::RedisState;
use tokio::time::{Instant, sleep};

use crate::support::{DEADLINE, Peer, Recorder, Redis, json, ready, wait_for};

fn event(target: Target, json_text: &str) -> ClusterMessage {
    ClusterMessage::Broadcast(Broadcast {
        target,
        flags: Flags::default(),
        arguments: json(json_text),
    })
}

async fn wait_for_subscribers(peer: &mut Peer, channel: &str, count: u64) {
    let give_up_at = Instant::now() + DEADLINE;
    while peer.subscribers(channel).await != count {
        assert!(
            Instant::now() < give_up_at,
            "{channel} never has {count} subscribers"
        );
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_process_is_one_subscriber() {
    let redis = Redis::start().await;
    let (first, second) = (redis.adapter(), redis.adapter());
    let namespaces = ["/", "/chat", "/admin"];
    for adapter in [&first, &second] {
        for namespace in namespaces {
            adapter.attach(namespace, Recorder::new(&[]));
        }
        ready(adapter).await;
    }
    let mut peer = Peer::connect(&redis).await;
    for namespace in namespaces {
        assert_eq!(
            peer.subscribers(&format!("socket.io-request#{namespace}#"))
                .await,
            2
        );
        assert_eq!(
            peer.subscribers(&format!("socket.io-response#{namespace}#"))
                .await,
            2
        );
    }
    first.close().await;
    for namespace in namespaces {
        wait_for_subscribers(&mut peer, &format!("socket.io-request#{namespace}#"), 1).await;
    }
}

#[tokio::test]
async fn namespaces_come_and_go_at_run_time() {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    for _ in 0..3 {
        let local = Recorder::new(&[]);
        let namespace = adapter.attach("/chat", local.clone());
        ready(&adapter).await;
        assert_eq!(peer.subscribers("socket.io-request#/chat#").await, 1);
        peer.publish("socket.io-request#/chat#", r#"{"type":6,"data":["x"]}"#)
            .await;
        assert_eq!(local.take(1).await, [r#"server side ["x"]"#]);
        namespace.close();
        ready(&adapter).await;
        assert_eq!(peer.subscribers("socket.io-request#/chat#").await, 0);
        assert_eq!(peer.publish("socket.io#/chat#", b"x").await, 0);
    }
    assert_eq!(adapter.status().reconnects, 0);
}

#[tokio::test]
async fn a_namespace_attached_twice_belongs_to_the_later_one() {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    let (early, late) = (Recorder::new(&[]), Recorder::new(&[]));
    let former = adapter.attach("/", early.clone());
    ready(&adapter).await;
    adapter.attach("/", late.clone());
    former.close();
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    assert_eq!(peer.subscribers("socket.io-request#/#").await, 1);
    peer.publish("socket.io-request#/#", r#"{"type":6,"data":["x"]}"#)
        .await;
    assert_eq!(late.take(1).await.len(), 1);
    assert!(early.take(0).await.is_empty());
}

#[tokio::test]
async fn closing_publishes_what_is_queued() {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    let namespace = adapter.attach("/", Recorder::new(&[]));
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    peer.subscribe("socket.io#/#").await;
    for _ in 0..2000 {
        namespace.publish(&event(Target::default(), r#"["e"]"#));
    }
    adapter.close().await;
    for _ in 0..2000 {
        peer.next().await;
    }
    namespace.publish(&event(Target::default(), r#"["late"]"#));
    let status = adapter.status();
    assert_eq!(
        (
            status.state,
            status.published,
            status.dropped,
            status.unconfirmed,
            status.queued
        ),
        (RedisState::Disconnected, 2000, 1, 0, 0)
    );
    adapter.close().await;
}

#[tokio::test]
async fn closing_does_not_wait_for_a_redis_that_is_not_there() {
    let redis = Redis::absent(&[]);
    let adapter = redis.adapter();
    adapter
        .attach("/", Recorder::new(&[]))
        .publish(&event(Target::default(), r#"["e"]"#));
    let started = Instant::now();
    adapter.close().await;
    assert!(
        started.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(adapter.status().dropped, 1);
}

#[tokio::test]
async fn glob_characters_in_a_namespace_are_only_characters() {
    let redis = Redis::start().await;
    let (first, second) = (redis.adapter(), redis.adapter());
    let name = r"/a[b]*c?\d";
    let (local, other) = (Recorder::new(&["room"]), Recorder::new(&[]));
    first.attach(name, local.clone());
    first.attach("/ab", other.clone());
    let sender = second.attach(name, Recorder::new(&[]));
    ready(&first).await;
    ready(&second).await;
    sender.publish(&event(Target::default(), r#"["all"]"#));
    sender.publish(&event(
        Target {
            rooms: ["room".into()].into_iter().collect(),
            ..Target::default()
        },
        r#"["one"]"#,
    ));
    assert_eq!(
        local.take(2).await,
        [
            r#"broadcast []-[] ["all"]"#,
            r#"broadcast ["room"]-[] ["one"]"#
        ]
    );
    let mut peer = Peer::connect(&redis).await;
    // The unescaped pattern would have matched this one.
    assert_eq!(peer.publish(r"socket.io#/abxcyd#", b"\x90").await, 0);
    assert!(other.take(0).await.is_empty());
}

#[tokio::test]
async fn a_room_that_is_not_here_is_told_by_its_channel() {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    let local = Recorder::new(&["here"]);
    adapter.attach("/", local.clone());
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    // Not even looked at: this is no msgpack.
    peer.publish("socket.io#/#elsewhere#", b"garbage").await;
    let status = wait_for(&adapter, "the message", |status| {
        status.discarded_unheard == 1
    })
    .await;
    assert_eq!((status.malformed, status.received), (0, 0));
}

#[tokio::test]
async fn connections_carry_our_name() {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    let redis::Value::BulkString(list) = peer.run(&["CLIENT", "LIST"]).await else {
        panic!("a list of clients")
    };
    assert_eq!(
        String::from_utf8(list)
            .unwrap()
            .matches("name=synapse-")
            .count(),
        2
    );
}
