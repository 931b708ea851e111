//! Sessions over WebTransport: opened, taken over, refused and ended.

use std::time::Duration;

use synapse_socket::webtransport::{Certificate, ListenError, listen};
use synapse_socket::{CloseReason, Cors, EngineConfig, Origins, Server, Socket};
use synapse_webtransport_tests::{Client, Host, certificate, config, eventually, frame, within};

#[tokio::test]
async fn a_session_opens_with_a_handshake_that_offers_no_upgrade_and_carries_text_and_bytes() {
    let host = Host::start();
    let mut client = Client::open(host.address).await;
    client.send("0").await;
    let open = client.receive().await;
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    assert_eq!(open["upgrades"], serde_json::json!([]));
    assert_eq!(open["maxPayload"], 1_000_000);
    client.send("40").await;
    client.receive().await;
    client.echo("text").await;
    client.echo(&"x".repeat(100_000)).await;

    client
        .send("451-[\"echo\",{\"_placeholder\":true,\"num\":0}]")
        .await;
    client.send_bytes(&frame(&[0, 1, 255], true)).await;
    assert_eq!(
        client.receive().await,
        "451-[\"echo\",{\"_placeholder\":true,\"num\":0}]"
    );
    assert_eq!(client.receive_frame().await, (true, vec![0, 1, 255]));
}

