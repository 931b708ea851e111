//! Handlers: async functions that take what they need.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::event::Event;
use crate::extract::{ExtractError, FromEvent};
use crate::reply::IntoAck;

/// A handler that has been called and is under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handler with its parameters forgotten.
pub(crate) type BoxedHandler =
    Arc<dyn Fn(&Event<'_>) -> Result<Running, ExtractError> + Send + Sync>;

/// An async function of up to six parameters that are each [`FromEvent`], which returns what [`IntoAck`] lists.
///
/// It is polled at its event, in the order of the events; while it waits for something, later events are handled. When a parameter does not
/// fit it is not called, and the client is told as it is told an error that the handler returns.
///
/// It runs in the task of its client's connection: what blocks the thread holds up other clients too and belongs into
/// `tokio::task::spawn_blocking`. One that panics costs its own client the connection, and nobody else anything.
///
/// ```no_run
/// use synapse_socket::{Data, Refusal, Reply, Server};
///
/// # fn expensive(password: &str) -> String { password.to_owned() }
/// async fn hash(Data(password): Data<String>) -> Result<Reply<String>, Refusal> {
///     let hash = tokio::task::spawn_blocking(move || expensive(&password)).await;
///     hash.map(Reply).map_err(Refusal::internal)
/// }
///
/// # fn example(io: Server) {
/// io.of("/").on("hash", hash);
/// # }
/// ```
///
/// A closure that uses `?` has to say what its error is: `Ok::<(), Refusal>(())` at its end.
#[diagnostic::on_unimplemented(
    message = "this is not a handler",
    label = "not an async function of parameters that are each `FromEvent`, which returns what is `IntoAck`",
    note = "a handler takes `Socket`, `Data<T>`, `Ack`, `State<T>` and whatever else is `FromEvent`, at most six of them, by value",
    note = "a handler returns `()`, `Reply(value)`, or a `Result` of these whose error is `Into<Refusal>`",
    note = "its future is `Send`: it holds no `MutexGuard` and no `Rc` over an `.await`"
)]
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
            Returned: Future<Output: IntoAck> + Send + 'static,
            $($parameter: FromEvent,)*
        {
            fn into_boxed(self) -> BoxedHandlerOpaque {
                BoxedHandlerOpaque(Arc::new(move |event: &Event<'_>| {
                    $(
                        #[allow(non_snake_case, reason = "the type's name stands for the parameter")]
                        let $parameter = $parameter::from_event(event)?;
                    )*
                    let ack = Returned::Output::MAY_ANSWER.then(|| event.ack());
                    let running = self($($parameter),*).map(move |returned| {
                        if let Some(ack) = ack {
                            ack.conclude(returned);
                        }
                    });
                    Ok(Box::pin(running) as Running)
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
