//! Whatever the way in which clients end, neither sockets nor connections are left: a thousand of each.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use synapse_engine::{Connection, EngineConfig, listen, serve};
use synapse_hostile::{Client, Http, Polling, WebSocket, eventually, handshake_request};
use synapse_protocol::websocket::Opcode;
use tokio::runtime::Runtime;

use crate::ack::Ack;
use crate::refusal::Refusal;
use crate::server::Server;
use crate::socket::{Socket, SocketInner};

const OF_EACH: usize = 1_000;
const WORKERS: usize = 4;

/// Every socket there was, and its connection, without keeping them.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Pair>>>);

type Pair = (Weak<SocketInner>, Weak<Connection>);

impl Seen {
    fn note(&self, socket: &Socket) {
        let of_connection = Arc::downgrade(socket.connection());
        self.0.lock().push((socket.downgrade(), of_connection));
    }

    fn total(&self) -> usize {
        self.0.lock().len()
    }

    /// Sockets and connections that are still there.
    fn left(&self) -> (usize, usize) {
        let seen = self.0.lock();
        let sockets = seen.iter().filter(|(socket, _)| socket.strong_count() > 0);
        let connections = seen
            .iter()
            .filter(|(_, connection)| connection.strong_count() > 0);
        (sockets.count(), connections.count())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A server whose sockets do all that could keep them: rooms, data, handlers and answers that hold the socket itself.
fn start(runtime: &Runtime) -> (Server, SocketAddr, Seen) {
    let _context = runtime.enter();
    let mut config = EngineConfig::default();
    config.limits.close_timeout = Duration::from_millis(200);
    let io = Server::builder().config(config).build();
    let seen = Seen::default();
    let main = io.of("/");
    let (noting, asking) = (seen.clone(), seen.clone());
    main.on_connect(move |socket: Socket| {
        noting.note(&socket);
        async move {
            let own = socket.clone();
            socket.on("own", move || {
                let _own = own.clone();
                async {}
            });
            let own = socket.clone();
            socket.on_disconnect(move || {
                let _own = own.clone();
                async {}
            });
            let own = socket.clone();
            socket.on_any_outgoing(move |_, _| drop(own.clone()));
            let own = socket.clone();
            socket.use_event_middleware(move || {
                let _own = own.clone();
                async {
                    tokio::task::yield_now().await;
                    Ok(())
                }
            });
            let _ = socket.join(["a", "b"]);
            socket.update_data(|data| data.insert("a".to_owned(), 1.into()));
            // Never answered.
            let _ = socket.emit_with_ack::<u8>("question", (), None).await;
        }
    });
    main.on(
        "bye",
        |socket: Socket| async move { socket.disconnect_client() },
    );
    main.on("leave", |socket: Socket| async move { socket.disconnect() });
    main.on("panic", |_: Ack| async {
        panic!("what a test wants to see")
    });
    let slow = io.of("/slow");
    slow.use_middleware(move |socket: Socket| {
        asking.note(&socket);
        async move {
            let _ = socket.join("waiting");
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        }
    });
    let (refused, noting) = (io.of("/refused"), seen.clone());
    refused.use_middleware(move |socket: Socket| {
        noting.note(&socket);
        async move {
            let _ = socket.join("waiting");
            Err(Refusal::new("no"))
        }
    });
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = io.config().limits;
    runtime.spawn(serve(
        listener,
        io.service(),
        limits,
        std::future::pending(),
    ));
    (io, address, seen)
}

fn websocket_target(polling: &Polling) -> String {
    format!(
        "/socket.io/?EIO=4&transport=websocket&sid={}",
        polling.sid()
    )
}

async fn probe(polling: &Polling, address: SocketAddr) -> WebSocket {
    let mut websocket = WebSocket::open(address, &websocket_target(polling)).await;
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    websocket
}

/// One client of the kind.
async fn come_and_go(kind: usize, address: SocketAddr) {
    match kind {
        // By the end of the stream, a reset, a close frame, a close packet.
        0 => drop(Client::join(address).await),
        1 => Client::join(address).await.reset(),
        2 => {
            let mut client = Client::join(address).await;
            let close = synapse_hostile::masked(Opcode::Close, &1000_u16.to_be_bytes());
            client.websocket.send(close).await;
        }
        3 => Client::join(address).await.send("1").await,
        // Put out, having left, by a fault of the application, by a fault of its own.
        4 => Client::join(address).await.send(r#"42["bye"]"#).await,
        5 => {
            let mut client = Client::join(address).await;
            client.send(r#"42["leave"]"#).await;
            client.send("40").await;
        }
        6 => Client::join(address).await.send(r#"42["panic"]"#).await,
        7 => Client::join(address).await.send("4!").await,
        // In the middle of a middleware, and refused by one.
        8 => Client::open(address).await.send("40/slow,").await,
        9 => {
            let mut client = Client::open(address).await;
            client.send("40/refused,").await;
            client.expect(r#"44/refused,{"message":"no"}"#).await;
        }
        // By polling: a close packet, a poll that is given up, a POST that is, put out with and without a poll.
        10 => {
            let (mut polling, _) = Polling::join(address).await;
            polling.post("1").await;
        }
        11 => {
            let (mut polling, _) = Polling::join(address).await;
            polling.start_poll().await;
            // The request has to come before its end.
            polling.post("3").await;
            polling.abort_poll().await;
            polling.post("1").await;
        }
        12 => {
            let (polling, _) = Polling::join(address).await;
            let mut http = Http::connect(address).await;
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4",
                polling.target()
            );
            http.send(head).await;
        }
        13 => {
            let (mut polling, _) = Polling::join(address).await;
            polling.post(r#"42["bye"]"#).await;
        }
        14 => {
            let (mut polling, _) = Polling::join(address).await;
            polling.start_poll().await;
            polling.post(r#"42["bye"]"#).await;
            polling.poll_response().await;
        }
        // Upgraded, in the middle of an upgrade, and closed in the middle of one.
        15 => {
            let (polling, _) = Polling::join(address).await;
            probe(&polling, address).await.text("5").await;
        }
        16 => {
            let (mut polling, _) = Polling::join(address).await;
            drop(probe(&polling, address).await);
            polling.post("1").await;
        }
        17 => {
            let (mut polling, _) = Polling::join(address).await;
            let mut websocket = probe(&polling, address).await;
            polling.post("1").await;
            websocket.text("5").await;
        }
        _ => {
            let (mut polling, _) = Polling::join(address).await;
            let mut http = Http::connect(address).await;
            let target = websocket_target(&polling);
            http.send(handshake_request(&target, &[])).await;
            http.reset();
            polling.post(r#"42["bye"]"#).await;
        }
    }
}

const KINDS: usize = 19;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_thousand_of_each_kind() {
    let server = runtime();
    let (io, address, seen) = start(&server);
    let coming: Vec<_> = (0..WORKERS)
        .map(|_| {
            tokio::spawn(async move {
                for round in 0..KINDS * OF_EACH / WORKERS {
                    come_and_go(round % KINDS, address).await;
                }
            })
        })
        .collect();
    for coming in coming {
        coming.await.unwrap();
    }
    // A client that never polls again after it was put out or given up is forgotten by and by.
    eventually("the sessions to end", || io.stats().sessions == 0).await;
    eventually("nothing to be left", || seen.left() == (0, 0)).await;
    assert!(seen.total() >= (KINDS - 1) * OF_EACH, "{}", seen.total());
    assert_eq!(io.of("/").socket_count(), 0);
    server.shutdown_background();
}

/// A runtime that ends in the middle of everything takes everything with it.
#[tokio::test]
async fn nothing_is_left_when_the_runtime_ends() {
    for is_closed_first in [false, true] {
        let server = runtime();
        let (io, address, seen) = start(&server);
        let mut kept: (Vec<Client>, Vec<Polling>, Vec<WebSocket>) = Default::default();
        for round in 0..50 {
            kept.0.push(Client::join(address).await);
            let mut client = Client::open(address).await;
            client.send("40/slow,").await;
            kept.0.push(client);
            // Does not read, so that something waits for it.
            let client = Client::join(address).await;
            let id = client.id().parse().unwrap();
            let socket = io.of("/").socket(id).unwrap();
            for _ in 0..10 {
                socket.emit("much", "x".repeat(500_000)).unwrap();
            }
            kept.0.push(client);
            let (mut polling, _) = Polling::join(address).await;
            if round % 2 == 0 {
                polling.start_poll().await;
            }
            kept.1.push(polling);
            let (mut polling, _) = Polling::join(address).await;
            kept.2.push(probe(&polling, address).await);
            kept.1.push(polling);
            // It is over and would be told so by its next poll.
            (polling, _) = Polling::join(address).await;
            polling.post(r#"42["bye"]"#).await;
            kept.1.push(polling);
        }
        if is_closed_first {
            let io = io.clone();
            let closing = server.spawn(async move { io.close().await });
            tokio::task::yield_now().await;
            drop(closing);
        }
        io.emit("last", 1).unwrap();
        let ending = std::thread::spawn(move || server.shutdown_timeout(Duration::from_secs(10)));
        // From a thread that knows nothing of it.
        for n in 0..1_000 {
            io.emit("more", n).unwrap();
        }
        ending.join().unwrap();
        io.emit("too late", 1).unwrap();
        assert!(seen.total() >= 250, "{}", seen.total());
        drop(io);
        eventually("nothing to be left", || seen.left() == (0, 0)).await;
        drop(kept);
    }
}
