//! Events whose name belongs to a type.

use serde::de::DeserializeOwned;

use crate::extract::{Data, FromEvent};
use crate::handler::{BoxedHandlerOpaque, Handler};
use crate::reply::IntoAck;

/// A type that is the one argument of one event, so that name and content cannot come apart.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use synapse_socket::{EventType, Refusal, Server, Socket};
///
/// #[derive(Serialize, Deserialize)]
/// struct Said {
///     text: String,
/// }
///
/// impl EventType for Said {
///     const NAME: &'static str = "said";
/// }
///
/// # fn example(io: Server) {
/// io.of("/").on_event(|said: Said, socket: Socket| async move {
///     socket.to("lobby").emit_event(&said)?;
///     Ok::<(), Refusal>(())
/// });
/// # }
/// ```
pub trait EventType {
    /// The event's name.
    const NAME: &'static str;
}

/// A [`Handler`] whose first parameter is the event itself, followed by up to five others.
#[diagnostic::on_unimplemented(
    message = "this is not a handler of a typed event",
    label = "not an async function whose first parameter is the event",
    note = "the event is `EventType` and `DeserializeOwned`; up to five other parameters that are each `FromEvent` follow it",
    note = "a handler returns `()`, `Reply(value)`, or a `Result` of these whose error is `Into<Refusal>`"
)]
pub trait EventHandler<E, Parameters>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_boxed(self) -> BoxedHandlerOpaque;
}

macro_rules! event_handler {
    ($($parameter:ident),*) => {
        impl<E, Function, Returned, $($parameter),*> EventHandler<E, ($($parameter,)*)> for Function
        where
            E: EventType + DeserializeOwned,
            Function: Fn(E, $($parameter),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output: IntoAck> + Send + 'static,
            $($parameter: FromEvent,)*
        {
            #[allow(non_snake_case, reason = "the type's name stands for the parameter")]
            fn into_boxed(self) -> BoxedHandlerOpaque {
                Handler::into_boxed(move |Data(event): Data<E>, $($parameter: $parameter),*| self(event, $($parameter),*))
            }
        }
    };
}

event_handler!();
event_handler!(A);
event_handler!(A, B);
event_handler!(A, B, C);
event_handler!(A, B, C, D);
event_handler!(A, B, C, D, F);
