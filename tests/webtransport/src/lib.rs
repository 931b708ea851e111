//! A server with WebTransport, and a client of another implementation that says whatever a test wants.

#![forbid(unsafe_code)]

mod client;
mod host;

pub use client::{Client, frame};
pub use host::{Host, certificate, config};
pub use synapse_hostile::{eventually, within};
