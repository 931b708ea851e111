//! Heap bytes and allocations of a connection, an echo and a broadcast, counted by the allocator. One test, because the count is the process's.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use synapse_budgets::{ALLOCATIONS, Counting, LIVE_BYTES};
use synapse_protocol::websocket::{Opcode, put_masked_frame};
use synapse_socket::{
    Ack, Arguments, EngineConfig, Limits, PerMessageDeflate, Server, Socket, listen, serve,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap bytes of a connection that has joined `/` and rests, its handshake copy included.
const IDLE_BYTES_MAX: usize = 1_300;
const DEFLATE_OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
/// `427["echo","xx…x"]` with a hundred of them, compressed.
const DEFLATED_ECHO: &[u8] =
    b"\x32\x31\x32\x8f\x56\x4a\x4d\xce\xc8\x57\xd2\x51\xaa\xa0\x03\x50\x8a\x05\x00";
const ALLOCATIONS_PER_CONNECT_MAX: usize = 90;
const ALLOCATIONS_PER_ECHO_MAX: usize = 4;
/// Of a broadcast to all, for each listener: the outbox comes from a pool, the frame is shared.
const ALLOCATIONS_PER_DELIVERY_MAX: f64 = 0.1;
const CONNECTIONS: usize = 2_000;
const ECHOES: usize = 2_000;

/// A client that allocates nothing while it is measured.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, "")
    }

    /// With a header more, its line end included.
    fn connect_with(address: SocketAddr, header: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut client = Self { stream };
        client.read_until(b"\"maxPayload\":1000000}");
        client
    }

    fn join(&mut self) {
        let mut frame = Vec::new();
        put_masked_frame(&mut frame, Opcode::Text, b"40", [1, 2, 3, 4]);
        self.stream.write_all(&frame).unwrap();
        self.read_until(b"\"}");
    }

    fn read_until(&mut self, end: &[u8]) {
        let mut buffer = [0; 2048];
        let mut filled = 0;
        while !buffer[..filled].ends_with(end) {
            let read = self.stream.read(&mut buffer[filled..]).unwrap();
            assert!(
                read > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&buffer[..filled])
            );
            filled += read;
        }
    }
}

/// Heap bytes of a connection to a server that compresses, which rests after it has sent and received compressed messages.
fn idle_bytes_with_deflate() -> usize {
    let deflate = PerMessageDeflate {
        threshold: 100,
        ..PerMessageDeflate::default()
    };
    let config = EngineConfig {
        per_message_deflate: Some(deflate),
        ..EngineConfig::default()
    };
    // One thread, whose contexts are there before the count begins.
    let (_runtime, address, io) = start(config, 1);
    let mut echo = Vec::new();
    put_masked_frame(&mut echo, Opcode::Text, DEFLATED_ECHO, [1, 2, 3, 4]);
    echo[0] |= 0x40;
    let connect = || {
        let mut client = Client::connect_with(address, DEFLATE_OFFER);
        client.join();
        client.stream.write_all(&echo).unwrap();
        let mut header = [0; 2];
        client.stream.read_exact(&mut header).unwrap();
        assert_eq!(header[0], 0xc1, "a compressed answer");
        let mut payload = vec![0; usize::from(header[1])];
        client.stream.read_exact(&mut payload).unwrap();
        client
    };
    let mut clients = Vec::with_capacity(CONNECTIONS + 100);
    clients.extend((0..100).map(|_| connect()));
    let before = settled(&LIVE_BYTES);
    for _ in 0..CONNECTIONS {
        clients.push(connect());
    }
    let bytes = (settled(&LIVE_BYTES) - before) / CONNECTIONS;
    assert_eq!(io.stats().compressed as usize, clients.len());
    bytes
}

