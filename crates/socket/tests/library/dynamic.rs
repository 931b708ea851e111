//! Namespaces that come into being when a client asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use synapse_adapter::bus::Bus;
use synapse_hostile::{Client, Host, eventually, quick_config};
use synapse_socket::{
    Auth, CloseReason, Namespace, NamespaceRequest, Refusal, Reply, Server, ServerBuilder, Socket,
    SocketLimits,
};
use tokio::sync::Semaphore;

use crate::log::Log;

const INVALID: &str = r#"{"message":"Invalid namespace"}"#;

fn builder() -> ServerBuilder {
    Server::builder().config(quick_config())
}

fn cleaning() -> Host {
    Host::serve(builder().cleanup_empty_child_namespaces(true).build())
}

/// Asks for a namespace and returns what is answered, without the name.
async fn ask(client: &mut Client, name: &str) -> String {
    client.send(&format!("40{name},")).await;
    let answer = client.next().await;
    let rest = answer.strip_prefix("40").or(answer.strip_prefix("44"));
    let rest = rest.and_then(|rest| rest.strip_prefix(name)?.strip_prefix(','));
    rest.unwrap_or_else(|| panic!("expected an answer for {name}, got {answer}"))
        .to_owned()
}

#[tokio::test]
async fn a_pattern_makes_namespaces_as_they_are_asked_for() {
    let host = Host::start();
    let rooms = host.io.of_regex(r"^/room-\d+$").unwrap();
    rooms.on("where", |namespace: Namespace| async move {
        Reply(namespace.name().to_owned())
    });
    assert!(host.io.of_regex("(").is_err());
    let mut client = Client::open(host.address).await;
    for name in ["/room-1", "/room-22"] {
        client.join_namespace(name).await;
        client.send(&format!(r#"42{name},0["where"]"#)).await;
        client.expect(&format!(r#"43{name},0["{name}"]"#)).await;
    }
    for name in ["/room-", "/room-x", "/other", "/room-1/more"] {
        assert_eq!(ask(&mut client, name).await, INVALID);
    }
    let mut names: Vec<_> = rooms
        .children()
        .iter()
        .map(|child| child.name().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["/room-1", "/room-22"]);
    assert_eq!(host.io.of("/room-1").socket_count(), 1);
}

#[tokio::test]
async fn a_function_decides_by_name_and_auth_and_may_wait() {
    let host = Host::start();
    host.io.of_matching(|request: NamespaceRequest| async move {
        tokio::task::yield_now().await;
        let auth: Value = request.auth().unwrap_or_default();
        assert_eq!(request.handshake().header("host"), Some("localhost"));
        auth["may"] == request.name()
    });
    let mut client = Client::join(host.address).await;
    assert_eq!(ask(&mut client, "/a").await, INVALID);
    client.send(r#"40/a,{"may":"/b"}"#).await;
    client.expect(&format!("44/a,{INVALID}")).await;
    client.send(r#"40/a,{"may":"/a"}"#).await;
    assert!(client.next().await.starts_with(r#"40/a,{"sid":""#));
    client.echo("others work").await;
}

#[tokio::test]
async fn parents_are_asked_in_order_and_a_namespace_that_exists_is_not_asked_about() {
    let mut log = Log::new();
    let host = Host::start();
    host.io.of("/static");
    for (name, agrees) in [("first", false), ("second", true), ("third", true)] {
        let writer = log.writer();
        let parent = host.io.of_matching(move |request: NamespaceRequest| {
            writer.line(format!("{name} {}", request.name()));
            async move { agrees }
        });
        let writer = log.writer();
        parent.on_connect(move || {
            writer.line(format!("joined {name}"));
            async {}
        });
    }
    let mut client = Client::open(host.address).await;
    client.join_namespace("/static").await;
    client.join_namespace("/x").await;
    log.expect(&["first /x", "second /x", "joined second"])
        .await;
    let mut other = Client::open(host.address).await;
    other.join_namespace("/x").await;
    log.expect(&["joined second"]).await;
}

#[tokio::test]
async fn a_child_begins_with_what_its_parent_has_then() {
    let mut log = Log::new();
    let host = Host::start();
    let parent = host.io.of_regex("^/p").unwrap();
    parent.use_middleware(|Auth(auth): Auth<Value>| async move {
        if auth["no"].is_null() {
            Ok(())
        } else {
            Err(Refusal::new("no"))
        }
    });
    let writer = log.writer();
    parent.on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    parent.use_event_middleware(|| async { Ok(()) });
    let writer = log.writer();
    parent.on_any_outgoing(move |socket, event| {
        writer.line(format!("{} {}", socket.namespace_name(), event.json()));
    });
    let mut client = Client::open(host.address).await;
    client.send(r#"40/p1,{"no":1}"#).await;
    client.expect(r#"44/p1,{"message":"no"}"#).await;
    client.join_namespace("/p1").await;
    // Too late for the first child, and what a child gets of its own is nobody else's.
    parent.on("late", || async { Reply("late") });
    host.io.of("/p1").on("own", || async { Reply("own") });
    client.join_namespace("/p2").await;
    client.send(r#"42/p1,1["late"]"#).await;
    client.send(r#"42/p2,2["own"]"#).await;
    client.send(r#"42/p1,3["own"]"#).await;
    client.send(r#"42/p2,4["late"]"#).await;
    client.expect(r#"43/p1,3["own"]"#).await;
    client.expect(r#"43/p2,4["late"]"#).await;
    parent.emit("all", 1).unwrap();
    let mut shown = [log.next().await, log.next().await];
    shown.sort();
    assert_eq!(shown, [r#"/p1 ["all",1]"#, r#"/p2 ["all",1]"#]);
    drop(client);
    log.expect(&["transport close", "transport close"]).await;
}

#[tokio::test]
async fn a_parent_sends_to_all_its_children_on_all_servers() {
    let bus = Bus::new();
    let hosts: Vec<Host> = (0..2)
        .map(|_| Host::serve(builder().adapter(bus.node()).build()))
        .collect();
    let parents: Vec<_> = hosts
        .iter()
        .map(|host| {
            host.io.of("/other");
            let parent = host.io.of_regex("^/p").unwrap();
            parent.on_connect(|socket: Socket| async move {
                socket.join(socket.namespace_name().to_owned()).unwrap();
            });
            parent
        })
        .collect();
    let mut here = Client::join(hosts[0].address).await;
    let mut there = Client::join(hosts[1].address).await;
    for client in [&mut here, &mut there] {
        for name in ["/p1", "/p2", "/other"] {
            client.join_namespace(name).await;
        }
    }
    async fn expect(client: &mut Client, packets: &[&str]) {
        let mut got = Vec::new();
        for _ in packets {
            got.push(client.next().await);
        }
        got.sort();
        assert_eq!(got, packets);
    }
    let parent = &parents[0];
    parent.emit("x", (1, 2)).unwrap();
    for client in [&mut here, &mut there] {
        expect(client, &[r#"42/p1,["x",1,2]"#, r#"42/p2,["x",1,2]"#]).await;
    }
    parent.to(["/p1", "none"]).emit("y", ()).unwrap();
    for client in [&mut here, &mut there] {
        expect(client, &[r#"42/p1,["y"]"#]).await;
    }
    parent.except("/p1").local().emit("z", ()).unwrap();
    expect(&mut here, &[r#"42/p2,["z"]"#]).await;
    for client in [&mut here, &mut there] {
        client.echo("no more").await;
    }
}

#[tokio::test]
async fn a_name_that_fits_a_pattern_belongs_to_the_parent_however_it_is_made() {
    let mut log = Log::new();
    let host = Host::start();
    let parent = host.io.of_regex("^/p").unwrap();
    let writer = log.writer();
    parent.on_connect(move || {
        writer.line("joined");
        async {}
    });
    let writer = log.writer();
    host.io
        .on_new_namespace(move |namespace| writer.line(format!("new {}", namespace.name())));
    assert_eq!(host.io.of("p1").name(), "/p1");
    host.io.of("/other");
    host.io.of("/p1");
    let mut client = Client::open(host.address).await;
    client.join_namespace("/p1").await;
    client.join_namespace("/p2").await;
    log.expect(&["new /p1", "new /other", "joined", "new /p2", "joined"])
        .await;
    assert_eq!(parent.children().len(), 2);
}

#[tokio::test]
async fn there_are_as_many_children_as_the_limit_allows() {
    let limits = SocketLimits {
        child_namespaces_max: 2,
        ..SocketLimits::default()
    };
    let host = Host::serve(builder().limits(limits).build());
    host.io.of("/static");
    host.io.of_regex("^/p").unwrap();
    let mut client = Client::open(host.address).await;
    for name in ["/p1", "/p2"] {
        client.join_namespace(name).await;
    }
    assert_eq!(
        ask(&mut client, "/p3").await,
        r#"{"message":"Too many namespaces"}"#
    );
    let mut other = Client::open(host.address).await;
    other.join_namespace("/p1").await;
    // The application itself is not limited.
    host.io.of("/p4");
    other.join_namespace("/p4").await;
}

#[tokio::test]
async fn namespaces_that_are_decided_about_count_as_the_client_s() {
    let limits = SocketLimits {
        namespaces_max: 2,
        ..SocketLimits::default()
    };
    let host = Host::serve(builder().limits(limits).build());
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    host.io.of_matching(move |_: NamespaceRequest| {
        let gate = Arc::clone(&gate);
        async move { gate.acquire().await.map(|permit| permit.forget()).is_ok() }
    });
    let mut client = Client::join(host.address).await;
    client.send("40/a,").await;
    assert_eq!(
        ask(&mut client, "/b").await,
        r#"{"message":"Too many namespaces"}"#
    );
    // It changes its mind and asks for another, which is decided about alone.
    client.send("41/a,").await;
    client.send("40/b,").await;
    client.echo("meanwhile").await;
    open.add_permits(2);
    assert!(client.next().await.starts_with(r#"40/b,{"sid":""#));
    assert_eq!(host.io.of("/b").socket_count(), 1);
    client.echo("and no more").await;
    // Asking twice at a time breaks the protocol, as being in twice does.
    let mut other = Client::open(host.address).await;
    open.forget_permits(2);
    other.send("40/c,").await;
    other.send("40/c,").await;
    other.closed().await;
}

#[tokio::test]
async fn an_empty_child_stays_unless_it_is_cleaned_up() {
    for (host, is_cleaned) in [(Host::start(), false), (cleaning(), true)] {
        let parent = host.io.of_regex("^/p").unwrap();
        let mut client = Client::join(host.address).await;
        client.join_namespace("/p1").await;
        let mut other = Client::join(host.address).await;
        other.join_namespace("/p1").await;
        drop(client);
        host.settled(1).await;
        assert_eq!(parent.children().len(), 1);
        other.send("41/p1,").await;
        // One of its own, which is not cleaned up with it.
        host.io.of("/static");
        other.join_namespace("/static").await;
        assert_eq!(parent.children().len(), usize::from(!is_cleaned));
        other.join_namespace("/p1").await;
        parent.emit("again", ()).unwrap();
        other.expect(r#"42/p1,["again"]"#).await;
        drop(other);
        host.settled(0).await;
        assert_eq!(parent.children().len(), usize::from(!is_cleaned));
        host.io.emit("x", ()).unwrap();
    }
}

#[tokio::test]
async fn a_child_whose_only_client_is_refused_is_cleaned_up() {
    let host = cleaning();
    let parent = host.io.of_regex("^/p").unwrap();
    parent.use_middleware(|| async {
        tokio::task::yield_now().await;
        Err(Refusal::new("no"))
    });
    let mut client = Client::join(host.address).await;
    assert_eq!(ask(&mut client, "/p1").await, r#"{"message":"no"}"#);
    assert!(parent.children().is_empty());
    // One that goes away while it is decided about leaves none as well.
    client.send("40/p2,").await;
    drop(client);
    host.settled(0).await;
    eventually("no child to be left", || parent.children().is_empty()).await;
}

/// A child that is cleaned up leaves the cluster and joins it again with its next client.
#[tokio::test]
async fn a_child_that_comes_back_is_in_the_cluster() {
    let bus = Bus::new();
    let hosts: Vec<Host> = (0..2)
        .map(|_| {
            let builder = builder().cleanup_empty_child_namespaces(true);
            let host = Host::serve(builder.adapter(bus.node()).build());
            host.io.of_regex("^/p").unwrap();
            host
        })
        .collect();
    let mut there = Client::open(hosts[1].address).await;
    there.join_namespace("/p").await;
    for round in 0..3 {
        let mut here = Client::open(hosts[0].address).await;
        here.join_namespace("/p").await;
        hosts[1].io.of("/p").emit("round", round).unwrap();
        let packet = format!(r#"42/p,["round",{round}]"#);
        here.expect(&packet).await;
        there.expect(&packet).await;
        drop(here);
        hosts[0].settled(0).await;
    }
}

/// Clients of several threads come and go in few children that are made and cleaned up all the time: each is let in, and hears what
/// goes to its namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_client_is_lost_between_the_end_and_the_beginning_of_a_child() {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 200;
    let host = cleaning();
    let parent = host.io.of_regex("^/p").unwrap();
    // By the name, so that a namespace that has been forgotten is not enough.
    let io = host.io.clone();
    parent.on("say", move |socket: Socket| {
        let namespace = io.of(socket.namespace_name());
        let said = namespace.emit("said", socket.id().text().as_str());
        async { said.unwrap() }
    });
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    host.io.on_new_namespace(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let address = host.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let name = format!("/p{}", number % 2);
                let mut client = Client::open(address).await;
                for _ in 0..ROUNDS {
                    let id = client.join_namespace(&name).await;
                    client.send(&format!(r#"42{name},["say"]"#)).await;
                    let said = format!(r#"42{name},["said","{id}"]"#);
                    while client.next().await != said {}
                    client.send(&format!("41{name},")).await;
                    // What others said before may still be on its way.
                    client.send("40").await;
                    while !client.next().await.starts_with("40{") {}
                    client.send("41").await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    eventually("no child to be left", || parent.children().is_empty()).await;
    assert!(made.load(Ordering::Relaxed) >= 2);
}
