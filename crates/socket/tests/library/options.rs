//! The options of a server: hooks that see requests, ids of the application, cookies, paths, transports, proxies.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use synapse_hostile::{
    Client, Host, Http, Polling, Response, WebSocket, eventually, handshake_request, quick_config,
};
use synapse_socket::{
    Ack, Cookie, ForwardedHeader, Server, ServerBuilder, SessionId, Socket, TransportKind,
    TrustedProxies,
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

fn builder() -> ServerBuilder {
    Server::builder().config(quick_config())
}

async fn get(host: &Host, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut http = Http::connect(host.address).await;
    http.request("GET", target, headers, b"").await
}

/// The response to a WebSocket handshake, whatever it is.
async fn upgrade(host: &Host, target: &str) -> (Response, Http) {
    let mut http = Http::connect(host.address).await;
    http.send(handshake_request(target, &[])).await;
    (http.response().await, http)
}

#[tokio::test]
async fn headers_are_added_to_what_is_not_refused() {
    let io = builder()
        .initial_headers(|request, headers| {
            let first = request.headers.contains_key("x-ask").to_string();
            headers.insert("x-initial", first.parse().unwrap());
            headers.insert("x-order", "initial".parse().unwrap());
        })
        .headers(|request, headers| {
            headers.insert("x-method", request.method.as_str().parse().unwrap());
            headers.append("x-order", "every".parse().unwrap());
        });
    let host = Host::serve(io.build());
    let seen = |response: &Response| {
        let header = |name| response.header(name).map(str::to_owned);
        (response.status, header("x-initial"), header("x-method"))
    };
    let some = |text: &str| Some(text.to_owned());

    let opened = get(&host, POLLING, &[("X-Ask", "1")]).await;
    assert_eq!(seen(&opened), (200, some("true"), some("GET")));
    assert_eq!(opened.header("x-order"), Some("initial"));
    let (opened, _http) = upgrade(&host, WEBSOCKET).await;
    assert_eq!(seen(&opened), (101, some("false"), some("GET")));

    let mut polling = Polling::open(host.address).await;
    let posted = polling.post("40").await;
    assert_eq!(seen(&posted), (200, None, some("POST")));
    assert_eq!(seen(&polling.poll().await), (200, None, some("GET")));
    let target = polling.target().replace("=polling", "=websocket");
    let (upgraded, _http) = upgrade(&host, &target).await;
    assert_eq!(seen(&upgraded), (101, None, some("GET")));

    let refused = get(&host, "/socket.io/?EIO=4&transport=x", &[]).await;
    assert_eq!(seen(&refused), (400, None, None));
}

#[tokio::test]
async fn ids_of_the_application_are_what_clients_get_and_none_is_given_twice() {
    let next = AtomicU8::new(0);
    let io = builder().generate_id(move |request| {
        let last = if request.url().contains("same") {
            0
        } else {
            next.fetch_add(1, Ordering::Relaxed)
        };
        let mut bytes = [9; 15];
        bytes[14] = last;
        SessionId::from_random(bytes)
    });
    let host = Host::serve(io.build());
    let (mut first, _) = Polling::join(host.address).await;
    assert_eq!(first.sid(), "CQkJCQkJCQkJCQkJCQkA");
    let mut second = Client::join(host.address).await;

    let refused = get(&host, &format!("{POLLING}&same"), &[]).await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (400, r#"{"code":3,"message":"Bad request"}"#)
    );
    let mut websocket = WebSocket::open(host.address, &format!("{WEBSOCKET}&same")).await;
    assert_eq!(websocket.closed().await, None);

    first.post(r#"42["echo",1]"#).await;
    assert_eq!(first.packets().await, [r#"42["echo",1]"#]);
    second.echo("there").await;
    assert_eq!(host.io.stats().sessions, 2);
}

#[tokio::test]
async fn the_application_hears_of_every_request_that_is_refused() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hearing = Arc::clone(&heard);
    let io = builder()
        .allow_request(|_| Err("closed today".to_owned()))
        .on_connection_error(move |request, error| {
            let line = format!(
                "{} {} {} {}",
                request.method,
                error.status.as_u16(),
                error.code,
                error.message
            );
            hearing.lock().unwrap().push(line);
        });
    let host = Host::serve(io.build());
    get(&host, "/socket.io/?EIO=4&transport=x", &[]).await;
    get(&host, &format!("{POLLING}&sid=x"), &[]).await;
    Http::connect(host.address)
        .await
        .request("PUT", POLLING, &[], b"")
        .await;
    get(&host, WEBSOCKET, &[]).await;
    get(&host, POLLING, &[]).await;
    get(&host, "/socket.io/?EIO=5&transport=polling", &[]).await;
    upgrade(&host, WEBSOCKET).await;
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "GET 400 0 Transport unknown",
            "GET 400 1 Session ID unknown",
            "PUT 400 2 Bad handshake method",
            "GET 400 3 Bad request",
            "GET 403 4 closed today",
            "GET 400 5 Unsupported protocol version",
            "GET 403 4 closed today",
        ]
    );
}

#[tokio::test]
async fn a_handshake_waits_for_its_decision_but_not_for_ever() {
    let mut config = quick_config();
    config.limits.allow_request_timeout = Duration::from_millis(50);
    let io = Server::builder()
        .config(config)
        .allow_request_async(|request| {
            let key = request.header("x-key").unwrap_or_default().to_owned();
            async move {
                tokio::task::yield_now().await;
                match key.as_str() {
                    "never" => std::future::pending().await,
                    "right" => Ok(()),
                    _ => Err("who?".to_owned()),
                }
            }
        });
    let host = Host::serve(io.build());
    for (key, status, body) in [
        ("wrong", 403, r#"{"code":4,"message":"who?"}"#),
        (
            "never",
            503,
            r#"{"code":3,"message":"Handshake was not decided in time"}"#,
        ),
    ] {
        let refused = get(&host, POLLING, &[("X-Key", key)]).await;
        assert_eq!((refused.status, refused.body.as_str()), (status, body));
        let mut http = Http::connect(host.address).await;
        http.send(handshake_request(WEBSOCKET, &[("X-Key", key)]))
            .await;
        let expected = if status == 403 { 400 } else { status };
        assert_eq!(http.response().await.status, expected, "{key}");
    }
    let opened = get(&host, POLLING, &[("X-Key", "right")]).await;
    assert_eq!(opened.status, 200);
    assert_eq!(host.io.stats().sessions, 1);
}

/// A service that decides and hangs must not let handshakes pile up.
#[tokio::test]
async fn only_so_many_handshakes_wait_for_their_decision() {
    let mut config = quick_config();
    config.limits.allow_requests_max = 3;
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = Arc::clone(&asked);
    let io = Server::builder()
        .config(config)
        .allow_request_async(move |_| {
            asking.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        });
    let host = Host::serve(io.build());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut http = Http::connect(host.address).await;
        http.send_request("GET", POLLING, &[], b"").await;
        waiting.push(http);
    }
    eventually("three decisions", || asked.load(Ordering::Relaxed) == 3).await;
    let refused = get(&host, POLLING, &[]).await;
    assert_eq!((refused.status, asked.load(Ordering::Relaxed)), (503, 3));
    // Whoever gives up makes room.
    drop(waiting);
    let mut late = Http::connect(host.address).await;
    eventually("room", || host.io.stats().refused == 1).await;
    loop {
        late.send_request("GET", POLLING, &[], b"").await;
        let answered = tokio::time::timeout(Duration::from_millis(20), late.try_response()).await;
        if answered.is_err() && asked.load(Ordering::Relaxed) == 4 {
            break;
        }
        late = Http::connect(host.address).await;
    }
}

#[tokio::test]
async fn a_cookie_comes_with_the_polling_handshake_alone() {
    let host = Host::serve(builder().cookie(Cookie::default()).build());
    let opened = get(&host, POLLING, &[]).await;
    let sid = opened.body.split('"').nth(3).unwrap().to_owned();
    let expected = format!("io={sid}; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(opened.header("set-cookie"), Some(expected.as_str()));
    let polled = Http::connect(host.address)
        .await
        .request("POST", &format!("{POLLING}&sid={sid}"), &[], b"40")
        .await;
    assert_eq!((polled.status, polled.header("set-cookie")), (200, None));
    let (opened, _http) = upgrade(&host, WEBSOCKET).await;
    assert_eq!((opened.status, opened.header("set-cookie")), (101, None));
}

#[tokio::test]
async fn a_server_offers_the_transports_it_was_given() {
    let unknown = r#"{"code":0,"message":"Transport unknown"}"#;
    let host = Host::serve(builder().transports([TransportKind::WebSocket]).build());
    assert_eq!(get(&host, POLLING, &[]).await.body, unknown);
    Client::join(host.address).await.echo("in").await;

    let host = Host::serve(builder().transports([TransportKind::Polling]).build());
    let opened = get(&host, POLLING, &[]).await;
    assert!(opened.body.contains(r#""upgrades":[]"#), "{}", opened.body);
    let (refused, _) = upgrade(&host, WEBSOCKET).await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (400, "Transport unknown")
    );
}

#[tokio::test]
async fn a_path_may_do_without_its_slash() {
    for (add, expected) in [(true, 404), (false, 200)] {
        let io = builder().path("/rt/").add_trailing_slash(add);
        let host = Host::serve(io.build());
        for (target, status) in [
            ("/rt/?EIO=4&transport=polling", 200),
            ("/rt?EIO=4&transport=polling", expected),
            ("/rtx?EIO=4&transport=polling", 404),
            (POLLING, 404),
        ] {
            assert_eq!(get(&host, target, &[]).await.status, status, "{target}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_client_s_address() {
    for (network, expected) in [
        ("127.0.0.0/8", r#"430["203.0.113.5",true]"#),
        ("10.0.0.0/8", r#"430["127.0.0.1",false]"#),
    ] {
        let io = builder().trusted_proxies(TrustedProxies {
            networks: vec![network.parse().unwrap()],
            header: ForwardedHeader::XForwardedFor,
        });
        let host = Host::serve(io.build());
        host.io
            .of("/")
            .on("who", |socket: Socket, ack: Ack| async move {
                let handshake = socket.handshake();
                let address = handshake.address().map(|address| address.ip());
                ack.send((address, handshake.is_secure()));
            });
        let headers = [
            ("X-Forwarded-For", "1.1.1.1, 203.0.113.5"),
            ("X-Forwarded-Proto", "https"),
        ];
        let mut http = Http::connect(host.address).await;
        http.send(handshake_request(WEBSOCKET, &headers)).await;
        let mut client = Client::over(WebSocket::upgraded(http).await).await;
        client.join_namespace("/").await;
        client.send(r#"420["who"]"#).await;
        assert_eq!(client.next().await, expected);
    }
}
