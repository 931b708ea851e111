//! The server inside of other programs: in an axum app, and on streams that are not TCP.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use synapse_hostile::{
    Client, Frame, Http, Polling, WebSocket, eventually, handshake_request, quick_config,
};
use synapse_socket::{Arguments, Server, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpListener;

const MEGABYTE: usize = 1_000_000;

fn server() -> Server {
    let io = Server::builder().config(quick_config()).build();
    io.of("/")
        .on("echo", |socket: Socket, event: Arguments| async move {
            socket.emit_arguments(&event)
        });
    io
}

async fn in_axum() -> (Server, SocketAddr) {
    let io = server();
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route_service("/socket.io/", io.service());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (io, address)
}

#[tokio::test]
async fn an_axum_app_serves_it_beside_its_own_routes() {
    let (io, address) = in_axum().await;
    let mut http = Http::connect(address).await;
    assert_eq!(http.request("GET", "/hello", &[], b"").await.body, "hello");

    let mut client = Client::join(address).await;
    client.echo("by WebSocket").await;

    let (mut polling, _) = Polling::join(address).await;
    polling.post(r#"42["echo","by polling"]"#).await;
    assert_eq!(polling.packets().await, [r#"42["echo","by polling"]"#]);

    io.emit("all", 1).unwrap();
    client.expect(r#"42["all",1]"#).await;
    assert_eq!(polling.packets().await, [r#"42["all",1]"#]);
}

/// Upgrades a polling session as the official client does.
async fn upgrade(polling: &mut Polling, address: SocketAddr) -> WebSocket {
    polling.start_poll().await;
    let target = format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        polling.sid()
    );
    let mut websocket = WebSocket::open(address, &target).await;
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    // The pending poll is ended by a noop, then the client goes over.
    assert_eq!(polling.poll_response().await.body, "6");
    websocket.text("5").await;
    websocket
}

#[tokio::test]
async fn an_axum_app_serves_upgrades() {
    let (io, address) = in_axum().await;
    let (mut polling, _) = Polling::join(address).await;
    let mut websocket = upgrade(&mut polling, address).await;
    websocket.text(r#"42["echo","upgraded"]"#).await;
    assert_eq!(websocket.next_text().await, r#"42["echo","upgraded"]"#);
    assert_eq!((io.stats().upgraded, io.stats().sessions), (1, 1));
    drop(websocket);
    eventually("the session to end", || io.stats().sessions == 0).await;
}

/// One connection that hyper serves on a stream that is not TCP, which is what a TLS stream is to us.
fn connect_in_memory(io: &Server) -> DuplexStream {
    let (client, server) = tokio::io::duplex(8 * 1024);
    let service = TowerToHyperService::new(io.service());
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(server), service)
        .with_upgrades();
    tokio::spawn(connection);
    client
}

async fn upgrade_in_memory(mut stream: DuplexStream, target: &str) -> WebSocket<DuplexStream> {
    stream
        .write_all(handshake_request(target, &[]).as_bytes())
        .await
        .expect("a server that reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a server that answers"));
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    WebSocket::over(stream, Vec::new())
}

async fn join_in_memory(io: &Server) -> Client<DuplexStream> {
    let websocket = upgrade_in_memory(
        connect_in_memory(io),
        "/socket.io/?EIO=4&transport=websocket",
    )
    .await;
    let mut client = Client::over(websocket).await;
    client.join_namespace("/").await;
    client
}

#[tokio::test]
async fn a_stream_that_is_not_tcp_carries_large_messages_both_ways() {
    let io = server();
    let mut client = join_in_memory(&io).await;
    client.echo("small").await;
    let large = "x".repeat(MEGABYTE - 20);
    // The stream holds 8 KiB, so both sides have to wait for each other all the time.
    client.echo(&large).await;
    client
        .send(r#"451-["echo",{"_placeholder":true,"num":0}]"#)
        .await;
    let data: Vec<u8> = (0..MEGABYTE)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    client.websocket.binary(&data).await;
    client
        .expect(r#"451-["echo",{"_placeholder":true,"num":0}]"#)
        .await;
    assert!(client.next_binary().await == data);
}

#[tokio::test]
async fn a_stream_that_is_not_tcp_gets_broadcasts_in_order() {
    let io = server();
    let mut clients = [join_in_memory(&io).await, join_in_memory(&io).await];
    for n in 0..1_000 {
        io.emit("n", n).unwrap();
    }
    for client in &mut clients {
        for n in 0..1_000 {
            client.expect(&format!(r#"42["n",{n}]"#)).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_not_tcp_ends_as_any_other() {
    let io = server();
    let mut told = join_in_memory(&io).await;
    let gone = join_in_memory(&io).await;
    eventually("two sessions", || io.stats().sessions == 2).await;
    drop(gone);
    eventually("one session", || io.stats().sessions == 1).await;
    io.emit("last", "x".repeat(100_000)).unwrap();
    let closing = tokio::spawn({
        let io = io.clone();
        async move { io.close().await }
    });
    assert!(told.next().await.len() > 100_000);
    assert_eq!(told.websocket.next().await, Frame::Close(None));
    closing.await.unwrap();
    assert_eq!((io.stats().sessions, io.of("/").socket_count()), (0, 0));
}

#[tokio::test]
async fn a_session_may_be_taken_over_by_a_stream_that_is_not_tcp() {
    let (io, address) = in_axum().await;
    let (mut polling, _) = Polling::join(address).await;
    polling.start_poll().await;
    let target = format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        polling.sid()
    );
    let mut websocket = upgrade_in_memory(connect_in_memory(&io), &target).await;
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    assert_eq!(polling.poll_response().await.body, "6");
    // What waited meanwhile is not lost.
    io.emit("between", 1).unwrap();
    websocket.text("5").await;
    assert_eq!(websocket.next_text().await, r#"42["between",1]"#);
    websocket.text(r#"42["echo","over"]"#).await;
    assert_eq!(websocket.next_text().await, r#"42["echo","over"]"#);
}

/// A stream that keeps what is written until it is flushed, as TLS does, and whose flush has to wait for the client.
#[tokio::test]
async fn a_stream_with_a_buffer_of_its_own_is_flushed_to_the_end() {
    let io = server();
    let (client, stream) = tokio::io::duplex(64);
    let stream = tokio::io::BufStream::with_capacity(1024, 64 * 1024, stream);
    let service = TowerToHyperService::new(io.service());
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::spawn(connection);
    let websocket = upgrade_in_memory(client, "/socket.io/?EIO=4&transport=websocket").await;
    let mut client = Client::over(websocket).await;
    client.join_namespace("/").await;
    let long = "x".repeat(10_000);
    io.emit("long", &long).unwrap();
    client.expect(&format!(r#"42["long","{long}"]"#)).await;
}

/// What such a stream is being written counts against the limit, and for volatile events.
#[tokio::test]
async fn a_stream_that_is_not_tcp_has_the_limits_of_any_other() {
    const EVENT: usize = 10_000;
    let mut config = quick_config();
    config.limits.outbox_bytes_max = 20 * EVENT;
    let io = Server::builder().config(config).build();
    io.of("/");
    let client = join_in_memory(&io).await;
    let event = "x".repeat(EVENT);
    let mut taken = 0;
    while io.stats().overflowed == 0 {
        io.emit("event", &event).unwrap();
        taken += 1;
        assert!(taken <= 25, "{taken} events of {EVENT} B were taken");
        // The session's task takes what is there.
        if taken == 10 {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }
    drop(client);
}

#[tokio::test]
async fn a_stream_that_is_not_tcp_drops_volatile_events_while_it_is_written() {
    let io = server();
    let mut client = join_in_memory(&io).await;
    let event = "x".repeat(100_000);
    io.emit("event", &event).unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    io.of("/")
        .broadcast()
        .volatile()
        .emit("dropped", 1)
        .unwrap();
    client.expect(&format!(r#"42["event","{event}"]"#)).await;
    client.echo("next").await;
}

/// Much waits for it, so it is not read and its pings come late; but it takes what it gets.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_taken_for_dead_and_one_that_does_not_read_is() {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(150);
    config.timing.ping_timeout = Duration::from_millis(150);
    config.limits.outbox_bytes_pause = 10_000;
    let io = Server::builder().config(config).build();
    io.of("/");
    let (mut slow, silent) = (join_in_memory(&io).await, join_in_memory(&io).await);
    for n in 0..50 {
        io.emit("event", (n, "x".repeat(4_000))).unwrap();
    }
    for n in 0..50 {
        let packet = slow.next().await;
        assert!(
            packet.starts_with(&format!(r#"42["event",{n},"#)),
            "{packet:.40}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("the other one to be missed", || io.stats().sessions == 1).await;
    drop(silent);
    assert_eq!(slow.websocket.next_text().await, "2");
    slow.send("3").await;
    assert_eq!(slow.websocket.next_text().await, "2");
}
