//! Everything that is sent arrives, once and in its order, whoever sends it from wherever and however slowly it is read.

use std::net::SocketAddr;
use std::time::Duration;

use synapse_hostile::{Client, DEADLINE, Host, Polling, WebSocket, quick_config, within};
use synapse_socket::{Server, Socket};

const THREADS: usize = 3;
const EVENTS: usize = 2_000;
const ECHOES: usize = 500;

/// What came of each sender so far; the last echo ends it.
#[derive(Default)]
struct Received {
    next: [usize; THREADS],
    echoes: usize,
}

impl Received {
    fn is_complete(&self) -> bool {
        self.next == [EVENTS; THREADS] && self.echoes == ECHOES
    }

    fn note(&mut self, packet: &str) {
        if matches!(packet, "2" | "6") {
            return;
        }
        let event = packet.strip_prefix("42");
        let (name, number, ..): (String, usize, Option<String>) = event
            .and_then(|event| serde_json::from_str(event).ok())
            .unwrap_or_else(|| panic!("expected an event, got {packet:.80}"));
        let next = match name.strip_prefix("thread ") {
            Some(thread) => &mut self.next[thread.parse::<usize>().expect("a number")],
            None => &mut self.echoes,
        };
        assert_eq!(number, *next, "{packet:.80}");
        *next += 1;
    }
}

/// Emits from a thread that is no worker, in different ways and sizes.
fn emit(io: &Server, thread: usize, sockets: &[Socket]) {
    let name = format!("thread {thread}");
    for n in 0..EVENTS {
        let filling = "x".repeat(if n % 50 == 0 { 9_000 } else { n % 300 });
        match (n + thread) % 3 {
            0 => io.emit(&name, (n, filling)).expect("JSON"),
            1 => io.to("room").emit(&name, (n, filling)).expect("JSON"),
            _ => sockets
                .iter()
                .for_each(|socket| socket.emit(&name, (n, &filling)).expect("JSON")),
        }
        if n % 100 == 0 {
            std::thread::yield_now();
        }
    }
}

async fn read_websocket(mut websocket: WebSocket, mut received: Received, slow: bool) {
    let mut echo = received.echoes;
    let mut turn = 0_usize;
    while !received.is_complete() {
        if echo < ECHOES && turn.is_multiple_of(3) {
            websocket.text(&format!(r#"42["echo",{echo},null]"#)).await;
            echo += 1;
        }
        turn += 1;
        received.note(&websocket.next_text().await);
        if slow && turn.is_multiple_of(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn read_polls(mut polling: Polling, address: SocketAddr, upgrade_after: usize) {
    let mut received = Received::default();
    let mut polls = 0;
    while !received.is_complete() {
        if polls == upgrade_after {
            // The echo of what was posted before may come by either way.
            let target = format!(
                "/socket.io/?EIO=4&transport=websocket&sid={}",
                polling.sid()
            );
            let mut websocket = WebSocket::open(address, &target).await;
            websocket.text("2probe").await;
            assert_eq!(websocket.next_text().await, "3probe");
            polling.start_poll().await;
            for packet in polling.poll_response().await.body.split('\u{1e}') {
                received.note(packet);
            }
            websocket.text("5").await;
            read_from(websocket, received, polls).await;
            return;
        }
        if polls < ECHOES {
            polling.post(&format!(r#"42["echo",{polls},null]"#)).await;
        }
        polls += 1;
        let response = polling.poll().await;
        assert_eq!(response.status, 200);
        for packet in response.body.split('\u{1e}') {
            if packet == "2" {
                polling.post("3").await;
            }
            received.note(packet);
        }
    }
    polling.post("1").await;
}

/// Goes on after an upgrade: so many echoes have been asked for already.
async fn read_from(mut websocket: WebSocket, mut received: Received, asked: usize) {
    for echo in asked..ECHOES {
        websocket.text(&format!(r#"42["echo",{echo},null]"#)).await;
    }
    while !received.is_complete() {
        received.note(&websocket.next_text().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_arrives_once_and_in_order() {
    let mut config = quick_config();
    // Held up all the time.
    config.limits.outbox_bytes_pause = 2_000;
    config.limits.outbox_bytes_max = 256 * 1024 * 1024;
    let host = Host::with(config);
    let main = host.io.of("/");
    main.on_connect(|socket: Socket| async move { socket.join("room").unwrap() });
    let mut reading = Vec::new();
    let mut sockets = Vec::new();
    let socket = |id: &str| main.socket(id.parse().unwrap()).unwrap();
    for slow in [false, false, true, true] {
        let client = Client::join(host.address).await;
        sockets.push(socket(client.id()));
        reading.push(tokio::spawn(read_websocket(
            client.websocket,
            Received::default(),
            slow,
        )));
    }
    for upgrade_after in [usize::MAX, usize::MAX, 1, 2, 5, 10] {
        let (polling, id) = Polling::join(host.address).await;
        sockets.push(socket(&id));
        let address = host.address;
        reading.push(tokio::spawn(read_polls(polling, address, upgrade_after)));
    }
    let emitting: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (io, sockets) = (host.io.clone(), sockets.clone());
            std::thread::spawn(move || emit(&io, thread, &sockets))
        })
        .collect();
    for reading in reading {
        tokio::time::timeout(3 * DEADLINE, reading)
            .await
            .expect("everything to arrive")
            .unwrap();
    }
    for emitting in emitting {
        emitting.join().unwrap();
    }
    drop(sockets);
    within("the sessions to end", host.settled(0)).await;
}
