//! What is known of a client from the moment it connected.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use synapse_engine::RequestHead;

use crate::time::js_date;

/// The handshake of a socket: the request that opened its session and what the client sent to join the namespace.
///
/// ```no_run
/// # use synapse_socket::Socket;
/// async fn look(socket: Socket) {
///     let handshake = socket.handshake();
///     let language = handshake.query().find(|(name, _)| name == "language");
///     println!("{:?} {language:?} {:?}", handshake.address(), handshake.header("user-agent"));
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    request: &'a RequestHead,
    auth: Option<&'a str>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn new(request: &'a RequestHead, auth: Option<&'a str>) -> Self {
        Self { request, auth }
    }

    /// What the client sent to prove itself, as a value; JSON's `null` when it sent nothing. Parsed at each call. Errors may quote a secret.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.auth.unwrap_or("null"))
    }

    /// The request's headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.request.headers()
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.request.header(name)
    }

    /// The query's pairs, decoded.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> {
        self.request.query()
    }

    /// Path and query as they were sent.
    pub fn url(&self) -> &'a str {
        self.request.url()
    }

    /// The client's address: the peer's, or what one of the [`TrustedProxies`](crate::TrustedProxies) tells (with port 0 if it leaves that out). None in
    /// a foreign app whose listener does not tell (see [`PeerAddr`](crate::PeerAddr)).
    pub fn address(&self) -> Option<SocketAddr> {
        self.request.address()
    }

    /// Whether the client speaks TLS, as one of the [`TrustedProxies`](crate::TrustedProxies) tells; no without one.
    pub fn is_secure(&self) -> bool {
        self.request.is_secure()
    }

    /// When the request came.
    pub fn issued(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.request.issued_millis())
    }

    /// Whether the request came from a page, which is what an `Origin` header tells.
    pub fn is_cross_domain(&self) -> bool {
        self.request.header("origin").is_some()
    }

    /// The handshake as the object that Node servers know.
    pub(crate) fn to_json(self) -> Value {
        let headers: Map<String, Value> = self
            .headers()
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let query: Map<String, Value> = self
            .query()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        let auth: Value = self.auth().unwrap_or(Value::Null);
        json!({
            "headers": headers,
            "time": js_date(self.request.issued_millis()),
            "address": self.address().map_or_else(String::new, |address| address.ip().to_string()),
            "xdomain": self.is_cross_domain(),
            "secure": self.is_secure(),
            "issued": self.request.issued_millis(),
            "url": self.url(),
            "query": query,
            "auth": if auth.is_null() { json!({}) } else { auth },
        })
    }
}
