//! Two servers that one bus joins.

use synapse_adapter::bus::Bus;
use synapse_hostile::{Client, Host, Polling, quick_config};
use synapse_socket::{Binary, Server, SlowPolicy};

use crate::log::Log;

fn two() -> (Host, Host) {
    let bus = Bus::new();
    let host = || {
        Host::serve(
            Server::builder()
                .config(quick_config())
                .adapter(bus.node())
                .build(),
        )
    };
    (host(), host())
}

#[tokio::test]
async fn events_reach_the_other_server_once() {
    let (one, two) = two();
    let mut here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    there.send(r#"42["join","a"]"#).await;
    there.send(r#"42["join","b"]"#).await;
    there.echo("joined").await;
    one.io.emit("all", 1).unwrap();
    one.io.to(["a", "b"]).emit("rooms", 1).unwrap();
    one.io.to("a").except("b").emit("never", 1).unwrap();
    one.io.of("/").local().emit("here", 1).unwrap();
    one.io.to(there.id()).emit("you", 1).unwrap();
    for packet in [r#"42["all",1]"#, r#"42["rooms",1]"#, r#"42["you",1]"#] {
        there.expect(packet).await;
    }
    for packet in [r#"42["all",1]"#, r#"42["here",1]"#] {
        here.expect(packet).await;
    }
    here.echo("nothing else").await;
    there.echo("nothing else").await;
}

#[tokio::test]
async fn binary_crosses_servers() {
    let (one, two) = two();
    let mut there = Client::join(two.address).await;
    one.io
        .emit(
            "data",
            (Binary(vec![1; 3].into()), "x", Binary(vec![2; 3000].into())),
        )
        .unwrap();
    there
        .expect(r#"452-["data",{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]"#)
        .await;
    assert_eq!(there.next_binary().await, [1; 3]);
    assert_eq!(there.next_binary().await, [2; 3000]);
}

#[tokio::test]
async fn a_thousand_events_arrive_in_order() {
    let (one, two) = two();
    let mut there = Client::join(two.address).await;
    for n in 0..1_000 {
        one.io.emit("n", n).unwrap();
    }
    for n in 0..1_000 {
        there.expect(&format!(r#"42["n",{n}]"#)).await;
    }
}

#[tokio::test]
async fn sockets_of_the_other_server_join_leave_and_are_disconnected() {
    let (one, two) = two();
    let mut there = Client::join(two.address).await;
    let remote = one.io.of("/");
    remote.to(there.id()).sockets_join("r");
    remote.to("r").emit("in", 1).unwrap();
    remote.local().sockets_leave("r");
    remote.to("r").emit("in", 2).unwrap();
    remote.broadcast().sockets_leave("r");
    remote.to("r").emit("out", 1).unwrap();
    there.expect(r#"42["in",1]"#).await;
    there.expect(r#"42["in",2]"#).await;
    remote.local().disconnect_clients();
    there.echo("still here").await;
    remote.to(there.id()).disconnect_sockets();
    there.expect("41").await;
    there.join_namespace("/").await;
    remote.broadcast().disconnect_clients();
    there.expect("41").await;
    there.closed().await;
    two.settled(0).await;
}

#[tokio::test]
async fn namespaces_are_kept_apart_across_servers() {
    let (one, two) = two();
    two.io.of("/a");
    let mut there = Client::join(two.address).await;
    there.join_namespace("/a").await;
    one.io.of("/a").emit("a", 1).unwrap();
    one.io.of("/b").emit("b", 1).unwrap();
    one.io.emit("main", 1).unwrap();
    there.expect(r#"42/a,["a",1]"#).await;
    there.expect(r#"42["main",1]"#).await;
}

#[tokio::test]
async fn a_server_that_closed_takes_and_gives_nothing_more() {
    let (one, two) = two();
    let mut there = Client::join(two.address).await;
    one.io.emit("before", 1).unwrap();
    one.io.close().await;
    one.io.emit("after", 1).unwrap();
    two.io.emit("own", 1).unwrap();
    there.expect(r#"42["before",1]"#).await;
    there.expect(r#"42["own",1]"#).await;
}

#[tokio::test]
async fn server_side_events_reach_the_other_servers_and_no_client() {
    let (one, two) = two();
    let mut log = Log::new();
    for (name, host) in [("one", &one), ("two", &two)] {
        let writer = log.writer();
        host.io.of("/").on_server_side("sync", move |event| {
            let (n, text): (u8, String) = event.data().expect("what the test sends");
            writer.line(format!("{name} {n} {text}"));
            async {}
        });
    }
    let mut client = Client::join(two.address).await;
    one.io.of("/").server_side_emit("sync", (1, "x")).unwrap();
    one.io
        .of("/")
        .server_side_emit("nobody listens", 1)
        .unwrap();
    two.io.of("/").server_side_emit("sync", (2, "y")).unwrap();
    log.expect(&["two 1 x", "one 2 y"]).await;
    client.echo("nothing else").await;
    assert!(log.rest().is_empty());
}

/// What travels between servers says nothing about slow clients: each server asks its own declarations.
#[tokio::test]
async fn the_server_of_the_slow_client_says_what_may_be_dropped() {
    let (one, two) = two();
    two.io.of("/").slow_policy("score", SlowPolicy::KeepLatest);
    let (mut there, _) = Polling::join(two.address).await;
    let (mut here, _) = Polling::join(one.address).await;
    for score in 0..10 {
        one.io.emit("score", score).unwrap();
    }
    // The first found nothing that waited, and is kept.
    let latest = [r#"42["score",0]"#, r#"42["score",9]"#];
    assert_eq!(there.packets().await, latest);
    assert_eq!(here.packets().await.len(), 10);
    assert_eq!((one.io.stats().replaced, two.io.stats().replaced), (0, 8));
}
