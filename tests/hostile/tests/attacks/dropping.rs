//! Clients that read nothing of events that may be dropped: they stay, lose what they may lose, and cost nobody else anything.

use synapse_hostile::{Client, Host, Polling, eventually, quick_config};
use synapse_socket::{Binary, Server, SlowPolicy};

/// Larger than what the kernel's buffers of both sides take, a thousand times.
const PADDING: usize = 4_000;
/// What a test may send before something has to be dropped.
const ROUNDS_MAX: usize = 20_000;

fn host() -> Host {
    let mut config = quick_config();
    // What the client may lose must never close it.
    config.limits.outbox_bytes_max = 16 * 1024 * 1024;
    Host::with(config)
}

/// The number that stands first in the arguments of an event, or second after another one.
fn numbers(packet: &str) -> (String, Vec<usize>) {
    let json = packet.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let items: Vec<serde_json::Value> = serde_json::from_str(json).expect("an event");
    let name = items[0].as_str().expect("a name").to_owned();
    let numbers = items[1..]
        .iter()
        .filter_map(|item| usize::try_from(item.as_u64()?).ok())
        .collect();
    (name, numbers)
}

/// Sends rounds to everyone until `is_enough`, then ten more; the bystander takes each of them. Returns how many were sent.
async fn flood(
    io: &Server,
    bystander: &mut Client,
    per_round: usize,
    mut is_enough: impl FnMut() -> bool,
    mut send: impl FnMut(usize),
) -> usize {
    let (mut round, mut left) = (0, 10);
    while left > 0 {
        if is_enough() {
            left -= 1;
        }
        send(round);
        for _ in 0..per_round {
            let (_, numbers) = numbers(&bystander.next().await);
            assert_eq!(numbers.last(), Some(&round), "who keeps up gets everything");
        }
        round += 1;
        assert!(round < ROUNDS_MAX, "{:?}", io.stats());
    }
    round
}

#[tokio::test]
async fn of_each_key_a_slow_client_gets_the_latest() {
    const KEYS: usize = 5;
    let host = host();
    let main = host.io.of("/");
    main.slow_policy("cursor", SlowPolicy::KeepLatestBy(0));
    let mut bystander = host.bystander().await;
    let mut slow = Client::join(host.address).await;
    let padding = "x".repeat(PADDING);
    let stats = || host.io.stats();
    let rounds = flood(
        &host.io,
        &mut bystander,
        KEYS,
        || stats().replaced > 100,
        |round| (0..KEYS).for_each(|key| main.emit("cursor", (key, round, &padding)).unwrap()),
    )
    .await;
    assert!(stats().dropped == 0 && stats().overflowed == 0);

    let mut latest = [0; KEYS];
    let mut taken = 0;
    while latest != [rounds - 1; KEYS] {
        let (_, numbers) = numbers(&slow.next().await);
        let (key, round) = (numbers[0], numbers[1]);
        assert!(taken < KEYS || round > latest[key], "never back");
        latest[key] = round;
        taken += 1;
    }
    assert_eq!(taken as u64 + stats().replaced, (KEYS * rounds) as u64);
    // The stream is whole: it goes on like any other.
    slow.echo("caught up").await;
    drop(slow);
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn the_oldest_go_with_all_their_attachments_and_what_is_kept_stays() {
    let host = host();
    let main = host.io.of("/");
    main.slow_policy("line", SlowPolicy::DropOldest);
    let mut bystander = host.bystander().await;
    let mut slow = Client::join(host.address).await;
    let stats = || host.io.stats();
    let (mut sent, mut left) = (0, 10);
    while left > 0 {
        left -= usize::from(stats().dropped > 100);
        let data = vec![u8::try_from(sent % 251).unwrap(); PADDING];
        main.emit("line", (sent, Binary::from(data))).unwrap();
        assert_eq!(numbers(&bystander.next().await).1, [sent]);
        bystander.next_binary().await;
        if sent % 100 == 0 {
            main.emit("kept", sent).unwrap();
            assert_eq!(numbers(&bystander.next().await).1, [sent]);
        }
        sent += 1;
        assert!(sent < ROUNDS_MAX, "{:?}", stats());
    }
    main.emit("kept", sent).unwrap();
    assert_eq!(stats().overflowed, 0);

    let (mut lines, mut kept, mut last) = (0, Vec::new(), 0);
    while kept.last() != Some(&sent) {
        let (name, numbers) = numbers(&slow.next().await);
        let number = numbers[0];
        assert!(number >= last, "in the order of the program");
        last = number;
        if name == "kept" {
            kept.push(number);
        } else {
            lines += 1;
            let data = slow.next_binary().await;
            assert_eq!(data, vec![u8::try_from(number % 251).unwrap(); PADDING]);
        }
    }
    assert_eq!(lines + stats().dropped, sent as u64);
    let mut expected: Vec<_> = (0..sent).step_by(100).collect();
    expected.push(sent);
    assert_eq!(kept, expected, "each counts");
    slow.echo("caught up").await;
}

#[tokio::test]
async fn what_is_declared_volatile_never_waits() {
    let host = host();
    let main = host.io.of("/");
    main.slow_policy("typing", SlowPolicy::Volatile);
    let mut bystander = host.bystander().await;
    let slow = Client::join(host.address).await;
    let padding = "x".repeat(PADDING);
    let stats = || host.io.stats();
    flood(
        &host.io,
        &mut bystander,
        1,
        || stats().volatile_dropped > 100,
        |round| main.emit("typing", (&padding, round)).unwrap(),
    )
    .await;
    assert!(stats().dropped == 0 && stats().replaced == 0 && stats().overflowed == 0);
    drop(slow);
    host.check(&mut bystander).await;
}

/// An event that one socket gets, not a broadcast, and a client that does not poll.
#[tokio::test]
async fn what_waits_for_a_poll_is_the_latest() {
    let host = host();
    host.io.of("/").slow_policy("score", SlowPolicy::KeepLatest);
    let (mut polling, id) = Polling::join(host.address).await;
    let socket = host.io.of("/").socket(id.parse().unwrap()).unwrap();
    for score in 0..100 {
        socket.emit("score", score).unwrap();
    }
    // The first found nothing that waited, and is kept.
    assert_eq!(
        polling.packets().await,
        [r#"42["score",0]"#, r#"42["score",99]"#]
    );
    assert_eq!(host.io.stats().replaced, 98);

    // A client that polls gets all of them.
    polling.start_poll().await;
    eventually("the poll to arrive", || {
        socket.emit_volatile("poll", ()).unwrap()
    })
    .await;
    socket.emit("score", 100).unwrap();
    let mut packets = Vec::new();
    while packets.last().map(String::as_str) != Some(r#"42["score",100]"#) {
        let response = polling.poll_response().await;
        packets.extend(response.body.split('\u{1e}').map(str::to_owned));
        polling.start_poll().await;
    }
}

/// Control packets are never dropped for it, and a disconnect comes after what was sent before.
#[tokio::test]
async fn a_disconnect_follows_what_may_be_dropped() {
    let host = host();
    host.io.of("/").slow_policy("score", SlowPolicy::KeepLatest);
    let (mut polling, id) = Polling::join(host.address).await;
    let socket = host.io.of("/").socket(id.parse().unwrap()).unwrap();
    for score in 0..100 {
        socket.emit("score", score).unwrap();
    }
    socket.disconnect();
    assert_eq!(
        polling.packets().await,
        [r#"42["score",0]"#, r#"42["score",99]"#, "41"]
    );
}
