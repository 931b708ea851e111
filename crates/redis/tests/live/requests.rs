//! What we ask other servers, in Node's bytes, and what becomes of their answers.

use std::sync::Arc;
use std::time::Duration;

use synapse_adapter::{
    Adapter, AdapterFactory as _, Broadcast, ClusterRequest, Flags, Response, Responses, Tally,
    Target,
};
use synapse_redis::{RedisAdapter, RedisState};
use tokio::time::timeout;

use crate::support::{
    DEADLINE, Peer, Recorder, Redis, capture, json, quick, ready, wait_for, wait_for_state,
};

const REQUEST: &str = "socket.io-request#/#";
const SHARED: &str = "socket.io-response#/#";

/// A server of ours, and a peer that counts as another one.
struct Server {
    redis: Redis,
    adapter: Arc<RedisAdapter>,
    namespace: Arc<dyn Adapter>,
    peer: Peer,
}

async fn server() -> Server {
    let redis = Redis::start().await;
    let adapter = RedisAdapter::start(redis.settings(), quick());
    let namespace = adapter.attach("/", Recorder::new(&[]));
    ready(&adapter).await;
    let mut peer = Peer::connect(&redis).await;
    peer.subscribe(REQUEST).await;
    Server {
        redis,
        adapter,
        namespace,
        peer,
    }
}

impl Server {
    fn ask(&self, request: &ClusterRequest) -> Responses {
        let responses = Responses::new(1 << 20);
        self.namespace.request(request, &responses.responder());
        responses
    }

    /// The next request as the peer hears it, and where to answer it and with which id.
    async fn heard(&mut self) -> (String, String, String) {
        let (_, text) = self.peer.next_text().await;
        let request: serde_json::Value = serde_json::from_str(&text).unwrap();
        let [uid, id] = ["uid", "requestId"].map(|name| request[name].as_str().unwrap());
        (text, format!("{SHARED}{uid}#"), id.to_owned())
    }
}

async fn rest(responses: &mut Responses) -> Vec<Response> {
    let mut all = Vec::new();
    loop {
        match timeout(DEADLINE, responses.next()).await {
            Ok(Some(response)) => all.push(response),
            Ok(None) => return all,
            Err(_) => panic!("no end: {:?} after {all:?}", responses.tally()),
        }
    }
}

fn ids(ids: &[&str]) -> Response {
    Response::Ids(ids.iter().map(ToString::to_string).collect())
}

fn everyone() -> ClusterRequest {
    ClusterRequest::Ids(Target::default())
}

