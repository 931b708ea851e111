//! Connection state recovery: a client that loses its connection and comes back in time finds its socket as it was, and gets what it missed.
//!
//! [`Store`](store::Store) is the part that decides: a log of what was sent, the sessions of clients that are away, and no clock, lock or
//! socket. [`Recovery`] joins it to the sockets of one namespace.

mod claim;
mod history;
mod hooks;
mod live;
mod log;
mod offset;
mod options;
mod sessions;
mod store;
#[cfg(test)]
mod tests;
mod tracked;

pub(crate) use claim::Claim;
pub(crate) use hooks::{Recovery, without_offset};
pub use options::ConnectionStateRecovery;
pub(crate) use store::Surroundings;
pub(crate) use tracked::Tracked;
