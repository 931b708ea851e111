//! Events between servers, which clients never see.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synapse_adapter::OnReply;
use synapse_protocol::socket::{Arguments, DeserializeError};

/// An event that another server of the cluster sent to its peers. See
/// [`Namespace::on_server_side`](crate::Namespace::on_server_side).
#[derive(Clone)]
pub struct ServerEvent {
    arguments: Arguments,
    reply: Arc<Mutex<Option<OnReply>>>,
}

pub(crate) type BoxedServerHandler =
    Arc<dyn Fn(ServerEvent) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl ServerEvent {
    pub(crate) fn new(arguments: Arguments, reply: Option<OnReply>) -> Self {
        Self {
            arguments,
            reply: Arc::new(Mutex::new(reply)),
        }
    }

    /// The event as it came: its name, then its arguments.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The arguments as a value: a tuple takes all of them, any other type the first.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, DeserializeError> {
        self.arguments.get()
    }

    /// Answers, if the other server waits for it. Only the first answer counts. A value that does not fit into JSON is dropped, which is
    /// logged.
    pub fn reply<T: Serialize>(&self, data: T) {
        match Arguments::ack(&data) {
            Ok(arguments) => {
                if let Some(reply) = self.reply.lock().take() {
                    reply(arguments);
                }
            }
            Err(error) => tracing::warn!(%error, "failed to answer a server-side event"),
        }
    }
}

impl fmt::Debug for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerEvent({:?})", self.arguments)
    }
}
