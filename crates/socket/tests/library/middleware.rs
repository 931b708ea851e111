//! Who may join a namespace.

use std::sync::Arc;

use serde_json::json;
use synapse_hostile::{Client, Host, eventually, within};
use synapse_socket::{Auth, CloseReason, Refusal, Socket};
use tokio::sync::Notify;

use crate::log::Log;

#[derive(serde::Deserialize)]
struct Token {
    token: String,
}

#[tokio::test]
async fn middlewares_are_asked_in_order_until_one_refuses() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    for name in ["first", "second", "third"] {
        let writer = log.writer();
        main.use_middleware(move |Auth(auth): Auth<Token>| {
            writer.line(name);
            let refused = auth.token == name;
            async move {
                if refused {
                    Err(Refusal::new("not you").with_data(json!({ "by": name })))
                } else {
                    Ok(())
                }
            }
        });
    }
    let writer = log.writer();
    main.on_connect(move || {
        writer.line("connected");
        async {}
    });
    let mut client = Client::open(host.address).await;
    client.send(r#"40{"token":"second"}"#).await;
    client
        .expect(r#"44{"data":{"by":"second"},"message":"not you"}"#)
        .await;
    log.expect(&["first", "second"]).await;
    assert_eq!(host.socket_count(), 0);

    client.send(r#"40{"token":"good"}"#).await;
    assert!(client.next().await.starts_with(r#"40{"sid":""#));
    log.expect(&["first", "second", "third", "connected"]).await;
    assert_eq!(host.socket_count(), 1);
}

#[tokio::test]
async fn an_auth_that_does_not_fit_refuses() {
    let host = Host::start();
    host.io
        .of("/")
        .use_middleware(|Auth(_): Auth<Token>| async { Ok(()) });
    let mut client = Client::open(host.address).await;
    for packet in ["40", r#"40{"token":1}"#, "40{}"] {
        client.send(packet).await;
        let refusal = client.next().await;
        assert!(
            refusal.starts_with(r#"44{"message":"handshake auth does not fit"#),
            "{refusal}"
        );
    }
    assert_eq!(host.socket_count(), 0);
}

struct Gate {
    host: Host,
    open: Arc<Notify>,
    log: Log,
}

/// A server whose middleware waits until the test lets it go on.
fn gate(decision: impl Fn() -> Result<(), Refusal> + Copy + Send + Sync + 'static) -> Gate {
    let (host, open, log) = (Host::start(), Arc::new(Notify::new()), Log::new());
    let main = host.io.of("/");
    let (notify, writer) = (Arc::clone(&open), log.writer());
    main.use_middleware(move |socket: Socket| {
        let (notify, writer) = (Arc::clone(&notify), writer.clone());
        async move {
            // A refused or vanished client must leave no trace, wherever the middleware put it.
            let _ = socket.join("waiting");
            writer.line("asked");
            notify.notified().await;
            writer.line("decided");
            decision()
        }
    });
    let writer = log.writer();
    main.on_connect(move || {
        writer.line("connected");
        async {}
    });
    let writer = log.writer();
    main.on_disconnect(move |reason: CloseReason| {
        writer.line(reason.as_str());
        async {}
    });
    Gate { host, open, log }
}

#[tokio::test]
async fn a_middleware_may_wait() {
    let mut gate = gate(|| Ok(()));
    let mut client = Client::open(gate.host.address).await;
    client.send("40").await;
    gate.log.expect(&["asked"]).await;
    assert_eq!(gate.host.socket_count(), 0);
    gate.open.notify_one();
    gate.log.expect(&["decided", "connected"]).await;
    assert!(client.next().await.starts_with(r#"40{"sid":""#));
    client.echo("in").await;
}

/// A known fault of other servers: a client that is refused, or goes away while it is being decided about, stayed in the rooms it had been put into.
#[tokio::test]
async fn a_client_that_is_gone_before_the_decision_leaves_no_trace() {
    for decision in [|| Ok(()), || Err(Refusal::new("no"))] {
        let mut gate = gate(decision);
        let mut client = Client::open(gate.host.address).await;
        client.send("40").await;
        gate.log.expect(&["asked"]).await;
        drop(client);
        gate.host.settled(0).await;
        gate.open.notify_one();
        gate.log.expect(&["decided"]).await;
        // Somebody else's life, from joining to leaving, is long enough for a late handler to show up.
        let mut other = Client::open(gate.host.address).await;
        other.send("40").await;
        gate.log.expect(&["asked"]).await;
        gate.open.notify_one();
        within("the answer", other.next()).await;
        let main = gate.host.io.of("/");
        assert!(main.socket_count() <= 1);
        main.to("waiting").emit("leak", 1).unwrap();
        drop(other);
        gate.host.settled(0).await;
        let lines = gate.log.rest();
        assert!(
            lines.iter().filter(|line| *line == "connected").count() <= 1,
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .filter(|line| *line == "transport close")
                .count()
                <= 1,
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_client_is_in_no_room() {
    let mut gate = gate(|| Err(Refusal::new("no")));
    let mut client = Client::open(gate.host.address).await;
    client.send("40").await;
    gate.log.expect(&["asked"]).await;
    gate.open.notify_one();
    client.expect(r#"44{"message":"no"}"#).await;
    gate.host.io.of("/").to("waiting").emit("leak", 1).unwrap();
    gate.host.io.of("/").emit("leak", 2).unwrap();
    // The same client asks again: nothing came in between.
    client.send("40").await;
    gate.log.expect(&["decided", "asked"]).await;
    gate.open.notify_one();
    client.expect(r#"44{"message":"no"}"#).await;
    assert_eq!(gate.log.rest(), ["decided"]);
}

#[tokio::test]
async fn an_event_before_the_decision_closes_the_client() {
    let mut gate = gate(|| Ok(()));
    let mut client = Client::open(gate.host.address).await;
    client.send("40").await;
    gate.log.expect(&["asked"]).await;
    client.send(r#"42["echo",1]"#).await;
    assert_eq!(client.closed().await, Some(None));
    gate.host.settled(0).await;
}

#[tokio::test]
async fn a_client_may_leave_and_ask_again_while_it_is_decided_about() {
    let mut gate = gate(|| Ok(()));
    let mut client = Client::open(gate.host.address).await;
    client.send("40").await;
    gate.log.expect(&["asked"]).await;
    client.send("41").await;
    client.send("40").await;
    gate.log.expect(&["asked"]).await;
    gate.open.notify_one();
    gate.log.expect(&["decided"]).await;
    gate.open.notify_one();
    gate.log.expect(&["decided", "connected"]).await;
    assert!(client.next().await.starts_with(r#"40{"sid":""#));
    assert_eq!(gate.host.socket_count(), 1);
    client.echo("in once").await;
}

#[tokio::test]
async fn a_middleware_that_panics_costs_its_own_client_only() {
    let host = Host::start();
    let mut bystander = host.bystander().await;
    host.io.of("/").use_middleware(|socket: Socket| async move {
        assert!(
            socket
                .handshake()
                .auth::<Option<Token>>()
                .unwrap()
                .is_none(),
            "what a test wants to see fail"
        );
        Ok(())
    });
    let mut client = Client::open(host.address).await;
    client.send(r#"40{"token":"x"}"#).await;
    client.closed().await;
    host.check(&mut bystander).await;
    eventually("one socket", || host.socket_count() == 1).await;
}

/// The refusal of an attempt that the client has given up must not end the next one.
#[tokio::test]
async fn a_client_that_left_while_it_was_decided_about_is_not_refused() {
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (host, open, mut log) = (Host::start(), Arc::new(Notify::new()), Log::new());
    let (notify, writer) = (Arc::clone(&open), log.writer());
    host.io.of("/").use_middleware(move || {
        let is_first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        let (notify, writer) = (Arc::clone(&notify), writer.clone());
        async move {
            writer.line("asked");
            if is_first {
                notify.notified().await;
                writer.line("refused");
                return Err(Refusal::new("no"));
            }
            Ok(())
        }
    });
    let mut client = Client::open(host.address).await;
    client.send("40").await;
    log.expect(&["asked"]).await;
    client.send("41").await;
    client.send("40").await;
    log.expect(&["asked"]).await;
    assert!(client.next().await.starts_with(r#"40{"sid":""#));
    open.notify_one();
    log.expect(&["refused"]).await;
    client.echo("in").await;
}

/// An event for a client that is not in yet, or not any more, is lost, as it is documented; an answer to it cannot come.
#[tokio::test]
async fn events_before_and_after_a_socket_s_life_are_lost() {
    let (host, mut log) = (Host::start(), Log::new());
    let writer = log.writer();
    host.io.of("/").use_middleware(move |socket: Socket| {
        let writer = writer.clone();
        async move {
            socket.emit("early", 1).unwrap();
            assert!(!socket.emit_volatile("early", 2).unwrap());
            let answer = socket.emit_with_ack::<u8>("early", 3, None).await;
            writer.line(answer.unwrap_err().to_string());
            Ok(())
        }
    });
    host.io.of("/").on_disconnect(|socket: Socket| async move {
        socket.emit("late", 1).unwrap();
    });
    let mut client = Client::open(host.address).await;
    client.send("40").await;
    let welcome = client.next().await;
    assert!(welcome.starts_with(r#"40{"sid":""#), "{welcome}");
    log.expect(&["socket has been disconnected"]).await;
    client.send("41").await;
    client.send("40").await;
    let welcome = client.next().await;
    assert!(welcome.starts_with(r#"40{"sid":""#), "{welcome}");
}
