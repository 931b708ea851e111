//! What Node servers and emitters send us, in their own bytes, and what they get back.

use std::sync::Arc;

use bytes::Bytes;
use synapse_adapter::{AdapterFactory as _, SocketSnapshot};
use synapse_protocol::socket::Arguments;
use synapse_redis::RedisAdapter;

use crate::support::{Peer, Recorder, Redis, capture, json, ready};

/// Where the asker of the captures, `o3b0AY`, reads.
const OWN: &str = "socket.io-response#/#o3b0AY#";
const SHARED: &str = "socket.io-response#/#";
const REQUEST: &str = "socket.io-request#/#";

struct Server {
    _redis: Redis,
    _adapter: Arc<RedisAdapter>,
    local: Arc<Recorder>,
    peer: Peer,
}

async fn server() -> Server {
    let redis = Redis::start().await;
    let adapter = redis.adapter();
    let local = Recorder::new(&["lOrW5GMJrrJWKkGqAAAB", "roomB", "room1"]);
    adapter.attach("/", local.clone());
    let mut peer = Peer::connect(&redis).await;
    peer.subscribe(OWN).await;
    peer.subscribe(SHARED).await;
    ready(&adapter).await;
    Server {
        _redis: redis,
        _adapter: adapter,
        local,
        peer,
    }
}

