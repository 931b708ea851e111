//! Pages of foreign origins.

use synapse_hostile::{Host, Http, handshake_request, quick_config};
use synapse_socket::{Cors, Origins};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

fn listed() -> Host {
    let mut config = quick_config();
    let origins = Origins::List(vec![
        "https://app.example.com".to_owned(),
        "http://localhost:8080".to_owned(),
    ]);
    config.cors = Some(Cors {
        origins,
        credentials: true,
        ..Cors::default()
    });
    Host::with(config)
}

#[tokio::test]
async fn cve_2019_13611_foreign_origins_are_refused_on_both_transports() {
    let host = listed();
    let mut bystander = host.bystander().await;
    for origin in [
        "https://evil-app.example.com",
        "https://app.example.com.evil.org",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://APP.example.com",
        "http://app.example.com",
        "https://app.example.com/",
        "https://app.example.com, https://evil.org",
        "null",
        "file://",
        "https://xn--pp-wia.example.com",
    ] {
        let headers = [("Origin", origin), ("Cookie", "session=secret")];
        let mut http = Http::connect(host.address).await;
        let response = http.request("GET", POLLING, &headers, b"").await;
        assert_eq!(
            (
                response.status,
                response.header("access-control-allow-origin")
            ),
            (403, None),
            "{origin}"
        );
        http.send(handshake_request(WEBSOCKET, &headers)).await;
        assert_eq!(http.response().await.status, 400, "{origin}");
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn listed_origins_and_programs_are_let_in() {
    let host = listed();
    for origin in [
        "https://app.example.com",
        "http://localhost:8080",
        "http://localhost",
    ] {
        let mut http = Http::connect(host.address).await;
        let response = http
            .request("GET", POLLING, &[("Origin", origin)], b"")
            .await;
        assert_eq!(response.status, 200, "{origin}");
        if origin != "http://localhost" {
            assert_eq!(response.header("access-control-allow-origin"), Some(origin));
            assert_eq!(
                response.header("access-control-allow-credentials"),
                Some("true")
            );
        }
        http.send(handshake_request(WEBSOCKET, &[("Origin", origin)]))
            .await;
        assert_eq!(http.response().await.status, 101, "{origin}");
    }
}

/// CVE-2020-28481: every origin was allowed unless the application said otherwise.
#[tokio::test]
async fn cve_2020_28481_no_origin_is_named_by_default() {
    let host = Host::start();
    let mut http = Http::connect(host.address).await;
    let response = http
        .request("GET", POLLING, &[("Origin", "https://evil.org")], b"")
        .await;
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn headers_cannot_be_split_by_an_origin() {
    let host = listed();
    let mut http = Http::connect(host.address).await;
    let mut bystander = host.bystander().await;
    http.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: https://a\xff\r\n\r\n").await;
    let response = http.response().await;
    assert_eq!(response.status, 400);
    assert_eq!(response.header("access-control-allow-origin"), None);
    host.check(&mut bystander).await;
}
