//! The program against a server of this process: what it counts is what happened. How long anything took is never asserted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use synapse_adapter::bus::Bus;
use synapse_socket::{Arguments, EngineConfig, Server, ServerBuilder, Socket, Timing};

#[path = "../examples/relay_server.rs"]
#[expect(dead_code, reason = "its `main` is not called")]
mod relay_server;

/// A server on a free port, which serves until the test's process ends.
fn start(builder: ServerBuilder) -> (SocketAddr, Server) {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let io = builder.build();
            io.of("/").on("lossy", lossy());
            let listener = synapse_socket::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            sender
                .send((listener.local_addr().unwrap(), io.clone()))
                .unwrap();
            relay_server::run(io, listener).await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

/// Relays, but of five events it drops the first and doubles the second.
fn lossy() -> impl EventHandler {
    let count = AtomicUsize::new(0);
    move |socket: Socket, event: Arguments| {
        let copies = [0, 2, 1, 1, 1][count.fetch_add(1, Ordering::Relaxed) % 5];
        for _ in 0..copies {
            socket.broadcast().emit_arguments(event.clone());
        }
        std::future::ready(())
    }
}

/// A handler of a socket and arguments.
trait EventHandler: synapse_socket::Handler<(Socket, Arguments)> {}
impl<T: synapse_socket::Handler<(Socket, Arguments)>> EventHandler for T {}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synapse-loadtest"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The report of a run that was clean.
fn report(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn idle_connections_are_held_through_heartbeats() {
    // Whoever does not answer is closed a second after opening, long before the end.
    let timing = Timing {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(900),
        ..Timing::default()
    };
    let (address, io) = start(Server::builder().config(EngineConfig {
        timing,
        ..EngineConfig::default()
    }));
    let pid = std::process::id().to_string();
    let target = address.to_string();
    let report = report(&[
        "idle",
        "--target",
        &target,
        "--connections",
        "50",
        "--hold",
        "2s",
        "--server-pid",
        &pid,
    ]);
    assert_eq!(report["connections"], 50);
    assert_eq!(report["lost"], 0);
    assert!(report["heartbeats"].as_u64().unwrap() >= 50, "{report}");
    assert!(
        report["server"]["after_bytes"].as_u64().unwrap() > 0,
        "{report}"
    );
    all_have_left(&io);
}

#[test]
fn every_echo_is_counted_in_either_loop() {
    let (address, io) = start(Server::builder());
    let target = address.to_string();
    let common = [
        "echo",
        "--target",
        &target,
        "--connections",
        "7",
        "--warmup",
        "50ms",
    ];
    let closed = report(&[&common[..], &["--duration", "200ms", "--in-flight", "3"]].concat());
    assert_eq!(closed["mode"]["in_flight"], 3);
    assert!(closed["sent"].as_u64().unwrap() >= 21, "{closed}");
    assert_eq!(closed["acknowledged"], closed["sent"]);
    assert_eq!(closed["latency"]["count"], closed["sent"]);

    let open = report(&[&common[..], &["--duration", "500ms", "--rate", "1000"]].concat());
    assert_eq!(open["sent"], 500);
    assert_eq!(open["acknowledged"], 500);
    assert_eq!(open["latency"]["count"], 500);
    for report in [closed, open] {
        assert_eq!(
            (&report["lost"], &report["unexpected"]),
            (&0.into(), &0.into())
        );
    }
    all_have_left(&io);
}

#[test]
fn every_delivery_of_a_fan_out_is_counted() {
    let (address, io) = start(Server::builder());
    let target = address.to_string();
    for (senders, outstanding, messages) in [
        ("1", "1", "20"),
        ("1", "4", "50"),
        ("3", "2", "30"),
        ("1", "8", "3"),
    ] {
        let report = report(&[
            "fanout",
            "--targets",
            &target,
            "--connections",
            "40",
            "--senders",
            senders,
            "--outstanding",
            outstanding,
            "--messages",
            messages,
            "--warmup",
            "2",
        ]);
        let receivers = 40 + senders.parse::<u64>().unwrap() - 1;
        let expected = messages.parse::<u64>().unwrap() * receivers;
        let all = &report["outcome"]["spread"];
        assert_eq!(all["deliveries"]["expected"], expected);
        assert_eq!(all["deliveries"]["received"], expected);
        assert_eq!(all["same_server"]["count"], expected);
        assert_eq!(all["other_server"]["count"], 0);
    }
    all_have_left(&io);
}

#[test]
fn deliveries_across_servers_are_told_from_those_beside() {
    let bus = Bus::new();
    let servers = [(); 2].map(|()| start(Server::builder().adapter(bus.node())));
    let targets = format!("{},{}", servers[0].0, servers[1].0);
    let common = [
        "fanout",
        "--targets",
        &targets,
        "--connections",
        "10",
        "--messages",
        "20",
        "--warmup",
        "0",
    ];
    let spread = report(&common);
    let all = &spread["outcome"]["spread"];
    assert_eq!(all["same_server"]["count"], 100);
    assert_eq!(all["other_server"]["count"], 100);

    let hop = report(&[&common[..], &["--hop"]].concat());
    let (across, beside) = (
        &hop["outcome"]["hop"]["across"],
        &hop["outcome"]["hop"]["beside"],
    );
    assert_eq!(
        (
            &across["other_server"]["count"],
            &across["same_server"]["count"]
        ),
        (&200.into(), &0.into())
    );
    assert_eq!(
        (
            &beside["same_server"]["count"],
            &beside["other_server"]["count"]
        ),
        (&200.into(), &0.into())
    );
    servers.iter().for_each(|(_, io)| all_have_left(io));
}

#[test]
fn what_a_server_drops_and_doubles_is_found() {
    let (address, _io) = start(Server::builder());
    let target = address.to_string();
    let output = run(&[
        "fanout",
        "--targets",
        &target,
        "--connections",
        "6",
        "--event",
        "lossy",
        "--messages",
        "10",
        "--outstanding",
        "10",
        "--warmup",
        "0",
        "--patience",
        "1s",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let deliveries = &report["outcome"]["spread"]["deliveries"];
    assert_eq!(deliveries["expected"], 60);
    assert_eq!(deliveries["received"], 48);
    assert_eq!(deliveries["lost"], 12);
    assert_eq!(deliveries["duplicates"], 12);
    assert_eq!(deliveries["out_of_order"], 0);
}

#[test]
fn every_cycle_of_a_churn_is_counted() {
    let (address, io) = start(Server::builder());
    let report = report(&[
        "churn",
        "--target",
        &address.to_string(),
        "--cycles",
        "300",
        "--at-once",
        "20",
    ]);
    assert_eq!(report["cycles"], 300);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["join_latency"]["count"], 300);
    all_have_left(&io);
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let (address, _io) = start(Server::builder());
    let target = address.to_string();
    for (arguments, reason) in [
        (
            &["idle", "--target", "192.168.0.1:3000"][..],
            "192.168.0.1 is not a loopback address",
        ),
        (
            &["idle", "--connections", "20000"],
            "20000 connections are more than the",
        ),
        (
            &["fanout", "--hop", "--targets", &target],
            "the hop is measured between two servers",
        ),
        (
            &[
                "echo",
                "--target",
                &target,
                "--event",
                "unknown",
                "--patience",
                "100ms",
            ],
            "no answer to `unknown`",
        ),
        (
            &["idle", "--target", &target, "--path", "/elsewhere/"],
            "HTTP/1.1 404",
        ),
    ] {
        let error = error(arguments);
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn cycles_that_fail_are_counted() {
    let (address, _io) = start(Server::builder());
    let target = address.to_string();
    let output = run(&[
        "churn",
        "--target",
        &target,
        "--path",
        "/elsewhere/",
        "--cycles",
        "30",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 30);
    assert!(
        report["first_failure"].as_str().unwrap().contains("404"),
        "{report}"
    );
}

/// The server sees that all clients are gone.
fn all_have_left(io: &Server) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while io.stats().sessions > 0 {
        assert!(
            Instant::now() < deadline,
            "{} sessions are left",
            io.stats().sessions
        );
        std::thread::yield_now();
    }
}
