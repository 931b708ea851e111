//! Several namespaces on one connection.

use synapse_hostile::{Client, Host, quick_config};
use synapse_socket::{CloseReason, Server, Socket, SocketLimits};

use crate::log::Log;

#[tokio::test]
async fn an_unknown_namespace_is_refused_in_node_s_words() {
    let host = Host::start();
    let mut client = Client::open(host.address).await;
    client.send("40/x,").await;
    client
        .expect(r#"44/x,{"message":"Invalid namespace"}"#)
        .await;
    client.join_namespace("/").await;
    client.echo("the rest works").await;
}

#[tokio::test]
async fn namespaces_of_one_client_are_kept_apart() {
    let host = Host::start();
    for name in ["/", "/a", "/b"] {
        host.io
            .of(name)
            .on("where", move |socket: Socket| async move {
                assert_eq!(socket.namespace_name(), name);
                socket.emit("here", name).unwrap();
            });
    }
    let mut client = Client::join(host.address).await;
    let a = client.join_namespace("/a").await;
    let b = client.join_namespace("/b").await;
    assert!(a != b && a != client.id() && b != client.id());
    client.send(r#"42/b,["where"]"#).await;
    client.expect(r#"42/b,["here","/b"]"#).await;
    client.send(r#"42["where"]"#).await;
    client.expect(r#"42["here","/"]"#).await;
    host.io.of("/a").emit("all", 1).unwrap();
    client.expect(r#"42/a,["all",1]"#).await;
    // `41` leaves one namespace and no other.
    client.send("41/a,").await;
    client.echo("still in the main one").await;
    assert_eq!(host.io.of("/a").socket_count(), 0);
    assert_eq!(
        (host.socket_count(), host.io.of("/b").socket_count()),
        (1, 1)
    );
    assert_ne!(client.join_namespace("/a").await, a);
}

#[tokio::test]
async fn a_name_without_its_slash_is_the_same_namespace() {
    let host = Host::start();
    assert_eq!(host.io.of("chat").name(), "/chat");
    let mut client = Client::open(host.address).await;
    client.join_namespace("/chat").await;
    assert_eq!(host.io.of("/chat").socket_count(), 1);
}

#[tokio::test]
async fn the_query_of_a_namespace_is_not_a_part_of_its_name() {
    let host = Host::start();
    host.io.of("/chat");
    let mut client = Client::open(host.address).await;
    client.send("40/chat?token=1,").await;
    assert!(client.next().await.starts_with(r#"40/chat,{"sid":""#));
}

#[tokio::test]
async fn a_client_may_be_in_as_many_namespaces_as_the_limit_allows() {
    let limits = SocketLimits {
        namespaces_max: 2,
        ..SocketLimits::default()
    };
    let host = Host::serve(
        Server::builder()
            .config(quick_config())
            .limits(limits)
            .build(),
    );
    for name in ["/a", "/b"] {
        host.io.of(name);
    }
    let mut client = Client::join(host.address).await;
    client.join_namespace("/a").await;
    client.send("40/b,").await;
    client
        .expect(r#"44/b,{"message":"Too many namespaces"}"#)
        .await;
    client.send("41/a,").await;
    client.join_namespace("/b").await;
    client.echo("open").await;
}

#[tokio::test]
async fn what_is_out_of_place_closes_the_client() {
    let mut log = Log::new();
    let host = Host::start();
    host.io.of("/a");
    let writer = log.writer();
    host.io.of("/").on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    for packet in [
        "40",
        r#"42/a,["x"]"#,
        r#"42/none,["x"]"#,
        "43/a,1[]",
        r#"44{"message":"x"}"#,
    ] {
        let mut client = Client::join(host.address).await;
        client.send(packet).await;
        assert_eq!(client.closed().await, Some(None), "{packet}");
        log.expect(&["forced server close"]).await;
    }
    host.settled(0).await;
}

#[tokio::test]
async fn leaving_a_namespace_that_was_never_joined_does_nothing() {
    let host = Host::start();
    let mut client = Client::join(host.address).await;
    client.send("41/none,").await;
    client.echo("still here").await;
}

#[tokio::test]
async fn the_connection_ends_in_every_namespace() {
    let mut log = Log::new();
    let host = Host::start();
    for name in ["/", "/a", "/b"] {
        let writer = log.writer();
        host.io
            .of(name)
            .on_disconnect(move |socket: Socket, reason: CloseReason| {
                writer.line(format!("{} {reason}", socket.namespace_name()));
                async {}
            });
    }
    let mut client = Client::join(host.address).await;
    client.join_namespace("/a").await;
    client.join_namespace("/b").await;
    drop(client);
    log.expect(&[
        "/ transport close",
        "/a transport close",
        "/b transport close",
    ])
    .await;
}
