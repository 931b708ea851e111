//! Redis dies, freezes, comes late and comes back.

use std::time::Duration;

use synapse_adapter::{AdapterFactory as _, Broadcast, ClusterMessage, Flags, Target};
use synapse_redis::{RedisAdapter, RedisOptions, RedisState};
use tokio::time::Instant;

use crate::support::{
    Peer, Recorder, Redis, capture, json, quick, ready, wait_for, wait_for_state,
};

fn event(number: usize) -> ClusterMessage {
    ClusterMessage::Broadcast(Broadcast {
        target: Target::default(),
        flags: Flags::default(),
        arguments: json(&format!("[\"e\",{number}]")),
    })
}

#[tokio::test]
async fn redis_may_come_after_the_start() {
    let redis = Redis::absent(&[]);
    let adapter = RedisAdapter::start(redis.settings(), quick());
    let local = Recorder::new(&[]);
    let namespace = adapter.attach("/", local.clone());
    namespace.publish(&event(1));
    let status = wait_for(&adapter, "a reason", |status| status.last_error.is_some()).await;
    assert_eq!((status.state, status.queued), (RedisState::Connecting, 1));
    assert!(
        status
            .last_error
            .unwrap()
            .contains("check that Redis runs there")
    );
    redis.appear().await;
    ready(&adapter).await;
    let status = wait_for(&adapter, "the queued event", |status| status.published == 1).await;
    assert_eq!(
        (status.reconnects, status.dropped, status.last_error),
        (0, 0, None)
    );
    assert!(status.round_trip.is_some());
    Peer::connect(&redis)
        .await
        .publish("socket.io#/#", capture("emit"))
        .await;
    assert_eq!(local.take(1).await.len(), 1);
}

#[tokio::test]
async fn a_redis_that_was_killed_is_found_again() {
    let redis = Redis::start().await;
    let adapter = RedisAdapter::start(redis.settings(), quick());
    let local = Recorder::new(&["room1"]);
    let namespace = adapter.attach("/", local.clone());
    ready(&adapter).await;
    for restarts in 1..=2 {
        redis.kill();
        let status = wait_for_state(&adapter, RedisState::Disconnected).await;
        assert!(status.round_trip.is_none() && status.last_error.is_some());
        // Also what is attached in the meantime is there afterwards.
        let late = Recorder::new(&[]);
        adapter.attach(&format!("/late{restarts}"), late.clone());
        namespace.publish(&event(restarts));
        redis.appear().await;
        ready(&adapter).await;
        let status = wait_for(&adapter, "the queued event", |status| {
            status.published == restarts as u64
        })
        .await;
        assert_eq!(
            (status.reconnects, status.unconfirmed),
            (restarts as u64, 0)
        );
        let mut peer = Peer::connect(&redis).await;
        peer.publish("socket.io#/#room1#", capture("room")).await;
        assert_eq!(local.take(1).await, [r#"broadcast ["room1"]-[] ["hello"]"#]);
        peer.publish(
            format!("socket.io-request#/late{restarts}#"),
            r#"{"type":6,"data":["late"]}"#,
        )
        .await;
        assert_eq!(late.take(1).await, [r#"server side ["late"]"#]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_is_seen_and_holds_nobody_up() {
    let redis = Redis::start().await;
    let options = RedisOptions {
        publish_queue_messages_max: 1000,
        ..quick()
    };
    let adapter = RedisAdapter::start(redis.settings(), options.clone());
    let namespace = adapter.attach("/", Recorder::new(&[]));
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    peer.subscribe("socket.io#/#").await;

    redis.freeze();
    let frozen = Instant::now();
    wait_for_state(&adapter, RedisState::Disconnected).await;
    let seen = frozen.elapsed();
    assert!(
        seen <= options.probe_interval + options.probe_timeout + Duration::from_millis(300),
        "seen after {seen:?}"
    );
    let started = Instant::now();
    for number in 0..1500 {
        namespace.publish(&event(number));
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "publishing waits: {:?}",
        started.elapsed()
    );
    let status = adapter.status();
    assert_eq!((status.queued, status.dropped), (1000, 500));
    // A frozen Redis still accepts connections; that is not enough.
    let status = wait_for(&adapter, "another attempt", |status| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("no connection"))
    })
    .await;
    assert_eq!(status.state, RedisState::Disconnected);

    redis.thaw();
    wait_for_state(&adapter, RedisState::Connected).await;
    for number in 500..1500 {
        let (_, payload) = peer.next().await;
        let text = String::from_utf8_lossy(&payload).into_owned();
        assert!(
            payload
                .windows(4)
                .any(|window| window == [0xa1, b'e', 0xcd, (number >> 8) as u8]),
            "{number}: {text}"
        );
    }
    wait_for(&adapter, "all answers", |status| {
        status.published == 1000 && status.queued == 0
    })
    .await;
}

#[tokio::test]
async fn connections_that_redis_ends_are_built_anew() {
    let redis = Redis::start().await;
    let adapter = RedisAdapter::start(redis.settings(), quick());
    let local = Recorder::new(&[]);
    adapter.attach("/", local.clone());
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    for (reconnects, kind) in [(1, "pubsub"), (2, "normal")] {
        peer.run(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
            .await;
        wait_for(&adapter, "the reconnect", |status| {
            status.reconnects == reconnects && status.state == RedisState::Connected
        })
        .await;
        ready(&adapter).await;
        peer.publish("socket.io#/#", capture("emit")).await;
        assert_eq!(local.take(1).await.len(), 1);
        assert_eq!(peer.subscribers("socket.io-request#/#").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_takes_long_is_no_outage() {
    let redis = Redis::start().await;
    let options = RedisOptions {
        probe_interval: Duration::from_millis(50),
        probe_timeout: Duration::from_millis(250),
        ..quick()
    };
    let adapter = RedisAdapter::start(redis.settings(), options.clone());
    let local = Recorder::new(&[]);
    adapter.attach("/", local.clone());
    ready(&adapter).await;
    *local.delivery_time.lock() = options.probe_timeout + Duration::from_millis(50);
    let mut peer = Peer::connect(&redis).await;
    for _ in 0..12 {
        // Comes while the one before is still being delivered, and a probe behind both.
        peer.publish("socket.io#/#", capture("emit")).await;
        assert_eq!(local.take(1).await.len(), 1);
    }
    let status = wait_for_state(&adapter, RedisState::Connected).await;
    assert_eq!((status.reconnects, status.received), (0, 12));
}
