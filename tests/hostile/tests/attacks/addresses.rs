//! Many connections and handshakes of one address, and addresses that are made up.

use std::time::Duration;

use synapse_hostile::{Client, Host, Http, Polling, Response, handshake_request, quick_config};
use synapse_socket::{EngineConfig, ForwardedHeader, Rate, TrustedProxies};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const CONNECTIONS_MAX: usize = 4;

fn limited() -> EngineConfig {
    let mut config = quick_config();
    config.limits.connections_per_address_max = Some(CONNECTIONS_MAX);
    config
}

/// Tokens do not come back while a test runs.
fn burst_of(burst: u32) -> Option<Rate> {
    Some(Rate {
        per_second: 1,
        burst,
    })
}

fn behind_a_proxy(mut config: EngineConfig) -> EngineConfig {
    config.trusted_proxies = Some(TrustedProxies {
        networks: vec!["127.0.0.1".parse().expect("a network")],
        header: ForwardedHeader::XForwardedFor,
    });
    config
}

async fn handshake(host: &Host, headers: &[(&str, &str)]) -> Response {
    let mut http = Http::connect(host.address).await;
    http.request("GET", POLLING, headers, b"").await
}

async fn assert_refused(host: &Host, headers: &[(&str, &str)], status: u16, message: &str) {
    let refused = handshake(host, headers).await;
    let body = format!(r#"{{"code":3,"message":"{message}"}}"#);
    assert_eq!((refused.status, refused.body), (status, body));
    let mut http = Http::connect(host.address).await;
    http.send(handshake_request(WEBSOCKET, headers)).await;
    let at_upgrade = http.response().await;
    assert_eq!(
        (at_upgrade.status, at_upgrade.body.as_str()),
        (status, message)
    );
    for retry in [refused.headers, at_upgrade.headers] {
        let after = retry.into_iter().find(|(name, _)| name == "retry-after");
        assert_eq!(after.map(|(_, value)| value).as_deref(), Some("5"));
    }
    http.closed().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_however_they_end() {
    let host = Host::with(limited());
    let mut bystander = host.bystander().await;
    for round in 0..5 {
        let mut clients = Vec::new();
        while clients.len() + 2 < CONNECTIONS_MAX {
            clients.push(Client::join(host.address).await);
        }
        let (mut polling, _) = Polling::join(host.address).await;
        for _ in 0..3 {
            assert_refused(&host, &[], 429, "Too many connections from this address").await;
        }
        bystander.echo("meanwhile").await;
        if round % 2 == 0 {
            assert_eq!(polling.post("1").await.body, "ok");
            for client in clients {
                client.reset();
            }
        } else {
            polling.start_poll().await;
            polling.abort_poll().await;
            for mut client in clients {
                client.send("garbage").await;
                client.closed().await;
            }
        }
        host.check(&mut bystander).await;
    }
}

/// Requests that never become a session must not use up the places of their address.
#[tokio::test]
async fn handshakes_that_fail_leave_their_places() {
    let host = Host::with(limited());
    let mut bystander = host.bystander().await;
    for _ in 0..3 * CONNECTIONS_MAX {
        let mut http = Http::connect(host.address).await;
        http.send("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        assert_eq!(http.response().await.status, 426);
        let mut http = Http::connect(host.address).await;
        http.send(handshake_request(WEBSOCKET, &[])).await;
        http.reset();
        host.settled(1).await;
    }
    let opened = handshake(&host, &[]).await;
    assert_eq!(opened.status, 200, "{}", opened.body);
    bystander.echo("after").await;
}

#[tokio::test]
async fn addresses_that_a_client_makes_up_are_its_own() {
    let host = Host::with(limited());
    let mut bystander = host.bystander().await;
    let mut opened = 0;
    for number in 0..50 {
        let address = format!("203.0.113.{number}");
        let headers = [
            ("X-Forwarded-For", address.as_str()),
            ("Forwarded", "for=203.0.113.7"),
            ("X-Real-IP", address.as_str()),
        ];
        opened += usize::from(handshake(&host, &headers).await.status == 200);
    }
    assert_eq!(opened, CONNECTIONS_MAX - 1);
    bystander.echo("after").await;
}

#[tokio::test]
async fn behind_a_proxy_every_client_counts_for_itself() {
    let host = Host::with(behind_a_proxy(limited()));
    let mut bystander = host.bystander().await;
    for number in 0..20 {
        // What a client wrote itself stands in front of what the proxy adds.
        let line = format!("10.9.8.7, 203.0.113.{number}");
        let headers = [("X-Forwarded-For", line.as_str())];
        for _ in 0..CONNECTIONS_MAX {
            assert_eq!(handshake(&host, &headers).await.status, 200);
        }
        assert_eq!(handshake(&host, &headers).await.status, 429);
    }
    bystander.echo("after").await;
}

#[tokio::test]
async fn a_flood_of_handshakes_of_one_address_is_slowed_down_alone() {
    let mut config = behind_a_proxy(quick_config());
    config.limits.handshake_rate_per_address = burst_of(10);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let flood = [("X-Forwarded-For", "203.0.113.5")];
    let mut opened = 0;
    for _ in 0..60 {
        opened += u32::from(handshake(&host, &flood).await.status == 200);
    }
    // Some tokens may have come back on a machine that is slow.
    assert!((10..40).contains(&opened), "{opened}");
    for _ in 0..12 {
        handshake(&host, &flood).await;
    }
    assert_refused(&host, &flood, 429, "Too many handshakes from this address").await;
    let other = [("X-Forwarded-For", "203.0.113.6")];
    assert_eq!(handshake(&host, &other).await.status, 200);
    bystander.echo("after").await;
}

/// A herd from everywhere: each address is new, so only what the server takes in all counts.
#[tokio::test]
async fn a_flood_of_handshakes_of_many_addresses_is_slowed_down() {
    let mut config = behind_a_proxy(quick_config());
    config.limits.handshake_rate_per_address = burst_of(2);
    config.limits.handshake_rate = burst_of(20);
    config.limits.addresses_max = 16;
    config.timing.ping_interval = Duration::from_secs(3_600);
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let mut statuses = Vec::new();
    for number in 0..120 {
        let address = format!("2001:db8:{number}::1");
        let headers = [("X-Forwarded-For", address.as_str())];
        statuses.push(handshake(&host, &headers).await.status);
    }
    let opened = statuses.iter().filter(|status| **status == 200).count();
    assert!((19..100).contains(&opened), "{opened}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)));
    while handshake(&host, &[("X-Forwarded-For", "2001:db8:ffff::1")])
        .await
        .status
        == 200
    {}
    let late = [("X-Forwarded-For", "2001:db8:fffe::1")];
    let refused = handshake(&host, &late).await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, r#"{"code":3,"message":"Too many handshakes"}"#)
    );
    bystander.echo("after").await;
}
