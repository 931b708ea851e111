//! How sockets end: reasons, the order of the handlers, and what is left afterwards.

use std::sync::{Arc, Weak};
use std::time::Duration;

use synapse_hostile::{Client, Host, Polling, eventually, quick_config, within};
use synapse_socket::{EngineConfig, Server, Socket};

use crate::log::{Log, Writer};

/// Writes how sockets of the main namespace end, and whether they are in their room at that moment.
fn log_ends(io: &Server, writer: Writer) {
    let main = io.of("/");
    main.on_connect(|socket: Socket| async move {
        socket.join("room").expect("a room below the limits")
    });
    let before = writer.clone();
    main.on_disconnecting(move |socket, reason| {
        before.line(format!(
            "disconnecting {reason}, rooms {}",
            socket.rooms().len()
        ));
        async {}
    });
    main.on_disconnect(move |socket, reason| {
        assert!(!socket.is_connected());
        writer.line(format!(
            "disconnect {reason}, rooms {}",
            socket.rooms().len()
        ));
        async {}
    });
}

fn host(config: EngineConfig) -> (Host, Log) {
    let (host, log) = (Host::with(config), Log::new());
    log_ends(&host.io, log.writer());
    (host, log)
}

fn short_heartbeat() -> EngineConfig {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(100);
    config.timing.ping_timeout = Duration::from_millis(100);
    config
}

async fn expect_end(log: &mut Log, reason: &str) {
    log.expect(&[
        &format!("disconnecting {reason}, rooms 1"),
        &format!("disconnect {reason}, rooms 0"),
    ])
    .await;
}

fn socket_of(host: &Host, id: &str) -> Socket {
    host.io
        .of("/")
        .socket(id.parse().expect("an id"))
        .expect("a socket that is connected")
}

#[tokio::test]
async fn a_client_that_leaves_the_namespace() {
    let (host, mut log) = host(quick_config());
    let mut client = Client::join(host.address).await;
    client.send("41").await;
    expect_end(&mut log, "client namespace disconnect").await;
    client.join_namespace("/").await;
    client.echo("back").await;
}

