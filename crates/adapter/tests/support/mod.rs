//! A member for tests.

use std::sync::Arc;

use synapse_adapter::{Member, Memberships, Target};
use synapse_protocol::SocketId;

/// A member that is nothing but its number.
#[derive(Clone)]
pub(crate) struct Someone(Arc<Inner>);

struct Inner {
    number: u64,
    memberships: Memberships<Someone>,
}

impl Someone {
    pub(crate) fn new(number: u64) -> Self {
        Self(Arc::new(Inner {
            number,
            memberships: Memberships::default(),
        }))
    }

    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub(crate) fn number(&self) -> usize {
        self.0.number as usize
    }

    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Member for Someone {
    fn id(&self) -> SocketId {
        let mut id = [7; 15];
        id[..8].copy_from_slice(&self.0.number.to_be_bytes());
        SocketId::from_random(id)
    }

    fn memberships(&self) -> &Memberships<Self> {
        &self.0.memberships
    }
}

pub(crate) fn target(rooms: &[&str], except: &[&str]) -> Target {
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    Target {
        rooms: names(rooms),
        except: names(except),
    }
}
