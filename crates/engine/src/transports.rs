//! Which transports an engine offers.

use std::fmt;

use crate::connection::TransportKind;

/// A set of transports. WebTransport is in none without the cargo feature of that name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    polling: bool,
    websocket: bool,
    webtransport: bool,
}

impl Default for Transports {
    /// Polling and WebSocket, which need nothing but the service.
    fn default() -> Self {
        Self {
            polling: true,
            websocket: true,
            webtransport: false,
        }
    }
}

impl Transports {
    /// Whether a transport is in the set.
    pub fn contains(self, transport: TransportKind) -> bool {
        match transport {
            TransportKind::Polling => self.polling,
            TransportKind::WebSocket => self.websocket,
            TransportKind::WebTransport => self.webtransport,
        }
    }

    /// The transports of the set.
    pub fn iter(self) -> impl Iterator<Item = TransportKind> {
        TransportKind::ALL
            .into_iter()
            .filter(move |transport| self.contains(*transport))
    }
}

impl FromIterator<TransportKind> for Transports {
    fn from_iter<I: IntoIterator<Item = TransportKind>>(transports: I) -> Self {
        let mut set = Self {
            polling: false,
            websocket: false,
            webtransport: false,
        };
        for transport in transports {
            match transport {
                TransportKind::Polling => set.polling = true,
                TransportKind::WebSocket => set.websocket = true,
                TransportKind::WebTransport => set.webtransport = cfg!(feature = "webtransport"),
            }
        }
        set
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        for (list, expected) in [
            (&[][..], "{}"),
            (&[TransportKind::WebSocket], "{WebSocket}"),
            (&[TransportKind::Polling; 2], "{Polling}"),
        ] {
            let set: Transports = list.iter().copied().collect();
            assert_eq!(format!("{set:?}"), expected);
        }
        let set: Transports = TransportKind::ALL.into_iter().collect();
        assert_eq!(
            set.contains(TransportKind::WebTransport),
            cfg!(feature = "webtransport")
        );
        assert_eq!(
            format!("{:?}", Transports::default()),
            "{Polling, WebSocket}"
        );
    }
}
