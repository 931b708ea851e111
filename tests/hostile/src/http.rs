//! HTTP by bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::within;

/// Between two bytes that make a peer which has gone away say so.
const PESTER_INTERVAL: Duration = Duration::from_millis(300);
/// Between two bytes of a client that is slow on purpose.
const DRIP_INTERVAL: Duration = Duration::from_millis(10);

/// One HTTP connection.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response with all of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as they came.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|(header, value)| (header == name).then_some(value.as_str()))
    }
}

impl Http {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("a TCP stream");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes. A server that has closed already is no failure: its answer is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("the server to read", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends a request of any method, with `Host` and, for a body, its length.
    pub async fn send_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes).await;
    }

    /// Sends a request and waits for the answer.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send_request(method, target, headers, body).await;
        self.response().await
    }

    /// The next response.
    pub async fn response(&mut self) -> Response {
        self.try_response()
            .await
            .expect("the server answers before it closes")
    }

    /// The next response, or none when the server closed without one.
    pub async fn try_response(&mut self) -> Option<Response> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.read().await == 0 {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let head = String::from_utf8(head).expect("headers are ASCII");
        let mut lines = head.trim_end().lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status: status.expect("a status line"),
            headers,
            body: String::new(),
        };
        let length = response
            .header("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        while self.buffer.len() < length {
            assert_ne!(self.read().await, 0, "the server closed inside of a body");
        }
        let body = self.buffer.drain(..length).collect();
        response.body = String::from_utf8(body).expect("bodies are text");
        Some(response)
    }

    /// Waits until the server closes; what it sends meanwhile is dropped.
    pub async fn closed(&mut self) {
        while self.read().await > 0 {
            self.buffer.clear();
        }
    }

    /// Sends one byte after the other, slowly, until the server closes. Returns what it answered, if it did.
    pub async fn drip(&mut self, bytes: &[u8]) -> Option<Response> {
        for byte in bytes.iter().cycle() {
            match tokio::time::timeout(DRIP_INTERVAL, self.try_response()).await {
                Ok(response) => return response,
                Err(_) => self.send([*byte]).await,
            }
        }
        None
    }

    /// Goes on sending without reading, slowly, until the server has ended the connection.
    pub async fn pester(&mut self) {
        within("the server to end the connection", async {
            while self.stream.write_all(b"\n").await.is_ok() {
                tokio::time::sleep(PESTER_INTERVAL).await;
            }
        })
        .await;
    }

    /// The stream, with what was read from it already.
    pub fn into_stream(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        reset(&self.stream);
    }

    async fn read(&mut self) -> usize {
        within(
            "the server to answer",
            read(&mut self.stream, &mut self.buffer),
        )
        .await
    }
}

/// Reads what there is; a reset counts as the end.
pub(crate) async fn read(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> usize {
    match stream.read_buf(buffer).await {
        Ok(read) => read,
        Err(error) => {
            let is_reset = matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            );
            assert!(is_reset, "failed to read: {error}");
            0
        }
    }
}

/// Makes the kernel send a reset instead of an orderly end once the stream is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    let none = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(stream)
        .set_linger(none)
        .expect("a TCP stream");
}
