//! What handlers, middlewares and the handlers of ends may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use synapse_hostile::{Client, Host};
use synapse_socket::{
    CloseReason, Data, EventName, EventType, ExtractError, FromEvent, Namespace, Refusal, Reply,
    Server, Socket, SocketError, State,
};

use crate::log::{Log, Writer};

#[tokio::test]
async fn state_is_found_by_its_type_everywhere() {
    let mut log = Log::new();
    let builder = Server::builder().state(Arc::new(AtomicU32::new(7)));
    let host = Host::serve(builder.state(log.writer()).build());
    let main = host.io.of("/");
    main.use_middleware(|State(log): State<Writer>| async move {
        log.line("middleware");
        Ok(())
    });
    main.on_connect(|State(log): State<Writer>| async move { log.line("connect") });
    main.on("count", |State(count): State<Arc<AtomicU32>>| async move {
        Reply(count.fetch_add(1, Ordering::Relaxed))
    });
    main.on("own", |socket: Socket| async move {
        Reply(socket.state::<u8>().is_none() && socket.state::<Writer>().is_some())
    });
    main.on_disconnect(
        |reason: CloseReason, State(log): State<Writer>| async move {
            log.line(reason.as_str());
        },
    );
    let mut client = Client::join(host.address).await;
    log.expect(&["middleware", "connect"]).await;
    for count in 7..9 {
        client.send(r#"420["count"]"#).await;
        client.expect(&format!("430[{count}]")).await;
    }
    client.send(r#"420["own"]"#).await;
    client.expect("430[true]").await;
    drop(client);
    log.expect(&["transport close"]).await;
}

#[tokio::test]
async fn state_that_is_missing_refuses() {
    let host = Host::start();
    let main = host.io.of("/");
    main.on("count", |State(_): State<u32>| async { Reply(1) });
    let guarded = host.io.of("/guarded");
    guarded.use_middleware(|State(_): State<u32>| async { Ok(()) });
    let mut client = Client::join(host.address).await;
    client.send(r#"420["count"]"#).await;
    client.expect(r#"430[{"error":"internal error"}]"#).await;
    client.send("40/guarded,").await;
    client
        .expect(r#"44/guarded,{"message":"internal error"}"#)
        .await;
}

/// A parameter of an application's own.
struct Number(u8);

impl FromEvent for Number {
    fn from_event(event: &synapse_socket::Event<'_>) -> Result<Self, ExtractError> {
        match event.name().strip_prefix("number-") {
            Some(digits) => digits
                .parse()
                .map(Self)
                .map_err(|_| Refusal::new("no number").into()),
            None => Err(Refusal::new("no prefix").with_data(event.name()).into()),
        }
    }
}

#[tokio::test]
async fn an_application_adds_parameters_of_its_own() {
    let host = Host::start();
    let main = host.io.of("/");
    for name in ["number-7", "number-x", "other"] {
        main.on(name, |Number(number): Number| async move { Reply(number) });
    }
    main.on("maybe", |number: Option<Number>| async move {
        Reply(number.is_none())
    });
    main.on(
        "either",
        |data: Result<Data<u8>, ExtractError>| async move {
            Reply(data.map_or_else(|error| error.to_string(), |Data(number)| number.to_string()))
        },
    );
    let mut client = Client::join(host.address).await;
    let table = [
        (r#"["number-7"]"#, "[7]"),
        (r#"["number-x"]"#, r#"[{"error":"no number"}]"#),
        (r#"["other"]"#, r#"[{"data":"other","error":"no prefix"}]"#),
        (r#"["maybe"]"#, "[true]"),
        (r#"["either",1]"#, r#"["1"]"#),
        (r#"["either","a"]"#, r#"["arguments do not fit"]"#),
    ];
    for (event, answer) in table {
        client.send(&format!("420{event}")).await;
        client.expect(&format!("430{answer}")).await;
    }
}

#[tokio::test]
async fn names_and_namespaces_are_parameters() {
    let host = Host::start();
    host.io.of("/chat").on(
        "where",
        |EventName(name): EventName, namespace: Namespace| async move {
            Reply((name, namespace.name().to_owned()))
        },
    );
    let mut client = Client::join(host.address).await;
    client.join_namespace("/chat").await;
    client.send(r#"42/chat,0["where"]"#).await;
    client.expect(r#"43/chat,0["where","/chat"]"#).await;
}

#[tokio::test]
async fn what_belongs_to_another_occasion_is_not_there() {
    let host = Host::start();
    let main = host.io.of("/");
    main.on("reason", |_: CloseReason| async { Reply(1) });
    main.on("error", |_: SocketError| async { Reply(1) });
    let mut client = Client::join(host.address).await;
    for event in ["reason", "error"] {
        client.send(&format!(r#"420["{event}"]"#)).await;
        client.expect(r#"430[{"error":"internal error"}]"#).await;
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    who: String,
    text: String,
}

impl EventType for Said {
    const NAME: &'static str = "said";
}

#[derive(Serialize, Deserialize)]
struct Ping;

impl EventType for Ping {
    const NAME: &'static str = "ping!";
}

#[tokio::test]
async fn a_type_may_be_an_event() {
    let host = Host::start();
    let main = host.io.of("/");
    main.on_event(|said: Said, socket: Socket| async move {
        socket.emit_event(&said)?;
        Ok::<_, Refusal>(Reply(said.who))
    });
    main.on_event(|_: Ping, socket: Socket, namespace: Namespace| async move {
        socket.emit_event(&Ping).unwrap();
        namespace.emit_event(&Ping).unwrap();
        namespace.local().emit_event(&Ping).unwrap();
        Reply(())
    });
    main.on_connect(|socket: Socket| async move {
        socket.on_event(|_: Ping| async {});
    });
    let mut client = Client::join(host.address).await;
    client
        .send(r#"420["said",{"who":"eve","text":"hi"}]"#)
        .await;
    client
        .expect(r#"42["said",{"who":"eve","text":"hi"}]"#)
        .await;
    client.expect(r#"430["eve"]"#).await;
    client.send(r#"421["said",{"who":"eve"}]"#).await;
    client
        .expect(
            r#"431[{"error":"arguments do not fit: missing field `text` at line 1 column 13"}]"#,
        )
        .await;
    client.send(r#"422["ping!"]"#).await;
    // Each broadcast goes by the flusher, so only their number is certain.
    let mut packets = Vec::new();
    for _ in 0..4 {
        packets.push(client.next().await);
    }
    packets.sort();
    let ping = r#"42["ping!",null]"#;
    assert_eq!(packets, [ping, ping, ping, "432[]"]);
    host.io.emit_event(&Ping).unwrap();
    client.expect(ping).await;
}
