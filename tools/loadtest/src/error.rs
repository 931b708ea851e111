//! Why a measurement is refused or given up.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Ended;

/// Why a measurement is refused or given up. Whoever runs the tool reads it, so each says what to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "{wanted} connections are more than the {limit} that one process may open here; run several processes"
    )]
    TooManyConnections { wanted: usize, limit: usize },
    #[error("{operation}: {error}")]
    System {
        operation: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("connection {number} of {count} to {target} did not open: {ended}")]
    NotOpened {
        number: usize,
        count: usize,
        target: SocketAddr,
        ended: Ended,
    },
    #[error("only {joined} of {count} connections were open after {waited:?}")]
    OpeningTooSlow {
        joined: usize,
        count: usize,
        waited: Duration,
    },
    #[error("connection to {target} ended in the middle of the measurement: {ended}")]
    Lost { target: SocketAddr, ended: Ended },
    #[error(
        "no answer to `{event}` within {waited:?}: the server has to acknowledge this event; name another one with --event"
    )]
    NoAck { event: String, waited: Duration },
    #[error("no target is named")]
    NoTargets,
    #[error(
        "the hop is measured between two servers: name both, such as --targets 127.0.0.1:3000,127.0.0.1:3001"
    )]
    HopNeedsTwoServers,
    #[error("/proc/{pid} cannot be read: {error}")]
    Process {
        pid: u32,
        #[source]
        error: io::Error,
    },
    #[error("/proc/{pid}/{file} has no figure where one is expected")]
    ProcessFormat { pid: u32, file: &'static str },
}

impl LoadError {
    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            operation,
            error: error.into(),
        }
    }
}
