//! What handlers return, and what clients get of it.

use synapse_hostile::{Client, Host};
use synapse_socket::{
    Ack, Arguments, Binary, Data, Handler, Refusal, Reply, SerializeError, SocketError,
};

use crate::log::Log;

async fn check<P>(handler: impl Handler<P>, answers: &[(&str, &str)]) {
    let host = Host::start();
    host.io.of("/").on("x", handler);
    let mut client = Client::join(host.address).await;
    for (id, (arguments, answer)) in answers.iter().enumerate() {
        client.send(&format!(r#"42{id}["x"{arguments}]"#)).await;
        client.expect(&format!("43{id}{answer}")).await;
    }
    // Without an id nothing is answered, whatever comes.
    client.send(r#"42["x"]"#).await;
    client.echo("nothing between").await;
}

async fn divide(Data((a, b)): Data<(i64, i64)>) -> Result<Reply<(i64, i64)>, Refusal> {
    if b == 0 {
        return Err(Refusal::new("not by zero").with_data([a, b]));
    }
    Ok(Reply((a / b, a % b)))
}

#[tokio::test]
async fn a_reply_is_the_answer() {
    check(|| async { Reply("text") }, &[("", r#"["text"]"#)]).await;
    check(|| async { Reply((1, "a")) }, &[("", r#"[1,"a"]"#)]).await;
    check(|| async { Reply(()) }, &[("", "[]")]).await;
    check(
        |event: Arguments| async move { event.without_name() },
        &[(",1.0,{}", "[1.0,{}]")],
    )
    .await;
}

#[tokio::test]
async fn a_result_is_an_answer_either_way() {
    check(
        divide,
        &[
            (",7,2", "[3,1]"),
            (",7,0", r#"[{"data":[7,0],"error":"not by zero"}]"#),
        ],
    )
    .await;
    let text = || async { Err::<(), _>("only text".to_owned()) };
    check(text, &[("", r#"[{"error":"only text"}]"#)]).await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told() {
    check(
        divide,
        &[(
            r#","a",1"#,
            r#"[{"error":"arguments do not fit: invalid type: string \"a\", expected i64 at line 1 column 8"}]"#,
        )],
    )
    .await;
}

#[tokio::test]
async fn a_fault_of_the_application_is_kept_to_itself() {
    async fn fault() -> Result<Reply<()>, SerializeError> {
        Err(Arguments::event("disconnect", &()).unwrap_err())
    }
    check(fault, &[("", r#"[{"error":"internal error"}]"#)]).await;
    // A map with keys that JSON has not.
    let unfit = || async { Reply(std::collections::HashMap::from([(vec![1], 1)])) };
    check(unfit, &[("", r#"[{"error":"internal error"}]"#)]).await;
}

#[tokio::test]
async fn binary_is_answered_as_attachments() {
    let host = Host::start();
    host.io
        .of("/")
        .on("x", || async { Reply(Binary::from(vec![1, 2])) });
    let mut client = Client::join(host.address).await;
    client.send(r#"423["x"]"#).await;
    client
        .expect(r#"461-3[{"_placeholder":true,"num":0}]"#)
        .await;
    assert_eq!(client.next_binary().await, [1, 2]);
}

#[tokio::test]
async fn a_handler_that_answers_by_itself_returns_nothing() {
    check(
        |ack: Ack| async move {
            tokio::task::yield_now().await;
            ack.send(1);
        },
        &[("", "[1]")],
    )
    .await;
    check(
        |ack: Ack| async move { ack.refuse("no") },
        &[("", r#"[{"error":"no"}]"#)],
    )
    .await;
}

#[tokio::test]
async fn whoever_refuses_an_event_is_heard_by_the_handlers_of_errors() {
    let mut log = Log::new();
    let host = Host::start();
    let main = host.io.of("/");
    main.on("divide", divide);
    let writer = log.writer();
    main.on_error(move |error: SocketError| {
        writer.line(error.to_string());
        async {}
    });
    let mut client = Client::join(host.address).await;
    client.send(r#"42["divide",1,0]"#).await;
    client.send(r#"42["divide",1]"#).await;
    log.expect(&[
        "event refused: not by zero",
        "event refused: arguments do not fit: invalid type: null, expected i64 at line 1 column 12",
    ])
    .await;
    client.send("4").await;
    log.expect(&["packet cannot be decoded: the packet is empty"])
        .await;
    client.closed().await;
}
