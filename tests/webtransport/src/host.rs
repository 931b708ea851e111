//! A server in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use synapse_hostile::eventually;
use synapse_socket::webtransport::pki_types::PrivatePkcs8KeyDer;
use synapse_socket::webtransport::{Certificate, listen};
use synapse_socket::{
    Arguments, CloseReason, EngineConfig, Server, ServerBuilder, Socket, TransportKind,
};
use tokio::sync::{Notify, watch};
use tower_service::Service as _;
use wtransport::Identity;

/// A server on a free port of the loopback interface. Its main namespace answers `echo` with an event of the same name and arguments.
#[derive(Debug)]
pub struct Host {
    /// The server.
    pub io: Server,
    /// Where clients of WebTransport come to.
    pub address: SocketAddr,
    /// Why sockets ended so far.
    reasons: watch::Receiver<Vec<CloseReason>>,
    stop: Arc<Notify>,
    listening: tokio::task::JoinHandle<()>,
}

/// The default configuration, with WebTransport.
pub fn config() -> EngineConfig {
    EngineConfig {
        transports: [TransportKind::Polling, TransportKind::WebTransport]
            .into_iter()
            .collect(),
        ..EngineConfig::default()
    }
}

/// A certificate for this machine.
pub fn certificate() -> Certificate {
    let identity = Identity::self_signed(["localhost", "127.0.0.1"]).expect("names of hosts");
    Certificate {
        chain: vec![
            identity.certificate_chain().as_slice()[0]
                .der()
                .to_vec()
                .into(),
        ],
        key: PrivatePkcs8KeyDer::from(identity.private_key().secret_der().to_vec()).into(),
    }
}

impl Host {
    /// Serves with the configuration for tests.
    pub fn start() -> Self {
        Self::with(config())
    }

    /// Serves with a configuration.
    pub fn with(config: EngineConfig) -> Self {
        Self::build(Server::builder().config(config))
    }

    /// Serves a server that is built here.
    pub fn build(builder: ServerBuilder) -> Self {
        let io = builder.build();
        let (ended, reasons) = watch::channel(Vec::new());
        let main = io.of("/");
        main.on("echo", |socket: Socket, event: Arguments| async move {
            socket.emit_arguments(&event)
        });
        main.on_disconnect(move |_: Socket, reason: CloseReason| {
            ended.send_modify(|reasons| reasons.push(reason));
            async {}
        });
        let listener = listen(([127, 0, 0, 1], 0).into(), &certificate(), io.service())
            .expect("a free port and a certificate");
        let address = listener.local_addr().expect("a bound listener");
        let stop = Arc::new(Notify::new());
        let (stopped, closing) = (Arc::clone(&stop), io.clone());
        let listening = tokio::spawn(async move {
            let shutdown = async {
                stopped.notified().await;
                closing.close().await;
            };
            listener.serve(shutdown).await;
        });
        Self {
            io,
            address,
            reasons,
            stop,
            listening,
        }
    }

    /// Waits until this many sessions are open.
    pub async fn settled(&self, sessions: usize) {
        eventually(&format!("{sessions} sessions to be left"), || {
            self.io.stats().sessions == sessions
        })
        .await;
    }

    /// Waits until a socket has ended, and says why the last one did.
    pub async fn reason(&mut self) -> CloseReason {
        let ended = self.reasons.wait_for(|reasons| !reasons.is_empty()).await;
        *ended
            .expect("the server is there")
            .last()
            .expect("it has been waited for")
    }

    /// Ends the server, and waits until its listener has ended.
    pub async fn stop(self) {
        self.stop.notify_one();
        self.listening.await.expect("it does not panic");
    }

    /// An answer over HTTP: status and body.
    pub async fn http(&self, method: &str, query: &str, body: &'static str) -> (u16, String) {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/socket.io/?EIO=4&transport=polling{query}"))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .expect("a request");
        let Ok(response) = self.io.service().call(request).await;
        let status = response.status().as_u16();
        let Ok(body) = response.into_body().collect().await;
        let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        (status, body)
    }

    /// Opens a session that polls, and joins the main namespace; returns its id.
    pub async fn poll(&self) -> String {
        let (_, open) = self.http("GET", "", "").await;
        let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("a handshake");
        let sid = open["sid"].as_str().expect("a text").to_owned();
        let query = format!("&sid={sid}");
        assert_eq!(self.http("POST", &query, "40").await.1, "ok");
        let joined = self.http("GET", &query, "").await.1;
        assert!(joined.starts_with("40{"), "{joined}");
        sid
    }
}
