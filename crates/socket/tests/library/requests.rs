//! What one of two servers asks of both, and what comes of it when somebody does not answer.

use std::collections::HashSet;
use std::time::Duration;

use synapse_adapter::bus::Bus;
use synapse_hostile::{Client, Host, eventually, quick_config, within};
use synapse_socket::{
    AckError, RequestError, RequestLimits, Server, ServerEvent, Socket, SocketLimits,
};

/// So long that a test which waits for it fails by its own deadline.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);

fn limits(requests: RequestLimits) -> SocketLimits {
    SocketLimits {
        requests,
        ..SocketLimits::default()
    }
}

fn servers<const N: usize>(limits: SocketLimits) -> [Host; N] {
    let bus = Bus::new();
    std::array::from_fn(|_| {
        Host::serve(
            Server::builder()
                .config(quick_config())
                .limits(limits)
                .adapter(bus.node())
                .build(),
        )
    })
}

/// Two servers whose requests never end by time unless they say so.
fn two() -> [Host; 2] {
    servers(limits(RequestLimits {
        timeout: LONG,
        ..RequestLimits::default()
    }))
}

/// Answers the next packet, an event, with these arguments.
async fn answer(client: &mut Client, arguments: &str) {
    let packet = client.next().await;
    client
        .send(&format!("43{}{arguments}", ack_id(&packet)))
        .await;
}

/// The id in a packet such as `4217["ask",1]`.
fn ack_id(packet: &str) -> &str {
    let digits = packet.strip_prefix("42").expect("an event");
    &digits[..digits.find('[').expect("arguments")]
}

