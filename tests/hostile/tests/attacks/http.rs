//! Requests that are too large, too many headers, and queries that mean nothing.

use synapse_hostile::{Host, Http, Polling, Response, handshake_request};

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// Sends a request head as it is. None: the server closed before its answer could be read, which a sender of megabytes has to expect.
async fn answer(host: &Host, head: &str) -> Option<Response> {
    let mut http = Http::connect(host.address).await;
    http.send(head).await;
    let response = http.try_response().await;
    http.closed().await;
    response
}

#[tokio::test]
async fn cve_2024_37890_more_headers_than_the_limit() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let many: String = (0..65).map(|n| format!("X-{n}: 1\r\n")).collect();
    let polling = format!("GET {HANDSHAKE} HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let upgrade = handshake_request("/socket.io/?EIO=4&transport=websocket", &[])
        .replace("\r\n\r\n", &format!("\r\n{many}\r\n"));
    for head in [polling, upgrade] {
        assert_eq!(
            answer(&host, &head).await.map(|response| response.status),
            Some(431)
        );
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2023_43669_headers_of_megabytes() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let head = |bytes| {
        format!(
            "GET {HANDSHAKE} HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    let allowed = format!(
        "GET /elsewhere HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\nConnection: close\r\n\r\n",
        "x".repeat(8_000)
    );
    assert_eq!(
        answer(&host, &allowed)
            .await
            .map(|response| response.status),
        Some(404)
    );
    assert_eq!(
        answer(&host, &head(17_000))
            .await
            .map(|response| response.status),
        Some(431)
    );
    for bytes in [1_000_000, 20_000_000] {
        let status = answer(&host, &head(bytes))
            .await
            .map(|response| response.status);
        assert!(matches!(status, None | Some(431)), "{bytes}: {status:?}");
    }
    let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1_000_000));
    let status = answer(&host, &line).await.map(|response| response.status);
    assert!(matches!(status, None | Some(414 | 431)), "{status:?}");
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn cve_2021_32640_quadratic_protocol_header() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for value in [
        format!("b{}x", " ".repeat(15_000)),
        ",".repeat(15_000),
        "a,".repeat(7_000),
    ] {
        let mut http = Http::connect(host.address).await;
        http.send(handshake_request(
            "/socket.io/?EIO=4&transport=websocket",
            &[("Sec-WebSocket-Protocol", &value)],
        ))
        .await;
        let response = http.response().await;
        assert!(response.status == 101 && response.header("sec-websocket-protocol").is_none());
        drop(http);
        host.settled(1).await;
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn broken_requests_are_refused() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    for head in [
        "\r\n\r\n\r\n\r\n!",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let status = answer(&host, head).await.map(|response| response.status);
        assert!(matches!(status, None | Some(400)), "{head:?}: {status:?}");
    }
    host.check(&mut bystander).await;
}

/// Two lengths for one body are how requests are smuggled past a proxy.
#[tokio::test]
async fn request_smuggling_is_refused() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (polling, _) = Polling::join(host.address).await;
    let target = polling.target();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
    );
    let mut http = Http::connect(host.address).await;
    http.send(head).await;
    // Whatever the first answer is, the second request is not taken as one of its own on a connection that goes on.
    let first = http.try_response().await.map(|response| response.status);
    assert!(matches!(first, None | Some(200 | 400)), "{first:?}");
    if first == Some(200) {
        assert_eq!(
            http.try_response().await,
            None,
            "the connection has to end after both lengths"
        );
    }
    drop(polling);
    bystander.echo("after").await;
}

#[tokio::test]
async fn cve_2023_31125_queries_of_any_form() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let mut http = Http::connect(host.address).await;
    for (query, code) in [
        ("", 0),
        ("EIO=4", 0),
        ("EIO=4&transport=", 0),
        ("EIO=4&transport=__proto__", 0),
        ("EIO=4&transport=constructor", 0),
        ("EIO=4&transport=polling&transport=websocket", 0),
        ("EIO=4&transport[]=polling", 0),
        ("EIO=4&transport=%ff", 0),
        ("EIO=4&transport=polling&sid=nobody", 1),
        ("EIO=4&transport=polling&sid=%00", 1),
        ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", 1),
        ("EIO=4&transport=websocket", 3),
        ("EIO=0&transport=polling", 5),
        ("EIO=99&transport=polling", 5),
        ("EIO=abc&transport=polling", 5),
        ("transport=polling", 5),
    ] {
        let response = http
            .request("GET", &format!("/socket.io/?{query}"), &[], b"")
            .await;
        assert_eq!(response.status, 400, "{query}");
        assert!(
            response.body.starts_with(&format!(r#"{{"code":{code},"#)),
            "{query}: {}",
            response.body
        );
    }
    for (method, status) in [
        ("POST", 400),
        ("PUT", 400),
        ("DELETE", 400),
        ("TRACE", 400),
        ("OPTIONS", 400),
        ("BREW", 400),
    ] {
        assert_eq!(
            http.request(method, HANDSHAKE, &[], b"").await.status,
            status,
            "{method}"
        );
    }
    for path in [
        "/",
        "/socket.iox/",
        "/socket.io",
        "/SOCKET.IO/",
        "/%73ocket.io/",
        "//socket.io/",
        "/../socket.io/",
    ] {
        let response = http
            .request("GET", &format!("{path}?EIO=4&transport=polling"), &[], b"")
            .await;
        assert_eq!(response.status, 404, "{path}");
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn broken_websocket_handshakes_are_refused() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let good = handshake_request("/socket.io/?EIO=4&transport=websocket", &[]);
    for (from, to, status) in [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "!!!!IHNhbXBsZSBub25jZQ==", 400),
        ("Upgrade: websocket", "Upgrade: h2c", 400),
        ("GET /", "POST /", 400),
        ("EIO=4", "EIO=3", 400),
        ("transport=websocket", "transport=polling", 400),
    ] {
        let head = good.replace(from, to);
        assert_eq!(
            answer(&host, &head).await.map(|response| response.status),
            Some(status),
            "{to}"
        );
    }
    host.check(&mut bystander).await;
}

#[tokio::test]
async fn sessions_beyond_the_limit_are_refused() {
    let mut config = synapse_hostile::quick_config();
    config.limits.sessions_max = 2;
    let host = Host::with(config);
    let mut bystander = host.bystander().await;
    let (polling, _) = Polling::join(host.address).await;
    let mut http = Http::connect(host.address).await;
    let refused = http.request("GET", HANDSHAKE, &[], b"").await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("5"))
    );
    http.send(handshake_request(
        "/socket.io/?EIO=4&transport=websocket",
        &[],
    ))
    .await;
    assert_eq!(http.response().await.status, 503);
    let mut polling = polling;
    polling.post("1").await;
    host.check(&mut bystander).await;
    let (_polling, _) = Polling::join(host.address).await;
}

/// Requests that come before the one in front of them is answered are answered in their order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    let (polling, _) = Polling::join(host.address).await;
    let target = polling.target();
    let post = |body: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut requests = String::new();
    for n in 0..20 {
        requests += &post(&format!(r#"42["echo",{n}]"#));
        requests += &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    requests += &post("1");
    let mut http = Http::connect(host.address).await;
    http.send(requests).await;
    for n in 0..20 {
        assert_eq!(http.response().await.body, "ok");
        assert_eq!(http.response().await.body, format!(r#"42["echo",{n}]"#));
    }
    assert_eq!(http.response().await.body, "ok");
    host.check(&mut bystander).await;
}
