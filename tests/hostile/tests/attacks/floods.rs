//! Too much of everything.

use std::collections::HashSet;
use std::time::Duration;

use synapse_hostile::{Client, Frame, Host, Polling, eventually, masked, quick_config, within};
use synapse_protocol::websocket::Opcode;

use crate::{fragment, reasons, short_heartbeat};

#[tokio::test]
async fn cve_2026_48779_tiny_fragments() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for payload in [&b""[..], b"x"] {
        let mut client = Client::join(host.address).await;
        client.websocket.send(fragment(0x01, b"4")).await;
        client
            .websocket
            .flood_of(&fragment(0x00, payload), 100_000)
            .await;
        assert_eq!(client.closed().await, Some(Some(1008)));
    }
    // One byte of the stream at a time, as many as it takes.
    let mut client = Client::join(host.address).await;
    for byte in masked(Opcode::Text, br#"42["echo","byte by byte"]"#) {
        client.websocket.send([byte]).await;
    }
    client.expect(r#"42["echo","byte by byte"]"#).await;
    drop(client);
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2026_42786_endless_continuation() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    client.websocket.send(fragment(0x01, b"4")).await;
    client
        .websocket
        .flood_of(&fragment(0x00, &[b'x'; 60_000]), 100)
        .await;
    assert_eq!(client.closed().await, Some(Some(1009)));
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_as_long_as_it_is_read() {
    const PINGS: usize = 20_000;
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    for _ in 0..PINGS / 1_000 {
        client
            .websocket
            .send(masked(Opcode::Ping, b"flood").repeat(1_000))
            .await;
        for _ in 0..1_000 {
            assert_eq!(
                client.websocket.next().await,
                Frame::Pong(b"flood".to_vec())
            );
        }
    }
    client.echo("still here").await;
    drop(client);
    host.check(&mut bystander).await;
}

/// Whoever does not read the pongs is not read either; its heartbeat ends it.
#[tokio::test]
async fn a_flood_of_pings_that_is_not_read_stops_being_read() {
    let mut config = short_heartbeat();
    config.timing.ping_interval = Duration::from_millis(500);
    config.timing.ping_timeout = Duration::from_millis(500);
    config.limits.outbox_bytes_pause = 64 * 1024;
    config.limits.outbox_bytes_max = 1024 * 1024;
    let host = Host::with(config);
    let mut reasons = reasons(&host.io);
    let mut client = Client::join(host.address).await;
    client
        .websocket
        .flood(&masked(Opcode::Ping, &[b'p'; 125]).repeat(1_000))
        .await;
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("ping timeout")
    );
    assert_eq!(host.io.stats().overflowed, 0);
    host.settled(0).await;
}

/// Pongs that nobody asked for move no heartbeat and start nothing, in either protocol.
#[tokio::test]
async fn cve_2026_48802_floods_of_pongs() {
    let host = Host::with(short_heartbeat());
    let mut reasons = reasons(&host.io);
    let mut client = Client::join(host.address).await;
    for _ in 0..100 {
        client
            .websocket
            .send(masked(Opcode::Text, b"3").repeat(1_000))
            .await;
        client
            .websocket
            .send(masked(Opcode::Pong, b"").repeat(1_000))
            .await;
    }
    client.echo("still here").await;
    // One ping for each interval, however many pongs came.
    assert_eq!(client.websocket.next_text().await, "2");
    client.send("3").await;
    assert_eq!(client.websocket.next_text().await, "2");
    // WebSocket's pongs are no answer to Engine.IO's ping.
    client.websocket.send(masked(Opcode::Pong, b"")).await;
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("ping timeout")
    );
    host.settled(0).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_nobody_else_waits() {
    let mut config = quick_config();
    config.limits.outbox_bytes_max = 512 * 1024;
    let host = Host::with(config);
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let mut silent = Client::join(host.address).await;
    let text = "x".repeat(60_000);
    let packet = format!(r#"42["news","{text}"]"#);
    let mut sent = 0;
    while host.io.stats().overflowed == 0 {
        host.io.emit("news", &text).unwrap();
        bystander.expect(&packet).await;
        sent += 1;
        assert!(sent < 1_000, "60 MB are in nobody's kernel buffers");
    }
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    // What was sent before is whole, and then it ends.
    silent.expect(&packet).await;
    silent.closed().await;
    host.check(&mut bystander).await;
    assert_eq!(host.io.stats().overflowed, 1);
}

/// Answers count as well: a client that asks without reading is read no more.
#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_held_up() {
    let mut config = short_heartbeat();
    config.timing.ping_interval = Duration::from_millis(500);
    config.timing.ping_timeout = Duration::from_millis(500);
    config.limits.outbox_bytes_pause = 256 * 1024;
    let host = Host::with(config);
    let mut reasons = reasons(&host.io);
    let mut bystander = Client::join(host.address).await;
    let mut client = Client::join(host.address).await;
    let question = masked(
        Opcode::Text,
        format!(r#"42["echo","{}"]"#, "x".repeat(10_000)).as_bytes(),
    );
    let flood = client.websocket.flood(&question);
    let look_on = async {
        for n in 0..20 {
            bystander.send(&format!(r#"42["echo",{n}]"#)).await;
            bystander.expect(&format!(r#"42["echo",{n}]"#)).await;
        }
    };
    tokio::join!(flood, look_on);
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("ping timeout")
    );
    assert_eq!(host.io.stats().overflowed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_that_are_never_used_end() {
    const TASKS: usize = 8;
    const SESSIONS_EACH: usize = 1_250;
    let mut config = quick_config();
    config.timing.connect_timeout = Duration::from_millis(500);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let opening: Vec<_> = (0..TASKS)
        .map(|_| {
            let address = host.address;
            tokio::spawn(async move {
                let mut http = synapse_hostile::Http::connect(address).await;
                let mut sids = Vec::new();
                for _ in 0..SESSIONS_EACH {
                    let response = http
                        .request("GET", "/socket.io/?EIO=4&transport=polling", &[], b"")
                        .await;
                    sids.push(response.body.split('"').nth(3).expect("a sid").to_owned());
                }
                sids
            })
        })
        .collect();
    let mut sids = HashSet::new();
    for opening in opening {
        sids.extend(opening.await.unwrap());
    }
    assert_eq!(sids.len(), TASKS * SESSIONS_EACH, "no id twice");
    assert_eq!(host.io.stats().opened, (TASKS * SESSIONS_EACH) as u64 + 1);
    host.check(&mut bystander).await;
}

/// A closed polling session stays for the poll that tells its client, and not for ever, however short the other timings are.
#[tokio::test]
async fn a_closed_session_that_nobody_polls_ends() {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(100);
    config.timing.ping_timeout = Duration::from_millis(100);
    config.limits.close_timeout = Duration::from_secs(4);
    let host = Host::with(config);
    let mut polling = Polling::open(host.address).await;
    polling.post("no packet").await;
    assert_eq!(host.io.stats().sessions, 1);
    eventually("the session to end", || host.io.stats().sessions == 0).await;
    assert_eq!(polling.poll().await.status, 400);
}

#[tokio::test]
async fn connects_and_disconnects_by_the_thousand_leave_nothing() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for round in 0..300 {
        let mut client = Client::join(host.address).await;
        match round % 4 {
            0 => client.reset(),
            1 => drop(client),
            2 => client.send("1").await,
            _ => client.send("41").await,
        }
    }
    host.check(&mut bystander).await;
}
