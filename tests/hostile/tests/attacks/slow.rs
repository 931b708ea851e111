//! Slowloris: clients that say as little as they can, as slowly as they can.

use std::time::Duration;

use synapse_hostile::{Client, Host, Http, Polling, quick_config, within};
use synapse_socket::EngineConfig;

use crate::{reasons, short_heartbeat};

fn impatient() -> EngineConfig {
    let mut config = quick_config();
    config.limits.request_head_timeout = Duration::from_millis(200);
    config.limits.request_body_timeout = Duration::from_millis(200);
    config
}

#[tokio::test]
async fn slowloris_in_the_request_line_and_the_headers() {
    let host = Host::with(impatient());
    let mut bystander = host.bystander().await;
    for (begin, drip) in [
        ("", "G"),
        ("GET /", "x"),
        ("GET / HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"),
        ("GET / HTTP/1.1\r\nX: ", "y"),
    ] {
        let mut http = Http::connect(host.address).await;
        http.send(begin).await;
        let status = within(begin, http.drip(drip.as_bytes()))
            .await
            .map(|response| response.status);
        assert!(
            matches!(status, None | Some(400 | 408)),
            "{begin:?}: {status:?}"
        );
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let host = Host::with(impatient());
    let mut http = Http::connect(host.address).await;
    http.closed().await;
    // So are those that have asked once and are kept open for more.
    let mut http = Http::connect(host.address).await;
    assert_eq!(http.request("GET", "/", &[], b"").await.status, 404);
    http.closed().await;
}

#[tokio::test]
async fn slowloris_in_a_polling_body() {
    let host = Host::with(impatient());
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    for length in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let (mut polling, _) = Polling::join(host.address).await;
        polling.start_poll().await;
        let mut http = Http::connect(host.address).await;
        http.send(format!(
            "POST {} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n",
            polling.target()
        ))
        .await;
        let drip = if length.starts_with('C') {
            "x"
        } else {
            "1\r\nx\r\n"
        };
        let response = http.drip(drip.as_bytes()).await;
        assert_eq!(
            response.map(|response| response.status),
            Some(408),
            "{length}"
        );
        assert_eq!(
            within("the end of the session", reasons.recv()).await,
            Some("transport error")
        );
        assert_eq!(polling.poll_response().await.body, "1");
    }
    host.check(&mut bystander).await;
}

/// A frame that never ends keeps a client from answering its ping, or its pings come between and it may take its time.
#[tokio::test]
async fn slowloris_in_a_frame() {
    let host = Host::with(short_heartbeat());
    let mut reasons = reasons(&host.io);
    for begin in [
        &[0x81][..],
        &[0x81, 0xfe],
        &[0x81, 0xfe, 0x10, 0, 1, 2, 3],
        &[0x81, 0xfe, 0x10, 0, 0, 0, 0, 0, b'4', b'2'],
    ] {
        let mut client = Client::join(host.address).await;
        client.websocket.send(begin).await;
        assert_eq!(
            within("the end of the socket", reasons.recv()).await,
            Some("ping timeout")
        );
        client.closed().await;
    }
    host.settled(0).await;
}

/// Bytes of an event that drips in are no sign of life: only pongs are.
#[tokio::test]
async fn a_dripping_message_does_not_keep_a_silent_client() {
    let host = Host::with(short_heartbeat());
    let mut reasons = reasons(&host.io);
    let mut client = Client::join(host.address).await;
    let mut drip = tokio::time::interval(Duration::from_millis(5));
    client
        .websocket
        .send([0x82, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0])
        .await;
    let reason = within("the end of the socket", async {
        loop {
            tokio::select! {
                reason = reasons.recv() => return reason,
                _ = drip.tick() => client.websocket.send([0]).await,
            }
        }
    });
    assert_eq!(reason.await, Some("ping timeout"));
    host.settled(0).await;
}

/// A client that asks for much and reads nothing of the answer must not keep it in the server's memory for ever.
#[tokio::test]
async fn slow_reading_of_a_poll_s_answer() {
    const BYTES: usize = 15_000_000;
    let mut config = quick_config();
    config.limits.unread_timeout = Duration::from_secs(1);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let (mut polling, id) = Polling::join(host.address).await;
    // More than the kernel's buffers of both sides take.
    host.io
        .of("/")
        .to(id)
        .emit("large", "x".repeat(BYTES))
        .unwrap();
    let mut http = Http::connect(host.address).await;
    http.send_request("GET", &polling.target(), &[], b"").await;
    // Whatever else it sends, the connection ends.
    http.pester().await;
    polling.post("1").await;
    host.check(&mut bystander).await;
}

/// The same by WebSocket, by a client that would still answer its pings.
#[tokio::test]
async fn slow_reading_of_a_websocket() {
    let mut config = quick_config();
    config.limits.unread_timeout = Duration::from_secs(1);
    let host = Host::with(config);
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let client = Client::join(host.address).await;
    host.io
        .of("/")
        .to(client.id())
        .emit("large", "x".repeat(15_000_000))
        .unwrap();
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    host.check(&mut bystander).await;
}
