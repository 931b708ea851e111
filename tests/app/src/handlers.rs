//! What each namespace does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use synapse_socket::{
    Ack, Arguments, Auth, Broadcaster, CloseReason, Data, Namespace, Refusal, Server, Socket,
    SocketId,
};

use crate::value::Value;

/// Registers everything but the guard.
pub(crate) fn register(io: &Server, name: &str) {
    let namespace = io.of(name);
    // A client of the quiet namespace receives nothing that it has not asked for.
    if name != "/quiet" {
        namespace.on_connect(connected);
    }

    namespace.on("message", |socket: Socket, event: Arguments| async move {
        socket.emit_arguments(&Arguments::with_name("message-back", &event.without_name()));
    });
    namespace.on(
        "message-plain",
        |socket: Socket, Data(text): Data<String>| async move {
            socket
                .emit_uncompressed("message-back", text)
                .expect("text is always JSON");
        },
    );
    namespace.on(
        "message-with-ack",
        |event: Arguments, ack: Ack| async move {
            ack.send_arguments(&event.without_name());
        },
    );

    namespace.on(
        "join",
        |socket: Socket, Data(rooms): Data<OneOrMany>, ack: Ack| async move {
            if socket.join(rooms.into_vec()).is_ok() {
                ack.send(sorted_rooms(&socket));
            }
        },
    );
    namespace.on(
        "leave",
        |socket: Socket, Data(room): Data<String>, ack: Ack| async move {
            socket.leave(room);
            ack.send(sorted_rooms(&socket));
        },
    );

    let everyone = namespace.clone();
    namespace.on(
        "send",
        move |socket: Socket,
              Data((options, _event)): Data<(Operators, String)>,
              event: Arguments| {
            // What follows the options is the event itself, attachments included.
            options
                .chain(&everyone, &socket)
                .emit_arguments(event.without_name().without_name());
            async {}
        },
    );

    namespace.on(
        "ask",
        |socket: Socket, Data((event, argument, timeout)): Data<(String, Value, u64)>| async move {
            let answer = socket
                .emit_with_ack::<Value>(&event, argument, Some(Duration::from_millis(timeout)))
                .await;
            let asked = match answer {
                Ok(response) => Asked {
                    error: None,
                    response: Some(response),
                },
                Err(error) => Asked {
                    error: Some(error.to_string()),
                    response: None,
                },
            };
            emit(&socket, "asked", asked);
        },
    );
    namespace.on(
        "bye",
        |socket: Socket, Data(close): Data<bool>| async move {
            if close {
                socket.disconnect_client()
            } else {
                socket.disconnect()
            }
        },
    );

    let told = namespace.clone();
    namespace.on_server_side("tell", move |event| {
        told.local().emit_arguments(Arguments::with_name(
            "told",
            &event.arguments().without_name(),
        ));
        async {}
    });
    namespace.on_server_side("add", |event| async move {
        if let Ok((a, b)) = event.data::<(i64, i64)>() {
            event.reply(a + b);
        }
    });

    namespace.on("handshake", |socket: Socket, ack: Ack| async move {
        ack.send(describe(&socket))
    });
    namespace.on(
        "burst",
        |socket: Socket, Data(count): Data<u32>| async move {
            for number in 0..count {
                emit(&socket, "burst", number);
            }
        },
    );
    namespace.on(
        "remember",
        |socket: Socket, Data((key, value)): Data<(String, serde_json::Value)>| async move {
            socket.update_data(|data| data.insert(key, value));
        },
    );
    namespace.on("state", |socket: Socket, ack: Ack| async move {
        ack.send((socket.recovered(), sorted_rooms(&socket), socket.data()));
    });
    let counted = namespace.clone();
    namespace.on("sockets", move |ack: Ack| {
        ack.send(counted.socket_count());
        async {}
    });

    tell_departures(io, &namespace);
}

/// Lets in who knows the token.
pub(crate) fn guard(namespace: &Namespace) {
    namespace.use_middleware(|Auth(auth): Auth<serde_json::Value>| async move {
        if auth["token"] == "letmein" {
            Ok(())
        } else {
            Err(Refusal::new("not authorized").with_data(json!({ "code": 401 })))
        }
    });
}

async fn connected(socket: Socket) {
    // As it was sent: a map of ours would put the keys into another order.
    let auth: Option<Box<RawValue>> = socket.handshake().auth().ok();
    match auth.filter(|auth| auth.get() != "null") {
        Some(auth) => emit(&socket, "auth", auth),
        None => emit(&socket, "auth", json!({})),
    }
}

/// Tells everyone in the main namespace, on all servers, who has gone: namespace, id, reason, and the rooms it was in.
fn tell_departures(io: &Server, namespace: &Namespace) {
    let main = io.of("/");
    let rooms_of_leaving: Arc<Mutex<HashMap<SocketId, Vec<String>>>> = Arc::default();
    let leaving = rooms_of_leaving.clone();
    namespace.on_disconnecting(move |socket: Socket, _reason: CloseReason| {
        let mut rooms: Vec<String> = socket.rooms().iter().map(|room| room.to_string()).collect();
        rooms.sort();
        leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(socket.id(), rooms);
        async {}
    });
    namespace.on_disconnect(move |socket: Socket, reason: CloseReason| {
        let rooms = rooms_of_leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&socket.id());
        let gone = (
            socket.namespace_name(),
            socket.client_id(),
            reason.as_str(),
            rooms.unwrap_or_default(),
        );
        main.emit("gone", gone).expect("text is always JSON");
        async {}
    });
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(room) => vec![room],
            Self::Many(rooms) => rooms,
        }
    }
}

/// The chain of operators that a client asks for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Operators {
    to: Vec<String>,
    except: Vec<String>,
    local: bool,
    volatile: bool,
    compress: Option<bool>,
    /// Whether the sender is meant as well.
    #[serde(rename = "self")]
    itself: bool,
}

impl Operators {
    pub(crate) fn chain(&self, namespace: &Namespace, socket: &Socket) -> Broadcaster {
        let mut chain = if self.itself {
            namespace.broadcast()
        } else {
            socket.broadcast()
        };
        chain = chain.to(self.to.as_slice()).except(self.except.as_slice());
        if self.local {
            chain = chain.local();
        }
        if self.volatile {
            chain = chain.volatile();
        }
        if let Some(compress) = self.compress {
            chain = chain.compress(compress);
        }
        chain
    }
}

#[derive(Serialize)]
struct Asked {
    error: Option<String>,
    response: Option<Value>,
}

fn sorted_rooms(socket: &Socket) -> Vec<String> {
    let mut rooms: Vec<String> = socket.rooms().iter().map(|room| room.to_string()).collect();
    rooms.push(socket.client_id());
    rooms.sort();
    rooms
}

fn describe(socket: &Socket) -> serde_json::Value {
    let handshake = socket.handshake();
    let auth: serde_json::Value = handshake.auth().unwrap_or_default();
    let query: serde_json::Map<_, _> = handshake
        .query()
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({
        "query": query,
        "auth": if auth.is_null() { json!({}) } else { auth },
        "address": handshake.address().map(|address| address.ip().to_string()),
        "hasHeaders": handshake.header("host").is_some(),
        "url": handshake.url(),
        "secure": false,
        "xdomain": handshake.is_cross_domain(),
        "issuedIsNumber": handshake.issued().duration_since(std::time::UNIX_EPOCH).is_ok(),
    })
}

fn emit(socket: &Socket, event: &str, data: impl Serialize) {
    socket
        .emit(event, data)
        .expect("what the application sends fits into JSON");
}
