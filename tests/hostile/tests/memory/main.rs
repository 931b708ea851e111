//! After an attack the server's memory is what it was before. Each class of attack is made twice as often as anything is kept for reuse, and
//! what is left on the heap is compared. One test, because the count is the process's.

#![expect(clippy::unwrap_used, reason = "a test")]

mod attacks;

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use synapse_budgets::{Counting, LIVE_BYTES};
use synapse_hostile::{DEADLINE, Host, eventually, quick_config};
use synapse_socket::{Cors, Origins, Server, SlowPolicy, SocketLimits};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often each attack is made before its memory is measured, and again before it is compared.
const TIMES: usize = 5;
/// What may be left of five attacks of one class: a slot or two of a table that has grown. An attack that leaves a kilobyte is found.
const LEFT_BYTES_MAX: usize = 4 * 1024;
/// What may be left of all of them together: tables and pools that have grown once and are used again.
const LEFT_OF_ALL_BYTES_MAX: usize = 1024 * 1024;

/// An attack by clients that are gone at its end.
pub(crate) type Attack = fn(Host) -> Pin<Box<dyn Future<Output = ()>>>;

/// Everything that takes time takes little.
fn host() -> Host {
    let mut config = quick_config();
    config.timing.ping_interval = Duration::from_millis(500);
    config.timing.ping_timeout = Duration::from_millis(500);
    config.timing.connect_timeout = Duration::from_millis(100);
    config.timing.upgrade_timeout = Duration::from_millis(100);
    config.limits.request_head_timeout = Duration::from_millis(400);
    config.limits.request_body_timeout = Duration::from_millis(100);
    config.limits.outbox_bytes_max = 1024 * 1024;
    config.cors = Some(Cors {
        origins: Origins::List(vec!["https://app.example.com".to_owned()]),
        credentials: true,
        ..Cors::default()
    });
    let limits = SocketLimits {
        attachment_timeout: Duration::from_millis(100),
        events_per_second: NonZeroU32::new(5_000),
        ..SocketLimits::default()
    };
    let host = Host::serve(Server::builder().config(config).limits(limits).build());
    let main = host.io.of("/");
    main.slow_policy("cursor", SlowPolicy::KeepLatestBy(0));
    main.slow_policy("line", SlowPolicy::DropOldest);
    host.io
        .of("/refused")
        .use_middleware(|socket: synapse_socket::Socket| async move {
            let _ = socket.join("left behind");
            Err::<(), _>(synapse_socket::Refusal::new("no"))
        });
    host
}

fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// Waits until no client is left and no more than `bytes` are in use, or until what is in use has stayed the same for a while.
async fn settled(host: &Host, bytes: usize) -> usize {
    eventually("every session to end", || host.io.stats().sessions == 0).await;
    // The slots of the timing wheel come round, and closed connections linger.
    const STILL: Duration = Duration::from_millis(1_200);
    let (start, mut last, mut since) = (Instant::now(), live_bytes(), Instant::now());
    while live_bytes() > bytes && since.elapsed() < STILL && start.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if live_bytes() != last {
            (last, since) = (live_bytes(), Instant::now());
        }
    }
    live_bytes()
}

async fn repeat(host: &Host, attack: Attack) {
    for _ in 0..TIMES {
        attack(host.clone()).await;
    }
}

#[tokio::test]
async fn memory_is_what_it_was_before_each_attack() {
    let host = host();
    let mut kept = Vec::new();
    let start = settled(&host, 0).await;
    for (name, attack) in attacks::ALL {
        repeat(&host, *attack).await;
        let before = settled(&host, 0).await;
        repeat(&host, *attack).await;
        let left = settled(&host, before + LEFT_BYTES_MAX).await;
        let left = left.saturating_sub(before);
        if left > LEFT_BYTES_MAX {
            kept.push(format!("{name}: {left} B"));
        }
    }
    assert!(kept.is_empty(), "left of {TIMES} attacks: {kept:#?}");
    let end = settled(&host, start + LEFT_OF_ALL_BYTES_MAX).await;
    let left = end.saturating_sub(start);
    assert!(left <= LEFT_OF_ALL_BYTES_MAX, "left of all: {left} B");
    let main = host.io.of("/");
    assert_eq!((host.socket_count(), main.socket_count()), (0, 0));
}