#[tokio::test]
async fn a_client_that_is_put_out_of_the_namespace() {
    let (host, mut log) = host(quick_config());
    let mut client = Client::join(host.address).await;
    let socket = socket_of(&host, client.id());
    socket.emit("last", 1).unwrap();
    socket.disconnect();
    socket.disconnect();
    client.expect(r#"42["last",1]"#).await;
    client.expect("41").await;
    expect_end(&mut log, "server namespace disconnect").await;
    client.join_namespace("/").await;
    client.echo("back").await;
}

#[tokio::test]
async fn a_client_that_is_put_out_of_everything_is_told_in_every_namespace() {
    let (host, mut log) = host(quick_config());
    host.io.of("/a");
    let mut client = Client::join(host.address).await;
    client.join_namespace("/a").await;
    socket_of(&host, client.id()).disconnect_client();
    client.expect("41").await;
    client.expect("41/a,").await;
    assert_eq!(client.closed().await, Some(None));
    expect_end(&mut log, "server namespace disconnect").await;
    host.settled(0).await;
    assert_eq!(host.io.of("/a").socket_count(), 0);
}

#[tokio::test]
async fn a_polling_client_that_is_put_out_of_everything_is_told_by_its_poll() {
    let (host, mut log) = host(quick_config());
    let (mut polling, id) = Polling::join(host.address).await;
    polling.start_poll().await;
    socket_of(&host, &id).disconnect_client();
    assert_eq!(polling.poll_response().await.body, "41\u{1e}1");
    expect_end(&mut log, "server namespace disconnect").await;
    host.settled(0).await;
}

#[tokio::test]
async fn a_client_that_closes() {
    let (host, mut log) = host(quick_config());
    // By the end of the stream, by a close frame, by Engine.IO's close packet.
    drop(Client::join(host.address).await);
    expect_end(&mut log, "transport close").await;
    let mut client = Client::join(host.address).await;
    client
        .websocket
        .send(synapse_hostile::masked(
            synapse_protocol::websocket::Opcode::Close,
            &1000_u16.to_be_bytes(),
        ))
        .await;
    assert_eq!(client.closed().await, Some(Some(1000)));
    expect_end(&mut log, "transport close").await;
    let mut client = Client::join(host.address).await;
    client.send("1").await;
    client.closed().await;
    expect_end(&mut log, "transport close").await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post("1").await;
    expect_end(&mut log, "transport close").await;
    host.settled(0).await;
}

#[tokio::test]
async fn a_connection_that_fails() {
    let (host, mut log) = host(quick_config());
    Client::join(host.address).await.reset();
    expect_end(&mut log, "transport error").await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    // Whatever was written before this client came in has been read.
    drop(Client::open(host.address).await);
    polling.abort_poll().await;
    expect_end(&mut log, "transport error").await;
    host.settled(0).await;
}

#[tokio::test]
async fn a_client_that_is_silent() {
    let (host, mut log) = host(short_heartbeat());
    let mut client = Client::join(host.address).await;
    // It gets its ping and says nothing.
    assert_eq!(client.websocket.next_text().await, "2");
    expect_end(&mut log, "ping timeout").await;
    client.closed().await;
    let (polling, _) = Polling::join(host.address).await;
    expect_end(&mut log, "ping timeout").await;
    drop(polling);
    host.settled(0).await;
}

#[tokio::test]
async fn a_client_that_answers_its_pings_stays() {
    let (host, mut log) = host(short_heartbeat());
    let mut client = Client::join(host.address).await;
    for _ in 0..6 {
        assert_eq!(client.websocket.next_text().await, "2");
        client.send("3").await;
    }
    client.send(r#"42["echo","alive"]"#).await;
    client.expect(r#"42["echo","alive"]"#).await;
    assert!(log.rest().is_empty());
}

#[tokio::test]
async fn a_client_that_breaks_a_rule() {
    let (host, mut log) = host(quick_config());
    for (packet, reason) in [
        ("9", "parse error"),
        ("", "parse error"),
        ("2", "transport error"),
        ("42", "forced close"),
        ("49", "forced close"),
        (r#"42["disconnect"]"#, "forced close"),
    ] {
        let mut client = Client::join(host.address).await;
        client.send(packet).await;
        assert_eq!(client.closed().await, Some(None), "{packet}");
        expect_end(&mut log, reason).await;
    }
    host.settled(0).await;
}

#[tokio::test]
async fn a_session_that_joins_no_namespace_in_time() {
    let mut config = quick_config();
    config.timing.connect_timeout = Duration::from_millis(100);
    let (host, mut log) = host(config);
    let mut silent = Client::open(host.address).await;
    let mut client = Client::join(host.address).await;
    assert_eq!(silent.closed().await, Some(None));
    client.echo("stays").await;
    host.settled(1).await;
    assert!(log.rest().is_empty());
}

#[tokio::test]
async fn a_server_that_closes_says_everything_first() {
    let (host, mut log) = host(quick_config());
    let mut client = Client::join(host.address).await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.start_poll().await;
    let big = "x".repeat(300_000);
    host.io.emit("last", &big).unwrap();
    host.io.emit("really", 1).unwrap();
    within("the server to close", host.io.close()).await;
    client.expect(&format!(r#"42["last","{big}"]"#)).await;
    client.expect(r#"42["really",1]"#).await;
    assert_eq!(client.closed().await, Some(None));
    let told = polling.poll_response().await.body;
    let told = if told.ends_with("\u{1e}1") {
        told
    } else {
        told + "\u{1e}" + &polling.closed().await.body
    };
    assert_eq!(
        told,
        format!("42[\"last\",\"{big}\"]\u{1e}42[\"really\",1]\u{1e}1")
    );
    let mut lines = [
        log.next().await,
        log.next().await,
        log.next().await,
        log.next().await,
    ];
    lines.sort();
    assert_eq!(&lines[0], "disconnect server shutting down, rooms 0");
    assert_eq!(&lines[3], "disconnecting server shutting down, rooms 1");
    host.settled(0).await;
    // And nobody comes in any more.
    let mut http = synapse_hostile::Http::connect(host.address).await;
    let refused = http
        .request("GET", "/socket.io/?EIO=4&transport=polling", &[], b"")
        .await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("5"))
    );
}

#[tokio::test]
async fn a_handler_may_close_its_own_client_and_still_say_something() {
    let (host, mut log) = host(quick_config());
    host.io.of("/").on("bye", |socket: Socket| async move {
        socket.emit("bye", 1).unwrap();
        socket.disconnect_client();
        socket.emit("too late", 1).unwrap();
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["bye"]"#).await;
    client.expect(r#"42["bye",1]"#).await;
    client.expect("41").await;
    expect_end(&mut log, "server namespace disconnect").await;
    client.closed().await;
    host.settled(0).await;
}

/// What a socket registered goes with it, though it may hold the socket itself.
#[tokio::test]
async fn handlers_of_a_socket_are_freed_with_it() {
    let host = Host::start();
    let kept: Arc<()> = Arc::default();
    let weak = Arc::downgrade(&kept);
    host.io.of("/").on_connect(move |socket: Socket| {
        let (own, token) = (socket.clone(), Arc::clone(&kept));
        socket.on("x", move || {
            let (_own, _token) = (own.clone(), Arc::clone(&token));
            async {}
        });
        let (own, token) = (socket.clone(), Arc::clone(&kept));
        socket.on_disconnect(move |_, _| {
            let (_own, _token) = (own.clone(), Arc::clone(&token));
            async {}
        });
        async {}
    });
    let holders = || Weak::strong_count(&weak);
    let client = Client::join(host.address).await;
    assert_eq!(holders(), 3);
    drop(client);
    host.settled(0).await;
    eventually("the handlers to be freed", || holders() == 1).await;
}

#[tokio::test]
async fn handlers_that_still_wait_end_in_a_task_of_their_own() {
    let mut log = Log::new();
    let host = Host::start();
    let open: Arc<tokio::sync::Notify> = Arc::default();
    let (gate, writer) = (Arc::clone(&open), log.writer());
    host.io.of("/").on("wait", move |socket: Socket| {
        let (gate, writer) = (Arc::clone(&gate), writer.clone());
        async move {
            writer.line("waiting");
            gate.notified().await;
            writer.line(format!("connected: {}", socket.is_connected()));
        }
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["wait"]"#).await;
    log.expect(&["waiting"]).await;
    drop(client);
    host.settled(0).await;
    open.notify_one();
    log.expect(&["connected: false"]).await;
}

#[tokio::test]
async fn a_disconnect_handler_may_wait_and_may_panic() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    main.on_disconnecting(|_, _| async { panic!("what a test wants to see") });
    let writer = log.writer();
    main.on_disconnect(move |_, reason| {
        let writer = writer.clone();
        async move {
            tokio::task::yield_now().await;
            writer.line(reason.as_str());
        }
    });
    drop(Client::join(host.address).await);
    log.expect(&["transport close"]).await;
    host.settled(0).await;
}
