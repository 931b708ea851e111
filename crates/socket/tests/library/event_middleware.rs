//! What stands between events and their handlers.

use std::sync::Arc;

use synapse_hostile::{Client, Host, eventually};
use synapse_socket::{
    Arguments, Data, EventName, Refusal, Reply, Server, Socket, SocketError, SocketLimits,
};
use tokio::sync::Semaphore;

use crate::log::Log;

#[tokio::test]
async fn an_event_passes_those_of_the_namespace_then_the_socket_s_own() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    let own = writer.clone();
    main.on_connect(move |socket: Socket| {
        let own = own.clone();
        socket.use_event_middleware(move |event: Arguments| {
            own.line(format!("own {}", event.json()));
            async { Ok(()) }
        });
        async {}
    });
    for name in ["first", "second"] {
        let writer = writer.clone();
        main.use_event_middleware(move |EventName(event): EventName| {
            writer.line(format!("{name} {event}"));
            async { Ok(()) }
        });
    }
    main.on("x", || async { Reply("handled") });
    let mut client = Client::join(host.address).await;
    client.send(r#"420["x",1]"#).await;
    client.expect(r#"430["handled"]"#).await;
    log.expect(&["first x", "second x", r#"own ["x",1]"#]).await;
}

#[tokio::test]
async fn a_refused_event_goes_no_further_and_is_told() {
    let mut log = Log::new();
    let host = Host::start();
    let (main, writer) = (host.io.of("/"), log.writer());
    main.use_event_middleware(|EventName(name): EventName| async move {
        tokio::task::yield_now().await;
        match name.as_str() {
            "secret" => Err(Refusal::new("not for you").with_data(403)),
            _ => Ok(()),
        }
    });
    // It does not fit `secret`, which then is refused already.
    main.use_event_middleware(|_: Data<Option<u8>>| async { Ok(()) });
    let any = writer.clone();
    main.on_any(move |EventName(name): EventName| {
        any.line(format!("any {name}"));
        async {}
    });
    for name in ["secret", "open"] {
        let writer = writer.clone();
        main.on(name, move || {
            writer.line(name);
            async { Reply(()) }
        });
    }
    main.on_error(move |error: SocketError| {
        writer.line(error.to_string());
        async {}
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"420["secret","x"]"#).await;
    client
        .expect(r#"430[{"data":403,"error":"not for you"}]"#)
        .await;
    client.send(r#"42["secret"]"#).await;
    log.expect(&["any secret", "event refused: not for you"])
        .await;
    log.expect(&["any secret", "event refused: not for you"])
        .await;
    client.send(r#"421["open","x"]"#).await;
    assert!(
        client
            .next()
            .await
            .starts_with(r#"431[{"error":"arguments do not fit"#)
    );
    client.send(r#"422["open"]"#).await;
    client.expect("432[]").await;
    log.expect(&["any open"]).await;
    assert!(
        log.next()
            .await
            .starts_with("event refused: arguments do not fit")
    );
    log.expect(&["any open", "open"]).await;
}

/// A server whose middleware waits at `wait` until the test lets it go on.
fn gate(limits: SocketLimits) -> (Host, Arc<Semaphore>, Log) {
    let (open, log) = (Arc::new(Semaphore::new(0)), Log::new());
    let host = Host::serve(Server::builder().limits(limits).build());
    for name in ["/", "/other"] {
        let namespace = host.io.of(name);
        let gate = Arc::clone(&open);
        namespace.use_event_middleware(move |EventName(name): EventName| {
            let gate = Arc::clone(&gate);
            async move {
                if name == "wait" {
                    gate.acquire().await.map_err(Refusal::internal)?.forget();
                }
                Ok(())
            }
        });
        let writer = log.writer();
        namespace.on_any(move |EventName(event): EventName| {
            writer.line(format!("{name} got {event}"));
            async {}
        });
        for event in ["wait", "pass"] {
            let writer = log.writer();
            namespace.on(event, move |Data(number): Data<u32>| {
                writer.line(format!("{name} {event} {number}"));
                async move { Reply(number) }
            });
        }
    }
    (host, open, log)
}

#[tokio::test]
async fn events_stay_in_order_behind_one_that_waits() {
    let (host, open, mut log) = gate(SocketLimits::default());
    let mut client = Client::join(host.address).await;
    client.join_namespace("/other").await;
    client.send(r#"420["wait",1]"#).await;
    client.send(r#"421["pass",2]"#).await;
    client.send(r#"422["wait",3]"#).await;
    client.send(r#"423["pass",4]"#).await;
    log.expect(&["/ got wait", "/ got pass", "/ got wait", "/ got pass"])
        .await;
    // Another socket of the same client is not held back.
    client.send(r#"42/other,0["pass",5]"#).await;
    client.expect("43/other,0[5]").await;
    log.expect(&["/other got pass", "/other pass 5"]).await;
    open.add_permits(1);
    client.expect("430[1]").await;
    client.expect("431[2]").await;
    log.expect(&["/ wait 1", "/ pass 2"]).await;
    open.add_permits(1);
    client.expect("432[3]").await;
    client.expect("433[4]").await;
    log.expect(&["/ wait 3", "/ pass 4"]).await;
    client.send(r#"424["pass",6]"#).await;
    client.expect("434[6]").await;
}

#[tokio::test]
async fn so_many_may_wait_and_more_is_not_read() {
    let limits = SocketLimits {
        running_handlers_max: 3,
        ..SocketLimits::default()
    };
    let (host, open, mut log) = gate(limits);
    let mut bystander = host.bystander().await;
    log.rest();
    let mut client = Client::join(host.address).await;
    for number in 0..3 {
        client
            .send(&format!(r#"42{number}["wait",{number}]"#))
            .await;
        log.expect(&["/ got wait"]).await;
    }
    for number in 3..10 {
        client
            .send(&format!(r#"42{number}["wait",{number}]"#))
            .await;
    }
    for _ in 0..3 {
        bystander.echo("a while").await;
    }
    assert!(!log.rest().contains(&"/ got wait".to_owned()));
    open.add_permits(10);
    for number in 0..10 {
        client.expect(&format!("43{number}[{number}]")).await;
    }
}

#[tokio::test]
async fn what_waits_is_dropped_with_its_socket() {
    let (host, open, mut log) = gate(SocketLimits::default());
    let mut client = Client::join(host.address).await;
    for leave in ["41", "gone"] {
        client.send(r#"42["wait",1]"#).await;
        client.send(r#"42["pass",2]"#).await;
        log.expect(&["/ got wait", "/ got pass"]).await;
        if leave == "41" {
            client.send("41").await;
            client.send("40").await;
            assert!(client.next().await.starts_with(r#"40{"sid":""#));
        }
    }
    drop(client);
    host.settled(0).await;
    let waiting = Arc::clone(&open);
    eventually("the middlewares to be dropped", move || {
        Arc::strong_count(&waiting) == 4
    })
    .await;
    open.add_permits(1);
    let mut other = Client::join(host.address).await;
    other.send(r#"420["pass",7]"#).await;
    other.expect("430[7]").await;
    assert_eq!(log.rest(), ["/ got pass", "/ pass 7"]);
}

#[tokio::test]
async fn one_that_panics_costs_its_own_client_only() {
    let host = Host::start();
    host.io
        .of("/")
        .use_event_middleware(|EventName(name): EventName| async move {
            assert_ne!(name, "panic", "what a test wants to see");
            Ok(())
        });
    let mut bystander = host.bystander().await;
    let mut client = Client::join(host.address).await;
    client.send(r#"42["panic"]"#).await;
    client.closed().await;
    host.check(&mut bystander).await;
}
