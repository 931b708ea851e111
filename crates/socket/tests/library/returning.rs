//! A client that comes back.

use std::net::SocketAddr;

use serde_json::{Value, json};
use synapse_hostile::Client;

/// A client that does what official ones do: it keeps its private id and the last offset.
pub(crate) struct Returning {
    address: SocketAddr,
    pub(crate) connection: Option<Client>,
    pub(crate) sid: String,
    pub(crate) pid: String,
    pub(crate) offset: Option<String>,
}

impl Returning {
    pub(crate) async fn join(address: SocketAddr) -> Self {
        let mut client = Client::open(address).await;
        client.send("40").await;
        let connect = client.next().await;
        let (sid, pid) = ids(&connect);
        Self {
            address,
            connection: Some(client),
            sid,
            pid,
            offset: None,
        }
    }

    pub(crate) fn client(&mut self) -> &mut Client {
        self.connection.as_mut().expect("a connection")
    }

    /// Loses its connection.
    pub(crate) fn lose(&mut self) {
        self.connection = None;
    }

    /// The next event. Its offset is kept and cut off.
    pub(crate) async fn event(&mut self) -> Value {
        let packet = self.client().next().await;
        self.read(&packet)
    }

    fn read(&mut self, packet: &str) -> Value {
        let event = packet.strip_prefix("42").expect(packet);
        let mut event: Vec<Value> = serde_json::from_str(event).expect(packet);
        let offset = event.pop().expect("an offset");
        self.offset = Some(offset.as_str().expect(packet).to_owned());
        event.into()
    }

    /// Leaves its connection and comes by another: what it gets before it is let in, and whether it is recovered.
    pub(crate) async fn come_back(&mut self) -> (Vec<Value>, bool) {
        let auth = match &self.offset {
            Some(offset) => json!({ "pid": self.pid, "offset": offset }),
            None => json!({ "pid": self.pid }),
        };
        let mut client = Client::open(self.address).await;
        client.send(&format!("40{auth}")).await;
        let mut missed = Vec::new();
        let connect = loop {
            let packet = client.next().await;
            if packet.starts_with("40") {
                break packet;
            }
            missed.push(self.read(&packet));
        };
        self.connection = Some(client);
        let before = (self.sid.clone(), self.pid.clone());
        let now = ids(&connect);
        assert_eq!(before.0 == now.0, before.1 == now.1, "{connect}");
        (self.sid, self.pid) = now.clone();
        (missed, before == now)
    }
}

/// The two ids of `40{"sid":"..","pid":".."}`, which has nothing else.
pub(crate) fn ids(connect: &str) -> (String, String) {
    let json: Value =
        serde_json::from_str(connect.strip_prefix("40").expect(connect)).expect(connect);
    let (sid, pid) = (
        json["sid"].as_str().expect(connect),
        json["pid"].as_str().expect(connect),
    );
    assert_eq!(connect, format!(r#"40{{"sid":"{sid}","pid":"{pid}"}}"#));
    assert_eq!((sid.len(), pid.len()), (20, 20));
    assert_ne!(sid, pid);
    (sid.to_owned(), pid.to_owned())
}