/// Waits until a count has come to rest.
fn settled(count: &AtomicUsize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = count.load(Ordering::Relaxed);
    let mut same_since = Instant::now();
    while same_since.elapsed() < Duration::from_millis(300) && Instant::now() < deadline {
        std::thread::yield_now();
        let current = count.load(Ordering::Relaxed);
        // Timers of the runtime move it by a few bytes now and then.
        if current.abs_diff(last) > 4096 {
            last = current;
            same_since = Instant::now();
        }
    }
    count.load(Ordering::Relaxed)
}

fn start(config: EngineConfig, threads: usize) -> (tokio::runtime::Runtime, SocketAddr, Server) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    let _context = runtime.enter();
    let io = Server::builder().config(config).build();
    io.of("/")
        .on("echo", |ack: Ack, arguments: Arguments| async move {
            ack.send_arguments(&arguments.without_name())
        });
    io.of("/")
        .on("all", |socket: Socket, arguments: Arguments| async move {
            socket.broadcast().emit_arguments(arguments);
        });
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(
        listener,
        io.service(),
        Limits::default(),
        std::future::pending(),
    ));
    (runtime, address, io)
}

#[test]
fn connections_echoes_and_broadcasts_stay_within_their_budgets() {
    let (_runtime, address, io) = start(EngineConfig::default(), 2);
    let mut clients = Vec::with_capacity(CONNECTIONS + 100);
    for _ in 0..100 {
        clients.push(Client::connect(address));
        clients.last_mut().unwrap().join();
    }

    let bytes_before = settled(&LIVE_BYTES);
    let allocations_before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(address);
        client.join();
        clients.push(client);
    }
    let bytes = (settled(&LIVE_BYTES) - bytes_before) / CONNECTIONS;
    let per_connect = (ALLOCATIONS.load(Ordering::Relaxed) - allocations_before) / CONNECTIONS;
    assert_eq!(io.of("/").socket_count(), CONNECTIONS + 100);

    let mut echo = Vec::new();
    put_masked_frame(
        &mut echo,
        Opcode::Text,
        b"427[\"echo\",\"0123456789\"]",
        [1, 2, 3, 4],
    );
    let client = &mut clients[0];
    let allocations_before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..ECHOES {
        client.stream.write_all(&echo).unwrap();
        client.read_until(b"437[\"0123456789\"]");
    }
    let per_echo = (ALLOCATIONS.load(Ordering::Relaxed) - allocations_before) / ECHOES;

    let mut all = Vec::new();
    put_masked_frame(
        &mut all,
        Opcode::Text,
        b"42[\"all\",\"0123456789\"]",
        [1, 2, 3, 4],
    );
    let broadcast = |clients: &mut Vec<Client>| {
        clients[0].stream.write_all(&all).unwrap();
        clients[1..]
            .iter_mut()
            .for_each(|client| client.read_until(b"42[\"all\",\"0123456789\"]"));
    };
    // The first one fills the pools.
    broadcast(&mut clients);
    let allocations_before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..10 {
        broadcast(&mut clients);
    }
    let deliveries = 10 * (clients.len() - 1);
    let per_delivery =
        (ALLOCATIONS.load(Ordering::Relaxed) - allocations_before) as f64 / deliveries as f64;

    let with_deflate = idle_bytes_with_deflate();
    println!("{with_deflate} B per connection that compresses");
    assert!(
        with_deflate <= IDLE_BYTES_MAX + DEFLATE_OFFER.len(),
        "an idle connection that compresses keeps {with_deflate} B on the heap"
    );

    println!(
        "{bytes} B and {per_connect} allocations per connection, {per_echo} per echo, {per_delivery:.3} per delivery"
    );
    assert!(
        bytes <= IDLE_BYTES_MAX,
        "an idle connection keeps {bytes} B on the heap"
    );
    assert!(
        per_connect <= ALLOCATIONS_PER_CONNECT_MAX,
        "a connect allocates {per_connect} times"
    );
    assert!(
        per_echo <= ALLOCATIONS_PER_ECHO_MAX,
        "an echo allocates {per_echo} times"
    );
    assert!(
        per_delivery <= ALLOCATIONS_PER_DELIVERY_MAX,
        "a delivery allocates {per_delivery:.3} times"
    );
}
