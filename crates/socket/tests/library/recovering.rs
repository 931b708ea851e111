//! Clients that lose their connection and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use synapse_adapter::bus::Bus;
use synapse_hostile::{Client, Host, WebSocket, eventually, quick_config};
use synapse_socket::{
    CloseReason, ConnectionStateRecovery, Refusal, Server, ServerBuilder, SlowPolicy, Socket,
};
use tokio::sync::Semaphore;

use crate::log::Log;
use crate::returning::{Returning, ids};

fn builder(options: ConnectionStateRecovery) -> ServerBuilder {
    Server::builder()
        .config(quick_config())
        .connection_state_recovery(options)
}

fn host() -> Host {
    Host::serve(builder(ConnectionStateRecovery::default()).build())
}

async fn gone(host: &Host) {
    eventually("the client to be gone", || host.socket_count() == 0).await;
}

#[tokio::test]
async fn a_client_gets_its_socket_back_and_what_it_has_missed_before_it_is_let_in() {
    let host = host();
    let main = host.io.of("/");
    let mut log = Log::new();
    let writer = log.writer();
    main.on_connect(move |socket: Socket| {
        let mut rooms: Vec<_> = socket.rooms().iter().map(|room| room.to_string()).collect();
        rooms.sort();
        writer.line(format!(
            "{} {rooms:?} {}",
            socket.recovered(),
            Value::Object(socket.data())
        ));
        async {}
    });
    main.on_disconnect(|socket: Socket| async move {
        socket.update_data(|data| data.insert("last".to_owned(), 2.into()));
    });

    let mut client = Returning::join(host.address).await;
    log.expect(&["false [] {}"]).await;
    let socket = main.socket(client.sid.parse().unwrap()).unwrap();
    socket.join(["a", "b"]).unwrap();
    socket.update_data(|data| data.insert("first".to_owned(), 1.into()));
    socket.emit("init", ()).unwrap();
    assert_eq!(client.event().await, json!(["init"]));

    client.lose();
    gone(&host).await;
    main.emit("missed", 1).unwrap();
    main.to(["a", "b"]).emit("room", 2).unwrap();
    main.to("c").emit("foreign room", 0).unwrap();
    main.except("a").emit("excepted", 0).unwrap();
    main.broadcast().volatile().emit("volatile", 0).unwrap();
    main.to(socket.id()).emit("private", ("text", 3)).unwrap();
    socket.emit("by the old handle", 4).unwrap();
    let (missed, recovered) = client.come_back().await;
    assert!(recovered);
    assert_eq!(
        Value::from(missed),
        json!([
            ["missed", 1],
            ["room", 2],
            ["private", "text", 3],
            ["by the old handle", 4]
        ])
    );
    log.expect(&[r#"true ["a", "b"] {"first":1,"last":2}"#])
        .await;

    // Everything goes on, and the old handle still means the same client.
    main.to("b").emit("again", 5).unwrap();
    socket.emit("by the old handle", 6).unwrap();
    assert_eq!(client.event().await, json!(["again", 5]));
    assert_eq!(client.event().await, json!(["by the old handle", 6]));
}

#[tokio::test]
async fn a_client_that_has_received_nothing_is_recovered_too() {
    let host = host();
    let mut client = Returning::join(host.address).await;
    for round in 0..3 {
        client.lose();
        gone(&host).await;
        assert_eq!(client.come_back().await, (vec![], true), "{round}");
    }
    client.lose();
    gone(&host).await;
    host.io.emit("first", 1).unwrap();
    assert_eq!(client.come_back().await, (vec![json!(["first", 1])], true));
}

#[tokio::test]
async fn an_idle_client_is_recovered_though_its_last_event_is_forgotten() {
    let host = Host::serve(
        builder(ConnectionStateRecovery {
            packets_max: 3,
            ..ConnectionStateRecovery::default()
        })
        .build(),
    );
    let mut client = Returning::join(host.address).await;
    let other = Returning::join(host.address).await;
    host.io.emit("early", ()).unwrap();
    client.event().await;
    for n in 0..100 {
        host.io.to(&other.sid).emit("n", n).unwrap();
    }
    client.lose();
    eventually("the client to be gone", || host.socket_count() == 1).await;
    host.io.emit("late", ()).unwrap();
    assert_eq!(client.come_back().await, (vec![json!(["late"])], true));
}

#[tokio::test]
async fn a_client_that_has_missed_what_is_forgotten_is_told_so() {
    let host = Host::serve(
        builder(ConnectionStateRecovery {
            packets_max: 2,
            ..ConnectionStateRecovery::default()
        })
        .build(),
    );
    let mut client = Returning::join(host.address).await;
    client.lose();
    gone(&host).await;
    for n in 0..3 {
        host.io.emit("n", n).unwrap();
    }
    assert_eq!(client.come_back().await, (vec![], false));
    // The offset of before this socket does no harm.
    client.lose();
    gone(&host).await;
    host.io.emit("n", 4).unwrap();
    assert_eq!(client.come_back().await, (vec![json!(["n", 4])], true));
}

#[tokio::test]
async fn more_than_a_client_can_be_sent_at_once_is_not_recovered() {
    let mut config = quick_config();
    config.limits.outbox_bytes_max = 10_000;
    let io = Server::builder()
        .connection_state_recovery(ConnectionStateRecovery::default())
        .config(config)
        .build();
    let host = Host::serve(io);
    let mut client = Returning::join(host.address).await;
    client.lose();
    gone(&host).await;
    for _ in 0..3 {
        host.io.emit("large", "x".repeat(4_000)).unwrap();
    }
    assert_eq!(client.come_back().await, (vec![], false));
}

#[tokio::test]
async fn whoever_left_or_was_put_out_or_is_late_or_unknown_starts_anew() {
    let host = host();
    let mut client = Returning::join(host.address).await;
    client.client().send("41").await;
    gone(&host).await;
    assert!(!client.come_back().await.1);
    let socket = host.io.of("/").socket(client.sid.parse().unwrap()).unwrap();
    socket.disconnect();
    assert!(!client.come_back().await.1);
    client.pid = "AAAAAAAAAAAAAAAAAAAA".to_owned();
    assert!(!client.come_back().await.1);
    client.pid = client.sid.clone();
    assert!(!client.come_back().await.1);

    let at_once = ConnectionStateRecovery {
        max_disconnection_duration: Duration::ZERO,
        ..ConnectionStateRecovery::default()
    };
    let host = Host::serve(builder(at_once).build());
    let mut client = Returning::join(host.address).await;
    client.lose();
    gone(&host).await;
    assert!(!client.come_back().await.1);
}

#[tokio::test]
async fn an_offset_that_nobody_gave_costs_the_recovery_only_if_something_was_sent() {
    let host = host();
    let mut client = Returning::join(host.address).await;
    client.offset = Some("from another server".to_owned());
    assert!(client.come_back().await.1);
    host.io.emit("n", 1).unwrap();
    client.event().await;
    client.offset = Some("garbage".to_owned());
    assert!(!client.come_back().await.1);
}

#[tokio::test]
async fn a_client_that_is_back_takes_the_place_of_its_dead_connection() {
    let host = host();
    let mut log = Log::new();
    let main = host.io.of("/");
    let (coming, going) = (log.writer(), log.writer());
    main.on_connect(move |socket: Socket| {
        coming.line(format!("connected {}", socket.recovered()));
        async {}
    });
    main.on_disconnect(move |reason: CloseReason| {
        going.line(format!("disconnected {reason}"));
        async {}
    });
    let mut client = Returning::join(host.address).await;
    main.emit("n", 1).unwrap();
    assert_eq!(client.event().await, json!(["n", 1]));
    // On its way, and never read by the first connection.
    main.emit("n", 2).unwrap();
    let mut dead = client.connection.take().unwrap();
    assert_eq!(client.come_back().await, (vec![json!(["n", 2])], true));
    log.expect(&[
        "connected false",
        "disconnected transport close",
        "connected true",
    ])
    .await;
    main.emit("n", 3).unwrap();
    assert_eq!(client.event().await, json!(["n", 3]));
    assert!(dead.next().await.starts_with(r#"42["n",2,"#));
    dead.closed().await;
    assert_eq!(host.socket_count(), 1);
    assert_eq!(log.rest(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_kept_has_no_offset_and_no_text_that_clients_would_take_for_one() {
    let host = host();
    let main = host.io.of("/");
    let mut client = Returning::join(host.address).await;
    main.emit("n", 1).unwrap();
    client.event().await;
    let socket = main.socket(client.sid.parse().unwrap()).unwrap();

    main.broadcast().volatile().emit("number", 1).unwrap();
    client.client().expect(r#"42["number",1]"#).await;
    main.broadcast().volatile().emit("text", "x").unwrap();
    client.client().expect(r#"42["text","x",null]"#).await;
    assert!(socket.emit_volatile("number", 1).unwrap());
    client.client().expect(r#"42["number",1]"#).await;
    assert!(socket.emit_volatile("text", ()).unwrap());
    client.client().expect(r#"42["text",null]"#).await;

    main.slow_policy("by policy", SlowPolicy::Volatile);
    main.slow_policy("state", SlowPolicy::KeepLatest);
    socket.emit("by policy", "x").unwrap();
    client.client().expect(r#"42["by policy","x",null]"#).await;
    socket.emit("state", 1).unwrap();
    assert_eq!(client.event().await, json!(["state", 1]));

    let asking = socket.clone();
    let asked = tokio::spawn(async move { asking.emit_with_ack::<()>("ask", "x", None).await });
    client.client().expect(r#"420["ask","x"]"#).await;
    // An answer that is missing is missing for good.
    client.lose();
    gone(&host).await;
    assert!(asked.await.unwrap().is_err());
    assert_eq!(client.come_back().await, (vec![], true));
}

#[tokio::test]
async fn middlewares_are_asked_again_only_if_they_are_to_be() {
    for (skip_middlewares, expected) in [(true, 1), (false, 2)] {
        let options = ConnectionStateRecovery {
            skip_middlewares,
            ..ConnectionStateRecovery::default()
        };
        let host = Host::serve(builder(options).build());
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        host.io.of("/").use_middleware(move |_: Socket| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let mut client = Returning::join(host.address).await;
        client.lose();
        gone(&host).await;
        assert!(client.come_back().await.1);
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn what_is_sent_while_middlewares_think_is_missed_too_and_a_client_lost_then_may_try_again() {
    let options = ConnectionStateRecovery {
        skip_middlewares: false,
        ..ConnectionStateRecovery::default()
    };
    let host = Host::serve(builder(options).build());
    let main = host.io.of("/");
    let mut client = Returning::join(host.address).await;
    let socket = main.socket(client.sid.parse().unwrap()).unwrap();
    socket.join("a").unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let (waiting, mut log) = (Arc::clone(&gate), Log::new());
    let writer = log.writer();
    main.use_middleware(move |socket: Socket| {
        writer.line(format!("{} {:?}", socket.recovered(), socket.rooms()));
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    });
    client.lose();
    gone(&host).await;
    main.to("a").emit("n", 1).unwrap();

    let mut lost = Client::open(host.address).await;
    lost.send(&format!(r#"40{{"pid":"{}"}}"#, client.pid)).await;
    log.expect(&[r#"true ["a"]"#]).await;
    main.to("a").emit("n", 2).unwrap();
    drop(lost);

    let back = tokio::spawn(async move {
        let outcome = client.come_back().await;
        (client, outcome)
    });
    log.expect(&[r#"true ["a"]"#]).await;
    main.to("a").emit("n", 3).unwrap();
    gate.add_permits(2);
    let (_, outcome) = back.await.unwrap();
    let missed = (1..=3).map(|n| json!(["n", n])).collect();
    assert_eq!(outcome, (missed, true));
}

#[tokio::test]
async fn a_client_that_middlewares_refuse_gets_nothing_of_what_it_has_missed() {
    let options = ConnectionStateRecovery {
        skip_middlewares: false,
        ..ConnectionStateRecovery::default()
    };
    let host = Host::serve(builder(options).build());
    let mut client = Returning::join(host.address).await;
    host.io
        .of("/")
        .use_middleware(|_: Socket| async { Err(Refusal::new("not now")) });
    client.lose();
    gone(&host).await;
    host.io.emit("secret", 1).unwrap();
    let mut back = Client::open(host.address).await;
    back.send(&format!(r#"40{{"pid":"{}"}}"#, client.pid)).await;
    back.expect(r#"44{"message":"not now"}"#).await;
}

#[tokio::test]
async fn events_of_other_servers_are_kept_as_well() {
    let bus = Bus::new();
    let one = Host::serve(
        builder(ConnectionStateRecovery::default())
            .adapter(bus.node())
            .build(),
    );
    let two = Host::serve(Server::builder().adapter(bus.node()).build());
    let mut client = Returning::join(one.address).await;
    let socket = one.io.of("/").socket(client.sid.parse().unwrap()).unwrap();
    socket.join("a").unwrap();
    client.lose();
    gone(&one).await;
    two.io.to("a").emit("n", 1).unwrap();
    two.io.to("b").emit("n", 0).unwrap();
    two.io.emit("n", 2).unwrap();
    let expected = vec![json!(["n", 1]), json!(["n", 2])];
    assert_eq!(client.come_back().await, (expected, true));
}

#[tokio::test]
async fn a_closing_server_and_a_failing_handler_are_recoverable_reasons() {
    let host = host();
    let mut log = Log::new();
    let writer = log.writer();
    let main = host.io.of("/");
    main.on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    main.on("panic", |_: Socket| async { panic!("on purpose") });
    let mut client = Returning::join(host.address).await;
    client.client().send(r#"42["panic"]"#).await;
    log.expect(&["forced server close"]).await;
    assert!(client.come_back().await.1);
    client.client().send("4nonsense").await;
    log.expect(&["forced close"]).await;
    assert!(client.come_back().await.1);
}

/// Its clients know nothing of recovery, and get the same broadcasts as all others.
#[tokio::test]
async fn a_client_of_socket_io_2_is_served_beside_others() {
    let mut config = quick_config();
    config.allow_eio3 = true;
    let builder = builder(ConnectionStateRecovery::default()).config(config);
    let host = Host::serve(builder.build());
    let target = "/socket.io/?EIO=3&transport=websocket";
    let mut old = WebSocket::open(host.address, target).await;
    assert!(old.next_text().await.starts_with("0{"));
    assert_eq!(old.next_text().await, "40");
    let mut new = Returning::join(host.address).await;
    host.io.emit("n", 1).unwrap();
    assert_eq!(new.event().await, json!(["n", 1]));
    let offset = new.offset.clone().unwrap();
    assert_eq!(old.next_text().await, format!(r#"42["n",1,"{offset}"]"#));
    drop(old);
    host.settled(1).await;
}

#[tokio::test]
async fn a_child_namespace_stays_for_as_long_as_its_clients_may_come_back() {
    for (max_disconnection_duration, stays) in
        [(Duration::from_secs(60), true), (Duration::ZERO, false)]
    {
        let options = ConnectionStateRecovery {
            max_disconnection_duration,
            ..ConnectionStateRecovery::default()
        };
        let io = builder(options)
            .cleanup_empty_child_namespaces(true)
            .build();
        let parent = io.of_regex("^/p").unwrap();
        let host = Host::serve(io);
        let mut client = Client::open(host.address).await;
        client.send("40/p,").await;
        let connect = client.next().await;
        let (_, pid) = ids(&connect.replace("/p,", ""));
        drop(client);
        if stays {
            eventually("the client to be gone", || {
                parent.children()[0].socket_count() == 0
            })
            .await;
            let mut client = Client::open(host.address).await;
            client.send(&format!(r#"40/p,{{"pid":"{pid}"}}"#)).await;
            client.expect(&connect).await;
        } else {
            eventually("the child to be gone", || parent.children().is_empty()).await;
        }
    }
}

/// Broadcasts and events of one socket from two threads, while the clients lose one connection after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_clients_come_and_go() {
    const CLIENTS: usize = 6;
    const EVENTS: u64 = 3_000;
    let host = host();
    let main = host.io.of("/");
    let mut clients = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let client = Returning::join(host.address).await;
        sockets.push(main.socket(client.sid.parse().unwrap()).unwrap());
        clients.push(client);
    }
    for socket in &sockets {
        socket.join("room").unwrap();
    }
    let everyone = main.clone();
    let broadcasting = tokio::spawn(async move {
        for n in 0..EVENTS {
            match n % 3 {
                0 => everyone.emit("all", n).unwrap(),
                1 => everyone.to("room").emit("all", n).unwrap(),
                _ => everyone
                    .broadcast()
                    .except("nobody")
                    .emit("all", n)
                    .unwrap(),
            }
            tokio::task::yield_now().await;
        }
    });
    let emitting = tokio::spawn(async move {
        for n in 0..EVENTS {
            for socket in &sockets {
                socket.emit("own", n).unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    let returning: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(seed, mut client)| {
            tokio::spawn(async move { flap(&mut client, seed, EVENTS).await })
        })
        .collect();
    broadcasting.await.unwrap();
    emitting.await.unwrap();
    let mut returns = 0;
    for client in returning {
        returns += client.await.unwrap();
    }
    assert!(returns > CLIENTS, "{returns} returns");
}

/// Receives everything in order, leaving the connection every now and then, without a word.
async fn flap(client: &mut Returning, seed: usize, events: u64) -> usize {
    let (mut all, mut own, mut returns) = (0, 0, 0);
    let mut take = |event: &Value| {
        let next = match event[0].as_str() {
            Some("all") => &mut all,
            _ => &mut own,
        };
        assert_eq!(event[1], json!(*next), "{event}");
        *next += 1;
        all + own
    };
    let mut received = 0;
    while received < 2 * events {
        received = take(&client.event().await);
        if (received as usize + seed * 37).is_multiple_of(251) {
            // Half of the time the server does not know yet.
            if returns % 2 == 0 {
                client.lose();
            }
            let (missed, recovered) = client.come_back().await;
            assert!(recovered);
            for event in &missed {
                received = take(event);
            }
            returns += 1;
        }
    }
    returns
}
