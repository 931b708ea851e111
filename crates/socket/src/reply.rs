//! What a handler returns, and what the client gets of it.

use serde::Serialize;
use synapse_protocol::socket::Arguments;

use crate::ack::Ack;
use crate::refusal::Refusal;

/// What a handler returns.
///
/// | returned | a client that waits for an answer gets |
/// | --- | --- |
/// | `()` | nothing: the handler has an [`Ack`], or there is nothing to say |
/// | [`Reply(value)`](Reply) | the value; a tuple gives several arguments, `()` none |
/// | [`Arguments`] | these, unchanged |
/// | `Ok(x)` | what `x` gives |
/// | `Err(e)` | `{ "error": message }`, with `data` if there is some: see [`Refusal`] |
///
/// An error is also told to the handlers of [`Socket::on_error`](crate::Socket::on_error), whether the client waits or not.
///
/// ```no_run
/// use synapse_socket::{Data, Refusal, Reply, Server};
///
/// async fn divide(Data((a, b)): Data<(i64, i64)>) -> Result<Reply<i64>, Refusal> {
///     a.checked_div(b).map(Reply).ok_or_else(|| "not by zero".into())
/// }
///
/// # fn example(io: Server) {
/// io.of("/").on("divide", divide);
/// # }
/// ```
///
/// In the browser:
///
/// ```js
/// const answer = await socket.emitWithAck("divide", 1, 0); // { error: "not by zero" }
/// ```
pub trait IntoAck {
    #[doc(hidden)]
    const MAY_ANSWER: bool = true;

    /// Answers by `ack`, or says why there is no answer. The refusal is then what the client gets.
    fn answer(self, ack: &Ack) -> Result<(), Refusal>;
}

/// A handler's answer: a tuple gives several arguments, `()` none, anything else one. See [`IntoAck`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply<T>(pub T);

impl IntoAck for () {
    const MAY_ANSWER: bool = false;

    fn answer(self, _ack: &Ack) -> Result<(), Refusal> {
        Ok(())
    }
}

impl<T: Serialize> IntoAck for Reply<T> {
    fn answer(self, ack: &Ack) -> Result<(), Refusal> {
        if ack.is_wanted() {
            ack.send_arguments(&Arguments::ack(&self.0)?);
        }
        Ok(())
    }
}

impl IntoAck for Arguments {
    fn answer(self, ack: &Ack) -> Result<(), Refusal> {
        ack.send_arguments(&self);
        Ok(())
    }
}

impl<T: IntoAck, E: Into<Refusal>> IntoAck for Result<T, E> {
    fn answer(self, ack: &Ack) -> Result<(), Refusal> {
        self.map_err(Into::into)?.answer(ack)
    }
}

/// Gives the type of a handler that never returns a name that stable Rust takes.
pub trait Returns {
    /// What the function returns.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// A handler that goes on until its client has gone, or panics.
impl IntoAck for <fn() -> ! as Returns>::Output {
    const MAY_ANSWER: bool = false;

    fn answer(self, _ack: &Ack) -> Result<(), Refusal> {
        self
    }
}
