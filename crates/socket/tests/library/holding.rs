//! Clients that are held up because the application is busy: they wait, and nothing worse.

use std::sync::Arc;
use std::time::Duration;

use synapse_hostile::{Client, Host, Http, Polling, WebSocket, quick_config, within};
use synapse_socket::{CloseReason, EngineConfig, Server, Socket, SocketLimits};
use tokio::sync::Semaphore;

use crate::log::Log;

/// A server that reads nothing more from a client while this many of its handlers wait.
fn host(config: EngineConfig, running_handlers_max: usize) -> Host {
    let limits = SocketLimits {
        running_handlers_max,
        ..SocketLimits::default()
    };
    Host::serve(Server::builder().config(config).limits(limits).build())
}

/// Registers `slow`, whose handlers wait until a permit is added.
fn slow(host: &Host, log: &Log) -> Arc<Semaphore> {
    let open = Arc::new(Semaphore::new(0));
    let (gate, writer) = (Arc::clone(&open), log.writer());
    host.io.of("/").on("slow", move || {
        let (gate, writer) = (Arc::clone(&gate), writer.clone());
        async move {
            writer.line("slow");
            gate.acquire().await.expect("open").forget();
        }
    });
    let writer = log.writer();
    host.io.of("/").on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    open
}

/// The answers come behind the events, so a client whose handlers all wait for answers has to be read.
#[tokio::test]
async fn handlers_that_wait_for_their_client_s_answers_get_them() {
    const LIMIT: usize = 3;
    let host = host(quick_config(), LIMIT);
    host.io.of("/").on("ask", |socket: Socket| async move {
        let answer: u8 = socket.emit_with_ack("question", (), None).await.unwrap();
        socket.emit("thanks", answer).unwrap();
    });
    let mut client = Client::join(host.address).await;
    for _ in 0..3 * LIMIT {
        client.send(r#"42["ask"]"#).await;
    }
    for _ in 0..3 * LIMIT {
        let question = client.next().await;
        let id = question
            .strip_prefix("42")
            .and_then(|rest| rest.strip_suffix(r#"["question"]"#));
        let id = id.unwrap_or_else(|| panic!("expected a question, got {question}"));
        client.send(&format!("43{id}[7]")).await;
    }
    for _ in 0..3 * LIMIT {
        client.expect(r#"42["thanks",7]"#).await;
    }
}

/// Its pong lies unread because of us, so it must not be missed.
#[tokio::test]
async fn a_client_that_is_held_up_is_not_taken_for_dead() {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(100);
    config.timing.ping_timeout = Duration::from_millis(100);
    let host = host(config, 1);
    let mut log = Log::new();
    let open = slow(&host, &log);
    let mut client = Client::join(host.address).await;
    client.send(r#"42["slow"]"#).await;
    log.expect(&["slow"]).await;
    for _ in 0..4 {
        assert_eq!(client.websocket.next_text().await, "2");
        client.send("3").await;
    }
    open.add_permits(1);
    client.send(r#"42["echo","alive"]"#).await;
    client.expect(r#"42["echo","alive"]"#).await;
    assert!(log.rest().is_empty());
    // It is noticed again when it falls silent.
    log.expect(&["ping timeout"]).await;
}

#[tokio::test]
async fn a_polling_client_that_is_held_up_is_not_taken_for_dead() {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(100);
    config.timing.ping_timeout = Duration::from_millis(100);
    let host = host(config, 1);
    let mut log = Log::new();
    let open = slow(&host, &log);
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post(r#"42["slow"]"#).await;
    log.expect(&["slow"]).await;
    let mut posting = Http::connect(host.address).await;
    posting
        .send_request(
            "POST",
            &polling.target(),
            &[],
            b"3\x1e42[\"echo\",\"alive\"]",
        )
        .await;
    for _ in 0..4 {
        assert_eq!(polling.poll().await.body, "2");
    }
    open.add_permits(1);
    assert_eq!(posting.response().await.body, "ok");
    let mut packets = polling.poll().await.body;
    if packets == "2" {
        packets = polling.poll().await.body;
    }
    assert!(packets.contains(r#"42["echo","alive"]"#), "{packets}");
    assert!(log.rest().is_empty());
    drop((polling, posting));
    log.expect(&["ping timeout"]).await;
}

/// A POST whose body nobody will take any more is answered all the same.
#[tokio::test]
async fn a_post_that_waits_is_answered_when_its_session_ends() {
    let host = host(quick_config(), 1);
    let mut log = Log::new();
    let open = slow(&host, &log);
    let (mut polling, id) = Polling::join(host.address).await;
    polling.post(r#"42["slow"]"#).await;
    log.expect(&["slow"]).await;
    let mut posting = Http::connect(host.address).await;
    posting
        .send_request("POST", &polling.target(), &[], br#"42["echo",1]"#)
        .await;
    polling.start_poll().await;
    // Both have arrived when a later request has been served, on this runtime of one thread.
    for _ in 0..3 {
        drop(Client::open(host.address).await);
    }
    let socket = host.io.of("/").socket(id.parse().unwrap()).unwrap();
    socket.disconnect_client();
    let response = within("the answer to the POST", posting.response()).await;
    assert_eq!(response.status, 200);
    assert_eq!(polling.poll_response().await.body, "41\u{1e}1");
    log.expect(&["server namespace disconnect"]).await;
    open.add_permits(1);
    host.settled(0).await;
}

/// A body that is on its way when the WebSocket takes over is handled before what comes by the WebSocket.
#[tokio::test]
async fn a_post_that_is_under_way_when_its_client_goes_over_is_handled_first() {
    let host = Host::start();
    let (polling, _) = Polling::join(host.address).await;
    let body = r#"42["echo","by post"]"#;
    let mut posting = Http::connect(host.address).await;
    posting
        .send(format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
            polling.target(),
            body.len(),
            &body[..5]
        ))
        .await;
    let target = format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        polling.sid()
    );
    let mut websocket = WebSocket::open(host.address, &target).await;
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    websocket.text("5").await;
    websocket.text(r#"42["echo","by WebSocket"]"#).await;
    for _ in 0..3 {
        drop(Client::open(host.address).await);
    }
    posting.send(&body[5..]).await;
    assert_eq!(posting.response().await.body, "ok");
    assert_eq!(websocket.next_text().await, r#"42["echo","by post"]"#);
    assert_eq!(websocket.next_text().await, r#"42["echo","by WebSocket"]"#);
}

/// Pongs that came while nothing ran are read before anybody is missed.
#[tokio::test]
async fn a_runtime_that_was_held_up_reads_what_came_meanwhile() {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(300);
    config.timing.ping_timeout = Duration::from_millis(300);
    let host = Host::with(config);
    let mut log = Log::new();
    slow(&host, &log);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Polling::join(host.address).await.0);
    }
    // The test's thread is the server's: neither reads while it sleeps. The POSTs lie in the kernel then.
    let mut posts = Vec::new();
    for polling in &mut clients {
        assert_eq!(polling.poll().await.body, "2");
        posts.push((Http::connect(host.address).await, polling.target()));
    }
    for (post, target) in &mut posts {
        post.send_request("POST", target, &[], b"3").await;
    }
    std::thread::sleep(Duration::from_millis(700));
    for (post, _) in &mut posts {
        assert_eq!(post.response().await.body, "ok");
    }
    assert!(log.rest().is_empty(), "nobody was silent");
}