#[tokio::test]
async fn packets_that_drip_or_come_all_at_once_are_the_same() {
    let host = Host::start();
    let mut client = Client::open(host.address).await;
    let packets = ["0", "40", "42[\"echo\",1]", "42[\"echo\",2]"];
    let bytes: Vec<u8> = packets
        .iter()
        .flat_map(|packet| frame(packet.as_bytes(), false))
        .collect();
    client.send_bytes(&bytes).await;
    client.receive().await;
    client.receive().await;
    assert_eq!(client.receive().await, "42[\"echo\",1]");
    assert_eq!(client.receive().await, "42[\"echo\",2]");

    let mut client = Client::open(host.address).await;
    for byte in bytes {
        client.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    client.receive().await;
    client.receive().await;
    assert_eq!(client.receive().await, "42[\"echo\",1]");
    assert_eq!(client.receive().await, "42[\"echo\",2]");
}

#[tokio::test]
async fn the_application_sees_request_address_and_transport() {
    let host = Host::start();
    let (sender, mut seen) = tokio::sync::mpsc::channel(1);
    host.io.of("/").on_connect(move |socket: Socket| {
        let handshake = socket.handshake();
        let told = (
            handshake.url().to_owned(),
            handshake.header("host").map(str::to_owned),
            handshake.address().map(|address| address.ip().to_string()),
            socket.transport().as_str(),
        );
        let sender = sender.clone();
        async move { sender.send(told).await.unwrap() }
    });
    let _client = Client::join(host.address).await;
    let (url, header, address, transport) = within("connection", seen.recv()).await.unwrap();
    assert_eq!(url, "/socket.io/?EIO=4&transport=webtransport");
    assert_eq!(header, Some(format!("127.0.0.1:{}", host.address.port())));
    assert_eq!(address.as_deref(), Some("127.0.0.1"));
    assert_eq!(transport, "webtransport");
}

#[tokio::test]
async fn a_session_that_polls_is_taken_over_once_and_nothing_is_lost() {
    let host = Host::start();
    let sid = host.poll().await;
    let open = format!("0{{\"sid\":\"{sid}\"}}");
    let mut client = Client::open(host.address).await;
    client.send(&open).await;
    client.send("2probe").await;
    assert_eq!(client.receive().await, "3probe");

    let mut second = Client::open(host.address).await;
    second.send(&open).await;
    second.ended().await;

    let query = format!("&sid={sid}");
    host.io.emit("while", "probing").unwrap();
    assert_eq!(host.http("POST", &query, "42[\"echo\",1]").await.1, "ok");
    client.send("5").await;
    client.send("42[\"echo\",2]").await;
    assert_eq!(client.receive().await, "42[\"while\",\"probing\"]");
    assert_eq!(client.receive().await, "42[\"echo\",1]");
    assert_eq!(client.receive().await, "42[\"echo\",2]");
    assert_eq!(host.http("GET", &query, "").await.0, 400);
    assert_eq!(host.io.stats().upgraded, 1);

    let mut third = Client::open(host.address).await;
    third.send(&open).await;
    third.ended().await;
    client.echo("still there").await;
}

#[tokio::test]
async fn a_probe_that_says_something_else_or_leaves_ends_alone() {
    let host = Host::start();
    for says in [&["40"][..], &["2"], &["2probe", "2probe"], &["5"], &[]] {
        let sid = host.poll().await;
        let mut client = Client::open(host.address).await;
        client.send(&format!("0{{\"sid\":\"{sid}\"}}")).await;
        for packet in says {
            client.send(packet).await;
        }
        if says.is_empty() {
            drop(client);
        } else {
            client.ended().await;
        }
        let query = format!("&sid={sid}");
        assert_eq!(
            host.http("POST", &query, "42[\"echo\",3]").await.1,
            "ok",
            "{says:?}"
        );
        assert_eq!(host.http("GET", &query, "").await.1, "42[\"echo\",3]");
    }
}

#[tokio::test]
async fn requests_of_other_paths_queries_and_origins_are_refused() {
    let mut settings = config();
    settings.cors = Some(Cors {
        origins: Origins::List(vec!["https://example.com".to_owned()]),
        credentials: false,
        ..Cors::default()
    });
    let host = Host::with(settings);
    let good = "/socket.io/?EIO=4&transport=webtransport";
    for (path, origin, is_good) in [
        (good, None, true),
        (good, Some("https://example.com"), true),
        ("/socket.io/", None, true),
        (good, Some("https://evil.example"), false),
        ("/", None, false),
        ("/socket.iox/?EIO=4&transport=webtransport", None, false),
        ("/socket.io/?EIO=4&transport=websocket", None, false),
        ("/socket.io/?EIO=3&transport=webtransport", None, false),
    ] {
        let connected = Client::connect(host.address, path, origin).await;
        assert_eq!(connected.is_ok(), is_good, "{path} {origin:?}");
    }
}

#[tokio::test]
async fn a_first_packet_that_opens_nothing_ends_the_connection() {
    let host = Host::start();
    for packet in [
        "40",
        "2probe",
        "0{}",
        "0{\"sid\":\"AAAAAAAAAAAAAAAAAAAA\"}",
        &format!("0{}", "x".repeat(5000)),
    ] {
        let mut client = Client::open(host.address).await;
        client.send(packet).await;
        client.ended().await;
    }
    let mut client = Client::open(host.address).await;
    client.send_bytes(&[0]).await;
    client.ended().await;
    assert_eq!(host.io.stats().opened, 0);
}

#[tokio::test]
async fn a_handshake_that_the_application_refuses_or_has_no_room_for_ends() {
    let builder = Server::builder().config(config());
    let host = Host::build(builder.allow_request(|_| Err("not you".to_owned())));
    let mut client = Client::open(host.address).await;
    client.send("0").await;
    client.ended().await;
    assert_eq!((host.io.stats().opened, host.io.stats().refused), (0, 1));

    let mut settings = config();
    settings.limits.sessions_max = 1;
    let host = Host::with(settings);
    let mut first = Client::join(host.address).await;
    let mut client = Client::open(host.address).await;
    client.send("0").await;
    client.ended().await;
    first.echo("still there").await;
}

#[tokio::test]
async fn a_client_that_never_opens_its_session_is_not_waited_for() {
    let mut settings = config();
    settings.timing.upgrade_timeout = Duration::from_millis(100);
    let host = Host::with(settings);
    let path = "/socket.io/";
    let without_stream = Client::connect(host.address, path, None).await.unwrap();
    within("end", without_stream.closed()).await;
    let silent = Client::open(host.address).await;
    silent.ended().await;
}

#[tokio::test]
async fn no_more_clients_are_opened_at_a_time_than_the_limit() {
    let mut settings = config();
    settings.quic.opening_max = 2;
    let host = Host::with(settings);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(
            Client::connect(host.address, "/socket.io/", None)
                .await
                .unwrap(),
        );
    }
    assert!(
        Client::connect(host.address, "/socket.io/", None)
            .await
            .is_err()
    );
    let mut client = Client::on(waiting.pop().unwrap()).await;
    client.send("0").await;
    client.receive().await;
    // The place is free again once the session is open.
    Client::join(host.address).await.echo("there is room").await;
}

