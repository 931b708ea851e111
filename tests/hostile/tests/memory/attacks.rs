//! One attack of each class. Whether it is refused in the right way is what `tests/attacks` looks at.

use synapse_hostile::{Client, Host, Http, Polling, WebSocket, handshake_request, masked};
use synapse_protocol::websocket::Opcode;
use synapse_socket::Binary;

use crate::Attack;

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        /// All of them with their names.
        pub(crate) const ALL: &[(&str, Attack)] = &[$((stringify!($name), |host| Box::pin($name(host)))),*];
    };
}

attacks![
    cve_2023_32695_event_names,
    cve_2022_2421_placeholders,
    cve_2026_33151_attachment_counts,
    ghsa_55mf_67qm_4wpg_attachments_that_never_come,
    cve_2024_38355_reserved_event_names,
    cve_2020_36049_giant_and_deep_packets,
    cve_2020_36048_polling_bodies,
    cve_2022_21676_broken_upgrades,
    cve_2023_31125_queries,
    upgrades_that_are_never_completed,
    connects_that_are_refused,
    cve_2026_48802_pongs,
    foreign_session_ids,
    cve_2026_48779_fragments,
    cve_2026_27571_compressed_before_the_handshake,
    cve_2026_27889_broken_frames,
    cve_2024_37890_headers,
    cve_2026_33219_silence_before_the_handshake,
    rooms_of_any_name,
    cve_2019_13611_foreign_origins,
    slow_readers,
    floods_of_events,
    acks_that_never_come,
];

/// Sends each packet by a client of its own, over both transports, until it is closed.
async fn each_closes(host: &Host, packets: &[&str]) {
    for packet in packets {
        let mut client = Client::join(host.address).await;
        client.send(packet).await;
        client.closed().await;
        let (mut polling, _) = Polling::join(host.address).await;
        polling.post(packet).await;
        polling.closed().await;
    }
}

/// Sends bytes behind a good handshake, and reads until it is closed.
async fn each_breaks(host: &Host, streams: &[&[u8]]) {
    for bytes in streams {
        let mut client = Client::join(host.address).await;
        client.websocket.send(bytes).await;
        client.closed().await;
    }
}

/// Sends bytes instead of a request, and reads until it is closed.
async fn each_is_no_request(host: &Host, requests: &[&str]) {
    let mut attackers = Vec::new();
    for request in requests {
        let mut http = Http::connect(host.address).await;
        http.send(request).await;
        attackers.push(http);
    }
    for mut http in attackers {
        http.closed().await;
    }
}

async fn probe(host: &Host, polling: &Polling) -> WebSocket {
    let target = format!("{WEBSOCKET}&sid={}", polling.sid());
    WebSocket::open(host.address, &target).await
}

