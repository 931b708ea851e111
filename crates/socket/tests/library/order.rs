//! In which order things happen, and what a handler that misbehaves costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use synapse_hostile::{Client, Host, Polling, eventually, masked, quick_config};
use synapse_protocol::websocket::Opcode;
use synapse_socket::{CloseReason, Data, Server, Socket, SocketLimits};
use tokio::sync::{Notify, Semaphore};

use crate::log::Log;

const EVENTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_client_are_handled_and_answered_in_their_order() {
    let mut log = Log::new();
    let host = Host::start();
    let writer = log.writer();
    host.io
        .of("/")
        .on("n", move |socket: Socket, Data(n): Data<usize>| {
            writer.line(n.to_string());
            async move { socket.emit("n", n).unwrap() }
        });
    let mut client = Client::join(host.address).await;
    for n in 0..EVENTS {
        client.send(&format!(r#"42["n",{n}]"#)).await;
    }
    for n in 0..EVENTS {
        client.expect(&format!(r#"42["n",{n}]"#)).await;
        assert_eq!(log.next().await, n.to_string());
    }
}

#[tokio::test]
async fn events_of_one_payload_are_handled_in_their_order() {
    let host = Host::start();
    let (mut polling, _) = Polling::join(host.address).await;
    let events: Vec<_> = (0..100).map(|n| format!(r#"42["echo",{n}]"#)).collect();
    polling.post(&events.join("\u{1e}")).await;
    let mut packets = Vec::new();
    while packets.len() < events.len() {
        packets.extend(polling.packets().await);
    }
    assert_eq!(packets, events);
}

/// Whatever the way of an event, what one task sends to one socket arrives in the order of the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emits_broadcasts_and_answers_keep_the_program_s_order() {
    let host = Host::start();
    let main = host.io.of("/");
    let client = Client::join(host.address).await;
    let mut client = client;
    let socket = main.socket(client.id().parse().unwrap()).unwrap();
    let sending = tokio::spawn(async move {
        let long = "l".repeat(5_000);
        for n in 0..EVENTS {
            match n % 4 {
                0 => socket.emit("n", n).unwrap(),
                1 => main.emit("n", n).unwrap(),
                2 => main.to(socket.id()).emit("n", (n, &long)).unwrap(),
                _ => main.local().emit("n", n).unwrap(),
            }
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0..EVENTS {
        let packet = client.next().await;
        assert!(
            packet.starts_with(&format!(r#"42["n",{n}"#)),
            "{n}: {packet:.40}"
        );
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_handler_that_waits_holds_no_later_event_up() {
    let mut log = Log::new();
    let host = Host::start();
    let open: Arc<Notify> = Arc::default();
    let (gate, writer) = (Arc::clone(&open), log.writer());
    host.io.of("/").on("slow", move |socket: Socket| {
        let (gate, writer) = (Arc::clone(&gate), writer.clone());
        async move {
            writer.line("waiting");
            gate.notified().await;
            socket.emit("slow", "done").unwrap();
        }
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["slow"]"#).await;
    client.echo("one").await;
    client.echo("two").await;
    log.expect(&["waiting"]).await;
    open.notify_one();
    client.expect(r#"42["slow","done"]"#).await;
}

/// Nothing more is read while too many handlers wait, and everything goes on once they are through.
#[tokio::test]
async fn waiting_handlers_have_a_limit() {
    const LIMIT: usize = 10;
    let limits = SocketLimits {
        running_handlers_max: LIMIT,
        ..SocketLimits::default()
    };
    for polling in [false, true] {
        let host = Host::serve(
            Server::builder()
                .config(quick_config())
                .limits(limits)
                .build(),
        );
        let mut log = Log::new();
        let open = Arc::new(Semaphore::new(0));
        let (gate, writer) = (Arc::clone(&open), log.writer());
        host.io.of("/").on("slow", move |Data(n): Data<usize>| {
            let (gate, writer) = (Arc::clone(&gate), writer.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                writer.line(n.to_string());
            }
        });
        let mut websocket = None;
        let mut posting = None;
        if polling {
            let (mut polling, _) = Polling::join(host.address).await;
            posting = Some(tokio::spawn(async move {
                for n in 0..5 * LIMIT {
                    polling.post(&format!(r#"42["slow",{n}]"#)).await;
                }
                polling
            }));
        } else {
            let mut client = Client::join(host.address).await;
            for n in 0..5 * LIMIT {
                client.send(&format!(r#"42["slow",{n}]"#)).await;
            }
            websocket = Some(client);
        }
        for n in 0..5 * LIMIT {
            open.add_permits(1);
            assert_eq!(log.next().await, n.to_string());
        }
        if let Some(mut client) = websocket {
            client.echo("through").await;
        }
        if let Some(posting) = posting {
            drop(posting.await.unwrap());
        }
    }
}

/// The limit holds within what came at once: one polling body, one read of a WebSocket.
#[tokio::test]
async fn what_came_at_once_is_held_up_as_well() {
    const LIMIT: usize = 10;
    const EVENTS: usize = 5 * LIMIT;
    let limits = SocketLimits {
        running_handlers_max: LIMIT,
        ..SocketLimits::default()
    };
    for polling in [false, true] {
        let builder = Server::builder().config(quick_config()).limits(limits);
        let host = Host::serve(builder.build());
        let mut log = Log::new();
        let open = Arc::new(Semaphore::new(0));
        let started = Arc::new(AtomicUsize::new(0));
        let (gate, count, writer) = (Arc::clone(&open), Arc::clone(&started), log.writer());
        host.io.of("/").on("slow", move |Data(n): Data<usize>| {
            count.fetch_add(1, Ordering::Relaxed);
            let (gate, writer) = (Arc::clone(&gate), writer.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                writer.line(n.to_string());
            }
        });
        let events = (0..EVENTS).map(|n| format!(r#"42["slow",{n}]"#));
        let (mut websocket, mut posting) = (None, None);
        if polling {
            let (mut polling, _) = Polling::join(host.address).await;
            let body: Vec<_> = events.collect();
            posting = Some(tokio::spawn(async move {
                assert_eq!(polling.post(&body.join("\u{1e}")).await.status, 200);
                polling
            }));
        } else {
            let mut client = Client::join(host.address).await;
            let frames = events.map(|event| masked(Opcode::Text, event.as_bytes()));
            client
                .websocket
                .send(frames.collect::<Vec<_>>().concat())
                .await;
            websocket = Some(client);
        }
        eventually("the first handlers", || {
            started.load(Ordering::Relaxed) == LIMIT
        })
        .await;
        for n in 0..EVENTS {
            open.add_permits(1);
            assert_eq!(log.next().await, n.to_string());
            let running = started.load(Ordering::Relaxed) - n;
            assert!(running <= LIMIT + 1, "{running} were under way");
        }
        if let Some(mut client) = websocket {
            client.echo("through").await;
        }
        if let Some(posting) = posting {
            let mut polling = posting.await.unwrap();
            polling.post(r#"42["echo",1]"#).await;
            assert_eq!(polling.packets().await, [r#"42["echo",1]"#]);
        }
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_client_only() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    main.on("at once", |Data(n): Data<u8>| async move {
        assert_eq!(n, 0, "what a test wants to see")
    });
    main.on("later", || async {
        tokio::task::yield_now().await;
        panic!("what a test wants to see")
    });
    main.on("when called", || {
        if std::hint::black_box(true) {
            panic!("what a test wants to see");
        }
        async {}
    });
    let writer = log.writer();
    main.on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    let mut bystander = host.bystander().await;
    for event in [r#""at once",1"#, r#""later""#, r#""when called""#] {
        let mut client = Client::join(host.address).await;
        client.send(&format!("42[{event}]")).await;
        assert_eq!(client.closed().await, Some(None), "{event}");
        log.expect(&["forced server close"]).await;
        host.check(&mut bystander).await;
    }
}

#[tokio::test]
async fn a_connect_handler_that_panics_costs_its_own_client_only() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    host.io
        .of("/a")
        .on_connect(|| async { panic!("what a test wants to see") });
    host.io.of("/b").on_connect(|| {
        if std::hint::black_box(true) {
            panic!("what a test wants to see");
        }
        async {}
    });
    for namespace in ["/a", "/b"] {
        let mut client = Client::open(host.address).await;
        client.send(&format!("40{namespace},")).await;
        assert_eq!(client.closed().await, Some(None), "{namespace}");
        host.check(&mut bystander).await;
        assert_eq!(host.io.of(namespace).socket_count(), 0);
    }
}
