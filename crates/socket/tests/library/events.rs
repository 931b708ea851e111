//! Events with their arguments, both ways.

use serde_json::Value;
use synapse_hostile::{Client, Host, Polling};
use synapse_socket::{Arguments, Auth, Binary, Data, Handler, Socket};

use crate::log::Log;

async fn host_with<P>(event: &str, handler: impl Handler<P>) -> (Host, Client) {
    let host = Host::start();
    host.io.of("/").on(event, handler);
    let client = Client::join(host.address).await;
    (host, client)
}

#[derive(Debug, serde::Deserialize)]
struct Login {
    user: String,
    age: Option<u8>,
}

#[tokio::test]
async fn a_connect_handler_runs_after_the_client_is_in() {
    let host = Host::start();
    host.io
        .of("/")
        .on_connect(|socket: Socket, Auth(auth): Auth<Value>| async move {
            assert!(socket.is_connected());
            socket
                .emit("welcome", (socket.id().text().as_str(), auth))
                .unwrap();
        });
    let mut client = Client::open(host.address).await;
    client.send(r#"40{"token":"t"}"#).await;
    let connect = client.next().await;
    let id = connect
        .strip_prefix(r#"40{"sid":""#)
        .and_then(|rest| rest.strip_suffix(r#""}"#))
        .unwrap();
    client
        .expect(&format!(r#"42["welcome","{id}",{{"token":"t"}}]"#))
        .await;
    assert_eq!(id.len(), 20);
}

#[tokio::test]
async fn a_tuple_takes_all_arguments_and_gives_all() {
    let (_host, mut client) = host_with(
        "sum",
        |socket: Socket, Data((a, b)): Data<(i64, i64)>| async move {
            socket.emit("sum", (a, b, a + b)).unwrap();
        },
    )
    .await;
    client.send(r#"42["sum",1,-3]"#).await;
    client.expect(r#"42["sum",1,-3,-2]"#).await;
}

#[tokio::test]
async fn a_struct_takes_the_first_argument() {
    let (_host, mut client) = host_with(
        "login",
        |socket: Socket, Data(login): Data<Login>| async move {
            socket
                .emit("hello", format!("{} {:?}", login.user, login.age))
                .unwrap();
        },
    )
    .await;
    client.send(r#"42["login",{"user":"eve","other":1}]"#).await;
    client.expect(r#"42["hello","eve None"]"#).await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_drop_the_event_and_nothing_else() {
    let mut log = Log::new();
    let writer = log.writer();
    let (_host, mut client) = host_with("login", move |Data(login): Data<Login>| {
        writer.line(login.user);
        async {}
    })
    .await;
    for arguments in [
        "",
        ",null",
        ",1",
        r#",{"user":7}"#,
        r#",{"user":"x","age":300}"#,
        r#",[]"#,
    ] {
        client.send(&format!(r#"42["login"{arguments}]"#)).await;
    }
    client.send(r#"42["login",{"user":"last"}]"#).await;
    client.echo("still here").await;
    assert_eq!(log.rest(), ["last"]);
}

#[tokio::test]
async fn binary_goes_both_ways_at_any_depth() {
    let (_host, mut client) = host_with(
        "upload",
        |socket: Socket, Data((name, files)): Data<(String, Vec<Binary>)>| async move {
            let reversed: Vec<Binary> = files.into_iter().rev().collect();
            socket.emit("stored", (name, reversed)).unwrap();
        },
    )
    .await;
    client
        .send(r#"452-["upload","n",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]]"#)
        .await;
    client.websocket.binary(b"first").await;
    client.websocket.binary(&[0, 255]).await;
    client
        .expect(
            r#"452-["stored","n",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]]"#,
        )
        .await;
    assert_eq!(client.next_binary().await, [0, 255]);
    assert_eq!(client.next_binary().await, b"first");
}

#[tokio::test]
async fn binary_travels_as_base64_in_polling() {
    let host = Host::start();
    let (mut polling, _) = Polling::join(host.address).await;
    polling
        .post("451-[\"echo\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID")
        .await;
    let expected = [r#"451-["echo",{"_placeholder":true,"num":0}]"#, "bAQID"];
    assert_eq!(polling.packets().await, expected);
}

#[tokio::test]
async fn raw_arguments_are_forwarded_unchanged() {
    let (_host, mut client) = host_with("any", |socket: Socket, event: Arguments| async move {
        assert_eq!(event.event_name(), "any");
        socket.emit_arguments(&Arguments::with_name("back", &event.without_name()));
    })
    .await;
    client
        .send(r#"42["any",1.0,"a\u0062",{"z":1,"a":2},12345678901234567890,null]"#)
        .await;
    client
        .expect(r#"42["back",1.0,"a\u0062",{"z":1,"a":2},12345678901234567890,null]"#)
        .await;
}

#[tokio::test]
async fn an_event_may_be_named_by_a_number() {
    let (_host, mut client) = host_with("7", |socket: Socket, Data(x): Data<u8>| async move {
        socket.emit("seven", x).unwrap();
    })
    .await;
    client.send("42[7,1]").await;
    client.expect(r#"42["seven",1]"#).await;
}

#[tokio::test]
async fn every_handler_of_an_event_is_called_the_socket_s_own_first() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    for name in ["first", "second"] {
        let writer = log.writer();
        main.on("x", move || {
            writer.line(name);
            async {}
        });
    }
    let writer = log.writer();
    main.on_connect(move |socket: Socket| {
        let writer = writer.clone();
        socket.on("x", move || {
            writer.line("own");
            async {}
        });
        async {}
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["x"]"#).await;
    log.expect(&["own", "first", "second"]).await;
}

#[tokio::test]
async fn data_is_kept_with_the_socket() {
    let host = Host::start();
    host.io.of("/").on("count", |socket: Socket| async move {
        let count = socket.update_data(|data| {
            let count = data
                .get("count")
                .and_then(Value::as_u64)
                .unwrap_or_default()
                + 1;
            data.insert("count".to_owned(), count.into());
            count
        });
        assert_eq!(socket.data()["count"], count);
        socket.emit("count", count).unwrap();
    });
    let mut client = Client::join(host.address).await;
    let mut other = Client::join(host.address).await;
    for count in 1..=2 {
        client.send(r#"42["count"]"#).await;
        client.expect(&format!(r#"42["count",{count}]"#)).await;
    }
    other.send(r#"42["count"]"#).await;
    other.expect(r#"42["count",1]"#).await;
}

#[tokio::test]
async fn the_handshake_tells_what_the_client_sent() {
    let host = Host::start();
    host.io.of("/").on("who", |socket: Socket| async move {
        let handshake = socket.handshake();
        let query: Vec<_> = handshake.query().collect();
        assert_eq!(query[0], ("EIO".to_owned(), "4".to_owned()));
        assert_eq!(handshake.header("host"), Some("localhost"));
        assert!(
            handshake
                .address()
                .is_some_and(|address| address.ip().is_loopback())
        );
        assert!(!handshake.is_cross_domain());
        let url = handshake.url().to_owned();
        socket
            .emit("who", (url, socket.transport().as_str()))
            .unwrap();
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["who"]"#).await;
    client
        .expect(r#"42["who","/socket.io/?EIO=4&transport=websocket","websocket"]"#)
        .await;
}

/// Volatile events go out only when nothing else waits: of two in one handler, the second finds the first.
#[tokio::test]
async fn of_two_volatile_events_at_once_the_first_arrives() {
    let (_host, mut client) = host_with("tick", |socket: Socket| async move {
        let taken = [1, 2].map(|number| socket.emit_volatile("tock", number).unwrap());
        assert_eq!(taken, [true, false]);
    })
    .await;
    for _ in 0..3 {
        client.send(r#"42["tick"]"#).await;
        client.expect(r#"42["tock",1]"#).await;
    }
    client.echo("nothing between").await;
}

#[tokio::test]
async fn a_volatile_event_is_dropped_while_no_poll_waits() {
    let mut log = Log::new();
    let writer = log.writer();
    let host = Host::start();
    host.io.of("/").on("tick", move |socket: Socket| {
        writer.line(socket.emit_volatile("tock", ()).unwrap().to_string());
        async {}
    });
    let (mut polling, _) = Polling::join(host.address).await;
    polling.post(r#"42["tick"]"#).await;
    log.expect(&["false"]).await;
    polling.start_poll().await;
    // The poll has arrived when a volatile event is taken; each one before is dropped without a trace.
    loop {
        polling.post(r#"42["tick"]"#).await;
        if log.next().await == "true" {
            break;
        }
    }
    assert_eq!(polling.poll_response().await.body, r#"42["tock"]"#);
}

#[tokio::test]
async fn an_event_for_a_socket_that_has_gone_is_lost_quietly() {
    let host = Host::start();
    let client = Client::join(host.address).await;
    let socket = host
        .io
        .of("/")
        .socket(client.id().parse().unwrap())
        .unwrap();
    drop(client);
    host.settled(0).await;
    assert!(!socket.is_connected());
    socket.emit("late", 1).unwrap();
    assert!(!socket.emit_volatile("late", 1).unwrap());
    assert!(socket.join("room").is_err());
    assert!(host.io.of("/").socket(socket.id()).is_none());
}
