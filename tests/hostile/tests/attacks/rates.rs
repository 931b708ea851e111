//! Clients that send too fast, and clients that do not send what they have announced.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use synapse_hostile::{Client, Frame, Host, Polling, eventually, masked, within};
use synapse_protocol::websocket::Opcode;
use synapse_socket::{Server, SocketLimits};

use crate::{reasons, short_heartbeat};

const RATE: u32 = 400;
const EVENTS: u32 = 1_000;

fn limited(change: impl FnOnce(&mut SocketLimits)) -> Host {
    let mut limits = SocketLimits::default();
    change(&mut limits);
    let builder = Server::builder().config(short_heartbeat()).limits(limits);
    Host::serve(builder.build())
}

/// However fast they come, events are handled at the rate that is allowed, in order, and none is lost. The heartbeat knows that the
/// pongs lie unread because of us.
#[tokio::test]
async fn a_flood_of_events_is_held_up() {
    let host = limited(|limits| limits.events_per_second = NonZeroU32::new(RATE));
    let mut bystander = Client::join(host.address).await;
    let mut client = Client::join(host.address).await;
    let start = Instant::now();
    let flood: Vec<u8> = (0..EVENTS)
        .flat_map(|n| masked(Opcode::Text, format!(r#"42["echo",{n}]"#).as_bytes()))
        .collect();
    client.websocket.send(flood).await;
    bystander.echo("meanwhile").await;
    let look_on = async {
        // A client that stays within its rate is not held up.
        for n in 0..20 {
            bystander.send(&format!(r#"42["echo",{n}]"#)).await;
            bystander.expect(&format!(r#"42["echo",{n}]"#)).await;
        }
        bystander
    };
    let read = async {
        for n in 0..EVENTS {
            client.expect(&format!(r#"42["echo",{n}]"#)).await;
        }
    };
    let (bystander, ()) = tokio::join!(look_on, read);
    // The packet that joined the namespace has taken one of the first second's worth.
    let least = Duration::from_secs(1).mul_f64(f64::from(EVENTS - RATE) / f64::from(RATE));
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    drop((client, bystander));
    host.settled(0).await;
}

#[tokio::test]
async fn a_flood_of_bytes_in_one_polling_body_is_held_up() {
    let host = limited(|limits| limits.bytes_per_second = NonZeroU32::new(20_000));
    let (mut polling, _) = Polling::join(host.address).await;
    let events: Vec<_> = (0..40)
        .map(|n| format!(r#"42["echo",{n},"{}"]"#, "x".repeat(1_000)))
        .collect();
    let start = Instant::now();
    // Polls go on meanwhile, as a client's do, and answer the pings.
    let address = host.address;
    let body = events.join("\u{1e}");
    let target = polling.target();
    let posting = tokio::spawn(async move {
        let mut http = synapse_hostile::Http::connect(address).await;
        let headers = [("Content-Type", "text/plain;charset=UTF-8")];
        http.request("POST", &target, &headers, body.as_bytes())
            .await
    });
    let mut packets = Vec::new();
    while packets.len() < events.len() {
        let response = polling.poll().await;
        assert_eq!(response.status, 200, "{}", response.body);
        packets.extend(
            response
                .body
                .split('\u{1e}')
                .filter(|packet| *packet != "2")
                .map(str::to_owned),
        );
    }
    assert_eq!(packets, events);
    assert_eq!(posting.await.unwrap().status, 200);
    // Forty of them are two seconds' worth, the first second's may come at once and the last is paid for afterwards.
    let least = Duration::from_millis(900);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

/// Announced and never sent: nothing of it is kept for longer than the time it has.
#[tokio::test]
async fn ghsa_55mf_67qm_4wpg_attachments_that_never_come() {
    let host = limited(|limits| limits.attachment_timeout = Duration::from_millis(300));
    let mut reasons = reasons(&host.io);
    let mut bystander = Client::join(host.address).await;
    for sent in 0..2 {
        let mut client = Client::join(host.address).await;
        client.send(r#"452-["none"]"#).await;
        for _ in 0..sent {
            client.websocket.binary(&[0; 1_000]).await;
        }
        // Pongs do not keep it.
        let end = async {
            loop {
                let frame = client.websocket.next().await;
                if frame != Frame::Text("2".to_owned()) {
                    return frame;
                }
                client.send("3").await;
            }
        };
        let look_on = async {
            let reason = within("the end of the socket", reasons.recv()).await;
            assert_eq!(reason, Some("forced close"), "after {sent} attachments");
        };
        let (end, ()) = tokio::join!(end, look_on);
        assert_eq!(end, Frame::Close(None));
        bystander.send("3").await;
    }
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post(r#"451-["none"]"#).await;
    assert_eq!(polling.packets().await, ["1"]);
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("forced close")
    );
    drop(bystander);
    host.settled(0).await;
}

/// Each packet has the time for itself: a client that never pauses between them is in no danger.
#[tokio::test]
async fn packets_with_attachments_one_after_the_other_may_take_any_time() {
    let host = limited(|limits| limits.attachment_timeout = Duration::from_millis(200));
    let mut client = Client::join(host.address).await;
    let start = Instant::now();
    let packet = r#"451-["echo",{"_placeholder":true,"num":0}]"#;
    client.send(packet).await;
    while start.elapsed() < Duration::from_millis(700) {
        // The attachment of one packet and the text of the next: there is never a moment without something that is awaited.
        let mut bytes = masked(Opcode::Binary, b"x");
        bytes.extend(masked(Opcode::Text, packet.as_bytes()));
        client.websocket.send(bytes).await;
        client.expect(packet).await;
        assert_eq!(client.next_binary().await, b"x");
    }
    client.websocket.binary(b"y").await;
    client.expect(packet).await;
    assert_eq!(client.next_binary().await, b"y");
    drop(client);
    eventually("the end", || host.io.stats().sessions == 0).await;
}
