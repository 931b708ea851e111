//! How soon delivery is back, and that nothing arrives twice and nobody is counted twice on the way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use synapse_adapter::{AdapterFactory as _, Broadcast, ClusterMessage, Flags, Target};
use synapse_redis::{RedisAdapter, RedisOptions, RedisSettings, RedisState};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::support::{
    DEADLINE, Peer, Recorder, Redis, json, quick, ready, wait_for, wait_for_state,
};

fn event(number: usize) -> ClusterMessage {
    ClusterMessage::Broadcast(Broadcast {
        target: Target::default(),
        flags: Flags::default(),
        arguments: json(&format!("[\"e\",{number}]")),
    })
}

/// The number that an event carries.
fn number(payload: &[u8]) -> usize {
    let at = payload
        .windows(2)
        .position(|window| window == b"\xa1e")
        .unwrap()
        + 2;
    match payload[at] {
        0xcc => usize::from(payload[at + 1]),
        0xcd => usize::from(payload[at + 1]) << 8 | usize::from(payload[at + 2]),
        small => usize::from(small),
    }
}

#[tokio::test]
async fn what_was_on_its_way_when_redis_froze_arrives_once_and_in_order() {
    let redis = Redis::start().await;
    let options = quick();
    let adapter = RedisAdapter::start(redis.settings(), options.clone());
    let namespace = adapter.attach("/", Recorder::new(&[]));
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    peer.subscribe("socket.io#/#").await;

    redis.freeze();
    for number in 0..100 {
        namespace.publish(&event(number));
        // Gives the publisher its turns, so that some are on their way and the others wait.
        tokio::task::yield_now().await;
    }
    let status = wait_for_state(&adapter, RedisState::Disconnected).await;
    assert!(
        status.unconfirmed > 0 && status.queued > 0,
        "both kinds: {status:?}"
    );
    for number in 100..200 {
        namespace.publish(&event(number));
    }
    redis.thaw();
    let thawed = Instant::now();
    wait_for_state(&adapter, RedisState::Connected).await;
    let back = thawed.elapsed();
    let limit = options.probe_interval + options.probe_timeout + options.reconnect_max;
    assert!(back <= limit, "back after {back:?}");
    namespace.publish(&event(200));
    // Redis carries out what the old connection left with it, the new one sends the rest, and nothing comes twice.
    for expected in 0..=200 {
        assert_eq!(number(&peer.next().await.1), expected);
    }
    let status = wait_for(&adapter, "all answers", |status| {
        status.published + status.unconfirmed == 201
    })
    .await;
    assert_eq!((status.dropped, status.queued), (0, 0));
}

/// What stands before a Redis and swallows everything until it is opened; what it has swallowed by then stays so.
struct Gate {
    address: SocketAddr,
    accepted: watch::Receiver<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, accepted) = watch::channel(0);
        let (open, is_open) = watch::channel(false);
        let behind = redis.address();
        tokio::spawn(async move {
            let mut swallowed = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if *is_open.borrow() {
                    let mut onward = TcpStream::connect(behind).await.unwrap();
                    tokio::spawn(async move {
                        tokio::io::copy_bidirectional(&mut stream, &mut onward).await
                    });
                } else {
                    swallowed.push(stream);
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            address,
            accepted,
            open,
        }
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_when_redis_comes_back_holds_nobody_up_for_long() {
    let redis = Redis::start().await;
    let mut gate = Gate::before(&redis).await;
    let url = format!("redis://{}", gate.address);
    let options = RedisOptions::default();
    let adapter = RedisAdapter::start(
        RedisSettings::from_url("REDIS_URL", &url).unwrap(),
        options.clone(),
    );
    // Both connections of an attempt are swallowed, and its time has just begun.
    timeout(DEADLINE, gate.accepted.wait_for(|accepted| *accepted >= 2))
        .await
        .unwrap()
        .unwrap();
    let came_back = Instant::now();
    gate.open.send_replace(true);
    ready(&adapter).await;
    let back = came_back.elapsed();
    let limit = options.connect_timeout + options.reconnect_max;
    assert!(
        limit <= Duration::from_secs(4) && back <= limit + Duration::from_millis(500),
        "back after {back:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_never_two_subscribers_while_it_reconnects() {
    let redis = Redis::start().await;
    let adapter = RedisAdapter::start(redis.settings(), quick());
    adapter.attach("/", Recorder::new(&[]));
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    let mut counted = Peer::connect(&redis).await;
    let watching = Arc::clone(&adapter);
    let (done, mut is_done) = watch::channel(false);
    let counts = tokio::spawn(async move {
        let mut highest = 0;
        while !*is_done.borrow_and_update() {
            highest = highest.max(counted.subscribers("socket.io-request#/#").await);
        }
        highest
    });
    for reconnects in 1..=6 {
        let kind = if reconnects % 2 == 0 {
            "pubsub"
        } else {
            "normal"
        };
        if reconnects == 6 {
            redis.freeze();
            wait_for_state(&watching, RedisState::Disconnected).await;
            redis.thaw();
        } else {
            let killed = peer.connections(kind, "name=synapse-").await;
            assert_eq!(killed.len(), 1, "{killed:?}");
            peer.run(&["CLIENT", "KILL", "ID", &killed[0]]).await;
        }
        wait_for(&watching, "the reconnect", |status| {
            status.reconnects == reconnects && status.state == RedisState::Connected
        })
        .await;
        assert_eq!(peer.subscribers("socket.io-request#/#").await, 1);
        assert_eq!(peer.connections("normal", "name=synapse-").await.len(), 1);
    }
    done.send_replace(true);
    assert_eq!(counts.await.unwrap(), 1);
}
