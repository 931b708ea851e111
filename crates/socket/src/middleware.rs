//! What stands between a client and a namespace, and between an event and its handlers.

use std::pin::Pin;
use std::sync::Arc;

use synapse_protocol::socket::Arguments;

use crate::event::{Event, Occasion};
use crate::extract::FromEvent;
use crate::refusal::Refusal;
use crate::socket::Socket;

pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// A middleware with its parameters forgotten.
pub(crate) type BoxedMiddleware =
    Arc<dyn Fn(&Event<'_>) -> Result<Deciding, Refusal> + Send + Sync>;

/// An async function of up to six parameters that are each [`FromEvent`], which lets a client in or not, or an event through or not. A
/// parameter that does not fit refuses.
///
/// ```no_run
/// use serde::Deserialize;
/// use serde_json::json;
/// use synapse_socket::{Auth, Refusal, Server, Socket};
///
/// #[derive(Deserialize)]
/// struct Login {
///     token: String,
/// }
///
/// # async fn user_of(_: &str) -> Option<String> { None }
/// async fn let_in(socket: Socket, Auth(login): Auth<Login>) -> Result<(), Refusal> {
///     let Some(user) = user_of(&login.token).await else {
///         return Err(Refusal::new("not authorized").with_data(json!({ "code": 4001 })));
///     };
///     socket.update_data(|data| data.insert("user".to_owned(), user.into()));
///     Ok(())
/// }
///
/// # fn example(io: Server) {
/// io.of("/").use_middleware(let_in);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "this is not a middleware",
    label = "not an async function of parameters that are each `FromEvent`, which returns `Result<(), Refusal>`",
    note = "a middleware takes `Socket`, `Auth<T>`, `State<T>` and whatever else is `FromEvent`, at most six of them, by value"
)]
pub trait Middleware<Parameters>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_boxed(self) -> BoxedMiddlewareOpaque;
}

/// Hides the inner form of a middleware.
#[doc(hidden)]
pub struct BoxedMiddlewareOpaque(pub(crate) BoxedMiddleware);

impl std::fmt::Debug for BoxedMiddlewareOpaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("middleware")
    }
}

/// Asks middlewares one after the other, until one refuses or the socket has ended, which the caller has to look at first.
pub(crate) async fn ask(
    middlewares: Vec<BoxedMiddleware>,
    socket: Socket,
    arguments: Arguments,
    occasion: Occasion,
) -> Result<(), Refusal> {
    let name = occasion.name(&arguments);
    for middleware in middlewares {
        let deciding = middleware(&Event {
            socket: &socket,
            name: &name,
            arguments: &arguments,
            occasion: &occasion,
        });
        deciding?.await?;
        if socket.has_ended() {
            break;
        }
    }
    Ok(())
}

macro_rules! middleware {
    ($($parameter:ident),*) => {
        impl<Function, Returned, $($parameter),*> Middleware<($($parameter,)*)> for Function
        where
            Function: Fn($($parameter),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = Result<(), Refusal>> + Send + 'static,
            $($parameter: FromEvent,)*
        {
            fn into_boxed(self) -> BoxedMiddlewareOpaque {
                BoxedMiddlewareOpaque(Arc::new(move |event: &Event<'_>| {
                    $(
                        #[allow(non_snake_case, reason = "the type's name stands for the parameter")]
                        let $parameter = $parameter::from_event(event)?;
                    )*
                    let _ = event;
                    Ok(Box::pin(self($($parameter),*)) as Deciding)
                }))
            }
        }
    };
}

middleware!();
middleware!(A);
middleware!(A, B);
middleware!(A, B, C);
middleware!(A, B, C, D);
middleware!(A, B, C, D, E);
middleware!(A, B, C, D, E, F);
