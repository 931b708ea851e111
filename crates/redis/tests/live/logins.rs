//! Logins that fail say what to check, and never what the password is.

use std::sync::Arc;

use synapse_redis::{RedisAdapter, RedisOptions, RedisParts, RedisSettings, RedisState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Peer, Redis, ready, wait_for};

fn start(url: &str) -> Arc<RedisAdapter> {
    RedisAdapter::start(
        RedisSettings::from_url("REDIS_URL", url).unwrap(),
        RedisOptions::default(),
    )
}

async fn check_error(adapter: &RedisAdapter, part: &str) {
    let status = wait_for(adapter, "a reason", |status| status.last_error.is_some()).await;
    let error = status.last_error.clone().unwrap();
    assert!(error.contains(part), "{error}");
    assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
    assert_eq!(status.state, RedisState::Connecting);
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_named_as_that() {
    let redis = Redis::start_with(&["--requirepass", "right"]).await;
    ready(&start(&redis.url(":right@"))).await;
    ready(&start(&redis.url("default:right@"))).await;
    check_error(
        &start(&redis.url(":hunter2@")),
        "authentication refused: check the user name and password in REDIS_URL",
    )
    .await;
    check_error(
        &start(&redis.url("nobody:hunter2@")),
        "authentication refused",
    )
    .await;
    check_error(
        &start(&redis.url("")),
        "authentication needed: set the password in REDIS_URL",
    )
    .await;
    let port = redis.url("").rsplit(':').next().unwrap().parse().ok();
    let parts = RedisParts {
        host: "127.0.0.1".into(),
        port,
        password: Some("hunter2".into()),
        ..RedisParts::default()
    };
    let adapter = RedisAdapter::start(
        RedisSettings::from_parts(parts).unwrap(),
        RedisOptions::default(),
    );
    check_error(&adapter, "in REDIS_USERNAME and REDIS_PASSWORD").await;
}

#[tokio::test]
async fn a_password_that_nobody_asked_for_is_named_as_that() {
    let redis = Redis::start().await;
    check_error(
        &start(&redis.url(":hunter2@")),
        "no password is set at Redis: remove the password from REDIS_URL",
    )
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let redis = Redis::start().await;
    ready(&start(&(redis.url("") + "/3"))).await;
    check_error(
        &start(&(redis.url("") + "/99")),
        "database 99 does not exist there: check the number in REDIS_URL",
    )
    .await;
}

#[tokio::test]
async fn a_user_without_rights_is_told_which_are_needed() {
    let redis = Redis::start().await;
    let mut peer = Peer::connect(&redis).await;
    peer.run(&[
        "ACL",
        "SETUSER",
        "limited",
        "on",
        ">hunter2",
        "~*",
        "+@all",
        "resetchannels",
    ])
    .await;
    let rights = [
        "+publish",
        "+subscribe",
        "+psubscribe",
        "+unsubscribe",
        "+punsubscribe",
        "&socket.io*",
    ];
    peer.run(
        &[
            ["ACL", "SETUSER", "tight", "on", ">hunter2"].as_slice(),
            &rights,
        ]
        .concat(),
    )
    .await;
    check_error(
        &start(&redis.url("limited:hunter2@")),
        "allow PUBLISH, SUBSCRIBE and PSUBSCRIBE on the channels of the key",
    )
    .await;
    ready(&start(&redis.url("tight:hunter2@"))).await;
}

#[tokio::test]
async fn a_full_redis_is_told_from_an_absent_one() {
    let redis = Redis::start_with(&["--maxclients", "1"]).await;
    check_error(&start(&redis.url("")), "no more connections are taken").await;
}

#[tokio::test]
async fn another_kind_of_server_is_told_from_redis() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 100]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    check_error(
        &start(&format!("redis://:hunter2@{address}")),
        "is not a Redis server",
    )
    .await;
    check_error(
        &start(&format!("rediss://:hunter2@{address}")),
        "TLS failed",
    )
    .await;
    check_error(
        &start("redis://:hunter2@host.invalid"),
        "host name could not be resolved: check the host in REDIS_URL",
    )
    .await;
}

#[tokio::test]
async fn tls_is_spoken_to_whom_the_system_trusts_and_to_nobody_else() {
    let (redis, certificate) = Redis::start_tls().await;
    let url = redis.url(":right@").replace("redis://", "rediss://");
    check_error(&start(&url), "TLS failed").await;
    check_error(
        &start(&redis.url(":right@")),
        "whether it wants TLS (rediss://)",
    )
    .await;
    // Which authorities are trusted is read once per process, so the other half runs in one of its own.
    let tests = std::env::current_exe().unwrap();
    let connect = tests.ancestors().nth(2).unwrap().join("examples/connect");
    let trusting = std::process::Command::new(connect)
        .env("REDIS_URL", url)
        .env("SSL_CERT_FILE", certificate)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(
        trusting.status.success() && said.contains("proven"),
        "{trusting:?}"
    );
}