#[tokio::test]
async fn frames_that_are_none_end_the_session_as_parse_errors() {
    let mut checks = tokio::task::JoinSet::new();
    for bytes in [
        vec![0],
        vec![0x80],
        vec![127, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x41],
        vec![0xff; 9],
        frame(b"7", false),
    ] {
        checks.spawn(async move {
            let mut host = Host::start();
            let mut client = Client::join(host.address).await;
            client.send_bytes(&bytes).await;
            assert_eq!(host.reason().await, CloseReason::ParseError, "{bytes:?}");
            client.ended().await;
        });
    }
    checks.join_all().await;
}

#[tokio::test]
async fn a_client_that_goes_ends_its_session() {
    let mut host = Host::start();
    let client = Client::join(host.address).await;
    drop(client);
    assert_eq!(host.reason().await, CloseReason::TransportClose);
    host.settled(0).await;
}

#[tokio::test]
async fn a_silent_client_is_closed_by_the_heartbeat() {
    let mut settings = config();
    settings.timing.ping_interval = Duration::from_millis(50);
    settings.timing.ping_timeout = Duration::from_millis(50);
    let mut host = Host::with(settings);
    let mut client = Client::join(host.address).await;
    assert_eq!(client.receive().await, "2");
    client.ended().await;
    assert_eq!(host.reason().await, CloseReason::PingTimeout);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_alone_when_its_outbox_is_full() {
    let mut settings = config();
    settings.limits.outbox_bytes_max = 1_000_000;
    let mut host = Host::with(settings);
    let _deaf = Client::join(host.address).await;
    let mut other = Client::join(host.address).await;
    let text = "x".repeat(100_000);
    let event = format!("42[\"text\",\"{text}\"]");
    while host.io.stats().overflowed == 0 {
        host.io.emit("text", &text).unwrap();
        assert_eq!(other.receive().await, event);
    }
    assert_eq!(host.reason().await, CloseReason::TransportError);
    eventually("one session to be left", || host.io.stats().sessions == 1).await;
    other.echo("still there").await;
}

#[tokio::test]
async fn a_server_that_closes_sends_what_is_left_tells_its_clients_and_lets_go_of_the_port() {
    let host = Host::start();
    let address = host.address;
    let mut client = Client::join(address).await;
    let text = "x".repeat(500_000);
    host.io.emit("last", &text).unwrap();
    let reading = tokio::spawn(async move {
        let last = client.receive().await;
        (last, client.ended().await)
    });
    host.stop().await;
    let (last, _) = within("end of the client", reading).await.unwrap();
    assert_eq!(last, format!("42[\"last\",\"{text}\"]"));
    drop(std::net::UdpSocket::bind(address).unwrap());
}

#[tokio::test]
async fn there_is_no_listener_without_the_setting_or_with_a_wrong_key() {
    let address = ([127, 0, 0, 1], 0).into();
    let io = Server::builder().config(EngineConfig::default()).build();
    let refused = listen(address, &certificate(), io.service());
    assert!(
        matches!(refused, Err(ListenError::NotOffered)),
        "{refused:?}"
    );

    let io = Server::builder().config(config()).build();
    let mixed = Certificate {
        chain: certificate().chain,
        key: certificate().key,
    };
    let refused = listen(address, &mixed, io.service());
    assert!(
        matches!(refused, Err(ListenError::Certificate(_))),
        "{refused:?}"
    );

    let listener = listen(address, &certificate(), io.service()).unwrap();
    listener.replace_certificate(&certificate()).unwrap();
    assert!(listener.replace_certificate(&mixed).is_err());
    let taken = listen(listener.local_addr().unwrap(), &certificate(), io.service());
    assert!(matches!(taken, Err(ListenError::Io(_))), "{taken:?}");
}
