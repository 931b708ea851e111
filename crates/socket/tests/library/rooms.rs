//! Rooms, and events for many sockets.

use serde_json::Value;
use synapse_hostile::{Client, Host, quick_config};
use synapse_socket::{Binary, Data, JoinError, RoomLimits, Server, Socket, SocketLimits};

/// A server with clients in rooms: the host's `join` event puts them there.
async fn in_rooms(rooms: &[&[&str]]) -> (Host, Vec<Client>) {
    let host = Host::start();
    let mut clients = Vec::new();
    for own in rooms {
        let mut client = Client::join(host.address).await;
        for room in *own {
            client.send(&format!(r#"42["join","{room}"]"#)).await;
        }
        client.echo("joined").await;
        clients.push(client);
    }
    (host, clients)
}

/// Which clients got the event `x`, each at most once.
async fn receivers(clients: &mut [Client]) -> Vec<usize> {
    let mut receivers = Vec::new();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(r#"42["echo","end"]"#).await;
        let first = client.next().await;
        if first == r#"42["x",1]"# {
            receivers.push(index);
            client.expect(r#"42["echo","end"]"#).await;
        } else {
            assert_eq!(first, r#"42["echo","end"]"#);
        }
    }
    receivers
}

#[tokio::test]
async fn the_server_reaches_whom_it_names_with_one_copy() {
    let (host, mut clients) = in_rooms(&[&["a"], &["a", "b"], &["b"], &[]]).await;
    let main = host.io.of("/");
    main.emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1, 2, 3]);
    main.to(["a", "b"]).emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1, 2]);
    main.to("a").to("b").to("a").local().emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1, 2]);
    main.to("a").except("b").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0]);
    main.except("a").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [2, 3]);
    main.to("nobody").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0_usize; 0]);
    // A socket's id is the room of that socket alone.
    main.to(clients[3].id()).emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [3]);
    main.except(clients[3].id()).local().emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_socket_reaches_others_and_never_itself() {
    let (host, mut clients) = in_rooms(&[&["a"], &["a"], &[]]).await;
    let main = host.io.of("/");
    main.on("all", |socket: Socket| async move {
        socket.broadcast().emit("x", 1).unwrap()
    });
    main.on("room", |socket: Socket| async move {
        socket.to("a").emit("x", 1).unwrap()
    });
    main.on("rest", |socket: Socket| async move {
        socket.except("a").emit("x", 1).unwrap()
    });
    for (event, expected) in [("all", vec![1, 2]), ("room", vec![1]), ("rest", vec![2])] {
        clients[0].send(&format!(r#"42["{event}"]"#)).await;
        clients[0].echo("done").await;
        assert_eq!(receivers(&mut clients).await, expected, "{event}");
    }
}

#[tokio::test]
async fn a_room_is_left_by_call_and_by_disconnecting() {
    let (host, mut clients) = in_rooms(&[&["a"], &["a"], &["a"]]).await;
    let main = host.io.of("/");
    let socket = main.socket(clients[0].id().parse().unwrap()).unwrap();
    assert_eq!(
        socket
            .rooms()
            .iter()
            .map(|room| &**room)
            .collect::<Vec<_>>(),
        ["a"]
    );
    socket.leave("a");
    socket.leave("never joined");
    assert!(socket.rooms().is_empty());
    drop(clients.pop());
    host.settled(2).await;
    main.to("a").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [1]);
}

#[tokio::test]
async fn whole_rooms_join_leave_and_are_disconnected() {
    let (host, mut clients) = in_rooms(&[&["a"], &["a"], &["c"]]).await;
    let main = host.io.of("/");
    main.to("a").sockets_join(["b", "d"]);
    main.to("b").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1]);
    main.broadcast().sockets_leave("a");
    main.to("a").emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0_usize; 0]);
    main.to("d").except(clients[0].id()).disconnect_sockets();
    clients[1].expect("41").await;
    assert_eq!(host.socket_count(), 2);
    // The connection is still there.
    clients[1].join_namespace("/").await;
    main.to("c").disconnect_clients();
    clients[2].expect("41").await;
    assert_eq!(clients[2].closed().await, Some(None));
    host.settled(2).await;
}

