//! The server of Engine.IO sessions.

use std::sync::Arc;
use std::time::Duration;

use synapse_protocol::CloseReason;
use tokio::runtime::Handle;

use crate::application::Application;
use crate::config::EngineConfig;
use crate::core::{Core, Stats};
use crate::service::EngineService;
use crate::wheel;

/// Sessions closed before other tasks get their turn.
const CLOSE_SLICE: usize = 256;
/// How often a closing engine looks whether its sessions are gone.
const CLOSE_POLL: Duration = Duration::from_millis(10);

/// Opens and keeps the sessions of an application.
pub struct Engine<A> {
    core: Arc<Core>,
    application: Arc<A>,
}

impl<A> Clone for Engine<A> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            application: Arc::clone(&self.application),
        }
    }
}

impl<A: Application> Engine<A> {
    /// An engine whose tasks run on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: EngineConfig, application: Arc<A>) -> Self {
        let core = Arc::new(Core::new(config, Handle::current()));
        core.runtime.spawn(wheel::turn(Arc::downgrade(&core)));
        Self { core, application }
    }

    /// The service that answers this engine's requests.
    pub fn service(&self) -> EngineService<A> {
        EngineService {
            core: Arc::clone(&self.core),
            application: Arc::clone(&self.application),
        }
    }

    /// The application.
    pub fn application(&self) -> &Arc<A> {
        &self.application
    }

    /// What the engine runs on.
    pub fn config(&self) -> &EngineConfig {
        &self.core.config
    }

    /// Counts of this engine.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Refuses further handshakes and closes every session: what was sent before goes out, then the client is told. Returns when all are
    /// gone and have taken what was sent, or after `wait`, with the number of the sessions that are left.
    pub async fn close(&self, reason: CloseReason, wait: Duration) -> usize {
        // The reason of the first call stands.
        let reason = *self.core.closing.get_or_init(|| reason);
        let deadline = tokio::time::Instant::now() + wait;
        for slice in self.core.sessions.all().chunks(CLOSE_SLICE) {
            for connection in slice {
                connection.close(reason);
            }
            tokio::task::yield_now().await;
        }
        while !self.core.is_idle() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(CLOSE_POLL).await;
        }
        self.core.sessions.len()
    }
}
