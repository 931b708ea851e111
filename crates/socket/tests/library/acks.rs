//! Answers, both ways.

use std::time::Duration;

use synapse_hostile::{Client, DEADLINE, Host, quick_config, within};
use synapse_protocol::SocketId;
use synapse_socket::{Ack, AckError, Binary, Data, Server, Socket, SocketLimits};

use crate::log::Log;

async fn joined() -> (Host, Client, Socket) {
    let host = Host::start();
    let client = Client::join(host.address).await;
    let socket = socket_of(&host, &client);
    (host, client, socket)
}

fn socket_of(host: &Host, client: &Client) -> Socket {
    let id: SocketId = client.id().parse().expect("an id");
    host.io
        .of("/")
        .socket(id)
        .expect("a socket that is connected")
}

/// The id in a packet such as `4217["ask",1]`.
fn ack_id(packet: &str) -> &str {
    let digits = packet.strip_prefix("42").expect("an event");
    &digits[..digits.find('[').expect("arguments")]
}

#[tokio::test]
async fn an_event_is_answered_with_any_number_of_arguments() {
    let host = Host::start();
    let main = host.io.of("/");
    main.on("one", |ack: Ack| async move { ack.send("x") });
    main.on("two", |ack: Ack| async move { ack.send((1, vec![2, 3])) });
    main.on("none", |ack: Ack| async move { ack.send(()) });
    main.on("binary", |ack: Ack| async move {
        ack.send(Binary(vec![1, 2].into()))
    });
    let mut client = Client::join(host.address).await;
    for (event, answer) in [
        ("one", r#"430["x"]"#),
        ("two", "430[1,[2,3]]"),
        ("none", "430[]"),
    ] {
        client.send(&format!(r#"420["{event}"]"#)).await;
        client.expect(answer).await;
    }
    client.send(r#"429007199254740991["binary"]"#).await;
    client
        .expect(r#"461-9007199254740991[{"_placeholder":true,"num":0}]"#)
        .await;
    assert_eq!(client.next_binary().await, [1, 2]);
}

#[tokio::test]
async fn an_answer_that_nobody_wants_is_not_sent() {
    let host = Host::start();
    host.io
        .of("/")
        .on("ask", |socket: Socket, ack: Ack| async move {
            socket.emit("wanted", ack.is_wanted()).unwrap();
            ack.send("answer");
        });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["ask"]"#).await;
    client.expect(r#"42["wanted",false]"#).await;
    client.echo("no answer came").await;
    client.send(r#"421["ask"]"#).await;
    client.expect(r#"42["wanted",true]"#).await;
    client.expect(r#"431["answer"]"#).await;
}

#[tokio::test]
async fn an_answer_may_come_later_and_from_elsewhere() {
    let host = Host::start();
    host.io
        .of("/")
        .on("ask", |Data(n): Data<u64>, ack: Ack| async move {
            drop(tokio::spawn(async move {
                tokio::task::yield_now().await;
                ack.send(n + 1);
            }));
        });
    let mut client = Client::join(host.address).await;
    client.send(r#"425["ask",41]"#).await;
    client.expect("435[42]").await;
}

#[tokio::test]
async fn a_client_s_answer_comes_back_typed() {
    let (_host, mut client, socket) = joined().await;
    let ask = socket.emit_with_ack::<(String, Binary)>("ask", 1, None);
    let answer = async {
        let packet = client.next().await;
        let id = ack_id(&packet).to_owned();
        assert_eq!(packet, format!(r#"42{id}["ask",1]"#));
        client
            .send(&format!(
                r#"461-{id}["yes",{{"_placeholder":true,"num":0}}]"#
            ))
            .await;
        client.websocket.binary(b"data").await;
    };
    let (answered, ()) = tokio::join!(within("the answer", ask), answer);
    assert_eq!(
        answered.unwrap(),
        ("yes".to_owned(), Binary(b"data".to_vec().into()))
    );
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_is_an_error() {
    let (_host, mut client, socket) = joined().await;
    let ask = socket.emit_with_ack::<u8>("ask", (), None);
    let answer = async {
        let packet = client.next().await;
        client
            .send(&format!(r#"43{}["text"]"#, ack_id(&packet)))
            .await;
    };
    let (answered, ()) = tokio::join!(within("the answer", ask), answer);
    assert!(matches!(answered, Err(AckError::Deserialize(_))));
}

#[tokio::test]
async fn a_missing_answer_times_out_in_node_s_words_and_a_late_one_is_ignored() {
    let (_host, mut client, socket) = joined().await;
    let ask = socket.emit_with_ack::<u8>("ask", (), Some(Duration::from_millis(20)));
    let error = within("the timeout", ask).await.unwrap_err();
    assert!(matches!(error, AckError::TimedOut));
    assert_eq!(error.to_string(), "operation has timed out");
    let packet = client.next().await;
    client.send(&format!("43{}[1]", ack_id(&packet))).await;
    client.send("43123456[1]").await;
    client.echo("still here").await;
}

#[tokio::test]
async fn a_disconnect_ends_the_wait() {
    let (host, client, socket) = joined().await;
    let ask = socket.emit_with_ack::<u8>("ask", (), None);
    let leave = async {
        let mut client = client;
        client.next().await;
        drop(client);
    };
    let (answered, ()) = tokio::join!(within("the end of the wait", ask), leave);
    assert!(matches!(answered, Err(AckError::Disconnected)));
    host.settled(0).await;
    let late = socket.emit_with_ack::<u8>("ask", (), None).await;
    assert!(matches!(late, Err(AckError::Disconnected)));
}

#[tokio::test]
async fn unanswered_events_have_a_limit_that_timeouts_give_back() {
    let limits = SocketLimits {
        pending_acks_max: 2,
        ..SocketLimits::default()
    };
    let host = Host::serve(
        Server::builder()
            .config(quick_config())
            .limits(limits)
            .build(),
    );
    let client = Client::join(host.address).await;
    let socket = socket_of(&host, &client);
    for _ in 0..3 {
        let ask = || socket.emit_with_ack::<u8>("ask", (), Some(Duration::from_millis(20)));
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert!(matches!(a, Err(AckError::TimedOut)) && matches!(b, Err(AckError::TimedOut)));
        assert!(matches!(c, Err(AckError::TooMany { limit: 2 })), "{c:?}");
    }
}

/// The answers of several sockets to several events are kept apart.
#[tokio::test]
async fn answers_reach_the_event_that_asked() {
    let (host, mut first, first_socket) = joined().await;
    let mut second = Client::join(host.address).await;
    let second_socket = socket_of(&host, &second);
    let wait = Some(DEADLINE);
    let asks = async {
        tokio::join!(
            first_socket.emit_with_ack::<String>("ask", 0, wait),
            first_socket.emit_with_ack::<String>("ask", 1, wait),
            second_socket.emit_with_ack::<String>("ask", 2, wait),
        )
    };
    let answers = async {
        let packets = [first.next().await, first.next().await];
        for packet in packets.iter().rev() {
            first
                .send(&format!(
                    r#"43{}["first {}"]"#,
                    ack_id(packet),
                    &packet[packet.len() - 2..packet.len() - 1]
                ))
                .await;
        }
        let packet = second.next().await;
        second
            .send(&format!(r#"43{}["second"]"#, ack_id(&packet)))
            .await;
    };
    let ((a, b, c), ()) = tokio::join!(asks, answers);
    assert_eq!(
        [a.unwrap(), b.unwrap(), c.unwrap()],
        ["first 0", "first 1", "second"]
    );
}

/// A socket's answer to an event of another socket is nobody's.
#[tokio::test]
async fn an_answer_of_another_client_is_not_taken() {
    let (host, mut asked, socket) = joined().await;
    let mut thief = Client::join(host.address).await;
    let mut log = Log::new();
    let writer = log.writer();
    let asking = tokio::spawn(async move {
        let answer = socket
            .emit_with_ack::<String>("ask", (), Some(DEADLINE))
            .await;
        writer.line(answer.unwrap());
    });
    let packet = asked.next().await;
    let id = ack_id(&packet).to_owned();
    thief.send(&format!(r#"43{id}["stolen"]"#)).await;
    thief.echo("handled").await;
    asked.send(&format!(r#"43{id}["mine"]"#)).await;
    log.expect(&["mine"]).await;
    asking.await.unwrap();
}

/// Runs a future on a thread that no runtime knows.
fn block_on<F: Future + Send + 'static>(future: F) -> F::Output
where
    F::Output: Send,
{
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let thread = std::thread::spawn(|| {
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut future = std::pin::pin!(future);
        loop {
            match future
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker))
            {
                std::task::Poll::Ready(output) => return output,
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    });
    thread.join().expect("a future that does not panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_of_no_runtime_may_ask_and_emit() {
    let (host, mut client, socket) = joined().await;
    let asking = tokio::task::spawn_blocking(move || {
        socket.emit("said", 1).unwrap();
        block_on(async move {
            let timeout = Some(DEADLINE);
            let answer = socket.emit_with_ack::<u8>("asked", 2, timeout).await;
            let never = Some(Duration::from_millis(10));
            let timed_out = socket.emit_with_ack::<u8>("asked", 3, never).await;
            (answer, timed_out)
        })
    });
    client.expect(r#"42["said",1]"#).await;
    let question = client.next().await;
    client.send(&format!("43{}[7]", ack_id(&question))).await;
    let (answer, timed_out) = asking.await.unwrap();
    assert_eq!(answer.unwrap(), 7);
    assert!(matches!(timed_out, Err(AckError::TimedOut)));
    drop(host);
}
