//! A real Redis, a peer that speaks to it as a Node server would, and a namespace that writes down what happens to it.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use synapse_adapter::{
    Broadcast, LocalNamespace, OnAck, OnReply, SocketSnapshot, Target, Transport,
};
use synapse_protocol::socket::Arguments;
use synapse_redis::{RedisAdapter, RedisOptions, RedisSettings, RedisState, RedisStatus};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long a test waits for a state before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A redis-server of one test; killed when dropped.
pub(crate) struct Redis {
    port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl Redis {
    /// A port with nobody behind it.
    pub(crate) fn absent(arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let port = unused_port();
        let name = format!(
            "synapse-redis-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            port,
            directory,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            process: Mutex::new(None),
        }
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let redis = Self::absent(arguments);
        redis.appear().await;
        redis
    }

    /// A server that speaks TLS only, and the file of the certificate that it is its own authority for.
    pub(crate) async fn start_tls() -> (Self, PathBuf) {
        let mut redis = Self::absent(&[]);
        let (certificate, key) = (
            redis.directory.join("certificate.pem"),
            redis.directory.join("key.pem"),
        );
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                "/CN=synapse test",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl is in the path").success());
        let file = |path: &PathBuf| path.display().to_string();
        let port = redis.port.to_string();
        let arguments = [
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &file(&certificate),
        ]
        .map(str::to_owned);
        redis.arguments.extend(arguments);
        redis.arguments.extend([
            "--tls-key-file".to_owned(),
            file(&key),
            "--requirepass".to_owned(),
            "right".to_owned(),
        ]);
        redis.appear().await;
        (redis, certificate)
    }

    /// Starts the server and waits until it listens.
    pub(crate) async fn appear(&self) {
        let process = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(&self.directory)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is in the path");
        *self.process.lock() = Some(process);
        let give_up_at = Instant::now() + DEADLINE;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            assert!(Instant::now() < give_up_at, "redis-server does not listen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self
            .process
            .lock()
            .as_ref()
            .expect("the server runs")
            .id()
            .to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self, credentials: &str) -> String {
        format!("redis://{credentials}127.0.0.1:{}", self.port)
    }

    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings::from_url("REDIS_URL", &self.url("")).unwrap()
    }

    pub(crate) fn adapter(&self) -> Arc<RedisAdapter> {
        RedisAdapter::start(self.settings(), RedisOptions::default())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Soon enough for a test.
pub(crate) fn quick() -> RedisOptions {
    RedisOptions {
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(500),
        reconnect_max: Duration::from_millis(200),
        ..RedisOptions::default()
    }
}

/// Waits until the status says what is expected.
pub(crate) async fn wait_for(
    adapter: &RedisAdapter,
    what: &str,
    expected: impl Fn(&RedisStatus) -> bool,
) -> RedisStatus {
    let give_up_at = Instant::now() + DEADLINE;
    loop {
        let status = adapter.status();
        if expected(&status) {
            return status;
        }
        assert!(
            Instant::now() < give_up_at,
            "{what} does not come: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn wait_for_state(adapter: &RedisAdapter, state: RedisState) -> RedisStatus {
    wait_for(adapter, &format!("{state:?}"), |status| {
        status.state == state
    })
    .await
}

pub(crate) async fn ready(adapter: &RedisAdapter) {
    timeout(DEADLINE, adapter.ready())
        .await
        .unwrap_or_else(|_| panic!("not ready: {:?}", adapter.status()));
}

/// Another server of the cluster, byte by byte.
pub(crate) struct Peer {
    commands: redis::aio::MultiplexedConnection,
    messages: redis::aio::PubSub,
}

/// A port that nobody listens on, given out once in this process. It is below the range that the kernel takes ports from by itself, or
/// another test's connection could have it before the server does.
fn unused_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

impl Peer {
    pub(crate) async fn connect(redis: &Redis) -> Self {
        let client = redis::Client::open(redis.url("")).unwrap();
        // A frozen Redis answers later, and that is for the test to see.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        Self {
            commands: client
                .get_multiplexed_async_connection_with_config(&patient)
                .await
                .unwrap(),
            messages: client.get_async_pubsub().await.unwrap(),
        }
    }

    pub(crate) async fn subscribe(&mut self, channel: &str) {
        self.messages.subscribe(channel).await.unwrap();
    }

    /// Publishes; returns how many subscribers Redis has sent it to.
    pub(crate) async fn publish(
        &mut self,
        channel: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> u64 {
        redis::cmd("PUBLISH")
            .arg(channel.as_ref())
            .arg(payload.as_ref())
            .query_async(&mut self.commands)
            .await
            .unwrap()
    }

    /// The next message: its channel and its bytes.
    pub(crate) async fn next(&mut self) -> (String, Vec<u8>) {
        let message = timeout(DEADLINE, self.messages.on_message().next())
            .await
            .expect("a message comes")
            .expect("the connection stays");
        (
            message.get_channel_name().to_owned(),
            message.get_payload_bytes().to_vec(),
        )
    }

    /// The next message as text.
    pub(crate) async fn next_text(&mut self) -> (String, String) {
        let (channel, payload) = self.next().await;
        (channel, String::from_utf8(payload).unwrap())
    }

    pub(crate) async fn subscribers(&mut self, channel: &str) -> u64 {
        let (_, count): (String, u64) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query_async(&mut self.commands)
            .await
            .unwrap();
        count
    }

    /// The ids of the connections of a kind whose line in the list has `part`.
    pub(crate) async fn connections(&mut self, kind: &str, part: &str) -> Vec<String> {
        let redis::Value::BulkString(list) = self.run(&["CLIENT", "LIST", "TYPE", kind]).await
        else {
            panic!("a list of clients")
        };
        let list = String::from_utf8(list).unwrap();
        let lines = list.lines().filter(|line| line.contains(part));
        lines
            .map(|line| line.split(['=', ' ']).nth(1).unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn run(&mut self, command: &[&str]) -> redis::Value {
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut self.commands)
            .await
            .unwrap()
    }
}

/// A namespace that writes down what happens to it, a line each.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) rooms: Mutex<HashSet<String>>,
    pub(crate) sockets: Mutex<Vec<SocketSnapshot>>,
    /// What the clients answer to a broadcast that wants acks.
    pub(crate) acks: Mutex<Vec<Arguments>>,
    /// How long the delivery of a broadcast takes.
    pub(crate) delivery_time: Mutex<Duration>,
    lines: watch::Sender<Vec<String>>,
}

impl Recorder {
    pub(crate) fn new(rooms: &[&str]) -> Arc<Self> {
        let recorder = Self::default();
        recorder
            .rooms
            .lock()
            .extend(rooms.iter().map(|&room| room.to_owned()));
        Arc::new(recorder)
    }

    /// Waits for that many lines and takes all there are.
    pub(crate) async fn take(&self, count: usize) -> Vec<String> {
        let mut lines = self.lines.subscribe();
        let waited = timeout(DEADLINE, lines.wait_for(|lines| lines.len() >= count))
            .await
            .is_ok();
        let taken = self.lines.send_replace(Vec::new());
        assert!(waited, "{count} lines do not come, only {taken:?}");
        taken
    }

    fn write(&self, line: String) {
        self.lines.send_modify(|lines| lines.push(line));
    }
}

fn to(target: &Target) -> String {
    format!("{:?}-{:?}", target.rooms, target.except)
}

impl LocalNamespace for Recorder {
    fn has_room(&self, room: &str) -> bool {
        self.rooms.lock().contains(room)
    }

    fn broadcast(&self, broadcast: &Broadcast) {
        self.write(format!(
            "broadcast {} {}",
            to(&broadcast.target),
            broadcast.arguments.json()
        ));
        let delivery_time = *self.delivery_time.lock();
        if !delivery_time.is_zero() {
            std::thread::sleep(delivery_time);
        }
    }

    fn broadcast_with_ack(&self, broadcast: &Broadcast, on_ack: OnAck) -> usize {
        self.write(format!(
            "broadcast with ack {} {} {:?}",
            to(&broadcast.target),
            broadcast.arguments.json(),
            broadcast.flags.timeout
        ));
        let acks = self.acks.lock().clone();
        let count = acks.len();
        for ack in acks {
            on_ack(ack);
        }
        count
    }

    fn join(&self, target: &Target, rooms: &[Box<str>]) {
        self.write(format!("join {} {rooms:?}", to(target)));
    }

    fn leave(&self, target: &Target, rooms: &[Box<str>]) {
        self.write(format!("leave {} {rooms:?}", to(target)));
    }

    fn disconnect(&self, target: &Target, transport: Transport) {
        self.write(format!("disconnect {} {transport:?}", to(target)));
    }

    fn sockets(&self, target: &Target) -> Vec<SocketSnapshot> {
        let wanted = |socket: &SocketSnapshot| {
            target.rooms.is_empty()
                || target
                    .rooms
                    .iter()
                    .any(|room| socket.rooms.iter().any(|name| **name == **room))
        };
        self.sockets
            .lock()
            .iter()
            .filter(|socket| wanted(socket))
            .cloned()
            .collect()
    }

    fn ids(&self, target: &Target) -> Vec<String> {
        let sockets = self.sockets(target);
        sockets.into_iter().map(|socket| socket.id).collect()
    }

    fn rooms(&self) -> Vec<String> {
        let mut rooms: Vec<_> = self.rooms.lock().iter().cloned().collect();
        rooms.sort();
        rooms
    }

    fn server_side_emit(&self, arguments: Arguments, on_reply: Option<OnReply>) {
        self.write(format!("server side {}", arguments.json()));
        if let Some(on_reply) = on_reply {
            let heard = arguments.json().starts_with(r#"["evtAck""#);
            on_reply(json(if heard { r#"["pong5"]"# } else { "[]" }));
        }
    }
}

/// Arguments without binary values.
pub(crate) fn json(text: &str) -> Arguments {
    Arguments::from_validated(Bytes::copy_from_slice(text.as_bytes()), Vec::new())
}

/// The bytes of a capture of Node.
pub(crate) fn capture(name: &str) -> Vec<u8> {
    let line = include_str!("../fixtures/classic.txt")
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    let digits = line
        .unwrap_or_else(|| panic!("no capture {name}"))
        .split_whitespace()
        .nth(1)
        .unwrap()
        .as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
