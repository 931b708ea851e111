//! A publisher that means harm, or is broken: everything it sends is survived and counted.

use synapse_adapter::AdapterFactory as _;
use synapse_redis::{RedisAdapter, RedisOptions, RedisState};

use crate::support::{Peer, Recorder, Redis, capture, quick, ready, wait_for};

#[tokio::test]
async fn hostile_redis_publisher_is_dropped_and_counted_on_every_channel() {
    let redis = Redis::start().await;
    let options = RedisOptions {
        message_bytes_max: 1 << 20,
        ..RedisOptions::default()
    };
    let adapter = RedisAdapter::start(redis.settings(), options);
    let local = Recorder::new(&["room1"]);
    adapter.attach("/", local.clone());
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;

    let mut deep = vec![
        0x93, 0xa1, b'x', 0x82, 0xa4, b't', b'y', b'p', b'e', 0x02, 0xa4, b'd', b'a', b't', b'a',
    ];
    deep.extend(vec![0x91; 500_000]);
    let deep_json = format!("{{\"type\":6,\"data\":{}", "[".repeat(500_000));
    let truncated = &capture("flags")[..50];
    let lying = b"\x93\xa1x\x81\xa4data\xdd\xff\xff\xff\xff\x80";
    let payloads: [&[u8]; 9] = [
        b"",
        b"garbage",
        b"{",
        b"{}",
        deep.as_slice(),
        deep_json.as_bytes(),
        truncated,
        lying,
        &[0xff; 3000],
    ];
    let mut malformed = 0;
    for channel in [
        "socket.io#/#",
        "socket.io#/#room1#",
        "socket.io-request#/#",
        "socket.io-response#/#",
    ] {
        for payload in payloads {
            assert_eq!(peer.publish(channel, payload).await, 1);
            malformed += 1;
        }
        // Over the limit: passed over without being held.
        assert_eq!(peer.publish(channel, vec![0x91; 3 << 20]).await, 1);
        malformed += 1;
    }
    // A channel that is ours by its beginning only, and a name that is too long or no text.
    assert_eq!(peer.publish("socket.io#/#room1", b"x").await, 1);
    assert_eq!(peer.publish(b"socket.io#/#\xff#", b"x").await, 1);
    assert_eq!(
        peer.publish(
            [b"socket.io#/#".as_slice(), &vec![b'a'; 2 << 20], b"#"].concat(),
            b"x"
        )
        .await,
        1
    );
    malformed += 3;
    // Answers that nobody asked for are nobody's fault.
    let answer = r#"{"requestId":"r","sockets":[]}"#;
    peer.publish("socket.io-response#/#", answer).await;

    peer.publish("socket.io#/#", capture("emit")).await;
    assert_eq!(
        local.take(1).await,
        [r#"broadcast []-[] ["hello","world",1]"#]
    );
    let status = wait_for(&adapter, "all counted", |status| {
        status.malformed == malformed
    })
    .await;
    assert_eq!(
        (status.state, status.reconnects, status.received),
        (RedisState::Connected, 0, 1)
    );
}

#[tokio::test]
async fn a_message_over_the_limits_of_redis_itself_costs_a_reconnect_and_no_memory() {
    let redis = Redis::start().await;
    let adapter = RedisAdapter::start(redis.settings(), quick());
    let local = Recorder::new(&[]);
    adapter.attach("/", local.clone());
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    // Redis cuts off a subscriber for whom more than 32 MB wait.
    peer.publish("socket.io#/#", vec![0x91; 40 << 20]).await;
    wait_for(&adapter, "the reconnect", |status| {
        status.reconnects == 1 && status.state == RedisState::Connected
    })
    .await;
    peer.publish("socket.io#/#", capture("emit")).await;
    assert_eq!(local.take(1).await.len(), 1);
    assert_eq!(peer.subscribers("socket.io-request#/#").await, 1);
}
