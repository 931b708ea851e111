//! Socket.IO packets that no client library writes.

use std::time::Duration;

use synapse_hostile::{Client, Host, Polling, quick_config, within};

use crate::reasons;

/// Each packet closes its own client, by WebSocket and by polling, and costs nobody else anything.
async fn each_closes_its_client<P: AsRef<str>>(packets: &[P], reason: &str) {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    for packet in packets.iter().map(AsRef::as_ref) {
        let shown = packet.get(..100).unwrap_or(packet);
        let mut client = Client::join(host.address).await;
        client.send(packet).await;
        assert_eq!(client.closed().await, Some(None), "{shown}");
        assert_eq!(within(shown, reasons.recv()).await, Some(reason), "{shown}");

        let (mut polling, _) = Polling::join(host.address).await;
        polling.start_poll().await;
        polling.post(packet).await;
        let told = polling.poll_response().await;
        assert_eq!((told.status, told.body.as_str()), (200, "1"), "{shown}");
        assert_eq!(within(shown, reasons.recv()).await, Some(reason), "{shown}");
        bystander.echo("between").await;
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2023_32695_event_names() {
    let packets = [
        r#"42[{"toString":"x"}]"#,
        "42[null]",
        "42[]",
        "42{}",
        "42",
        "42[true]",
        "42[[]]",
        r#"42"x""#,
        "42[[\"x\"]]",
        "42null",
        r#"421[{"toString":"x"}]"#,
        r#"450-[{"toString":"x"}]"#,
    ];
    each_closes_its_client(&packets, "forced close").await;
}

#[tokio::test]
async fn cve_2022_2421_placeholders() {
    let host = Host::start();
    let mut reasons = reasons(&host.io);
    let mut bystander = host.bystander().await;
    for num in [
        r#""splice""#,
        "-1",
        "1.5",
        "1e9",
        "1",
        "null",
        "{}",
        r#""__proto__""#,
        "18446744073709551616",
        "true",
    ] {
        let mut client = Client::join(host.address).await;
        client
            .send(&format!(
                r#"451-["echo",{{"_placeholder":true,"num":{num}}}]"#
            ))
            .await;
        client.websocket.binary(b"x").await;
        assert_eq!(client.closed().await, Some(None), "{num}");
        assert_eq!(
            within(num, reasons.recv()).await,
            Some("forced close"),
            "{num}"
        );
    }
    host.check(&mut bystander).await;
}

/// Whatever becomes of them, they neither reach memory that is not theirs nor anybody else.
#[tokio::test]
async fn cve_2022_2421_placeholders_missing_and_used_twice() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for json in [
        r#"["echo"]"#,
        r#"["echo",{"_placeholder":true}]"#,
        r#"["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"["echo",{"_placeholder":"true","num":0}]"#,
        r#"["echo",{"_placeholder":true,"num":0,"num":7}]"#,
    ] {
        let mut client = Client::join(host.address).await;
        client.send(&format!("451-{json}")).await;
        client.websocket.binary(b"x").await;
        client.send("41").await;
        client.send("1").await;
        client.closed().await;
        bystander.echo("between").await;
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2026_33151_attachment_counts() {
    let packets = [
        r#"4599999999-["e"]"#,
        r#"4518446744073709551616-["e"]"#,
        r#"45["e"]"#,
        r#"45-["e"]"#,
        r#"451e3-["e"]"#,
        r#"45-1-["e"]"#,
        r#"450x1-["e"]"#,
        r#"45 1-["e"]"#,
        r#"45+1-["e"]"#,
        r#"451.0-["e"]"#,
        r#"4511-["e"]"#,
        r#"4699999999-1[]"#,
        "451",
        "451-",
    ];
    each_closes_its_client(&packets, "forced close").await;
}

#[tokio::test]
async fn cve_2026_33151_attachments_nobody_announced() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let mut unannounced = Client::join(host.address).await;
    unannounced.websocket.binary(b"x").await;
    assert_eq!(unannounced.closed().await, Some(None));

    let mut too_many = Client::join(host.address).await;
    too_many
        .send(r#"451-["none",{"_placeholder":true,"num":0}]"#)
        .await;
    too_many.websocket.binary(b"x").await;
    too_many.websocket.binary(b"y").await;
    assert_eq!(too_many.closed().await, Some(None));

    let mut interrupted = Client::join(host.address).await;
    interrupted
        .send(r#"451-["none",{"_placeholder":true,"num":0}]"#)
        .await;
    interrupted.send(r#"42["echo",1]"#).await;
    assert_eq!(interrupted.closed().await, Some(None));
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn attachments_have_a_limit_of_bytes_together() {
    let mut limits = synapse_socket::SocketLimits::default();
    limits.packets.attachment_bytes_max = 1_000;
    let host = Host::serve(
        synapse_socket::Server::builder()
            .config(quick_config())
            .limits(limits)
            .build(),
    );
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    client.send(r#"453-["none"]"#).await;
    client.websocket.binary(&[0; 600]).await;
    client.websocket.binary(&[0; 600]).await;
    assert_eq!(client.closed().await, Some(None));
    host.check(&mut bystander).await;
}

/// A packet that waits for its attachments is kept once for each connection, not for each namespace, and a client that joins nothing has
/// only until the connect timeout.
#[tokio::test]
async fn ghsa_55mf_67qm_4wpg_half_finished_packets_before_connect() {
    let mut config = quick_config();
    // Long: such a client is closed for what it sends, not for what it does not.
    config.timing.connect_timeout = Duration::from_secs(45);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;

    let mut silent = Client::open(host.address).await;
    silent
        .send(r#"451-/a,["e",{"_placeholder":true,"num":0}]"#)
        .await;
    let mut several = Client::open(host.address).await;
    for namespace in ["/a", "/b", "/c"] {
        several
            .send(&format!(
                r#"451-{namespace},["e",{{"_placeholder":true,"num":0}}]"#
            ))
            .await;
    }
    let mut complete = Client::open(host.address).await;
    complete
        .send(r#"451-["e",{"_placeholder":true,"num":0}]"#)
        .await;
    complete.websocket.binary(b"x").await;
    for client in [&mut several, &mut complete, &mut silent] {
        assert_eq!(client.closed().await, Some(None));
    }
    host.check(&mut bystander).await;
}

/// Names that the server keeps for itself never reach a handler. `error` is a name like any other since version 3.
#[tokio::test]
async fn cve_2024_38355_reserved_event_names() {
    let names = [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ];
    let mut packets: Vec<_> = names
        .iter()
        .map(|name| format!(r#"42["{name}","x"]"#))
        .collect();
    packets.push(r#"42["\u0064isconnect"]"#.to_owned());
    each_closes_its_client(&packets, "forced close").await;

    let host = Host::start();
    let mut bystander = host.bystander().await;
    for name in [
        "error",
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
        "",
    ] {
        bystander.send(&format!(r#"42["{name}","x"]"#)).await;
        bystander.echo("nothing happened").await;
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2020_36049_giant_and_deep_packets() {
    let deep = |open: &str, close: &str, depth| {
        format!(r#"42["e",{}{}]"#, open.repeat(depth), close.repeat(depth))
    };
    let packets = [
        deep("[", "]", 100_000),
        deep("[", "]", 101),
        format!(
            r#"42["e",{}1{}]"#,
            r#"{"a":"#.repeat(10_000),
            "}".repeat(10_000)
        ),
        format!(r#"42["e",{}"#, "[".repeat(500_000)),
        format!(r#"42/{},["e"]"#, "n".repeat(900_000)),
        format!(r#"42["{}"]"#, "n".repeat(900_000)),
        format!("42{}[\"e\"]", "9".repeat(400)),
        r#"429007199254740992["e"]"#.to_owned(),
        r#"42-1["e"]"#.to_owned(),
        r#"42["e",NaN]"#.to_owned(),
        r#"42["e",Infinity]"#.to_owned(),
        r#"42["e",01]"#.to_owned(),
        r#"42["e",]"#.to_owned(),
        r#"42["e"]x"#.to_owned(),
        r#"42["e",undefined]"#.to_owned(),
        "42[\"e\",\"\u{1}\"]".to_owned(),
        r#"40[1]"#.to_owned(),
        r#"40""#.to_owned(),
        r#"48["e"]"#.to_owned(),
        r#"4"#.to_owned(),
        r#"43[]"#.to_owned(),
    ];
    each_closes_its_client(&packets, "forced close").await;
}

/// Lone surrogates are well-formed JSON and no text. A handler that wants text does not get them; one that forwards is not hurt.
#[tokio::test]
async fn lone_surrogates_cost_nothing() {
    let host = Host::start();
    let mut client = host.bystander().await;
    client.send(r#"42["join","\ud800"]"#).await;
    client.send(r#"42["\udfff",1]"#).await;
    client.send(r#"42["echo","\ud800"]"#).await;
    client.expect(r#"42["echo","\ud800"]"#).await;
    host.check(&mut client).await;
}

#[tokio::test]
async fn a_room_of_a_megabyte_is_not_joined() {
    let host = Host::start();
    let mut client = host.bystander().await;
    client
        .send(&format!(r#"42["join","{}"]"#, "r".repeat(900_000)))
        .await;
    client.echo("handled").await;
    let socket = host
        .io
        .of("/")
        .socket(client.id().parse().unwrap())
        .unwrap();
    assert!(socket.rooms().is_empty());
}
