//! What is kept of the request that opened a session: its handshake copy.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;
use synapse_protocol::query_pairs;

use crate::proxies::Sender;

/// Put into a request's extensions by whoever accepted the connection: the address of the peer. [`serve`](crate::serve) does it; an app that
/// accepts connections itself does it in a layer. Without it there is no address in the handshake and no limit for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The head of the request that opened a session, in as few allocations as a million idle sessions ask for.
#[derive(Clone, Debug)]
pub struct RequestHead {
    url: Box<str>,
    /// `name:value\n` for each header; neither part can hold a line feed, nor a name a colon.
    headers: Box<str>,
    sender: Sender,
    issued_millis: u64,
}

impl RequestHead {
    pub(crate) fn new(parts: &Parts, sender: Sender) -> Self {
        let mut headers = String::with_capacity(
            parts
                .headers
                .iter()
                .map(|(n, v)| n.as_str().len() + v.len() + 2)
                .sum(),
        );
        for (name, value) in &parts.headers {
            headers.push_str(name.as_str());
            headers.push(':');
            headers.push_str(&String::from_utf8_lossy(value.as_bytes()));
            headers.push('\n');
        }
        Self {
            url: parts
                .uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .into(),
            headers: headers.into_boxed_str(),
            sender,
            issued_millis: unix_millis(),
        }
    }

    /// Path and query as they were sent.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The query's pairs, decoded, in their order.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> {
        query_pairs(self.url.split_once('?').map_or("", |(_, query)| query))
    }

    /// Header names in lower case with their values, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.lines().filter_map(|line| line.split_once(':'))
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find_map(|(header, value)| (header == name).then_some(value))
    }

    /// The client's address: the peer's, as far as the listener told it, or what a trusted proxy told. Its port is 0 when the proxy left it out.
    pub fn address(&self) -> Option<SocketAddr> {
        self.sender.address
    }

    /// Whether the client speaks TLS, which a trusted proxy tells; no without one.
    pub fn is_secure(&self) -> bool {
        self.sender.is_secure
    }

    /// When the request came, in milliseconds since 1970.
    pub fn issued_millis(&self) -> u64 {
        self.issued_millis
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str) -> RequestHead {
        let request = http::Request::builder()
            .uri(uri)
            .header("X-One", "1")
            .header("cookie", "a=b: c")
            .body(())
            .unwrap();
        RequestHead::new(&request.into_parts().0, Sender::default())
    }

    #[test]
    fn the_query_is_decoded() {
        let pairs: Vec<_> = head("/socket.io/?EIO=4&name=J%C3%BCrgen+K&flag&&x=%ff")
            .query()
            .collect();
        let expected = [
            ("EIO", "4"),
            ("name", "Jürgen K"),
            ("flag", ""),
            ("x", "\u{fffd}"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn headers_are_kept_by_their_lower_case_names() {
        let head = head("/");
        assert_eq!(
            (
                head.header("x-one"),
                head.header("cookie"),
                head.header("host")
            ),
            (Some("1"), Some("a=b: c"), None)
        );
    }
}
