//! Clients of Socket.IO 2, as an application meets them.

use std::sync::Arc;

use serde_json::json;
use synapse_hostile::{Client, Host, Http, WebSocket, quick_config};
use synapse_socket::{EngineConfig, Refusal, Socket};
use tokio::sync::Notify;

use crate::log::Log;

fn config() -> EngineConfig {
    EngineConfig {
        allow_eio3: true,
        ..quick_config()
    }
}

async fn open(host: &Host) -> Client {
    let target = "/socket.io/?EIO=3&transport=websocket";
    Client::over(WebSocket::open(host.address, target).await).await
}

#[tokio::test]
async fn a_client_is_let_into_the_main_namespace_by_its_middlewares() {
    let host = Host::with(config());
    let open_gate = Arc::new(Notify::new());
    let gate = Arc::clone(&open_gate);
    host.io.of("/").use_middleware(move || {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(())
        }
    });
    let mut client = open(&host).await;
    assert_eq!(host.socket_count(), 0);
    open_gate.notify_one();
    client.expect("40").await;
    client.echo("in").await;
    assert_eq!(host.socket_count(), 1);
}

#[tokio::test]
async fn a_refused_client_is_told_the_message_or_the_data() {
    let host = Host::with(config());
    host.io
        .of("/")
        .use_middleware(|| async { Err(Refusal::new("not \"authorized\"")) });
    host.io.of("/data").use_middleware(|| async {
        Err(Refusal::new("not authorized").with_data(json!({ "code": 401 })))
    });
    let mut client = open(&host).await;
    client.expect(r#"44"not \"authorized\"""#).await;
    client.send("40/data?x=1,").await;
    client.expect(r#"44/data,{"code":401}"#).await;
    client.send("40/nowhere,").await;
    client
        .expect(r#"44/nowhere,{"message":"Invalid namespace"}"#)
        .await;
    assert_eq!(host.socket_count(), 0);
}

#[tokio::test]
async fn a_socket_is_found_by_its_id_and_by_what_the_client_takes_for_it() {
    let mut log = Log::new();
    let host = Host::with(config());
    let chat = host.io.of("/chat");
    let writer = log.writer();
    chat.on_connect(move |socket: Socket| {
        writer.line(format!("{:?}", socket.rooms()));
        writer.line(socket.client_id());
        writer.line(socket.id().to_string());
        async {}
    });
    let mut client = open(&host).await;
    client.expect("40").await;
    client.send("40/chat,").await;
    client.expect("40/chat,").await;
    log.expect(&["[]"]).await;
    let (client_id, id) = (log.next().await, log.next().await);
    assert!(client_id.starts_with("/chat#"), "{client_id}");
    for name in [client_id.as_str(), id.as_str()] {
        chat.to(name).emit("found", name).expect("JSON");
        client
            .expect(&format!(r#"42/chat,["found","{name}"]"#))
            .await;
    }
    // Once, by whichever of them.
    chat.to([client_id.as_str(), id.as_str()])
        .emit("once", ())
        .expect("JSON");
    chat.except(client_id.as_str())
        .emit("never", ())
        .expect("JSON");
    chat.emit("last", ()).expect("JSON");
    client.expect(r#"42/chat,["once"]"#).await;
    client.expect(r#"42/chat,["last"]"#).await;

    // Whoever leaves and comes back has the same name, and nothing is left of it in the end.
    client.send("41/chat,").await;
    client.send("40/chat,").await;
    client.expect("40/chat,").await;
    assert_eq!(chat.socket_count(), 1);
    drop(client);
    host.settled(0).await;
}

#[tokio::test]
async fn nobody_is_served_who_is_not_expected() {
    let host = Host::start();
    let mut http = Http::connect(host.address).await;
    let response = http
        .request("GET", "/socket.io/?EIO=3&transport=polling", &[], b"")
        .await;
    assert_eq!(response.status, 400);
}
