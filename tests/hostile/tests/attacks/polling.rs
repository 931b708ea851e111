//! Long polling by clients that do not keep to it.

use synapse_hostile::{Client, Host, Http, Polling, within};

use crate::reasons;

/// The session is over: nothing of it can be asked for any more.
async fn assert_gone(polling: &mut Polling) {
    let post = polling.post("3").await;
    assert_eq!(post.status, 400, "{}", post.body);
    assert!(post.body.starts_with(r#"{"code":1,"#), "{}", post.body);
}

#[tokio::test]
async fn two_polls_at_a_time_close_the_session() {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    // Whatever was written before this client came in has been read.
    drop(Client::open(host.address).await);
    let mut second = Http::connect(host.address).await;
    assert_eq!(
        second
            .request("GET", &polling.target(), &[], b"")
            .await
            .status,
        400
    );
    assert_eq!(polling.poll_response().await.body, "1");
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    assert_gone(&mut polling).await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn two_posts_at_a_time_close_the_session() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    let mut first = Http::connect(host.address).await;
    first
        .send(format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n42",
            polling.target()
        ))
        .await;
    drop(Client::open(host.address).await);
    assert_eq!(polling.post("3").await.status, 400);
    assert_eq!(polling.poll_response().await.body, "1");
    drop(first);
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn aborted_requests_close_the_session() {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    drop(Client::open(host.address).await);
    polling.abort_poll().await;
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    assert_gone(&mut polling).await;

    let (mut polling, _) = Polling::join(host.address).await;
    let mut post = Http::connect(host.address).await;
    post.send(format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n42",
        polling.target()
    ))
    .await;
    drop(Client::open(host.address).await);
    post.reset();
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    assert_gone(&mut polling).await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn a_closed_session_takes_nothing_more() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    assert_eq!(polling.post("1").await.status, 200);
    host.settled(1).await;
    assert_gone(&mut polling).await;
    assert_eq!(polling.poll().await.status, 400);
    // Packets behind the close packet are not handled.
    let (mut polling, _) = Polling::join(host.address).await;
    polling
        .post("1\u{1e}42[\"join\",\"late\"]\u{1e}42[\"echo\",1]")
        .await;
    host.check(&mut bystander).await;
    assert_eq!(polling.poll().await.status, 400);
}

#[tokio::test]
async fn a_foreign_session_is_unknown() {
    let (host, other) = (Host::start(), Host::start());
    let mut bystander = host.bystander().await;
    let (foreign, socket_id) = Polling::join(other.address).await;
    let mut http = Http::connect(host.address).await;
    for sid in [
        foreign.sid(),
        &socket_id,
        bystander.id(),
        "",
        "AAAAAAAAAAAAAAAAAAAA",
    ] {
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let response = http.request("POST", &target, &[], b"42[\"echo\",1]").await;
        assert_eq!(response.status, 400, "{sid}");
    }
    host.check(&mut bystander).await;
}

/// A session that speaks WebSocket is not to be had by polling.
#[tokio::test]
async fn a_websocket_session_cannot_be_polled() {
    let host = Host::start();
    let mut websocket =
        synapse_hostile::WebSocket::open(host.address, "/socket.io/?EIO=4&transport=websocket")
            .await;
    let open = websocket.next_text().await;
    let sid = open.split('"').nth(3).unwrap();
    websocket.text("40").await;
    websocket.next_text().await;
    let mut http = Http::connect(host.address).await;
    for (method, transport) in [
        ("GET", "polling"),
        ("POST", "polling"),
        ("PUT", "websocket"),
    ] {
        let target = format!("/socket.io/?EIO=4&transport={transport}&sid={sid}");
        let status = http.request(method, &target, &[], b"41").await.status;
        assert!(
            matches!(status, 400 | 500),
            "{method} {transport}: {status}"
        );
    }
    websocket.text(r#"42["echo",1]"#).await;
    assert_eq!(websocket.next_text().await, r#"42["echo",1]"#);
}

#[tokio::test]
async fn cve_2020_36048_bodies_over_the_limit() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let target = polling.target();
    // By an announced length, of which nothing is read.
    for length in ["1000001", "99999999999", "18446744073709551615"] {
        let mut http = Http::connect(host.address).await;
        http.send(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
        let status = http.try_response().await.map(|response| response.status);
        // A length that no body can have is hyper's to refuse.
        assert!(
            status == Some(413) || (length.len() == 20 && status == Some(431)),
            "{length}: {status:?}"
        );
    }
    // In chunks, without a length: refused once it is over the limit.
    let mut http = Http::connect(host.address).await;
    http.send(format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..20 {
        http.send(&chunk).await;
    }
    let status = http.try_response().await.map(|response| response.status);
    // The client may be reset while it still sends.
    assert!(matches!(status, None | Some(413)), "{status:?}");
    // The session itself goes on, as in the reference server.
    polling.post(r#"42["echo","alive"]"#).await;
    assert_eq!(polling.packets().await, [r#"42["echo","alive"]"#]);
    polling.post("1").await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2020_36048_bodies_that_are_no_payload() {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x33\x31\xd6\x01\x00".to_vec();
    let cases: [(&str, &str, Vec<u8>, &str); 9] = [
        ("Content-Encoding", "gzip", gzip, "parse error"),
        (
            "Content-Type",
            "application/octet-stream",
            b"42[\"echo\",1]".to_vec(),
            "transport error",
        ),
        ("X", "empty", Vec::new(), "parse error"),
        ("X", "separators", vec![0x1e; 50_000], "parse error"),
        (
            "X",
            "too many packets",
            b"3\x1e".repeat(10_001),
            "parse error",
        ),
        ("X", "unknown type", b"9".to_vec(), "parse error"),
        ("X", "base64", b"b!!!!".to_vec(), "parse error"),
        (
            "X",
            "version 3",
            b"97:42[\"echo\",1]".to_vec(),
            "parse error",
        ),
        (
            "X",
            "version 3 length",
            b"99999999999999999999:4".to_vec(),
            "parse error",
        ),
    ];
    for (name, value, body, reason) in cases {
        let (mut polling, _) = Polling::join(host.address).await;
        polling.start_poll().await;
        let mut http = Http::connect(host.address).await;
        let response = http
            .request("POST", &polling.target(), &[(name, value)], &body)
            .await;
        assert!(
            matches!(response.status, 200 | 400),
            "{value}: {}",
            response.status
        );
        assert_eq!(within(value, reasons.recv()).await, Some(reason), "{value}");
        assert_eq!(polling.poll_response().await.body, "1", "{value}");
        bystander.echo("between").await;
    }
    host.check(&mut bystander).await;
}

/// What a polling client leaves unread has a limit as well.
#[tokio::test]
async fn a_client_that_never_polls_is_closed() {
    let mut config = synapse_hostile::quick_config();
    config.limits.outbox_bytes_max = 100_000;
    let host = Host::with(config);
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let text = "x".repeat(30_000);
    while host.io.stats().overflowed == 0 {
        host.io.emit("news", &text).unwrap();
        bystander.expect(&format!(r#"42["news","{text}"]"#)).await;
    }
    assert_eq!(
        within("the end of the socket", reasons.recv()).await,
        Some("transport error")
    );
    assert_gone(&mut polling).await;
    host.check(&mut bystander).await;
    assert_eq!(host.io.stats().overflowed, 1);
}
