//! Everything at once, on several threads: whatever the order of events, nothing is left at the end.

use synapse_hostile::{Client, Host, Polling, WebSocket, eventually, within};
use synapse_socket::Socket;

const CLIENTS: usize = 8;
const ROUNDS: usize = 60;

/// One client after the other, each ending in another way, some of them while they are being put out.
async fn come_and_go(host: Host, seed: usize) {
    for round in 0..ROUNDS {
        match (seed + round) % 6 {
            0 => {
                let mut client = Client::open(host.address).await;
                client.send("40").await;
                drop(client);
            }
            1 => {
                let mut client = Client::open(host.address).await;
                client.send("40").await;
                client.send(r#"42["join","room"]"#).await;
                client.send("41").await;
                client.send("40").await;
                client.send(r#"42["bye"]"#).await;
                client.closed().await;
            }
            2 => {
                let mut client = Client::open(host.address).await;
                client.send("40").await;
                client.send(r#"42["join","room"]"#).await;
                client.reset();
            }
            3 => {
                let mut polling = Polling::open(host.address).await;
                polling.post("40").await;
                polling.start_poll().await;
                polling.post(r#"42["join","room"]"#).await;
                polling.abort_poll().await;
                // A poll that was answered before ends nothing by being given up.
                polling.post("1").await;
            }
            4 => {
                let mut polling = Polling::open(host.address).await;
                polling.post("40").await;
                let target = format!(
                    "/socket.io/?EIO=4&transport=websocket&sid={}",
                    polling.sid()
                );
                let mut http = synapse_hostile::Http::connect(host.address).await;
                http.send(synapse_hostile::handshake_request(&target, &[]))
                    .await;
                // It may have been put out already.
                if http.response().await.status == 101 {
                    let (stream, buffer) = http.into_stream();
                    let mut websocket = WebSocket::over(stream, buffer);
                    websocket.text("2probe").await;
                    websocket.text("5").await;
                    websocket.text(r#"42["join","room"]"#).await;
                    websocket.text(r#"42["bye"]"#).await;
                    websocket.closed().await;
                }
                // One that was put out before it went over is still to be told so.
                polling.post("1").await;
            }
            _ => {
                let mut polling = Polling::open(host.address).await;
                polling.post("40\u{1e}42[\"join\",\"room\"]\u{1e}1").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_clients_leaves_nothing() {
    let host = Host::start();
    let main = host.io.of("/");
    main.on(
        "bye",
        |socket: Socket| async move { socket.disconnect_client() },
    );
    main.on_connect(|socket: Socket| async move {
        // A client that has gone cannot join, which is no fault.
        let _ = socket.join(["room", "other"]);
        let _ = socket.broadcast().emit("joined", socket.rooms().len());
    });
    let storming: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let host = Host {
                io: host.io.clone(),
                address: host.address,
            };
            tokio::spawn(come_and_go(host, seed))
        })
        .collect();
    let busy = tokio::spawn({
        let main = main.clone();
        async move {
            for n in 0_u64.. {
                main.to("room").emit("news", n).unwrap();
                main.to("room").sockets_join("third");
                main.to("third").sockets_leave("other");
                if n % 50 == 0 {
                    main.to("third").disconnect_sockets();
                }
                if n % 70 == 0 {
                    main.to("room").disconnect_clients();
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for storming in storming {
        within("the storm to end", storming).await.unwrap();
    }
    busy.abort();
    host.settled(0).await;
    // Every room is empty: an event for it finds nobody, and a new client gets nothing but its own.
    let mut client = Client::join(host.address).await;
    client.send(r#"42["echo",1]"#).await;
    client.expect(r#"42["echo",1]"#).await;
    assert_eq!(host.socket_count(), 1);
    drop(client);
    eventually("nobody to be left", || host.io.stats().sessions == 0).await;
}
