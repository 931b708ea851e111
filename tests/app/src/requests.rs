//! What clients have their server ask all servers of the cluster.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};
use synapse_socket::{Ack, AckError, Data, Namespace, RemoteSocket, RequestError, Socket};

use crate::handlers::Operators;
use crate::value::Value;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What came of a request, and as much of its value as there is.
#[derive(Serialize)]
struct Answered<T> {
    error: Option<String>,
    value: T,
}

impl<T: Default> From<Result<T, RequestError<T>>> for Answered<T> {
    fn from(result: Result<T, RequestError<T>>) -> Self {
        match result {
            Ok(value) => Self { error: None, value },
            Err(error) => Self {
                error: Some(error.to_string()),
                value: error.into_partial(),
            },
        }
    }
}

impl<T> Answered<T> {
    fn map<R>(self, change: impl FnOnce(T) -> R) -> Answered<R> {
        Answered {
            error: self.error,
            value: change(self.value),
        }
    }
}

pub(crate) fn register(namespace: &Namespace) {
    let here = namespace.clone();
    namespace.on(
        "fetch",
        move |socket: Socket, Data((options, timeout)): Data<(Operators, u64)>, ack: Ack| {
            let chain = options
                .chain(&here, &socket)
                .timeout(Duration::from_millis(timeout));
            async move {
                let sockets = Answered::from(chain.fetch_sockets().await);
                ack.send(sockets.map(|sockets| sockets.iter().map(describe).collect::<Vec<_>>()));
            }
        },
    );
    let here = namespace.clone();
    namespace.on(
        "ids",
        move |socket: Socket, Data((options, timeout)): Data<(Operators, u64)>, ack: Ack| {
            let chain = options
                .chain(&here, &socket)
                .timeout(Duration::from_millis(timeout));
            async move { ack.send(Answered::from(chain.socket_ids().await).map(sorted)) }
        },
    );
    let here = namespace.clone();
    namespace.on("rooms", move |ack: Ack| {
        let here = here.clone();
        async move { ack.send(Answered::from(here.all_rooms(None).await).map(sorted)) }
    });
    let here = namespace.clone();
    namespace.on("servers", move |ack: Ack| {
        let here = here.clone();
        async move { ack.send(Answered::from(here.server_count().await)) }
    });
    let here = namespace.clone();
    namespace.on(
        "ask-all",
        move |socket: Socket,
              Data((options, timeout, event, argument)): Data<(Operators, u64, String, Value)>,
              ack: Ack| {
            let chain = options
                .chain(&here, &socket)
                .timeout(Duration::from_millis(timeout));
            async move {
                ack.send(Answered::from(
                    chain.emit_with_ack::<Value>(&event, argument).await,
                ));
            }
        },
    );
    let here = namespace.clone();
    namespace.on(
        "ask-servers",
        move |Data((event, argument)): Data<(String, Value)>, ack: Ack| {
            let here = here.clone();
            async move {
                let replies = here
                    .server_side_emit_with_ack::<Value>(&event, argument, None)
                    .await;
                ack.send(Answered::from(replies));
            }
        },
    );
    let here = namespace.clone();
    namespace.on(
        "remote",
        move |Data((id, action, argument)): Data<(String, String, Json)>, ack: Ack| {
            let chain = here.to(id);
            async move {
                let found = chain.fetch_sockets().await.unwrap_or_default();
                let done = match found.first() {
                    Some(socket) => act(socket, &action, argument).await,
                    None => Err(AckError::Disconnected),
                };
                ack.send(match done {
                    Ok(value) => Answered { error: None, value },
                    Err(error) => Answered {
                        error: Some(error.to_string()),
                        value: Json::Null,
                    },
                });
            }
        },
    );
    // Like "add", with one argument.
    namespace.on_server_side("double", |event| async move {
        if let Ok(number) = event.data::<i64>() {
            event.reply(number * 2);
        }
    });
}

async fn act(socket: &RemoteSocket, action: &str, argument: Json) -> Result<Json, AckError> {
    let text = || argument.as_str().unwrap_or_default().to_owned();
    match action {
        "ask" => {
            return socket
                .emit_with_ack("question", argument, Some(ASK_TIMEOUT))
                .await;
        }
        "emit" => socket.emit("news", argument)?,
        "join" => socket.join(text()),
        "leave" => socket.leave(text()),
        "disconnect" if argument == true => socket.disconnect_client(),
        "disconnect" => socket.disconnect(),
        _ => return Ok(json!("unknown action")),
    }
    Ok(Json::Null)
}

fn describe(socket: &RemoteSocket) -> Json {
    let handshake = socket.handshake();
    json!({
        "id": socket.id(),
        "rooms": sorted(socket.rooms().iter().cloned().collect()),
        "auth": handshake.auth,
        "url": handshake.url,
        "data": socket.data::<Json>().unwrap_or_default(),
    })
}

fn sorted(names: HashSet<String>) -> Vec<String> {
    let mut names = Vec::from_iter(names);
    names.sort();
    names
}
