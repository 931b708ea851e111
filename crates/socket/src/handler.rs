//! Handlers: async functions that take what they need.

use std::pin::Pin;
use std::sync::Arc;

use crate::extract::{Event, FromEvent};

/// A handler that has been called and is under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handler with its parameters forgotten.
pub(crate) type BoxedHandler = Arc<dyn Fn(&Event<'_>) -> Option<Running> + Send + Sync>;

/// An async function of up to six parameters that are each [`FromEvent`].
///
/// It is polled at its event, in the order of the events; while it waits for something, later events are handled. It runs in the task
/// of its client's connection, so work that blocks the thread belongs into `tokio::task::spawn_blocking`.
pub trait Handler<Parameters>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_boxed(self) -> BoxedHandlerOpaque;
}

/// Hides the inner form of a handler.
#[doc(hidden)]
pub struct BoxedHandlerOpaque(pub(crate) BoxedHandler);

impl std::fmt::Debug for BoxedHandlerOpaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("handler")
    }
}

macro_rules! handler {
    ($($parameter:ident),*) => {
        impl<Function, Returned, $($parameter),*> Handler<($($parameter,)*)> for Function
        where
            Function: Fn($($parameter),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = ()> + Send + 'static,
            $($parameter: FromEvent,)*
        {
            fn into_boxed(self) -> BoxedHandlerOpaque {
                BoxedHandlerOpaque(Arc::new(move |event: &Event<'_>| {
                    $(
                        #[allow(non_snake_case, reason = "the type's name stands for the parameter")]
                        let $parameter = match $parameter::from_event(event) {
                            Ok(parameter) => parameter,
                            Err(error) => {
                                tracing::debug!(event = %event.arguments.event_name(), %error, "dropped an event");
                                return None;
                            }
                        };
                    )*
                    let _ = event;
                    Some(Box::pin(self($($parameter),*)) as Running)
                }))
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
handler!(A, B, C, D, E, F);
