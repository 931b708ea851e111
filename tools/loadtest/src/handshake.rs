//! The HTTP side of opening a WebSocket: one request for all connections, and the check of its answer.

use synapse_protocol::websocket::accept_key;

use crate::target::Target;

/// A nonce protects against caches that answer in the server's place. There is none between us and a server on this machine, so all
/// connections share one.
const KEY: &str = "c3luYXBzZS1sb2FkdGVzdA==";
/// Bytes of an answer's head; more is not what a WebSocket server says.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What every connection says first, and what it expects to hear.
pub(crate) struct Handshake {
    path: String,
    accept: String,
}

/// Why the answer is not the one of a WebSocket server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the server answered `{0}` to the WebSocket handshake")]
    Status(String),
    #[error("the answer to the WebSocket handshake has no or a wrong sec-websocket-accept")]
    Accept,
    #[error("the answer to the WebSocket handshake has a head of more than {HEAD_BYTES_MAX} bytes")]
    TooLong,
}

impl Handshake {
    /// A handshake for Engine.IO at this path, such as `/socket.io/`.
    pub(crate) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            accept: accept_key(KEY).expect("the key is 16 bytes of base64"),
        }
    }

    /// Appends the request.
    pub(crate) fn put_request(&self, out: &mut Vec<u8>, target: Target) {
        let request = format!(
            "GET {}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            self.path
        );
        out.extend_from_slice(request.as_bytes());
    }

    /// How long the answer's head is, once it is complete and right.
    pub(crate) fn head_bytes(&self, answer: &[u8]) -> Result<Option<usize>, HandshakeError> {
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return match answer.len() {
                ..=HEAD_BYTES_MAX => Ok(None),
                _ => Err(HandshakeError::TooLong),
            };
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 101") {
            return Err(HandshakeError::Status(status.to_owned()));
        }
        let is_accepted = lines
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| {
                name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == self.accept
            });
        match is_accepted {
            true => Ok(Some(end + 4)),
            false => Err(HandshakeError::Accept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expect: &Result<Option<usize>, HandshakeError>) {
        let handshake = Handshake::new("/socket.io/");
        let answer = answer.replace("ACCEPT", &handshake.accept);
        assert_eq!(&handshake.head_bytes(answer.as_bytes()), expect, "{answer}");
    }

    #[test]
    fn only_a_complete_and_right_head_is_taken() {
        let right = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n";
        let len = right.len() - "ACCEPT".len() + 28;
        check(right, &Ok(Some(len)));
        check(&format!("{right}\u{1}rest"), &Ok(Some(len)));
        check(&right[..right.len() - 1], &Ok(None));
        check("", &Ok(None));
        check(
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &Err(HandshakeError::Accept),
        );
        check(
            "HTTP/1.1 101 x\r\nsec-websocket-accept: c3luYXBzZQ==\r\n\r\n",
            &Err(HandshakeError::Accept),
        );
        check(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            &Err(HandshakeError::Status(
                "HTTP/1.1 503 Service Unavailable".to_owned(),
            )),
        );
        check(
            &"x".repeat(HEAD_BYTES_MAX + 1),
            &Err(HandshakeError::TooLong),
        );
    }

    #[test]
    fn request_names_path_and_host() {
        let mut out = Vec::new();
        let target = "127.0.0.1:3000".parse().unwrap();
        Handshake::new("/io/").put_request(&mut out, target);
        let request = String::from_utf8(out).unwrap();
        assert!(request.starts_with(
            "GET /io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n"
        ));
        assert!(request.ends_with("\r\n\r\n"));
    }
}
