//! How sockets end: reasons, the order of the handlers, and what is left afterwards.

use std::sync::{Arc, Weak};
use std::time::Duration;

use synapse_hostile::{Client, Host, Polling, eventually, quick_config, within};
use synapse_socket::{CloseReason, EngineConfig, Server, ServerBuilder, Socket, TransportKind};

use crate::log::{Log, Writer};

/// Writes how sockets of the main namespace end, and whether they are in their room at that moment.
fn log_ends(io: &Server, writer: Writer) {
    let main = io.of("/");
    main.on_connect(|socket: Socket| async move {
        socket.join("room").expect("a room below the limits")
    });
    let before = writer.clone();
    main.on_disconnecting(move |socket: Socket, reason: CloseReason| {
        before.line(format!(
            "disconnecting {reason}, rooms {}",
            socket.rooms().len()
        ));
        async {}
    });
    main.on_disconnect(move |socket: Socket, reason: CloseReason| {
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
        socket.on_disconnect(move || {
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
    main.on_disconnecting(|| async { panic!("what a test wants to see") });
    let writer = log.writer();
    main.on_disconnect(move |reason: CloseReason| {
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

/// Whom to take leave of is written in the socket's data, most of the time.
#[tokio::test]
async fn the_data_of_a_socket_is_there_for_its_last_handlers() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    main.on_connect(|socket: Socket| async move {
        socket.update_data(|data| data.insert("name".to_owned(), "Ada".into()));
    });
    let writer = log.writer();
    main.on_disconnecting(move |socket: Socket| {
        writer.line(format!("disconnecting {}", socket.data()["name"]));
        async {}
    });
    let writer = log.writer();
    main.on_disconnect(move |socket: Socket| {
        writer.line(format!("disconnect {}", socket.data()["name"]));
        async {}
    });
    drop(Client::join(host.address).await);
    log.expect(&["disconnecting \"Ada\"", "disconnect \"Ada\""])
        .await;
}

#[tokio::test]
async fn the_transport_of_a_socket_is_known_to_its_last_handlers() {
    let mut log = Log::new();
    let host = Host::start();
    let writer = log.writer();
    host.io.of("/").on_disconnect(move |socket: Socket| {
        writer.line(socket.transport().as_str());
        async {}
    });
    drop(Client::join(host.address).await);
    log.expect(&[TransportKind::WebSocket.as_str()]).await;
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post("1").await;
    log.expect(&[TransportKind::Polling.as_str()]).await;
}

/// Each handler puts out all who are left, and they do the same: the stack must not grow with their number.
#[tokio::test]
async fn disconnect_handlers_may_disconnect_others_without_end() {
    const CLIENTS: usize = 1_500;
    let host = Host::start();
    let main = host.io.of("/");
    let everyone = main.clone();
    main.on_disconnect(move || {
        let everyone = everyone.clone();
        async move { everyone.local().disconnect_clients() }
    });
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        clients.push(Client::join(host.address).await);
    }
    drop(clients.pop());
    host.settled(0).await;
}

#[tokio::test]
async fn a_handler_that_panics_after_its_client_has_gone_ends_no_other() {
    let mut log = Log::new();
    let host = Host::start();
    let open: Arc<tokio::sync::Semaphore> = Arc::new(tokio::sync::Semaphore::new(0));
    let (gate, writer) = (Arc::clone(&open), log.writer());
    host.io.of("/").on(
        "wait",
        move |synapse_socket::Data(n): synapse_socket::Data<u8>| {
            let (gate, writer) = (Arc::clone(&gate), writer.clone());
            async move {
                writer.line("waiting");
                gate.acquire().await.unwrap().forget();
                assert_ne!(n, 0, "what a test wants to see");
                writer.line(n.to_string());
            }
        },
    );
    let mut client = Client::join(host.address).await;
    for n in 0..3 {
        client.send(&format!(r#"42["wait",{n}]"#)).await;
        log.expect(&["waiting"]).await;
    }
    drop(client);
    host.settled(0).await;
    open.add_permits(1);
    open.add_permits(2);
    let mut lines = [log.next().await, log.next().await];
    lines.sort();
    assert_eq!(lines, ["1", "2"]);
}

/// A server on a runtime of its own, which ends when the test says so.
fn apart(builder: impl FnOnce() -> ServerBuilder) -> (tokio::runtime::Runtime, Host) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let host = {
        let _context = runtime.enter();
        Host::serve(builder().build())
    };
    (runtime, host)
}

/// A program that ends when its server has closed takes nothing with it that a client was still to get.
#[tokio::test]
async fn a_closed_server_has_said_everything() {
    let (runtime, host) = apart(Server::builder);
    let mut client = Client::join(host.address).await;
    let big = "x".repeat(900_000);
    for _ in 0..10 {
        host.io.emit("last", &big).unwrap();
    }
    let io = host.io.clone();
    let closed = runtime.spawn(async move { io.close().await });
    // Far more waits than any kernel buffers for us, so the server is not through before we read.
    let reading = async {
        for _ in 0..10 {
            client.expect(&format!(r#"42["last","{big}"]"#)).await;
        }
        assert_eq!(client.closed().await, Some(None));
    };
    let ending = async {
        within("the server to close", closed).await.unwrap();
        runtime.shutdown_background();
    };
    tokio::join!(ending, reading);
}

/// Handshakes that were admitted before the server closed are not left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_in_while_the_server_closes_is_closed() {
    for polling in [true, false] {
        let (asked, mut asking) = tokio::sync::mpsc::channel(1);
        let (decide, deciding) = std::sync::mpsc::sync_channel::<()>(1);
        let deciding = std::sync::Mutex::new(deciding);
        let host = Host::serve(
            Server::builder()
                .config(quick_config())
                .allow_request(move |_| {
                    asked.try_send(()).unwrap();
                    deciding.lock().unwrap().recv().unwrap();
                    Ok(())
                })
                .build(),
        );
        let address = host.address;
        let coming = tokio::spawn(async move {
            if polling {
                let mut http = synapse_hostile::Http::connect(address).await;
                let target = "/socket.io/?EIO=4&transport=polling";
                let response = http.request("GET", target, &[], b"").await;
                assert_eq!(response.status, 503);
            } else {
                let mut http = synapse_hostile::Http::connect(address).await;
                let target = "/socket.io/?EIO=4&transport=websocket";
                http.send(synapse_hostile::handshake_request(target, &[]))
                    .await;
                assert_eq!(http.response().await.status, 101);
                http.closed().await;
            }
        });
        within("the handshake", asking.recv()).await.unwrap();
        within("the server to close", host.io.close()).await;
        decide.send(()).unwrap();
        within("the refusal", coming).await.unwrap();
        host.settled(0).await;
    }
}

/// However many clients there are of each kind, and though more of them come in meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_thousands_of_clients_closes() {
    const OF_EACH: usize = 1_000;
    let host = Host::start();
    let mut clients = Vec::new();
    let mut pollers = Vec::new();
    for _ in 0..OF_EACH {
        clients.push(Client::join(host.address).await);
        let (mut polling, _) = Polling::join(host.address).await;
        polling.start_poll().await;
        pollers.push(polling);
    }
    let address = host.address;
    let coming = tokio::spawn(async move {
        let mut refused = 0;
        while refused < 20 {
            let mut http = synapse_hostile::Http::connect(address).await;
            let target = "/socket.io/?EIO=4&transport=websocket";
            http.send(synapse_hostile::handshake_request(target, &[]))
                .await;
            match http.response().await.status {
                101 => http.closed().await,
                status => {
                    assert_eq!(status, 503);
                    refused += 1;
                }
            }
        }
    });
    within("the server to close", host.io.close()).await;
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(None));
    }
    for polling in &mut pollers {
        assert_eq!(polling.poll_response().await.body, "1");
    }
    within("the last to be refused", coming).await.unwrap();
    host.settled(0).await;
}

/// The limit is kept though all of them are admitted before the first is in.
#[tokio::test]
async fn sessions_stay_within_their_limit_when_many_come_at_once() {
    const LIMIT: usize = 3;
    let mut config = quick_config();
    config.limits.sessions_max = LIMIT;
    let host = Host::with(config);
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut handshakes = Vec::new();
    for _ in 0..20 {
        handshakes.push(synapse_hostile::Http::connect(host.address).await);
    }
    for http in &mut handshakes {
        http.send(synapse_hostile::handshake_request(target, &[]))
            .await;
    }
    let mut most = 0;
    for http in &mut handshakes {
        let _ = http.response().await;
        most = most.max(host.io.stats().sessions);
    }
    eventually("all to be in or refused", || host.io.stats().sessions > 0).await;
    assert!(most.max(host.io.stats().sessions) <= LIMIT, "{most}");
}
