//! Opening many connections: so many at a time, all of them or an error.

use std::time::{Duration, Instant};

use crate::client::{ClientId, Ended};
use crate::error::LoadError;
use crate::swarm::{Scenario, Swarm};
use crate::target::Target;

/// How connections are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Handshakes that are under way at a time.
    pub(crate) at_once: usize,
    /// All have to be open within this time.
    pub(crate) timeout: Duration,
}

impl Opening {
    /// Opens a connection to each target and joins the main namespace. The clients are in the order of the targets.
    pub(crate) fn open_all(
        self,
        swarm: &mut Swarm,
        targets: &[Target],
    ) -> Result<Vec<ClientId>, LoadError> {
        let mut clients = Vec::with_capacity(targets.len());
        let mut progress = Progress {
            joined: 0,
            failed: None,
        };
        let deadline = Instant::now() + self.timeout;
        while progress.joined < targets.len() {
            while clients.len() < targets.len() && clients.len() - progress.joined < self.at_once {
                clients.push(swarm.open(targets[clients.len()])?);
            }
            let joined = progress.joined;
            let is_going_on = swarm.poll_until(deadline, &mut progress, |progress| {
                progress.joined > joined || progress.failed.is_some()
            })?;
            if let Some((client, ended)) = progress.failed {
                return Err(LoadError::NotOpened {
                    number: progress.joined + 1,
                    count: targets.len(),
                    target: swarm.target(client).address(),
                    ended,
                });
            }
            if !is_going_on {
                return Err(LoadError::OpeningTooSlow {
                    joined: progress.joined,
                    count: targets.len(),
                    waited: self.timeout,
                });
            }
        }
        Ok(clients)
    }
}

/// Says goodbye to all clients and waits, but not for long, until the server has hung up: what is measured next should not pay for it.
pub(crate) fn close_all(swarm: &mut Swarm, clients: &[ClientId]) -> Result<(), LoadError> {
    const WAIT: Duration = Duration::from_secs(5);
    for client in clients {
        swarm.close(*client);
    }
    let mut left = Leaving(clients.len());
    swarm.poll_until(Instant::now() + WAIT, &mut left, |left| left.0 == 0)?;
    Ok(())
}

struct Progress {
    joined: usize,
    failed: Option<(ClientId, Ended)>,
}

impl Scenario for Progress {
    fn joined(&mut self, _swarm: &mut Swarm, _client: ClientId) {
        self.joined += 1;
    }

    fn closed(&mut self, _swarm: &mut Swarm, client: ClientId, ended: Ended) {
        self.failed.get_or_insert((client, ended));
    }
}

struct Leaving(usize);

impl Scenario for Leaving {
    fn closed(&mut self, _swarm: &mut Swarm, _client: ClientId, _ended: Ended) {
        self.0 = self.0.saturating_sub(1);
    }
}
