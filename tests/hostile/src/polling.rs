//! Engine.IO by long polling.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http::{Http, Response};

/// One polling session. GET and POST have a connection each, as in a browser.
#[derive(Debug)]
pub struct Polling {
    address: SocketAddr,
    sid: String,
    get: Http,
    post: Http,
}

impl Polling {
    /// Opens a session.
    pub async fn open(address: SocketAddr) -> Self {
        let mut get = Http::connect(address).await;
        let response = get
            .request("GET", "/socket.io/?EIO=4&transport=polling", &[], b"")
            .await;
        assert_eq!(response.status, 200, "{}", response.body);
        let open: Value =
            serde_json::from_str(response.body.strip_prefix('0').expect("an open packet"))
                .expect("JSON");
        let sid = open["sid"].as_str().expect("a sid").to_owned();
        Self {
            address,
            sid,
            get,
            post: Http::connect(address).await,
        }
    }

    /// Opens a session and joins the main namespace. Returns the socket's id as well.
    pub async fn join(address: SocketAddr) -> (Self, String) {
        let mut polling = Self::open(address).await;
        assert_eq!(polling.post("40").await.status, 200);
        let packets = polling.packets().await;
        let socket_id = crate::client::joined(&packets[0]).to_owned();
        (polling, socket_id)
    }

    /// The session's id.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Where the session's requests go.
    pub fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    /// Sends a payload.
    pub async fn post(&mut self, payload: &str) -> Response {
        let target = self.target();
        self.post
            .request(
                "POST",
                &target,
                &[("Content-Type", "text/plain;charset=UTF-8")],
                payload.as_bytes(),
            )
            .await
    }

    /// Begins a poll.
    pub async fn start_poll(&mut self) {
        let target = self.target();
        self.get.send_request("GET", &target, &[], b"").await;
    }

    /// The answer to a poll that has been begun.
    pub async fn poll_response(&mut self) -> Response {
        self.get.response().await
    }

    /// Polls once.
    pub async fn poll(&mut self) -> Response {
        self.start_poll().await;
        self.poll_response().await
    }

    /// Polls once for packets. Pings are answered and left out.
    pub async fn packets(&mut self) -> Vec<String> {
        loop {
            let response = self.poll().await;
            assert_eq!(response.status, 200, "{}", response.body);
            let mut packets: Vec<_> = response.body.split('\u{1e}').map(str::to_owned).collect();
            let before = packets.len();
            packets.retain(|packet| packet != "2");
            if packets.len() < before {
                self.post("3").await;
            }
            if !packets.is_empty() {
                return packets;
            }
        }
    }

    /// Gives the connection of the polls up, with what is under way on it.
    pub async fn abort_poll(&mut self) {
        self.get = Http::connect(self.address).await;
    }

    /// Polls until the session is over, and returns the last answer.
    pub async fn closed(&mut self) -> Response {
        loop {
            let response = self.poll().await;
            let is_over =
                response.status != 200 || response.body.split('\u{1e}').any(|packet| packet == "1");
            if is_over {
                return response;
            }
        }
    }
}