#[tokio::test]
async fn answers_come_by_the_own_channel_or_the_shared_one() {
    let mut server = server().await;
    for is_own in [true, false] {
        let mut responses = server.ask(&everyone());
        let (text, own, id) = server.heard().await;
        let (_, uid) = own.trim_end_matches('#').rsplit_once('#').unwrap();
        assert_eq!(
            text,
            format!(r#"{{"uid":"{uid}","requestId":"{id}","type":0,"rooms":[]}}"#)
        );
        let channel = if is_own { &own } else { SHARED };
        // What is not an answer to it does not count.
        for other in [
            r#"{"requestId":"unknown","sockets":["x"]}"#.to_owned(),
            format!(r#"{{"requestId":"{id}"}}"#),
            format!(r#"{{"requestId":"{id}","sockets":{{}}}}"#),
        ] {
            server.peer.publish(channel, other).await;
        }
        let answer = format!(r#"{{"requestId":"{id}","sockets":["a","b"]}}"#);
        server.peer.publish(channel, answer.clone()).await;
        assert_eq!(rest(&mut responses).await, [ids(&["a", "b"])]);
        assert!(responses.tally().is_complete());
        // It is over, so what comes late is nobody's.
        drop(responses);
        server.peer.publish(channel, answer).await;
    }
    let status = wait_for(&server.adapter, "bad answers", |status| {
        status.malformed >= 4
    })
    .await;
    assert_eq!(status.malformed, 4);
}

#[tokio::test]
async fn every_subscriber_is_waited_for() {
    let mut server = server().await;
    let mut second = Peer::connect(&server.redis).await;
    second.subscribe(REQUEST).await;
    let mut responses = server.ask(&ClusterRequest::Servers);
    assert_eq!(rest(&mut responses).await, []);
    assert_eq!(responses.tally().servers, Some(2));

    let mut responses = server.ask(&everyone());
    let (_, own, id) = server.heard().await;
    let answer = format!(r#"{{"requestId":"{id}","sockets":["a"]}}"#);
    server.peer.publish(&own, answer.clone()).await;
    assert_eq!(responses.next().await, Some(ids(&["a"])));
    // Another request asked and answered afterwards: this one would have ended before it.
    let mut later = server.ask(&ClusterRequest::Servers);
    rest(&mut later).await;
    let partial = Tally {
        servers: Some(2),
        servers_answered: 1,
        ..Tally::default()
    };
    assert_eq!(responses.tally(), partial);
    second.publish(&own, answer).await;
    assert_eq!(rest(&mut responses).await, [ids(&["a"])]);
}

#[tokio::test]
async fn acks_are_waited_for_as_many_as_were_announced() {
    let mut server = server().await;
    let broadcast = Broadcast {
        target: Target::default(),
        flags: Flags {
            timeout: Some(Duration::from_millis(500)),
            ..Flags::default()
        },
        arguments: json(r#"["q",7]"#),
    };
    let mut responses = server.ask(&ClusterRequest::Broadcast(broadcast));
    // Node's bytes, but for the ids: six characters there, six and twelve here.
    let (_, request) = server.peer.next().await;
    let node = capture("ack-request");
    let ours = &request[1..];
    assert_eq!(ours[..5], node[1..6]);
    let uid = std::str::from_utf8(&ours[5..11]).unwrap();
    let id = std::str::from_utf8(&ours[22..34]).unwrap();
    assert_eq!(ours[34..], node[29..]);
    let own = format!("{SHARED}{uid}#");
    let ack = |value: u8| {
        let mut ack = b"\x83\xa4type\x09\xa9requestId\xac".to_vec();
        ack.extend(id.as_bytes());
        ack.extend(b"\xa6packet");
        ack.push(value);
        ack
    };
    // Acks may overtake the number.
    server.peer.publish(&own, ack(1)).await;
    let count = format!(r#"{{"type":8,"requestId":"{id}","clientCount":2}}"#);
    server.peer.publish(&own, count).await;
    server.peer.publish(&own, ack(2)).await;
    let acks = rest(&mut responses).await;
    assert_eq!(acks, ["[1]", "[2]"].map(|text| Response::Ack(json(text))));
    let complete = Tally {
        servers: Some(1),
        servers_answered: 1,
        clients: 2,
        clients_answered: 2,
    };
    assert_eq!(responses.tally(), complete);
}

#[tokio::test]
async fn without_redis_nobody_is_waited_for() {
    let server = server().await;
    server.redis.kill();
    wait_for_state(&server.adapter, RedisState::Disconnected).await;
    let mut responses = server.ask(&everyone());
    assert_eq!(rest(&mut responses).await, []);
    assert_eq!(responses.tally(), Tally::default());
    server.redis.appear().await;
    ready(&server.adapter).await;
    let mut responses = server.ask(&ClusterRequest::Servers);
    rest(&mut responses).await;
    assert!(responses.tally().is_complete());
}

#[tokio::test]
async fn a_redis_that_forbids_to_count_costs_requests_only() {
    let mut server = server().await;
    server
        .peer
        .run(&["ACL", "SETUSER", "default", "-pubsub"])
        .await;
    for request in [ClusterRequest::Servers, everyone()] {
        let mut responses = server.ask(&request);
        assert_eq!(rest(&mut responses).await, []);
        assert_eq!(responses.tally().servers, None);
    }
    assert_eq!(server.adapter.status().state, RedisState::Connected);
}
