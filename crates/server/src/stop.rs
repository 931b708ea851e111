//! When the process is asked to end: SIGTERM or SIGINT. A second signal ends it at once.

use std::io;

/// The signals that ask the process to end, watched from its start on.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over. From here on they no longer end the process by themselves.
    #[cfg(unix)]
    pub(crate) fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Takes the signals over.
    #[cfg(not(unix))]
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self {})
    }

    /// The name of the next signal, and the status that a process ended by it has.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 128 + 15),
            _ = self.interrupt.recv() => ("SIGINT", 128 + 2),
        }
    }

    /// The name of the next signal, and the status that a process ended by it has.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        ("Ctrl-C", 130)
    }

    /// Lets the next signal end the process at once.
    pub(crate) fn force(mut self) {
        tokio::spawn(async move {
            let (signal, status) = self.next().await;
            tracing::warn!(signal, "stopping at once");
            std::process::exit(status);
        });
    }
}
