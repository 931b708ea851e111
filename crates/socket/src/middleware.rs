//! What stands between a client and a namespace.

use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::extract::{Event, FromEvent};

/// Why a client may not join a namespace. It reaches the client as the error of its `connect_error` event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    message: String,
    data: Option<Value>,
}

impl Refusal {
    /// A refusal with its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
        }
    }

    /// Adds what the client finds as the error's `data`. A value that does not fit into JSON is left out.
    #[must_use]
    pub fn with_data(mut self, data: impl Serialize) -> Self {
        self.data = serde_json::to_value(data).ok();
        self
    }

    pub(crate) fn to_json(&self) -> String {
        match &self.data {
            Some(data) => json!({ "message": self.message, "data": data }),
            None => json!({ "message": self.message }),
        }
        .to_string()
    }
}

pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// A middleware with its parameters forgotten.
pub(crate) type BoxedMiddleware =
    Arc<dyn Fn(&Event<'_>) -> Result<Deciding, Refusal> + Send + Sync>;

/// An async function of up to four parameters that are each [`FromEvent`], which lets a client in or not.
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
                        let $parameter = $parameter::from_event(event).map_err(|error| Refusal::new(error.to_string()))?;
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
