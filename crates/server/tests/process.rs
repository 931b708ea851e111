//! The built program, as an operator meets it: its errors, its log, its answers, its end.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(15);

/// The program with nothing of this process's own environment that it would read.
fn synapse(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synapse"));
    command
        .env_clear()
        .env("HOST", "127.0.0.1")
        .env("PORT", "0");
    command.args(arguments).envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn failing(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = synapse(arguments, variables).output().unwrap();
    assert!(
        stdout.is_empty(),
        "{arguments:?} {variables:?} wrote to standard output"
    );
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A running program. Ends with the test.
struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = synapse(arguments, variables).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.lock().unwrap().push_str(&format!("{line}\n"));
                }
            });
        }
        Self { child, log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn wait_for_log(&self, text: &str) -> String {
        wait(&format!("`{text}` in the log"), || {
            Some(self.log()).filter(|log| log.contains(text))
        })
    }

    /// The ports in the log, as soon as there are `count` of them.
    fn ports(&self, count: usize) -> Vec<u16> {
        wait("a port in the log", || {
            let log = self.log();
            let ports: Vec<u16> = log
                .split("url=http://127.0.0.1:")
                .skip(1)
                .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
                .collect();
            (ports.len() == count).then_some(ports)
        })
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        wait("the end of the program", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Kills exactly this child; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::yield_now();
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// One HTTP request; the answer's status line and its body.
fn http(port: u16, method: &str, target: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn get(port: u16, target: &str) -> (String, String) {
    http(port, "GET", target, "")
}

/// A Socket.IO client over long polling.
struct Client {
    port: u16,
    session: String,
    waiting: Vec<String>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let (_, open) = get(port, "/socket.io/?EIO=4&transport=polling");
        let id = open.split('"').nth(3).unwrap();
        let session = format!("/socket.io/?EIO=4&transport=polling&sid={id}");
        let mut client = Self {
            port,
            session,
            waiting: Vec::new(),
        };
        client.send("40");
        assert!(client.receive().starts_with("40{\"sid\":"));
        client
    }

    fn send(&self, packet: &str) {
        assert_eq!(http(self.port, "POST", &self.session, packet).1, "ok");
    }

    /// The next packet that is not of the heartbeat.
    fn receive(&mut self) -> String {
        while self.waiting.is_empty() {
            let (_, body) = get(self.port, &self.session);
            self.waiting.extend(
                body.split('\u{1e}')
                    .filter(|packet| *packet != "2")
                    .map(str::to_owned),
            );
        }
        self.waiting.remove(0)
    }
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, error) = failing(&["--log-level=off"], &[("PORT", port.as_str())]);
    assert_eq!(status, Some(1));
    assert_eq!(
        error,
        format!(
            "synapse: port {port} is in use on 127.0.0.1: end the other program, or choose another port with PORT or --port\n"
        )
    );
}

#[test]
fn a_wrong_setting_is_one_line_without_its_secret() {
    for (arguments, variables, status, begins) in [
        (
            &[][..],
            &[("REDIS_URL", "redis://user:hunter2@host:notaport/0")][..],
            1,
            "synapse: REDIS_URL: ",
        ),
        (
            &["--redis-url=http://user:hunter2@host"],
            &[],
            1,
            "synapse: --redis-url: ",
        ),
        (
            &[],
            &[("REDIS_HOST", "redis://:hunter2@host")],
            1,
            "synapse: REDIS_HOST: ",
        ),
        (
            &[],
            &[("SYNAPSE_RELAY", "connect")],
            1,
            "synapse: SYNAPSE_RELAY: ",
        ),
        (
            &[],
            &[("SYNAPSE_CLIENT_DIR", "/nowhere")],
            1,
            "synapse: SYNAPSE_CLIENT_DIR: ",
        ),
        (&["redis://user:hunter2@host"], &[], 2, "error: "),
        (
            &["--redis-password"],
            &[("REDIS_PASSWORD", "hunter2")],
            2,
            "error: ",
        ),
    ] {
        let (code, error) = failing(arguments, variables);
        assert_eq!(code, Some(status), "{error}");
        assert!(error.starts_with(begins), "{error}");
        assert!(status == 2 || error.lines().count() == 1, "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_help_shows_no_values_of_the_environment() {
    let output = synapse(&["--help"], &[("REDIS_URL", "redis://:hunter2@host")])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && help.contains("[env: REDIS_URL]") && !help.contains("hunter2")
    );
}

#[test]
fn without_redis_it_is_a_complete_server_that_relays_what_its_rules_name() {
    let server = Running::start(
        &["--server-id=alpha"],
        &[("SYNAPSE_RELAY", "say=everyone,whisper=rooms")],
    );
    let port = server.ports(1)[0];
    let log = server.wait_for_log("Running without Redis adapter");
    assert!(
        log.contains("neither REDIS_URL nor REDIS_HOST is set"),
        "{log}"
    );
    let (status, health) = get(port, "/health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(
        health.contains("\"redis_status\": \"disabled\"")
            && health.contains("\"server_id\": \"alpha\""),
        "{health}"
    );
    assert_eq!(get(port, "/ready").0, "HTTP/1.1 200 OK");
    assert!(get(port, "/").1.contains("alpha"));
    assert_eq!(
        get(port, "/socket.io/socket.io.js").0,
        "HTTP/1.1 404 Not Found"
    );

    let (mut alice, mut bob) = (Client::connect(port), Client::connect(port));
    alice.send("42[\"test_event\",1]");
    // Alice is in no room but her own, so this is for nobody, and above all not for everyone.
    alice.send("42[\"whisper\",2]");
    alice.send("42[\"say\",{\"message\":\"hi\"}]");
    assert_eq!(bob.receive(), "42[\"say\",{\"message\":\"hi\"}]");
    bob.send("42[\"say\",\"back\"]");
    assert_eq!(
        alice.receive(),
        "42[\"say\",\"back\"]",
        "the sender does not hear itself"
    );
}

#[test]
fn a_redis_that_is_absent_costs_nothing_but_the_other_servers() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("redis://user:hunter2@127.0.0.1:{free}/0");
    let server = Running::start(
        &["--ready-needs-redis", "--log-format=json"],
        &[("REDIS_URL", &url)],
    );
    // The two lines come from two tasks, in either order.
    server.wait_for_log("url\":\"http://127.0.0.1:");
    let log = server.wait_for_log("Running without Redis adapter");
    let line = log
        .lines()
        .find(|line| line.contains("Running without Redis adapter"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "Running without Redis adapter");
    assert!(
        line["reason"].is_string() && line["next"].is_string(),
        "{line}"
    );

    let port = log
        .split("url\":\"http://127.0.0.1:")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let (_, health) = get(port, "/health");
    assert!(
        health.contains("\"status\": \"degraded\"")
            && health.contains("\"redis_status\": \"connecting\""),
        "{health}"
    );
    assert_eq!(get(port, "/ready").0, "HTTP/1.1 503 Service Unavailable");
    let (alice, mut bob) = (Client::connect(port), Client::connect(port));
    alice.send("42[\"test_event\",1]");
    assert_eq!(bob.receive(), "42[\"test_event\",1]");
    assert!(!server.log().contains("hunter2") && !health.contains("hunter2"));
}

#[test]
fn the_demo_without_redis_joins_its_servers_inside_the_process() {
    let demo = Running::start(&["demo"], &[("PATH", "/nowhere")]);
    let ports = demo.ports(2);
    let log = demo.wait_for_log("Ctrl-C stops everything");
    assert!(log.contains("joined inside this process"), "{log}");
    let (alice, mut bob) = (Client::connect(ports[0]), Client::connect(ports[1]));
    alice.send("42[\"test_event\",{\"message\":\"hi\"}]");
    assert_eq!(bob.receive(), "42[\"test_event\",{\"message\":\"hi\"}]");
    assert!(
        get(ports[0], "/")
            .1
            .contains(&format!("content=\"{}\"", ports[1]))
    );
}

#[test]
fn a_signal_ends_it_gracefully() {
    for (signal, task) in [("TERM", &[][..]), ("INT", &[]), ("TERM", &["demo"])] {
        let mut server = Running::start(task, &[("PATH", "/nowhere")]);
        let port = server.ports(1 + task.len())[0];
        let mut client = Client::connect(port);
        let polling = thread::spawn(move || client.receive());
        wait("the poll", || {
            get(port, "/health")
                .1
                .contains("\"connections\": 1")
                .then_some(())
        });
        let asked = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait_for_end().code(), Some(0), "{}", server.log());
        assert!(asked.elapsed() < Duration::from_secs(10));
        // The engine's close, or the end of the namespace before it.
        let told = polling.join().unwrap();
        assert!(told == "1" || told == "41", "{told}");
        server.wait_for_log("stopped");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Running::start(&[], &[]);
    // A client that does not ask for its goodbye is waited for.
    let _client = Client::connect(server.ports(1)[0]);
    server.signal("TERM");
    server.wait_for_log("stopping");
    server.signal("TERM");
    assert_eq!(server.wait_for_end().code(), Some(128 + 15));
}
