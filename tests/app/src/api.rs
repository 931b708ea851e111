//! The namespace `/api`: answers and errors, listeners of every event, middlewares of events. And namespaces that come into being when
//! they are asked for: `/room-<number>`, and `/team/<name>` for who says in `auth` to be of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synapse_socket::{
    Arguments, Data, EventName, EventType, NamespaceRequest, Refusal, Reply, Server, Socket,
    SocketError, State,
};

/// How many clients have come.
pub(crate) type Visits = Arc<AtomicU64>;

#[derive(Deserialize, Serialize)]
struct Said {
    text: String,
}

impl EventType for Said {
    const NAME: &'static str = "said";
}

pub(crate) fn register(io: &Server) {
    let api = io.of("/api");
    api.on_connect(listen);
    api.on("divide", divide);
    api.on("visits", |State(visits): State<Visits>| async move {
        Reply(visits.load(Ordering::Relaxed))
    });
    api.on_event(|said: Said, socket: Socket| async move {
        socket.broadcast().emit_event(&said)?;
        Ok::<_, Refusal>(Reply(()))
    });
    for name in ["secret", "slow", "fast"] {
        api.on(name, move |socket: Socket| async move {
            socket.emit("ran", name)?;
            Ok::<(), Refusal>(())
        });
    }
    let all = api.clone();
    api.on("all", move |Data(text): Data<String>| {
        let sent = all.emit("to-all", text);
        async { Ok::<_, Refusal>(sent?) }
    });
    api.on_error(|socket: Socket, error: SocketError| async move {
        match error {
            SocketError::Refused(refusal) => {
                socket.emit("trouble", refusal.message())?;
            }
            SocketError::Packet(_) => socket
                .broadcast()
                .emit("undecodable", socket.id().text().as_str())?,
        }
        Ok::<(), Refusal>(())
    });
    api.use_event_middleware(|EventName(name): EventName| async move {
        match name.as_str() {
            "secret" => Err(Refusal::new("not for you").with_data(403)),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    });
}

pub(crate) fn register_dynamic(io: &Server) -> Result<(), Box<dyn std::error::Error>> {
    let rooms = io.of_regex(r"^/room-\d+$")?;
    let made = Names::default();
    let noted = made.clone();
    io.on_new_namespace(move |namespace| noted.push(namespace.name().to_owned()));
    rooms.use_middleware(|socket: Socket| async move {
        if socket
            .handshake()
            .auth::<Auth>()
            .is_ok_and(|auth| auth.refuse)
        {
            return Err(Refusal::new("refused"));
        }
        Ok(())
    });
    rooms.on("where", |socket: Socket| async move {
        Reply(socket.namespace_name().to_owned())
    });
    let all = rooms.clone();
    rooms.on("all", move |Data(text): Data<String>| {
        let sent = all.emit("to-all", text);
        async { Ok::<_, Refusal>(sent?) }
    });
    io.of("/api").on("children", move || {
        let mut names: Vec<_> = rooms
            .children()
            .iter()
            .map(|child| child.name().to_owned())
            .collect();
        names.sort();
        let reply = Reply((names, made.all()));
        async { reply }
    });

    io.of_matching(|request: NamespaceRequest| async move {
        let auth = request.auth::<Auth>().unwrap_or_default();
        tokio::task::yield_now().await;
        request.name().strip_prefix("/team/") == Some(&auth.team)
    });
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    team: String,
    refuse: bool,
}

async fn divide(Data((a, b)): Data<(i64, i64)>) -> Result<Reply<i64>, Refusal> {
    a.checked_div(b)
        .map(Reply)
        .ok_or_else(|| Refusal::new("not by zero").with_data([a, b]))
}

/// Keeps what comes in and goes out, and tells it when asked. `deaf` takes the listeners off.
async fn listen(socket: Socket, State(visits): State<Visits>) {
    visits.fetch_add(1, Ordering::Relaxed);
    let (heard, shown) = (Names::default(), Names::default());
    let noted = heard.clone();
    let any = socket.on_any(move |EventName(name): EventName| {
        noted.push(name);
        async {}
    });
    let noted = shown.clone();
    let any_outgoing = socket.on_any_outgoing(move |_, event: &Arguments| {
        noted.push(event.event_name().into_owned());
    });
    socket.on("names", move || {
        let reply = Reply((heard.all(), shown.all()));
        async { reply }
    });
    socket.once("once", |socket: Socket| async move {
        socket.emit("ran", "once")?;
        Ok::<(), Refusal>(())
    });
    socket.on("deaf", move |socket: Socket| async move {
        socket.off(any);
        socket.off(any_outgoing);
        Reply(())
    });
}

#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Names {
    fn push(&self, name: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
    }

    fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
