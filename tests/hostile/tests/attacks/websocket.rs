//! Frames that RFC 6455 forbids, and messages over the limits.

use synapse_hostile::{Client, Frame, Host, Http, WebSocket, masked, within};
use synapse_protocol::websocket::Opcode;

use crate::{fragment, reasons, short_heartbeat};

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The head of a masked frame whose first two bytes are given, with its extended length and a mask of zero.
fn head(first: u8, second: u8, length: &[u8]) -> Vec<u8> {
    [&[first, MASKED | second], length, &[0; 4]].concat()
}

/// Each of them closes its own connection with the code.
async fn each_is_refused(frames: Vec<(&str, Vec<u8>, u16)>) {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    for (what, bytes, code) in frames {
        let mut client = Client::join(host.address).await;
        client.websocket.send(&bytes).await;
        assert_eq!(client.closed().await, Some(Some(code)), "{what}");
        assert_eq!(
            within(what, reasons.recv()).await,
            Some("transport error"),
            "{what}"
        );

        // And the same before anything else was said, one byte at a time.
        let mut client = Client::open(host.address).await;
        for byte in bytes.iter().take(200) {
            client.websocket.send([*byte]).await;
        }
        if bytes.len() <= 200 {
            assert_eq!(client.closed().await, Some(Some(code)), "{what}, dripping");
        }
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2022_21676_reserved_bits_and_opcodes() {
    let mut frames = vec![
        ("RSV1", fragment(FIN | 0x40 | 1, b"2"), 1002),
        ("RSV2", fragment(FIN | 0x20 | 1, b"2"), 1002),
        ("RSV3", fragment(FIN | 0x10 | 1, b"2"), 1002),
        ("RSV1 on a ping", fragment(FIN | 0x40 | 9, b""), 1002),
    ];
    frames.extend(
        [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
            .map(|opcode| ("reserved opcode", fragment(FIN | opcode, b"x"), 1002)),
    );
    each_is_refused(frames).await;
}

#[tokio::test]
async fn cve_2026_27889_lengths() {
    let long = |bytes: u64| head(FIN | 2, 127, &bytes.to_be_bytes());
    each_is_refused(vec![
        ("2^63", long(1 << 63), 1002),
        ("2^64 - 1", long(u64::MAX), 1002),
        ("2^63 - 1", long(u64::MAX >> 1), 1009),
        ("2^62", long(1 << 62), 1009),
        ("2^32", long(1 << 32), 1009),
        ("one over the limit", long(1_000_001), 1009),
        ("125 in two bytes", head(FIN | 2, 126, &[0, 125]), 1002),
        ("65,535 in eight bytes", long(65_535), 1002),
        ("0 in eight bytes", long(0), 1002),
    ])
    .await;
}

#[tokio::test]
async fn cve_2020_27813_a_sum_of_fragments_that_overflows() {
    let begin = fragment(2, b"x");
    let huge = head(0, 127, &(u64::MAX >> 1).to_be_bytes());
    each_is_refused(vec![(
        "continuation of 2^63 - 1",
        [begin, huge].concat(),
        1009,
    )])
    .await;
}

#[tokio::test]
async fn control_frames_are_short_and_whole() {
    each_is_refused(vec![
        ("ping of 126 bytes", head(FIN | 9, 126, &[0, 126]), 1002),
        ("close of 126 bytes", head(FIN | 8, 126, &[0, 126]), 1002),
        ("ping in eight bytes", head(FIN | 9, 127, &[0; 8]), 1002),
        ("fragmented ping", fragment(9, b""), 1002),
        ("fragmented pong", fragment(10, b""), 1002),
        ("fragmented close", fragment(8, b""), 1002),
    ])
    .await;
}

#[tokio::test]
async fn fragments_have_an_order() {
    each_is_refused(vec![
        ("continuation of nothing", fragment(FIN, b"x"), 1002),
        (
            "text within a text",
            [fragment(1, b"4"), fragment(FIN | 1, b"4")].concat(),
            1002,
        ),
        (
            "binary within a text",
            [fragment(1, b"4"), fragment(2, b"4")].concat(),
            1002,
        ),
        (
            "continuation after the end",
            [masked(Opcode::Text, b"3"), fragment(FIN, b"x")].concat(),
            1002,
        ),
    ])
    .await;
}

#[tokio::test]
async fn text_is_utf_8() {
    each_is_refused(vec![
        ("0xff", fragment(FIN | 1, b"4\xff"), 1007),
        ("overlong", fragment(FIN | 1, b"4\xc0\x80"), 1007),
        ("surrogate", fragment(FIN | 1, b"4\xed\xa0\x80"), 1007),
        ("cut off", fragment(FIN | 1, b"4\xe2\x82"), 1007),
        (
            "in the second fragment",
            [fragment(1, b"4\xe2"), fragment(FIN, b"\x28")].concat(),
            1007,
        ),
    ])
    .await;
}

#[tokio::test]
async fn unmasked_frames_are_refused() {
    each_is_refused(vec![
        ("text", vec![FIN | 1, 1, b'3'], 1002),
        ("ping", vec![FIN | 9, 0], 1002),
        ("close", vec![FIN | 8, 0], 1002),
    ])
    .await;
}

#[tokio::test]
async fn close_codes_are_allowed_ones() {
    let mut frames: Vec<_> = [
        0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535,
    ]
    .map(|code| ("code", fragment(FIN | 8, &code.to_be_bytes()), 1002))
    .into();
    frames.push(("half a code", fragment(FIN | 8, b"\x03"), 1002));
    frames.push((
        "reason that is not UTF-8",
        fragment(FIN | 8, b"\x03\xe8\xff\xfe"),
        1007,
    ));
    each_is_refused(frames).await;
}

#[tokio::test]
async fn good_close_codes_are_returned() {
    let host = Host::start();
    for code in [1000_u16, 1001, 1011, 3000, 4999] {
        let mut client = Client::join(host.address).await;
        client
            .websocket
            .send(fragment(FIN | 8, &code.to_be_bytes()))
            .await;
        assert_eq!(client.closed().await, Some(Some(code)));
    }
    let mut client = Client::join(host.address).await;
    client.websocket.send(fragment(FIN | 8, b"")).await;
    assert_eq!(client.closed().await, Some(None));
    host.settled(0).await;
}

/// Library defaults have let messages of any size through; ours is Socket.IO's megabyte, on both transports.
#[tokio::test]
async fn cve_2026_44545_messages_over_the_limit() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    let text = |bytes: usize| format!(r#"42["echo","{}"]"#, "x".repeat(bytes - 13));
    let largest = text(1_000_000);
    assert_eq!(largest.len(), 1_000_000);
    client.send(&largest).await;
    client.expect(&largest).await;
    client.send(&text(1_000_001)).await;
    assert_eq!(client.closed().await, Some(Some(1009)));

    let mut http = Http::connect(host.address).await;
    let (polling, _) = synapse_hostile::Polling::join(host.address).await;
    let response = http
        .request("POST", &polling.target(), &[], text(1_000_001).as_bytes())
        .await;
    assert_eq!(response.status, 413);
    let mut polling = polling;
    assert_eq!(polling.post(&largest).await.status, 200);
    assert_eq!(polling.packets().await, [largest]);
    polling.post("1").await;
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn a_megabyte_in_legal_fragments_is_one_message() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let text = format!(r#"42["echo","{}"]"#, "x".repeat(999_000));
    let mut bytes = Vec::new();
    for (index, part) in text.as_bytes().chunks(1_000).enumerate() {
        let opcode = u8::from(index == 0);
        let fin = if (index + 1) * 1_000 >= text.len() {
            FIN
        } else {
            0
        };
        bytes.extend(fragment(fin | opcode, part));
        if index == 500 {
            bytes.extend(fragment(FIN | 9, b"between"));
        }
    }
    bystander.websocket.send(&bytes).await;
    assert_eq!(
        bystander.websocket.next().await,
        Frame::Pong(b"between".to_vec())
    );
    bystander.expect(&text).await;
    host.check(&mut bystander).await;
}

/// No buffer's old content is ever sent: a pong and an echo are as long as what came in, and hold nothing else.
#[tokio::test]
async fn cve_2026_45736_no_memory_of_others_is_sent() {
    let host = Host::start();
    let mut secret = Client::join(host.address).await;
    secret.echo(&"SECRET".repeat(20_000)).await;
    let mut client = Client::join(host.address).await;
    for len in [0, 1, 124, 125] {
        let payload = vec![b'p'; len];
        client.websocket.send(masked(Opcode::Ping, &payload)).await;
        assert_eq!(client.websocket.next().await, Frame::Pong(payload));
    }
    for len in [0, 1, 125, 126, 65_000, 66_000] {
        client.echo(&"e".repeat(len)).await;
    }
    client
        .websocket
        .send(fragment(FIN | 8, &1000_u16.to_be_bytes()))
        .await;
    assert_eq!(client.closed().await, Some(Some(1000)));
}

/// Before anything is known of a client it may hold one incomplete message and no more, for as long as the connect timeout.
#[tokio::test]
async fn cve_2026_33219_unauthenticated_connections_end() {
    let mut config = short_heartbeat();
    config.timing.connect_timeout = std::time::Duration::from_millis(300);
    let host = Host::with(config);
    let mut attackers = Vec::new();
    for _ in 0..50 {
        let mut websocket =
            WebSocket::open(host.address, "/socket.io/?EIO=4&transport=websocket").await;
        // The head of a frame of 900,000 bytes, and a little of it.
        websocket
            .send(
                [
                    &head(FIN | 1, 127, &900_000_u64.to_be_bytes())[..],
                    &[b'4'; 100],
                ]
                .concat(),
            )
            .await;
        attackers.push(websocket);
    }
    for mut attacker in attackers {
        attacker.closed().await;
    }
    host.settled(0).await;
}
