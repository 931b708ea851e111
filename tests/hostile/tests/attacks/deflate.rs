//! Compressed messages that are bombs, nonsense or nobody's agreement.

use flate2::{Compress, Compression, FlushCompress};
use synapse_hostile::{
    Client, Host, Http, Polling, WebSocket, handshake_request, masked, quick_config, within,
};
use synapse_protocol::websocket::Opcode;
use synapse_socket::PerMessageDeflate;

use crate::{fragment, reasons};

const OFFER: [(&str, &str); 1] = [("Sec-WebSocket-Extensions", "permessage-deflate")];
const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";
const COMPRESSED: u8 = 0x40;

/// A server that compresses and takes messages of up to 1,000,000 bytes.
fn host() -> Host {
    let mut config = quick_config();
    config.per_message_deflate = Some(PerMessageDeflate::default());
    Host::with(config)
}

async fn open(host: &Host, target: &str) -> WebSocket {
    let mut http = Http::connect(host.address).await;
    http.send(handshake_request(target, &OFFER)).await;
    WebSocket::upgraded(http).await
}

/// A client that has agreed on compression and joined the main namespace.
async fn join(host: &Host) -> Client {
    let mut client = Client::over(open(host, TARGET).await).await;
    client.join_namespace("/").await;
    client
}

/// The payload of a message, compressed as far as it goes.
fn compressed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1_000);
    let mut stream = Compress::new(Compression::best(), false);
    stream
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("room for all of it");
    out.truncate(out.len() - 4);
    out
}

/// The frame of a compressed message.
fn whole(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(opcode, payload);
    frame[0] |= COMPRESSED;
    frame
}

/// Each of them closes its own connection with the code.
async fn each_is_refused(frames: Vec<(&str, Vec<u8>, u16)>) {
    let host = host();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    for (what, bytes, code) in frames {
        let mut client = join(&host).await;
        client.websocket.send(&bytes).await;
        assert_eq!(client.closed().await, Some(Some(code)), "{what}");
        let reason = within(what, reasons.recv()).await;
        assert_eq!(reason, Some("transport error"), "{what}");
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2026_27571_compression_bombs() {
    let zeros = compressed(&vec![0; 64 << 20]);
    let text = format!(r#"42["echo","{}"]"#, "x".repeat(4 << 20));
    let text = compressed(text.as_bytes());
    let begin = fragment(COMPRESSED | 2, &zeros[..60_000]);
    let rest = masked(Opcode::Continuation, &zeros[60_000..]);
    each_is_refused(vec![
        ("64 MiB of zeros", whole(Opcode::Binary, &zeros), 1009),
        ("4 MiB of an event", whole(Opcode::Text, &text), 1009),
        ("64 MiB in two fragments", [begin, rest].concat(), 1009),
        (
            "one byte over the limit",
            whole(Opcode::Text, &compressed(&vec![b'4'; 1_000_001])),
            1009,
        ),
    ])
    .await;
}

/// Before anything was said that would tell who it is, and on a WebSocket that only probes, where nothing long is expected.
#[tokio::test]
async fn cve_2026_27571_compression_bombs_before_joining() {
    let host = host();
    let mut bystander = host.bystander().await;
    let bomb = whole(Opcode::Text, &compressed(&vec![b'2'; 4 << 20]));
    let mut stranger = Client::over(open(&host, TARGET).await).await;
    stranger.websocket.send(&bomb).await;
    assert_eq!(stranger.closed().await, Some(Some(1009)));

    let (mut polling, _) = Polling::join(host.address).await;
    let target = format!("{TARGET}&sid={}", polling.sid());
    for bytes in [bomb, whole(Opcode::Text, &compressed(&[b'2'; 5_000]))] {
        let mut probe = open(&host, &target).await;
        probe.send(&bytes).await;
        assert_eq!(probe.closed().await, Some(Some(1009)));
    }
    polling.post("1").await;
    host.check(&mut bystander).await;
}

/// Many at once are as harmless as one: what is inflated is gone before the next one begins.
#[tokio::test]
async fn cve_2026_27571_a_storm_of_bombs() {
    let host = host();
    let mut bystander = host.bystander().await;
    let bomb = whole(Opcode::Binary, &compressed(&vec![0; 8 << 20]));
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(join(&host).await);
    }
    for client in &mut clients {
        client.websocket.send(&bomb).await;
    }
    bystander.echo("meanwhile").await;
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(Some(1009)));
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2026_29785_malformed_compressed_frames() {
    let good = compressed(&br#"42["echo","x"]"#.repeat(20));
    let bad = |payload: &[u8]| whole(Opcode::Text, payload);
    each_is_refused(vec![
        ("reserved block type", bad(&[0x07]), 1007),
        ("plain text", bad(br#"42["echo","x"]"#), 1007),
        (
            "a distance too far",
            bad(&[0xf2, 0x00, 0x11, 0x00, 0x00]),
            1007,
        ),
        ("cut off", bad(&good[..good.len() / 2]), 1007),
        ("ones", bad(&[0xff; 1_000]), 1007),
        ("stored without data", bad(&[0, 5, 0, 0xfa, 0xff]), 1007),
        (
            "no last padding",
            bad(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0]),
            1007,
        ),
        ("not utf-8", bad(&compressed(b"4\xff\xff")), 1007),
    ])
    .await;
}

#[tokio::test]
async fn the_bit_of_compression_has_its_place() {
    let good = compressed(br#"42["echo","x"]"#);
    let continued = |first: u8, second: u8| {
        [fragment(first, &good[..3]), fragment(second, &good[3..])].concat()
    };
    each_is_refused(vec![
        ("on a ping", fragment(0xc9, b""), 1002),
        ("on a pong", fragment(0xca, b""), 1002),
        ("on a close", fragment(0xc8, b""), 1002),
        ("on a second fragment", continued(0x41, 0xc0), 1002),
        ("on a second fragment only", continued(0x01, 0xc0), 1002),
        ("with another bit", fragment(0xe1, &good), 1002),
    ])
    .await;

    // Who did not offer it has not agreed.
    let host = host();
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    client.websocket.send(whole(Opcode::Text, &good)).await;
    assert_eq!(client.closed().await, Some(Some(1002)));
    host.check(&mut bystander).await;
}

/// The dearest bytes there are to inflate: a last block every two bytes. They cost nobody else anything, and the context that met them is as
/// good as before.
#[tokio::test]
async fn empty_last_blocks_without_end() {
    let host = host();
    let mut bystander = host.bystander().await;
    let mut client = join(&host).await;
    let empty = [&[0x03, 0x00].repeat(400_000)[..], &[0x00]].concat();
    let event = compressed(br#"42["echo","still here"]"#);
    client.websocket.send(whole(Opcode::Binary, &empty)).await;
    bystander.echo("meanwhile").await;
    // An attachment that nobody announced.
    assert_eq!(client.closed().await, Some(None));
    let mut client = join(&host).await;
    client.websocket.send(whole(Opcode::Text, &event)).await;
    client.expect(r#"42["echo","still here"]"#).await;
    drop(client);
    host.check(&mut bystander).await;
}
