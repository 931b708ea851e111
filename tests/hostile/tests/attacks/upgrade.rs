//! Upgrades from polling to WebSocket that go wrong, on purpose.

use std::time::Duration;

use synapse_hostile::{
    Client, Frame, Host, Http, Polling, WebSocket, eventually, handshake_request, quick_config,
};

fn target(polling: &Polling) -> String {
    format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        polling.sid()
    )
}

async fn probe(host: &Host, polling: &Polling) -> WebSocket {
    let mut websocket = WebSocket::open(host.address, &target(polling)).await;
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    websocket
}

/// The status that an upgrade of this session is answered.
async fn attempt(host: &Host, polling: &Polling) -> u16 {
    let mut http = Http::connect(host.address).await;
    http.send(handshake_request(&target(polling), &[])).await;
    http.response().await.status
}

async fn assert_polls_on(polling: &mut Polling) {
    polling.post(r#"42["echo","polling"]"#).await;
    loop {
        let response = polling.poll().await;
        match response.body.as_str() {
            // What is left of a probe.
            "6" => (),
            packet => return assert_eq!(packet, r#"42["echo","polling"]"#),
        }
    }
}

async fn close(polling: &mut Polling) {
    polling.post("1").await;
}

#[tokio::test]
async fn an_upgrade_that_is_never_completed_leaks_nothing() {
    let mut config = quick_config();
    config.timing.upgrade_timeout = Duration::from_millis(100);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    // Silent from the start, silent after the probe, half a frame.
    let mut silent = WebSocket::open(host.address, &target(&polling)).await;
    silent.closed().await;
    assert_polls_on(&mut polling).await;
    let mut probed = probe(&host, &polling).await;
    probed.closed().await;
    assert_polls_on(&mut polling).await;
    let mut half = WebSocket::open(host.address, &target(&polling)).await;
    half.send([0x81, 0x86, 0]).await;
    half.closed().await;
    assert_polls_on(&mut polling).await;
    close(&mut polling).await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn an_upgrade_that_is_broken_off_may_be_tried_again() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    drop(probe(&host, &polling).await);
    assert_polls_on(&mut polling).await;
    // The server has noticed when it takes the next one.
    let mut probe = loop {
        let mut http = Http::connect(host.address).await;
        http.send(handshake_request(&target(&polling), &[])).await;
        let response = http.response().await;
        if response.status == 101 {
            let (stream, buffer) = http.into_stream();
            break WebSocket::over(stream, buffer);
        }
    };
    probe.text("2probe").await;
    assert_eq!(probe.next_text().await, "3probe");
    probe.text("5").await;
    probe.text(r#"42["echo","upgraded"]"#).await;
    assert_eq!(probe.next_text().await, r#"42["echo","upgraded"]"#);
    assert_eq!(host.io.stats().upgraded, 1);
    drop(probe);
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn a_session_is_upgraded_once_and_by_one() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let mut first = probe(&host, &polling).await;
    assert_eq!(
        attempt(&host, &polling).await,
        400,
        "while another one is under way"
    );
    first.text("5").await;
    first.text(r#"42["echo",1]"#).await;
    assert_eq!(first.next_text().await, r#"42["echo",1]"#);
    assert_eq!(
        attempt(&host, &polling).await,
        400,
        "of a session that is upgraded"
    );
    assert_eq!(polling.poll().await.status, 400);
    assert_eq!(polling.post("41").await.status, 400);
    first.text(r#"42["echo",2]"#).await;
    assert_eq!(first.next_text().await, r#"42["echo",2]"#);
    drop(first);
    host.settled(1).await;
    assert_eq!(
        attempt(&host, &polling).await,
        400,
        "of a session that is gone"
    );
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn a_session_that_is_closing_cannot_be_upgraded() {
    let mut config = quick_config();
    config.limits.close_timeout = Duration::from_secs(60);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let (mut polling, id) = Polling::join(host.address).await;
    host.io
        .of("/")
        .socket(id.parse().unwrap())
        .unwrap()
        .disconnect_client();
    eventually("the socket to end", || host.socket_count() == 1).await;
    // The session waits for the poll that tells the client.
    assert_eq!(attempt(&host, &polling).await, 400);
    assert_eq!(polling.post("3").await.status, 400);
    assert_eq!(polling.poll().await.body, "41\u{1e}1");
    assert_eq!(polling.poll().await.status, 400);
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn closing_during_a_probe_ends_both() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let mut websocket = probe(&host, &polling).await;
    close(&mut polling).await;
    websocket.text("5").await;
    websocket.closed().await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2022_21676_broken_frames_during_a_probe() {
    let mut config = quick_config();
    // Nothing here is ended by the clock.
    config.timing.upgrade_timeout = Duration::from_secs(600);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let mut attacks: Vec<(Vec<u8>, Option<Option<u16>>)> = vec![
        (vec![0xa1, 0x81, 0, 0, 0, 0, b'2'], Some(Some(1002))),
        (vec![0x91, 0x81, 0, 0, 0, 0, b'2'], Some(Some(1002))),
        (vec![0x81, 0x01, b'2'], Some(Some(1002))),
        (
            vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Some(Some(1002)),
        ),
        (vec![0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0], Some(Some(1009))),
        (vec![0x81, 0x81, 0, 0, 0, 0, 0xff], Some(Some(1007))),
    ];
    for text in [
        "5",
        "2",
        "2probe2",
        "3probe",
        "1",
        "40",
        r#"42["echo",1]"#,
        "",
        "9",
        "probe",
    ] {
        attacks.push((
            synapse_hostile::masked(synapse_protocol::websocket::Opcode::Text, text.as_bytes()),
            None,
        ));
    }
    attacks.push((
        synapse_hostile::masked(synapse_protocol::websocket::Opcode::Binary, b"2probe"),
        None,
    ));
    attacks.push((
        synapse_hostile::masked(synapse_protocol::websocket::Opcode::Close, b""),
        None,
    ));
    for (bytes, said) in attacks {
        let mut http = Http::connect(host.address).await;
        loop {
            http.send(handshake_request(&target(&polling), &[])).await;
            if http.response().await.status == 101 {
                break;
            }
            // The attempt before has not been given up yet.
            http = Http::connect(host.address).await;
        }
        let (stream, buffer) = http.into_stream();
        let mut websocket = WebSocket::over(stream, buffer);
        websocket.send(&bytes).await;
        let closed = websocket.closed().await;
        if said.is_some() {
            assert_eq!(closed, said, "{bytes:x?}");
        }
        bystander.echo("between").await;
    }
    assert_polls_on(&mut polling).await;
    assert_eq!(host.io.stats().upgraded, 0);
    close(&mut polling).await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2022_41940_resets_in_the_middle_of_an_upgrade() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let good = handshake_request(&target(&polling), &[]);
    let bad_key = good.replace("dGhlIHNhbXBsZSBub25jZQ==", "bad");
    let opening = handshake_request("/socket.io/?EIO=4&transport=websocket", &[]);
    let unknown = opening.replace("transport=websocket", "transport=websocket&sid=nobody");
    for request in [&good, &bad_key, &opening, &unknown] {
        for cut in [1, 20, request.len() - 2, request.len()] {
            for _ in 0..5 {
                let mut http = Http::connect(host.address).await;
                http.send(&request[..cut]).await;
                http.reset();
            }
        }
    }
    for _ in 0..20 {
        let mut http = Http::connect(host.address).await;
        http.send(&good).await;
        if http
            .try_response()
            .await
            .is_some_and(|response| response.status == 101)
        {
            let (stream, buffer) = http.into_stream();
            let mut websocket = WebSocket::over(stream, buffer);
            websocket.text("2probe").await;
            websocket.reset();
        }
    }
    assert_polls_on(&mut polling).await;
    close(&mut polling).await;
    host.check(&mut bystander).await;
}

/// A client that goes on polling while it upgrades gets empty answers, and loses nothing.
#[tokio::test]
async fn many_polls_while_upgrading() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (mut polling, _) = Polling::join(host.address).await;
    let mut websocket = probe(&host, &polling).await;
    for _ in 0..10 {
        assert_eq!(polling.poll().await.body, "6");
    }
    // Events reach the poll until the WebSocket has taken over.
    host.io.emit("during", 1).unwrap();
    bystander.expect(r#"42["during",1]"#).await;
    let mut packets = polling.poll().await.body;
    if packets == "6" {
        packets = polling.poll().await.body;
    }
    assert_eq!(packets, r#"42["during",1]"#);
    websocket.text("5").await;
    host.io.emit("after", 1).unwrap();
    assert_eq!(websocket.next_text().await, r#"42["after",1]"#);
    drop(websocket);
    bystander.expect(r#"42["after",1]"#).await;
    host.check(&mut bystander).await;
}

/// A poll that is still waiting when the client goes over is answered, and an event arrives once, by one of the two ways.
#[tokio::test]
async fn a_poll_left_behind_is_answered() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for _ in 0..20 {
        let (mut polling, _) = Polling::join(host.address).await;
        let mut websocket = probe(&host, &polling).await;
        polling.start_poll().await;
        websocket.text("5").await;
        let response = polling.poll_response().await;
        assert!(
            response.status == 400 || response.body == "6",
            "{response:?}"
        );
        websocket.text(r#"42["echo","over"]"#).await;
        assert_eq!(websocket.next_text().await, r#"42["echo","over"]"#);
        websocket.text("1").await;
        loop {
            if matches!(websocket.next().await, Frame::Close(_) | Frame::End) {
                break;
            }
        }
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn packets_right_behind_the_upgrade_are_not_lost() {
    let host = Host::start();
    let (polling, _) = Polling::join(host.address).await;
    let mut websocket = probe(&host, &polling).await;
    let mut bytes = Vec::new();
    for text in ["5", r#"42["echo",1]"#, r#"42["echo",2]"#] {
        bytes.extend(synapse_hostile::masked(
            synapse_protocol::websocket::Opcode::Text,
            text.as_bytes(),
        ));
    }
    websocket.send(&bytes).await;
    assert_eq!(websocket.next_text().await, r#"42["echo",1]"#);
    assert_eq!(websocket.next_text().await, r#"42["echo",2]"#);
    drop(Client::open(host.address).await);
}
