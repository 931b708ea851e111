//! What handlers and middlewares are called for.

use std::borrow::Cow;
use std::sync::LazyLock;

use synapse_protocol::CloseReason;
use synapse_protocol::socket::Arguments;

use crate::ack::Ack;
use crate::error::SocketError;
use crate::socket::Socket;

/// An event of a client on its way to handlers, or a moment in the life of its socket. Parameters are taken out of it by
/// [`FromEvent`](crate::FromEvent).
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub(crate) socket: &'a Socket,
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a Arguments,
    pub(crate) occasion: &'a Occasion,
}

/// What a handler is called for.
#[derive(Clone, Debug)]
pub(crate) enum Occasion {
    /// The client asks to be let in, or has been.
    Connect,
    /// An event of the client, which waits for an answer if there is an id.
    Event { id: Option<u64> },
    /// The socket is about to leave its rooms.
    Disconnecting(CloseReason),
    /// The socket has left its rooms.
    Disconnect(CloseReason),
    /// Something went wrong.
    Error(SocketError),
}

impl<'a> Event<'a> {
    /// A moment that is no event of the client.
    pub(crate) fn of_moment(socket: &'a Socket, occasion: &'a Occasion) -> Self {
        static NONE: LazyLock<Arguments> = LazyLock::new(Arguments::default);
        Self {
            socket,
            name: occasion.moment(),
            arguments: &NONE,
            occasion,
        }
    }

    /// The socket it came from.
    pub fn socket(&self) -> &'a Socket {
        self.socket
    }

    /// Its name. A moment of the socket's life has the name it has in JavaScript: `connection`, `disconnecting`, `disconnect`, `error`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its name and arguments as they came; none for a moment of the socket's life.
    pub fn arguments(&self) -> &'a Arguments {
        self.arguments
    }

    /// Answers it, if the client waits for an answer.
    pub fn ack(&self) -> Ack {
        let id = match self.occasion {
            Occasion::Event { id } => *id,
            Occasion::Connect
            | Occasion::Disconnecting(_)
            | Occasion::Disconnect(_)
            | Occasion::Error(_) => None,
        };
        Ack::new(self.socket.clone(), id)
    }
}

impl Occasion {
    /// The name of the event or of the moment.
    pub(crate) fn name<'a>(&self, arguments: &'a Arguments) -> Cow<'a, str> {
        match self {
            Self::Event { .. } => arguments.event_name(),
            Self::Connect | Self::Disconnecting(_) | Self::Disconnect(_) | Self::Error(_) => {
                self.moment().into()
            }
        }
    }

    fn moment(&self) -> &'static str {
        match self {
            Self::Connect => "connection",
            Self::Event { .. } => "",
            Self::Disconnecting(_) => "disconnecting",
            Self::Disconnect(_) => "disconnect",
            Self::Error(_) => "error",
        }
    }
}
