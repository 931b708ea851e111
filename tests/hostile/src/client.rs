//! Socket.IO by strings.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::websocket::{Frame, WebSocket};

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A client on one WebSocket. Packets are written and read as they are on the wire, with Engine.IO's digit in front of them.
#[derive(Debug)]
pub struct Client<S = TcpStream> {
    /// What it speaks through.
    pub websocket: WebSocket<S>,
    id: String,
}

impl Client {
    /// Opens a session and joins no namespace.
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(WebSocket::open(address, TARGET).await).await
    }

    /// Opens a session and joins the main namespace.
    pub async fn join(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        client.id = client.join_namespace("/").await;
        client
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.websocket.reset();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A client on a WebSocket that has just been opened.
    pub async fn over(mut websocket: WebSocket<S>) -> Self {
        let open = websocket.next_text().await;
        assert!(open.starts_with(r#"0{"sid":""#), "{open}");
        Self {
            websocket,
            id: String::new(),
        }
    }

    /// The id of the socket in the main namespace.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Joins a namespace and returns the socket's id in it.
    pub async fn join_namespace(&mut self, namespace: &str) -> String {
        if namespace == "/" {
            self.send("40").await;
        } else {
            self.send(&format!("40{namespace},")).await;
        }
        joined(&self.next().await).to_owned()
    }

    /// Sends one text packet.
    pub async fn send(&mut self, packet: &str) {
        self.websocket.text(packet).await;
    }

    /// The next text packet; pings are answered on the way.
    pub async fn next(&mut self) -> String {
        loop {
            let packet = self.websocket.next_text().await;
            if packet != "2" {
                return packet;
            }
            self.send("3").await;
        }
    }

    /// The next binary message.
    pub async fn next_binary(&mut self) -> Vec<u8> {
        match self.websocket.next().await {
            Frame::Binary(data) => data,
            other @ (Frame::Text(_)
            | Frame::Ping(_)
            | Frame::Pong(_)
            | Frame::Close(_)
            | Frame::End) => {
                panic!("expected an attachment, got {other:?}")
            }
        }
    }

    /// The next text packet has to be this one.
    ///
    /// # Panics
    /// If it is another one.
    pub async fn expect(&mut self, packet: &str) {
        assert_eq!(self.next().await, packet);
    }

    /// Has the server answer an event called `echo`: everything sent before it has been handled then, and nothing else was sent meanwhile.
    pub async fn echo(&mut self, text: &str) {
        self.send(&format!(r#"42["echo","{text}"]"#)).await;
        self.expect(&format!(r#"42["echo","{text}"]"#)).await;
    }

    /// Waits for the server to close, and returns what its close frame said, if it sent one.
    pub async fn closed(&mut self) -> Option<Option<u16>> {
        self.websocket.closed().await
    }
}

/// The id in the packet that lets a client into a namespace.
pub(crate) fn joined(packet: &str) -> &str {
    let sid = packet
        .strip_prefix("40")
        .and_then(|rest| rest.split_once(r#"{"sid":""#));
    sid.and_then(|(_, rest)| rest.strip_suffix(r#""}"#))
        .unwrap_or_else(|| panic!("expected a connect packet, got {packet}"))
}
