//! What an engine's sessions talk to: the `socket` crate, or a test.

use std::sync::Arc;
use std::task::Context;

use http::HeaderMap;
use http::request::Parts;
use synapse_protocol::engine::Message;
use synapse_protocol::{CloseReason, SessionId};

use crate::connection::Connection;
use crate::refusal::ConnectionError;
use crate::request::RequestHead;

/// An application that sessions are opened for.
pub trait Application: Send + Sync + 'static {
    /// The application's side of one session.
    type Client: Client;

    /// Whether a handshake may go on. The text of a refusal is sent to the client with status 403. The handshake waits for it, for as long as
    /// [`Limits::allow_request_timeout`](crate::Limits::allow_request_timeout) says.
    fn allow(&self, request: &RequestHead) -> impl Future<Output = Result<(), String>> + Send {
        let _ = request;
        std::future::ready(Ok(()))
    }

    /// The id of a session that opens; none lets the engine draw one. An id must be hard to guess, because whoever has it speaks as its client, and
    /// must never be given twice: while its session is there, the second handshake with it is refused.
    fn generate_id(&self, request: &RequestHead) -> Option<SessionId> {
        let _ = request;
        None
    }

    /// Adds headers to the response of a handshake, by polling (with status 200) or by WebSocket (101).
    fn initial_headers(&self, request: &Parts, headers: &mut HeaderMap) {
        let _ = (request, headers);
    }

    /// Adds headers to the response of every request that is not refused, after [`initial_headers`](Self::initial_headers) if it is a handshake.
    fn headers(&self, request: &Parts, headers: &mut HeaderMap) {
        let _ = (request, headers);
    }

    /// A request was refused.
    fn refused(&self, request: &Parts, error: &ConnectionError) {
        let _ = (request, error);
    }

    /// A session has been opened.
    fn open(&self, connection: &Arc<Connection>) -> Self::Client;
}

/// The application's side of one session. It lives in the session's task, so its methods are never called at the same time.
pub trait Client: Send + Unpin + 'static {
    /// The session's task runs for the first time; nothing has been read yet. An error ends the session with that reason.
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let _ = cx;
        Ok(())
    }

    /// A message came in. Must not block. An error ends the session with that reason.
    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_>) -> Result<(), CloseReason>;

    /// Goes on with work that earlier messages began; called whenever the session's task runs.
    fn poll(&mut self, cx: &mut Context<'_>);

    /// Whether there is so much unfinished work that no more messages should be read for now.
    fn is_busy(&self) -> bool;

    /// The session is about to be closed because of [`Connection::disconnect`]: the last moment to send something.
    fn disconnecting(&mut self);

    /// The session is over. Called exactly once, last.
    fn close(&mut self, reason: CloseReason);
}
