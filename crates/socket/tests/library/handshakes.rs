//! Which handshakes go on at all.

use synapse_hostile::{Client, Host, Http, Polling, handshake_request, quick_config};
use synapse_socket::Server;

fn host() -> Host {
    let io = Server::builder()
        .config(quick_config())
        .allow_request(|request| {
            let has_key = request
                .query()
                .any(|pair| pair == ("key".to_owned(), "right".to_owned()));
            if has_key {
                Ok(())
            } else {
                Err("no \"key\"".to_owned())
            }
        });
    Host::serve(io.build())
}

#[tokio::test]
async fn a_handshake_is_refused_in_the_application_s_words() {
    let host = host();
    let mut http = Http::connect(host.address).await;
    let refused = http
        .request(
            "GET",
            "/socket.io/?EIO=4&transport=polling&key=wrong",
            &[],
            b"",
        )
        .await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (403, r#"{"code":4,"message":"no \"key\""}"#)
    );
    http.send(handshake_request(
        "/socket.io/?EIO=4&transport=websocket",
        &[],
    ))
    .await;
    let refused = http.response().await;
    assert_eq!((refused.status, refused.body.as_str()), (400, "no \"key\""));
    assert_eq!(
        (
            host.io.stats().opened,
            host.io.stats().sessions,
            host.io.stats().refused
        ),
        (0, 0, 2)
    );
}

#[tokio::test]
async fn a_handshake_is_let_in() {
    let host = host();
    let websocket = synapse_hostile::WebSocket::open(
        host.address,
        "/socket.io/?EIO=4&transport=websocket&key=right",
    );
    let mut client = Client::over(websocket.await).await;
    client.join_namespace("/").await;
    client.echo("in").await;
}

/// Only the first request of a session is asked about: the session's id is what proves the others.
#[tokio::test]
async fn later_requests_are_not_asked_about() {
    let host = host();
    let mut http = Http::connect(host.address).await;
    let opened = http
        .request(
            "GET",
            "/socket.io/?EIO=4&transport=polling&key=right",
            &[],
            b"",
        )
        .await;
    let sid = opened.body.split('"').nth(3).unwrap().to_owned();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(http.request("POST", &target, &[], b"40").await.body, "ok");
    assert!(
        http.request("GET", &target, &[], b"")
            .await
            .body
            .starts_with(r#"40{"sid":""#)
    );
}

/// Two answers of one program to one machine: a decision that panics costs its own connection.
#[tokio::test]
async fn a_decision_that_panics_costs_its_own_connection_only() {
    let io = Server::builder()
        .config(quick_config())
        .allow_request(|request| {
            assert!(!request.url().contains("panic"), "what a test wants to see");
            Ok(())
        });
    let host = Host::serve(io.build());
    let mut bystander = host.bystander().await;
    let mut http = Http::connect(host.address).await;
    http.send("GET /socket.io/?EIO=4&transport=polling&panic HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    http.closed().await;
    host.check(&mut bystander).await;
    drop(Polling::join(host.address).await);
}
