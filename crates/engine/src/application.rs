//! What an engine's sessions talk to: the `socket` crate, or a test.

use std::sync::Arc;
use std::task::Context;

use synapse_protocol::CloseReason;
use synapse_protocol::engine::Message;

use crate::connection::Connection;
use crate::request::RequestHead;

/// An application that sessions are opened for.
pub trait Application: Send + Sync + 'static {
    /// The application's side of one session.
    type Client: Client;

    /// Whether a handshake may go on. The text of a refusal is sent to the client with status 403.
    fn allow(&self, request: &RequestHead) -> Result<(), String> {
        let _ = request;
        Ok(())
    }

    /// A session has been opened.
    fn open(&self, connection: &Arc<Connection>) -> Self::Client;
}

/// The application's side of one session. It lives in the session's task, so its methods are never called at the same time.
pub trait Client: Send + Unpin + 'static {
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
