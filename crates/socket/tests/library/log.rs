//! What handlers tell their test.

use synapse_hostile::within;
use tokio::sync::mpsc;

/// More lines than any test writes.
const LINES_MAX: usize = 10_000;

/// Written by handlers, read by the test.
pub(crate) struct Log {
    sender: mpsc::Sender<String>,
    receiver: mpsc::Receiver<String>,
}

/// The handlers' end of a [`Log`].
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<String>);

impl Writer {
    pub(crate) fn line(&self, line: impl Into<String>) {
        // Handlers may still run when their test has ended.
        let sent = self.0.try_send(line.into());
        assert!(
            sent.is_ok() || self.0.is_closed(),
            "a log that somebody reads"
        );
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        Self { sender, receiver }
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.sender.clone())
    }

    pub(crate) async fn next(&mut self) -> String {
        within("a line of the log", self.receiver.recv())
            .await
            .expect("the log holds a sender itself")
    }

    pub(crate) async fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.next().await, *line);
        }
    }

    /// What has been written so far and not been read.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).collect()
    }
}