fn set(names: &[&str]) -> HashSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn sockets_of_all_servers_are_fetched_with_what_is_known_of_them() {
    let [one, two] = two();
    two.io.of("/").on_connect(|socket: Socket| async move {
        socket.update_data(|data| data.insert("name".to_owned(), "x".into()));
    });
    let mut here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    for client in [&mut here, &mut there] {
        client.send(r#"42["join","a"]"#).await;
        client.echo("joined").await;
    }
    let sockets = within("all sockets", one.io.fetch_sockets()).await.unwrap();
    let ids: HashSet<String> = sockets
        .iter()
        .map(|socket| socket.id().to_owned())
        .collect();
    assert_eq!((ids, sockets.len()), (set(&[here.id(), there.id()]), 2));

    let sockets = one
        .io
        .to("a")
        .except(here.id())
        .fetch_sockets()
        .await
        .unwrap();
    let [socket] = &sockets[..] else {
        panic!("{sockets:?}");
    };
    assert_eq!(socket.id(), there.id());
    assert_eq!(socket.rooms(), [there.id(), "a"]);
    assert_eq!(socket.data::<serde_json::Value>().unwrap()["name"], "x");
    let handshake = socket.handshake();
    assert_eq!(handshake.ip(), Some([127, 0, 0, 1].into()));
    assert_eq!(handshake.query["transport"], "websocket");
    assert!(handshake.url.starts_with("/socket.io/") && handshake.issued > 0);

    let local = one.io.of("/").local().fetch_sockets().await.unwrap();
    assert_eq!(
        local.iter().map(|socket| socket.id()).collect::<Vec<_>>(),
        [here.id()]
    );
    assert_eq!(one.io.of("/empty").fetch_sockets().await.unwrap().len(), 0);
}

#[tokio::test]
async fn ids_rooms_and_servers_of_the_cluster_are_told() {
    let [one, two] = two();
    let here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    there.send(r#"42["join","a"]"#).await;
    there.echo("joined").await;
    assert_eq!(
        one.io.socket_ids().await.unwrap(),
        set(&[here.id(), there.id()])
    );
    assert_eq!(
        one.io.to("a").socket_ids().await.unwrap(),
        set(&[there.id()])
    );
    assert_eq!(
        one.io.of("/").local().socket_ids().await.unwrap(),
        set(&[here.id()])
    );
    assert_eq!(
        one.io.of("/").all_rooms(None).await.unwrap(),
        set(&[here.id(), there.id(), "a"])
    );
    assert_eq!(one.io.server_count().await.unwrap(), 2);
    two.io.close().await;
    assert_eq!(one.io.server_count().await.unwrap(), 1);
    // Who has left the cluster does not know who else is in it.
    let error = two.io.server_count().await.unwrap_err();
    assert_eq!(error.to_string(), "the other servers cannot be reached");
    assert!(
        matches!(error, RequestError::Incomplete { partial: 1, missing } if missing.servers().is_none())
    );
    assert_eq!(Host::start().io.server_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_socket_of_another_server_is_used_like_an_own_one() {
    let [one, two] = two();
    let mut there = Client::join(two.address).await;
    let mut bystander = Client::join(two.address).await;
    let sockets = one.io.to(there.id()).fetch_sockets().await.unwrap();
    let [socket] = &sockets[..] else {
        panic!("{sockets:?}");
    };
    socket.emit("you", 1).unwrap();
    there.expect(r#"42["you",1]"#).await;
    socket.join("r");
    one.io.to("r").emit("in", 1).unwrap();
    there.expect(r#"42["in",1]"#).await;
    socket.leave("r");
    one.io.to("r").emit("out", 1).unwrap();
    there.echo("has left").await;

    let asked = socket.emit_with_ack::<u8>("ask", (), None);
    let (answered, ()) = tokio::join!(within("the answer", asked), answer(&mut there, "[7]"));
    assert_eq!(answered.unwrap(), 7);
    let asked = socket.emit_with_ack::<u8>("ask", (), Some(SHORT));
    assert!(matches!(asked.await, Err(AckError::TimedOut)));
    there.next().await;

    socket.disconnect();
    there.expect("41").await;
    let asked = socket.emit_with_ack::<u8>("ask", (), None);
    let gone = within("the end of the wait", asked).await;
    assert!(matches!(gone, Err(AckError::Disconnected)), "{gone:?}");
    bystander.echo("nothing of it").await;
}

#[tokio::test]
async fn a_broadcast_is_acknowledged_by_all_clients_of_all_servers() {
    let [one, two] = two();
    let mut clients = [
        Client::join(one.address).await,
        Client::join(two.address).await,
        Client::join(two.address).await,
    ];
    let ask = one.io.emit_with_ack::<u8>("ask", "x");
    let answers = async {
        for (number, client) in clients.iter_mut().enumerate() {
            answer(client, &format!("[{number},true]")).await;
        }
    };
    let (answered, ()) = tokio::join!(within("all answers", ask), answers);
    let mut answered = answered.unwrap();
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2]);

    let ask = one.io.of("/").local().emit_with_ack::<u8>("ask", ());
    let (answered, ()) = tokio::join!(
        within("the answer here", ask),
        answer(&mut clients[0], "[5]")
    );
    assert_eq!(answered.unwrap(), [5]);
    let nobody = one.io.to("nobody").emit_with_ack::<u8>("ask", ());
    assert!(within("no answers", nobody).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_has_arrived_by_the_timeout_is_kept() {
    let [one, two] = two();
    let mut here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    let silent = Client::join(two.address).await;
    let ask = one
        .io
        .of("/")
        .broadcast()
        .timeout(SHORT * 4)
        .emit_with_ack::<u8>("ask", ());
    let answers = async {
        answer(&mut here, "[1]").await;
        answer(&mut there, r#"["no number"]"#).await;
    };
    let (answered, ()) = tokio::join!(within("the timeout", ask), answers);
    let error = answered.unwrap_err();
    assert_eq!(error.to_string(), "operation has timed out");
    let RequestError::Incomplete { partial, missing } = error else {
        panic!("{error:?}");
    };
    assert_eq!(partial, [1]);
    assert_eq!(
        (missing.clients(), missing.servers(), missing.unreadable()),
        (1, Some(0), 1)
    );
    drop(silent);
}

#[tokio::test]
async fn clients_and_servers_that_leave_are_not_waited_for() {
    let [one, two, three] = servers(limits(RequestLimits {
        timeout: LONG,
        ..RequestLimits::default()
    }));
    for host in [&two, &three] {
        host.io
            .of("/")
            .on_server_side("ask", |event: ServerEvent| async move {
                std::future::pending::<()>().await;
                event.reply(());
            });
    }
    let here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    let mut stays = Client::join(two.address).await;
    let asked = one.io.emit_with_ack::<u8>("ask", ());
    let leave = async {
        drop(here);
        there.next().await;
        drop(there);
        answer(&mut stays, "[1]").await;
    };
    let (answered, ()) = tokio::join!(within("the end of the wait", asked), leave);
    let Err(RequestError::Incomplete { partial, missing }) = answered else {
        panic!("{answered:?}");
    };
    assert_eq!(
        (partial, missing.clients(), missing.servers()),
        (vec![1], 2, Some(0))
    );

    let asked = one.io.server_side_emit_with_ack::<u8>("ask", (), None);
    let leave = async {
        two.io.close().await;
        three.io.close().await;
    };
    let (answered, ()) = tokio::join!(within("the end of the wait", asked), leave);
    let error = answered.unwrap_err();
    assert_eq!(
        error.to_string(),
        "timeout reached: only 0 responses received out of 2"
    );
}

#[tokio::test]
async fn servers_answer_each_other() {
    let [one, two, three] = servers(limits(RequestLimits {
        timeout: LONG,
        ..RequestLimits::default()
    }));
    for (factor, host) in [(10, &one), (100, &two), (1000, &three)] {
        host.io
            .of("/")
            .on_server_side("times", move |event: ServerEvent| async move {
                tokio::task::yield_now().await;
                let n: u32 = event.data().expect("what the test sends");
                event.reply(n * factor);
                event.reply(0);
            });
    }
    two.io
        .of("/")
        .on_server_side("drop", |_: ServerEvent| async {});
    let ask = one.io.server_side_emit_with_ack::<u32>("times", 7, None);
    let mut answers = within("both answers", ask).await.unwrap();
    answers.sort_unstable();
    assert_eq!(answers, [700, 7000]);
    // Nobody listens, which the servers say at once.
    let ask = one.io.server_side_emit_with_ack::<u32>("nobody", 7, None);
    assert!(within("no answers", ask).await.unwrap().is_empty());
    let ask = one.io.server_side_emit_with_ack::<()>("nobody", 7, None);
    assert_eq!(within("two answers", ask).await.unwrap(), [(), ()]);
    // A handler that forgets to answer is not waited for.
    let ask = one.io.server_side_emit_with_ack::<()>("drop", 7, None);
    let Err(RequestError::Incomplete { partial, missing }) =
        within("the end of the wait", ask).await
    else {
        panic!("one server has not answered");
    };
    assert_eq!((partial.len(), missing.servers()), (1, Some(1)));
    let alone = Host::start();
    let ask = alone.io.server_side_emit_with_ack::<u32>("times", 7, None);
    assert!(ask.await.unwrap().is_empty());
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_nothing_behind() {
    let limits = SocketLimits {
        pending_acks_max: 1,
        ..limits(RequestLimits {
            timeout: LONG,
            pending_max: 1,
            ..RequestLimits::default()
        })
    };
    let [one, two] = servers(limits);
    let mut here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    for round in 0..3 {
        let io = one.io.clone();
        let asked =
            tokio::spawn(async move { io.of("/").local().emit_with_ack::<u8>("ask", ()).await });
        let late = here.next().await;
        let refused = one.io.emit_with_ack::<u8>("ask", ()).await;
        assert!(
            matches!(refused, Err(RequestError::TooMany { limit: 1 })),
            "{refused:?} in round {round}"
        );
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        here.send(&format!("43{}[1]", ack_id(&late))).await;
        here.echo("a late answer is ignored").await;
    }
    // The one slot of the socket and the one of the namespace are free.
    let asked = one.io.emit_with_ack::<u8>("ask", ());
    let answers = async {
        answer(&mut here, "[1]").await;
        answer(&mut there, "[2]").await;
    };
    let (answered, ()) = tokio::join!(within("the answers", asked), answers);
    assert_eq!(answered.unwrap().len(), 2);
    assert_eq!(one.io.fetch_sockets().await.unwrap().len(), 2);
}

#[tokio::test]
async fn answers_beyond_the_limit_are_missing() {
    let [one, two] = servers(limits(RequestLimits {
        timeout: LONG,
        response_bytes_max: 1_000,
        ..RequestLimits::default()
    }));
    let mut here = Client::join(one.address).await;
    let mut there = Client::join(two.address).await;
    let asked = one.io.emit_with_ack::<String>("ask", ());
    let long = format!(r#"["{}"]"#, "x".repeat(1_000));
    let answers = async {
        answer(&mut there, &long).await;
        answer(&mut here, r#"["short"]"#).await;
    };
    let (answered, ()) = tokio::join!(within("the answers", asked), answers);
    let Err(RequestError::Incomplete { partial, missing }) = answered else {
        panic!("{answered:?}");
    };
    assert_eq!((partial, missing.clients()), (vec!["short".to_owned()], 1));
}

#[test]
fn a_request_may_be_awaited_outside_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (one, client) = runtime.block_on(async {
        let one = Host::start();
        let client = Client::join(one.address).await;
        eventually("a socket", || one.socket_count() == 1).await;
        (one, client)
    });
    let asked = one
        .io
        .of("/")
        .broadcast()
        .timeout(SHORT)
        .emit_with_ack::<u8>("ask", ());
    let error = futures_executor(asked).unwrap_err();
    assert_eq!(error.to_string(), "operation has timed out");
    drop(client);
}

/// Polls on this thread, in no runtime.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        let poll = future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        if let std::task::Poll::Ready(value) = poll {
            return value;
        }
        std::thread::park();
    }
}
