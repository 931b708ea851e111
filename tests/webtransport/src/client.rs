//! A client on the implementation of wtransport.

use std::net::SocketAddr;

use synapse_hostile::within;
use wtransport::endpoint::ConnectOptions;
use wtransport::error::{ConnectingError, ConnectionError};
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

/// One connection with its stream. Frames are those of the protocol; what they say is up to the test.
#[derive(Debug)]
pub struct Client {
    /// The connection, which ends when it is dropped.
    pub connection: Connection,
    sending: SendStream,
    receiving: RecvStream,
    unread: Vec<u8>,
}

impl Client {
    /// A connection for a session, without a stream yet.
    pub async fn connect(
        address: SocketAddr,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Connection, ConnectingError> {
        let config = ClientConfig::builder()
            .with_bind_address(([127, 0, 0, 1], 0).into())
            .with_no_cert_validation()
            .build();
        let endpoint = Endpoint::client(config).expect("a free port");
        let mut options =
            ConnectOptions::builder(format!("https://127.0.0.1:{}{path}", address.port()));
        if let Some(origin) = origin {
            options = options.add_header("origin", origin);
        }
        within("connection", endpoint.connect(options.build())).await
    }

    /// A connection with its stream, on which nothing was said yet.
    pub async fn open(address: SocketAddr) -> Self {
        let path = "/socket.io/?EIO=4&transport=webtransport";
        let connection = Self::connect(address, path, None).await.expect("a session");
        Self::on(connection).await
    }

    /// The stream of a connection.
    pub async fn on(connection: Connection) -> Self {
        let opening = connection.open_bi().await.expect("a stream");
        let (sending, receiving) = opening.await.expect("a stream");
        Self {
            connection,
            sending,
            receiving,
            unread: Vec::new(),
        }
    }

    /// A client in the main namespace.
    pub async fn join(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        client.send("0").await;
        let open = client.receive().await;
        assert!(open.starts_with("0{\"sid\":"), "{open}");
        client.send("40").await;
        let joined = client.receive().await;
        assert!(joined.starts_with("40{"), "{joined}");
        client
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // A server that has had enough may close before it has taken everything.
        let _ = self.sending.write_all(bytes).await;
    }

    /// Sends a packet in a text frame.
    pub async fn send(&mut self, packet: &str) {
        self.send_bytes(&frame(packet.as_bytes(), false)).await;
    }

    /// The next packet in a text frame.
    pub async fn receive(&mut self) -> String {
        let (is_binary, payload) = self.receive_frame().await;
        assert!(!is_binary, "{payload:?}");
        String::from_utf8(payload).expect("text")
    }

    /// The next frame: whether it is binary, and its payload.
    pub async fn receive_frame(&mut self) -> (bool, Vec<u8>) {
        let [first] = self.read().await;
        let len = match first & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.read().await)),
            127 => usize::try_from(u64::from_be_bytes(self.read().await)).expect("a length"),
            len => usize::from(len),
        };
        self.fill(len).await;
        (first & 0x80 != 0, self.unread.drain(..len).collect())
    }

    /// Sends `echo` with this text, and waits for it.
    pub async fn echo(&mut self, text: &str) {
        let event = format!("42[\"echo\",\"{text}\"]");
        self.send(&event).await;
        assert_eq!(self.receive().await, event);
    }

    /// Waits until the server has ended the session.
    pub async fn ended(&self) -> ConnectionError {
        within("end", self.connection.closed()).await
    }

    async fn read<const N: usize>(&mut self) -> [u8; N] {
        self.fill(N).await;
        let bytes: Vec<u8> = self.unread.drain(..N).collect();
        bytes.try_into().expect("as many as asked for")
    }

    async fn fill(&mut self, len: usize) {
        let mut buffer = [0; 4096];
        while self.unread.len() < len {
            let read = within("bytes", self.receiving.read(&mut buffer)).await;
            let read = read.expect("a stream").expect("more of it");
            self.unread.extend_from_slice(&buffer[..read]);
        }
    }
}

/// A frame.
pub fn frame(payload: &[u8], is_binary: bool) -> Vec<u8> {
    let bit = if is_binary { 0x80 } else { 0 };
    let len = payload.len();
    let mut frame = match u8::try_from(len) {
        Ok(len @ 0..126) => vec![bit | len],
        _ => [&[bit | 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    frame.extend_from_slice(payload);
    frame
}
