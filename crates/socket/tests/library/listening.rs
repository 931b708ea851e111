//! Listeners of one event, of every event, and of what goes out.

use std::time::Duration;

use synapse_hostile::{Client, Host};
use synapse_socket::{Arguments, EventName, Handler, ListenerId, Reply, Socket};

use crate::log::{Log, Writer};

/// A handler that writes its own name and that of the event.
fn noting(writer: &Writer, own: &'static str) -> impl Handler<(EventName,)> + use<> {
    let writer = writer.clone();
    move |EventName(name): EventName| {
        writer.line(format!("{own} {name}"));
        async {}
    }
}

/// A listener of what goes out that writes its own name and the event.
fn showing(writer: &Writer, own: &'static str) -> impl Fn(&Socket, &Arguments) + use<> {
    let writer = writer.clone();
    move |_, event| writer.line(format!("{own} {}", event.json()))
}

async fn join(host: &Host) -> (Client, Socket) {
    let client = Client::join(host.address).await;
    let id = client.id().parse().expect("an id");
    let socket = host.io.of("/").socket(id).expect("a socket");
    (client, socket)
}

#[tokio::test]
async fn every_event_is_heard_before_its_own_handlers() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.on("x", noting(&writer, "handler"));
    main.on_any(noting(&writer, "all"));
    main.prepend_any(noting(&writer, "all first"));
    let (mut client, socket) = join(&host).await;
    socket.on("x", noting(&writer, "own handler"));
    socket.on_any(noting(&writer, "own"));
    socket.prepend_any(noting(&writer, "own first"));
    client.send(r#"42["x",1]"#).await;
    client.send(r#"42["unheard of"]"#).await;
    for name in ["x", "unheard of"] {
        for own in ["own first", "own", "all first", "all"] {
            log.expect(&[&format!("{own} {name}")]).await;
        }
        if name == "x" {
            log.expect(&["own handler x", "handler x"]).await;
        }
    }
}

#[tokio::test]
async fn a_listener_is_taken_off_by_its_id() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.on("end", noting(&writer, "the"));
    let (mut client, socket) = join(&host).await;
    let of_all = [
        main.on("x", noting(&writer, "a")),
        main.on_any(noting(&writer, "b")),
        main.use_event_middleware(|| async { Ok(()) }),
    ];
    let own = [
        socket.on("x", noting(&writer, "c")),
        socket.on_any(noting(&writer, "d")),
        socket.use_event_middleware(|| async { Ok(()) }),
    ];
    assert_eq!(main.listeners("x"), [of_all[0]]);
    assert_eq!(main.listeners_any(), [of_all[1]]);
    assert_eq!(socket.listeners("x"), [own[0]]);
    assert_eq!(socket.listeners_any(), [own[1]]);
    assert_eq!(socket.listeners("y"), [] as [ListenerId; 0]);
    client.send(r#"42["x"]"#).await;
    log.expect(&["d x", "b x", "c x", "a x"]).await;

    own.iter().for_each(|id| socket.off(*id));
    // An id of somebody else takes nothing off.
    socket.off(of_all[0]);
    client.send(r#"42["x"]"#).await;
    log.expect(&["b x", "a x"]).await;
    of_all.iter().for_each(|id| main.off(*id));
    client.send(r#"42["x"]"#).await;
    client.send(r#"42["end"]"#).await;
    log.expect(&["the end"]).await;
}

#[tokio::test]
async fn all_listeners_of_an_event_are_taken_off_at_once() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.on("end", noting(&writer, "the"));
    let (mut client, socket) = join(&host).await;
    for _ in 0..2 {
        main.on("x", noting(&writer, "all"));
        main.on_any(noting(&writer, "all any"));
        main.on_any_outgoing(showing(&writer, "all"));
        socket.on("x", noting(&writer, "own"));
        socket.on_any(noting(&writer, "own any"));
        socket.on_any_outgoing(showing(&writer, "own"));
    }
    main.off_event("x");
    main.off_any();
    main.off_any_outgoing();
    socket.off_event("x");
    socket.off_any();
    socket.off_any_outgoing();
    client.send(r#"42["x"]"#).await;
    socket.emit("out", ()).unwrap();
    client.send(r#"42["end"]"#).await;
    log.expect(&["the end"]).await;
}

#[tokio::test]
async fn a_handler_may_run_once() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.on("x", noting(&writer, "all"));
    let (mut client, socket) = join(&host).await;
    socket.once("x", noting(&writer, "once"));
    socket.once("x", noting(&writer, "once too"));
    client.send(r#"42["y"]"#).await;
    for _ in 0..2 {
        client.send(r#"42["x"]"#).await;
    }
    log.expect(&["once x", "once too x", "all x", "all x"])
        .await;
}

#[tokio::test]
async fn a_name_that_no_client_can_send_has_no_handlers() {
    let host = Host::start();
    let main = host.io.of("/");
    let (_client, socket) = join(&host).await;
    for name in ["connect", "disconnect", "disconnecting", "newListener"] {
        main.on(name, || async {});
        socket.on(name, || async {});
        socket.once(name, || async {});
        assert!(main.listeners(name).is_empty() && socket.listeners(name).is_empty());
    }
}

#[tokio::test]
async fn what_goes_out_is_shown_broadcasts_included_but_no_acks() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.on("ask", || async { Reply("answer") });
    let (mut client, socket) = join(&host).await;
    let (_other, other) = join(&host).await;
    main.on_any_outgoing(showing(&writer, "all"));
    socket.on_any_outgoing(showing(&writer, "second"));
    socket.prepend_any_outgoing(showing(&writer, "first"));
    assert_eq!(socket.listeners_any_outgoing().len(), 2);

    client.send(r#"420["ask"]"#).await;
    client.expect(r#"430["answer"]"#).await;
    socket.emit("one", 1).unwrap();
    socket.emit_volatile("two", 2).unwrap();
    let answer = socket.emit_with_ack::<()>("three", 3, Some(Duration::ZERO));
    assert!(answer.await.is_err());
    socket.join("room").unwrap();
    main.to("room").emit("four", 4).unwrap();
    for event in [
        r#"["one",1]"#,
        r#"["two",2]"#,
        r#"["three",3]"#,
        r#"["four",4]"#,
    ] {
        for own in ["first", "second", "all"] {
            log.expect(&[&format!("{own} {event}")]).await;
        }
    }
    socket.broadcast().emit("five", 5).unwrap();
    other.emit("six", 6).unwrap();
    log.expect(&[r#"all ["five",5]"#, r#"all ["six",6]"#]).await;
}

/// A listener is not called under a lock, so it may do what locks: and one that panics harms nobody.
#[tokio::test]
async fn a_listener_of_what_goes_out_may_join_rooms_and_panic() {
    let host = Host::start();
    let main = host.io.of("/");
    let (mut client, socket) = join(&host).await;
    let (mut other, _) = join(&host).await;
    socket.join("room").unwrap();
    socket.on_any_outgoing(|socket, _| {
        socket.leave("room");
        socket.join("other room").unwrap();
        panic!("what a test wants to see");
    });
    main.broadcast().emit("out", ()).unwrap();
    client.expect(r#"42["out"]"#).await;
    other.expect(r#"42["out"]"#).await;
    assert_eq!(socket.rooms(), ["other room".into()]);
}

#[tokio::test]
async fn a_broadcast_that_wants_acks_is_shown_as_well() {
    let mut log = Log::new();
    let host = Host::start();
    let (mut client, socket) = join(&host).await;
    socket.on_any_outgoing(showing(&log.writer(), "own"));
    let main = host.io.of("/");
    let asking = tokio::spawn(async move { main.broadcast().emit_with_ack::<u8>("q", 1).await });
    client.expect(r#"420["q",1]"#).await;
    client.send("430[7]").await;
    assert_eq!(asking.await.unwrap().unwrap(), [7]);
    log.expect(&[r#"own ["q",1]"#]).await;
}