async fn cve_2023_32695_event_names(host: Host) {
    each_closes(
        &host,
        &[r#"42[{"toString":"x"}]"#, "42[null]", "42[]", "42{}"],
    )
    .await;
}

async fn cve_2022_2421_placeholders(host: Host) {
    for num in [r#""splice""#, "-1", "1.5", "1e9"] {
        let mut client = Client::join(host.address).await;
        let packet = format!(r#"451-["echo",{{"_placeholder":true,"num":{num}}}]"#);
        client.send(&packet).await;
        client.websocket.binary(b"x").await;
        client.closed().await;
    }
}

async fn cve_2026_33151_attachment_counts(host: Host) {
    let packets = [
        r#"4599999999-["e"]"#,
        r#"4511-["e"]"#,
        r#"451e3-["e"]"#,
        r#"45["e"]"#,
        "451-",
    ];
    each_closes(&host, &packets).await;
    let mut unannounced = Client::join(host.address).await;
    unannounced.websocket.binary(b"x").await;
    unannounced.closed().await;
}

async fn ghsa_55mf_67qm_4wpg_attachments_that_never_come(host: Host) {
    let mut before_connect = Client::open(host.address).await;
    before_connect.send(r#"4510-/a,["e"]"#).await;
    before_connect.closed().await;
    let mut client = Client::join(host.address).await;
    client.send(r#"4510-["e"]"#).await;
    client.websocket.binary(&[0; 100_000]).await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post(r#"451-["e"]"#).await;
    polling.closed().await;
    client.closed().await;
    let mut gone = Client::join(host.address).await;
    gone.send(r#"4510-["e"]"#).await;
    gone.websocket.binary(&[0; 100_000]).await;
    gone.reset();
}

async fn cve_2024_38355_reserved_event_names(host: Host) {
    each_closes(
        &host,
        &[
            r#"42["connect"]"#,
            r#"42["disconnecting"]"#,
            r#"42["newListener"]"#,
        ],
    )
    .await;
}

async fn cve_2020_36049_giant_and_deep_packets(host: Host) {
    let giant = format!(r#"42["echo","{}"]"#, "x".repeat(1_000_001));
    let mut client = Client::join(host.address).await;
    client.send(&giant).await;
    client.closed().await;
    let deep = format!(r#"42["echo",{}"#, "[".repeat(100_000));
    let ack = format!(r#"42{}["echo"]"#, "9".repeat(400));
    let namespace = format!("40/{},", "n".repeat(100_000));
    let packets = [
        &deep,
        &ack,
        &namespace,
        "429007199254740993[\"echo\"]",
        "42[\"echo\",NaN]",
    ];
    each_closes(&host, &packets).await;
}

async fn cve_2020_36048_polling_bodies(host: Host) {
    let bodies: [&[u8]; 5] = [
        &[0x1e; 50_000],
        &b"3\x1e".repeat(10_001),
        b"\x1f\x8b\x08\x00",
        b"b!!!!",
        b"99999999999999999999:4",
    ];
    for body in bodies {
        let (mut polling, _) = Polling::join(host.address).await;
        let mut http = Http::connect(host.address).await;
        http.request("POST", &polling.target(), &[], body).await;
        polling.closed().await;
    }
    let (mut polling, _) = Polling::join(host.address).await;
    let target = polling.target();
    let large = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n");
    let mut http = Http::connect(host.address).await;
    http.send(large).await;
    http.response().await;
    // A body that never ends ends its session, and two polls at a time do.
    let slow = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    polling.start_poll().await;
    each_is_no_request(&host, &[&slow]).await;
    polling.poll_response().await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    let mut second = Http::connect(host.address).await;
    second.request("GET", &polling.target(), &[], b"").await;
    polling.poll_response().await;
}

async fn cve_2022_21676_broken_upgrades(host: Host) {
    for bytes in [
        &[0xb1, 0x80, 0, 0, 0, 0][..],
        &[0x83, 0x80, 0, 0, 0, 0],
        &masked(Opcode::Text, b"4x"),
    ] {
        let (mut polling, _) = Polling::join(host.address).await;
        let mut broken = probe(&host, &polling).await;
        broken.send(bytes).await;
        broken.closed().await;
        polling.post("1").await;
        // CVE-2022-41940: a reset in the middle of it.
        let (mut polling, _) = Polling::join(host.address).await;
        let mut reset = probe(&host, &polling).await;
        reset.text("2probe").await;
        reset.reset();
        polling.post("1").await;
    }
}

async fn cve_2023_31125_queries(host: Host) {
    let mut http = Http::connect(host.address).await;
    for query in [
        "EIO=4&transport=__proto__",
        "EIO=4&transport=polling&transport=websocket",
        "EIO=abc&transport=polling",
        "EIO=4&transport=polling&sid=nobody",
        "EIO=4&transport=websocket",
    ] {
        let target = format!("/socket.io/?{query}");
        assert_eq!(http.request("GET", &target, &[], b"").await.status, 400);
    }
}

async fn upgrades_that_are_never_completed(host: Host) {
    let (mut polling, _) = Polling::join(host.address).await;
    let mut silent = probe(&host, &polling).await;
    silent.closed().await;
    let mut half = probe(&host, &polling).await;
    half.text("2probe").await;
    assert_eq!(half.next_text().await, "3probe");
    // Its session ends meanwhile.
    polling.post("1").await;
    half.closed().await;
}

async fn connects_that_are_refused(host: Host) {
    let mut client = Client::open(host.address).await;
    for namespace in 0..50 {
        client.send(&format!("40/unknown{namespace},")).await;
        client.next().await;
    }
    client.send("40/refused,").await;
    client.next().await;
    assert_eq!(host.io.of("/refused").socket_count(), 0);
    client.closed().await;
    let mut twice = Client::join(host.address).await;
    twice.send("40").await;
    twice.closed().await;
}

async fn cve_2026_48802_pongs(host: Host) {
    let mut client = Client::join(host.address).await;
    let flood = masked(Opcode::Text, b"3").repeat(5_000);
    client.websocket.send(flood).await;
    client
        .websocket
        .send(masked(Opcode::Pong, b"").repeat(5_000))
        .await;
    client.echo("still here").await;
}

async fn foreign_session_ids(host: Host) {
    let (mut polling, id) = Polling::join(host.address).await;
    let mut http = Http::connect(host.address).await;
    for sid in [id.as_str(), "AAAAAAAAAAAAAAAAAAAA", ""] {
        let target = format!("{HANDSHAKE}&sid={sid}");
        http.request("POST", &target, &[], b"4x").await;
    }
    polling.post("1").await;
}

async fn cve_2026_48779_fragments(host: Host) {
    let mut tiny = Client::join(host.address).await;
    tiny.websocket.send([0x01, 0x81, 0, 0, 0, 0, b'4']).await;
    tiny.websocket
        .flood_of(&[0x00, 0x80, 0, 0, 0, 0], 10_000)
        .await;
    tiny.closed().await;
    // CVE-2026-42786: one that never ends, and one that is left half way.
    let mut endless = Client::join(host.address).await;
    endless.websocket.send([0x01, 0x81, 0, 0, 0, 0, b'4']).await;
    let mut fragment = vec![0x00, 0xfe, 0xea, 0x60, 0, 0, 0, 0];
    fragment.extend([b'x'; 60_000]);
    endless.websocket.flood_of(&fragment, 20).await;
    endless.closed().await;
    let mut half = Client::join(host.address).await;
    half.websocket
        .send([0x82, 0xff, 0, 0, 0, 0, 0, 0x0e, 0, 0, 0, 0, 0, 0])
        .await;
    half.websocket.send([0; 100_000]).await;
    half.reset();
}

async fn cve_2026_27571_compressed_before_the_handshake(host: Host) {
    let mut websocket = WebSocket::open(host.address, WEBSOCKET).await;
    websocket.next_text().await;
    websocket
        .send([0xc1, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
        .await;
    websocket.closed().await;
}

async fn cve_2026_27889_broken_frames(host: Host) {
    let streams: [&[u8]; 9] = [
        &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[
            0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
        ],
        &[0x81, 0x01, b'4'],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x89, 0xfe, 0, 0x80, 0, 0, 0, 0],
        &[0x80, 0x80, 0, 0, 0, 0],
        &[0x81, 0x81, 0, 0, 0, 0, 0xff],
        &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe7],
        &[0x88, 0x81, 0, 0, 0, 0, 0x03],
    ];
    each_breaks(&host, &streams).await;
}

async fn cve_2024_37890_headers(host: Host) {
    let many = format!(
        "GET {HANDSHAKE} HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(2_000)
    );
    let long = format!(
        "GET {HANDSHAKE} HTTP/1.1\r\nX: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let protocols = format!(
        "GET {WEBSOCKET} HTTP/1.1\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        "a,".repeat(50_000)
    );
    each_is_no_request(&host, &[&many, &long, &protocols]).await;
}

async fn cve_2026_33219_silence_before_the_handshake(host: Host) {
    each_is_no_request(&host, &["", "GET /", "GET / HTTP/1.1\r\nX: "]).await;
    let mut open = Client::open(host.address).await;
    open.closed().await;
    Polling::open(host.address).await.closed().await;
}

async fn rooms_of_any_name(host: Host) {
    let mut owner = Client::join(host.address).await;
    let mut client = Client::join(host.address).await;
    let long = "r".repeat(500_000);
    let fixed = [
        "",
        "x#y",
        "{tag}",
        "*",
        "a|b",
        "line\\nbreak",
        &long,
        owner.id(),
    ];
    let numbered: Vec<String> = (0..1_200).map(|n| format!("room {n}")).collect();
    for room in fixed.into_iter().chain(numbered.iter().map(String::as_str)) {
        client.send(&format!(r#"42["join","{room}"]"#)).await;
    }
    client.echo("joined").await;
    owner.echo("untouched").await;
}

async fn cve_2019_13611_foreign_origins(host: Host) {
    let headers = [
        ("Origin", "https://evil.example.com"),
        ("Cookie", "session=secret"),
    ];
    let mut http = Http::connect(host.address).await;
    assert_eq!(
        http.request("GET", HANDSHAKE, &headers, b"").await.status,
        403
    );
    http.send(handshake_request(WEBSOCKET, &headers)).await;
    assert_eq!(http.response().await.status, 400);
}

/// One that is closed because too much waits, one that loses what it may lose, one that never polls.
async fn slow_readers(host: Host) {
    let main = host.io.of("/");
    let deaf = Client::join(host.address).await;
    let (polling, id) = Polling::join(host.address).await;
    let (overflowed, dropped) = (host.io.stats().overflowed, host.io.stats().dropped);
    let data = Binary::from(vec![0; 30_000]);
    for n in 0..20 {
        main.to(id.as_str()).emit("line", (n, &data)).unwrap();
        main.to(id.as_str()).emit("cursor", (n % 3, &data)).unwrap();
    }
    assert!(host.io.stats().dropped > dropped);
    let text = "x".repeat(100_000);
    while host.io.stats().overflowed < overflowed + 2 {
        main.emit("news", &text).unwrap();
        main.emit("cursor", (1, &text)).unwrap();
        tokio::task::yield_now().await;
    }
    drop((deaf, polling));
}

/// Over its rate, and gone while it is held up.
async fn floods_of_events(host: Host) {
    let mut client = Client::join(host.address).await;
    let flood = masked(Opcode::Text, br#"42["none","0123456789"]"#).repeat(6_000);
    client.websocket.send(flood).await;
    client.reset();
    let (mut polling, _) = Polling::join(host.address).await;
    let body = [r#"42["none"]"#; 6_000].join("\u{1e}");
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        polling.target(),
        body.len()
    );
    let mut http = Http::connect(host.address).await;
    http.send(request).await;
    polling.start_poll().await;
    polling.abort_poll().await;
    http.closed().await;
}

async fn acks_that_never_come(host: Host) {
    let client = Client::join(host.address).await;
    let socket = host
        .io
        .of("/")
        .socket(client.id().parse().unwrap())
        .unwrap();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let socket = socket.clone();
            tokio::spawn(async move { socket.emit_with_ack::<u8>("ask", 1, None).await.is_err() })
        })
        .collect();
    tokio::task::yield_now().await;
    client.reset();
    drop(socket);
    for asking in asking {
        assert!(asking.await.unwrap());
    }
}