#[tokio::test]
async fn fetches_are_answered_on_the_asker_s_channel() {
    let mut server = server().await;
    let rooms = vec!["lOrW5GMJrrJWKkGqAAAB".to_owned(), "roomB".to_owned()];
    server.local.sockets.lock().push(SocketSnapshot {
        id: "lOrW5GMJrrJWKkGqAAAB".into(),
        handshake: r#"{"headers":{},"auth":{}}"#.into(),
        rooms,
        data: r#"{"u":1}"#.into(),
    });
    let request =
        r#"{"uid":"o3b0AY","requestId":"pOtKk5","type":5,"opts":{"rooms":["roomB"],"except":[]}}"#;
    server.peer.publish(REQUEST, request).await;
    let answer = r#"{"requestId":"pOtKk5","sockets":[{"id":"lOrW5GMJrrJWKkGqAAAB","handshake":{"headers":{},"auth":{}},"rooms":["lOrW5GMJrrJWKkGqAAAB","roomB"],"data":{"u":1}}]}"#;
    assert_eq!(server.peer.next_text().await, (OWN.into(), answer.into()));
    // Nobody there is an answer as well.
    server
        .peer
        .publish(REQUEST, request.replace("roomB", "roomC"))
        .await;
    assert_eq!(
        server.peer.next_text().await,
        (OWN.into(), r#"{"requestId":"pOtKk5","sockets":[]}"#.into())
    );
    server
        .peer
        .publish(
            REQUEST,
            r#"{"requestId":"PzgKpY","type":0,"rooms":["roomB"]}"#,
        )
        .await;
    assert_eq!(
        server.peer.next_text().await,
        (
            SHARED.into(),
            r#"{"requestId":"PzgKpY","sockets":["lOrW5GMJrrJWKkGqAAAB"]}"#.into()
        )
    );
}

#[tokio::test]
async fn rooms_are_listed() {
    let mut server = server().await;
    server
        .peer
        .publish(REQUEST, r#"{"uid":"o3b0AY","requestId":"PzgKpY","type":1}"#)
        .await;
    let answer = r#"{"requestId":"PzgKpY","rooms":["lOrW5GMJrrJWKkGqAAAB","room1","roomB"]}"#;
    assert_eq!(server.peer.next_text().await, (OWN.into(), answer.into()));
}

#[tokio::test]
async fn broadcasts_with_acks_are_counted_and_then_acknowledged() {
    let mut server = server().await;
    let binary = Arguments::from_validated(
        Bytes::from_static(br#"[{"_placeholder":true,"num":0}]"#),
        vec![Bytes::from_static(b"\x01\x02")],
    );
    *server.local.acks.lock() = vec![json(r#"[{"v":7}]"#)];
    server.peer.publish(REQUEST, capture("ack-request")).await;
    assert_eq!(
        server.peer.next_text().await,
        (
            OWN.into(),
            r#"{"type":8,"requestId":"tYjiHR","clientCount":1}"#.into()
        )
    );
    assert_eq!(
        server.peer.next().await,
        (OWN.into(), capture("ack-response"))
    );
    assert_eq!(
        server.local.take(1).await,
        [r#"broadcast with ack []-[] ["q",7] Some(500ms)"#]
    );
    *server.local.acks.lock() = vec![binary];
    server
        .peer
        .publish(REQUEST, capture("ack-binary-request"))
        .await;
    assert_eq!(
        server.peer.next_text().await.1,
        r#"{"type":8,"requestId":"lmITqk","clientCount":1}"#
    );
    assert_eq!(
        server.peer.next().await,
        (OWN.into(), capture("ack-binary-response"))
    );
    server.local.acks.lock().clear();
    server.peer.publish(REQUEST, capture("ack-request")).await;
    assert_eq!(
        server.peer.next_text().await.1,
        r#"{"type":8,"requestId":"tYjiHR","clientCount":0}"#
    );
}

#[tokio::test]
async fn server_side_events_are_answered_on_the_shared_channel_also_without_a_listener() {
    let mut server = server().await;
    server
        .peer
        .publish(
            REQUEST,
            r#"{"uid":"o3b0AY","requestId":"Yn6cV8","type":6,"data":["evtAck",5]}"#,
        )
        .await;
    assert_eq!(
        server.peer.next_text().await,
        (
            SHARED.into(),
            r#"{"type":6,"requestId":"Yn6cV8","data":"pong5"}"#.into()
        )
    );
    server
        .peer
        .publish(
            REQUEST,
            r#"{"uid":"o3b0AY","requestId":"Yn6cV9","type":6,"data":["unknown"]}"#,
        )
        .await;
    assert_eq!(
        server.peer.next_text().await,
        (
            SHARED.into(),
            r#"{"type":6,"requestId":"Yn6cV9","data":null}"#.into()
        )
    );
    server
        .peer
        .publish(
            REQUEST,
            r#"{"uid":"emitter","type":6,"data":["a",{"type":"Buffer","data":[1]}]}"#,
        )
        .await;
    let lines = [
        r#"server side ["evtAck",5]"#,
        r#"server side ["unknown"]"#,
        r#"server side ["a",{"type":"Buffer","data":[1]}]"#,
    ];
    assert_eq!(server.local.take(3).await, lines);
}

#[tokio::test]
async fn operations_of_servers_and_emitters_are_carried_out() {
    let mut server = server().await;
    for request in [
        r#"{"uid":"o3b0AY","type":2,"opts":{"rooms":["room1"],"except":[]},"rooms":["room2","room3"]}"#,
        r#"{"type":3,"opts":{"rooms":[],"except":["x"]},"rooms":["y"]}"#,
        r#"{"uid":"o3b0AY","type":4,"opts":{"rooms":["roomB"],"except":[]},"close":true}"#,
        r#"{"type":4,"opts":{"rooms":[],"except":[]},"close":false}"#,
    ] {
        server.peer.publish(REQUEST, request).await;
    }
    assert_eq!(
        server.local.take(4).await,
        [
            r#"join ["room1"]-[] ["room2", "room3"]"#,
            r#"leave []-["x"] ["y"]"#,
            r#"disconnect ["roomB"]-[] Close"#,
            r#"disconnect []-[] Keep"#
        ]
    );
}

#[tokio::test]
async fn old_requests_for_one_socket_are_answered_by_the_server_that_has_it() {
    let mut server = server().await;
    let sid = "lOrW5GMJrrJWKkGqAAAB";
    server
        .peer
        .publish(
            REQUEST,
            r#"{"requestId":"r0","type":2,"sid":"elsewhere","room":"x"}"#,
        )
        .await;
    server
        .peer
        .publish(
            REQUEST,
            format!(r#"{{"requestId":"r1","type":2,"sid":"{sid}","room":"x"}}"#),
        )
        .await;
    server
        .peer
        .publish(
            REQUEST,
            format!(r#"{{"requestId":"r2","type":3,"sid":"{sid}","room":"x"}}"#),
        )
        .await;
    server
        .peer
        .publish(
            REQUEST,
            format!(r#"{{"requestId":"r3","type":4,"sid":"{sid}","close":true}}"#),
        )
        .await;
    for request_id in ["r1", "r2", "r3"] {
        assert_eq!(
            server.peer.next_text().await,
            (SHARED.into(), format!(r#"{{"requestId":"{request_id}"}}"#))
        );
    }
    let expected = [
        format!(r#"join ["{sid}"]-[] ["x"]"#),
        format!(r#"leave ["{sid}"]-[] ["x"]"#),
        format!(r#"disconnect ["{sid}"]-[] Close"#),
    ];
    assert_eq!(server.local.take(3).await, expected);
}

#[tokio::test]
async fn events_of_node_and_emitters_are_delivered() {
    let mut server = server().await;
    server.peer.publish("socket.io#/#", capture("emit")).await;
    server
        .peer
        .publish("socket.io#/#room1#", capture("room"))
        .await;
    server
        .peer
        .publish("socket.io#/#room1#", capture("emitter-room"))
        .await;
    server
        .peer
        .publish(
            "socket.io#/#",
            b"\x93\xa6rust01\x82\xa4type\x02\xa4data\x92\xa3min\x01\x81\xa5rooms\x90",
        )
        .await;
    assert_eq!(
        server.local.take(4).await,
        [
            r#"broadcast []-[] ["hello","world",1]"#,
            r#"broadcast ["room1"]-[] ["hello"]"#,
            r#"broadcast ["room1"]-[] ["fromEmitter",1]"#,
            r#"broadcast []-[] ["min",1]"#
        ]
    );
}