#[tokio::test]
async fn binary_and_volatile_broadcasts_arrive() {
    let (host, mut clients) = in_rooms(&[&["a"], &["a"]]).await;
    let main = host.io.of("/");
    main.to("a")
        .emit("data", Binary(vec![7; 5000].into()))
        .unwrap();
    main.emit("text", "t").unwrap();
    for client in &mut clients {
        client
            .expect(r#"451-["data",{"_placeholder":true,"num":0}]"#)
            .await;
        assert_eq!(client.next_binary().await, [7; 5000]);
        client.expect(r#"42["text","t"]"#).await;
        client.echo("written").await;
    }
    // Nothing waits for anybody, so of two volatile ones the first arrives everywhere.
    main.broadcast().volatile().emit("x", 1).unwrap();
    main.broadcast().volatile().emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0, 1]);
}

#[tokio::test]
async fn rooms_have_limits_of_number_and_length() {
    let rooms = RoomLimits {
        rooms_per_socket_max: 2,
        room_name_bytes_max: 8,
    };
    let limits = SocketLimits {
        rooms,
        ..SocketLimits::default()
    };
    let host = Host::serve(
        Server::builder()
            .config(quick_config())
            .limits(limits)
            .build(),
    );
    let client = Client::join(host.address).await;
    let socket = host
        .io
        .of("/")
        .socket(client.id().parse().unwrap())
        .unwrap();
    assert!(matches!(
        socket.join("123456789"),
        Err(JoinError::NameTooLong { .. })
    ));
    socket.join(["a", "b", "a"]).unwrap();
    assert!(socket.join("c").is_err());
    socket.leave("a");
    socket.join("c").unwrap();
    assert_eq!(socket.rooms().len(), 2);
}

/// Names with every character that means something elsewhere are just names.
#[tokio::test]
async fn odd_room_names_are_names() {
    let host = Host::start();
    host.io.of("/").on(
        "only",
        |socket: Socket, Data(room): Data<String>| async move {
            socket.join(room.as_str()).unwrap();
            socket.emit("rooms", socket.rooms().len()).unwrap();
            socket.namespace_name();
        },
    );
    let mut clients = Vec::new();
    let names = [
        "", "x#y", "{tag}", "a\nb", "*", "?", "[", "/", "ü\u{1e}", "\u{0}", "a|b", "a,b",
    ];
    for name in names {
        let mut client = Client::join(host.address).await;
        client
            .send(&format!(r#"42["only",{}]"#, Value::from(name)))
            .await;
        client.expect(r#"42["rooms",1]"#).await;
        clients.push(client);
    }
    for (index, name) in names.into_iter().enumerate() {
        host.io.of("/").to(name).emit("x", 1).unwrap();
        assert_eq!(receivers(&mut clients).await, [index], "{name:?}");
    }
}

/// Joining a room that is named like another socket's id must not let anybody listen to what is meant for that socket... unless the
/// application itself lets clients name rooms, as Socket.IO does; then both get it, and leaving takes it back.
#[tokio::test]
async fn a_room_named_like_a_socket_does_not_replace_the_socket_s_own() {
    let (host, mut clients) = in_rooms(&[&[], &[]]).await;
    let owner = clients[0].id().to_owned();
    clients[1].send(&format!(r#"42["join","{owner}"]"#)).await;
    clients[1].echo("joined").await;
    let main = host.io.of("/");
    main.to(owner.as_str()).emit("x", 1).unwrap();
    let got = receivers(&mut clients).await;
    assert!(
        got.contains(&0),
        "the owner always gets what is sent to its id: {got:?}"
    );
    main.socket(clients[1].id().parse().unwrap())
        .unwrap()
        .leave(owner.as_str());
    main.to(owner.as_str()).emit("x", 1).unwrap();
    assert_eq!(receivers(&mut clients).await, [0]);
}

#[tokio::test]
async fn many_listeners_get_every_event_in_order() {
    const LISTENERS: usize = 200;
    const EVENTS: usize = 50;
    let host = Host::start();
    let mut clients = Vec::new();
    for _ in 0..LISTENERS {
        clients.push(Client::join(host.address).await);
    }
    for number in 0..EVENTS {
        host.io.of("/").emit("n", number).unwrap();
    }
    for client in &mut clients {
        for number in 0..EVENTS {
            client.expect(&format!(r#"42["n",{number}]"#)).await;
        }
    }
}
