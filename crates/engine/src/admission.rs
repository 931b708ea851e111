//! Whether a handshake is let in: the limits of the server and of its address first, which cost next to nothing, then the application.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::request::Parts;

use crate::addresses::Place;
use crate::application::Application;
use crate::core::Core;
use crate::proxies::Sender;
use crate::refusal::Refused;
use crate::request::{PeerAddr, RequestHead};
use crate::service::EngineService;

/// A handshake that may become a session.
pub(crate) struct Admitted {
    pub(crate) request: RequestHead,
    /// Given up with the handshake, unless a session takes it over.
    pub(crate) place: Place,
}

impl<A: Application> EngineService<A> {
    /// Whether there is room for a session and the application wants it.
    pub(crate) async fn admit(&self, parts: &Parts) -> Result<Admitted, Refused> {
        let core = &self.core;
        let is_full = core.sessions.len() >= core.config.limits.sessions_max;
        if is_full || core.closing.get().is_some() {
            return Err(Refused::Unavailable);
        }
        let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let trusted = core.config.trusted_proxies.as_ref();
        let sender = Sender::find(peer, &parts.headers, trusted);
        let address = sender.address.map(|address| address.ip());
        let place = Place::take(core, address, core.clock.now())?;
        let request = RequestHead::new(parts, sender);
        self.ask(&request).await?;
        Ok(Admitted { request, place })
    }

    async fn ask(&self, request: &RequestHead) -> Result<(), Refused> {
        let _deciding = Deciding::start(&self.core)?;
        let wait = self.core.config.limits.allow_request_timeout;
        match tokio::time::timeout(wait, self.application.allow(request)).await {
            Ok(decision) => decision.map_err(Refused::Forbidden),
            Err(_) => Err(Refused::Undecided),
        }
    }
}

/// One of the handshakes that wait for the application, until it is dropped.
struct Deciding<'a>(&'a Arc<Core>);

impl<'a> Deciding<'a> {
    fn start(core: &'a Arc<Core>) -> Result<Self, Refused> {
        let others = core.deciding.fetch_add(1, Ordering::Relaxed);
        let deciding = Self(core);
        if others < core.config.limits.allow_requests_max {
            Ok(deciding)
        } else {
            Err(Refused::Undecided)
        }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.deciding.fetch_sub(1, Ordering::Relaxed);
    }
}
