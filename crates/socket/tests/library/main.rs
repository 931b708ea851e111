//! The library as an application uses it and a client sees it, over real connections.

mod acks;
mod cluster;
mod crossing;
mod ends;
mod events;
mod handshakes;
mod holding;
mod log;
mod middleware;
mod mounted;
mod namespaces;
mod options;
mod order;
mod requests;
mod rooms;
