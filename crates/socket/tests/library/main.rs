//! The library as an application uses it and a client sees it, over real connections.

mod acks;
mod answers;
mod clients_v2;
mod cluster;
mod crossing;
mod dynamic;
mod ends;
mod event_middleware;
mod events;
mod handshakes;
mod holding;
mod listening;
mod log;
mod middleware;
mod mounted;
mod namespaces;
mod options;
mod order;
mod parameters;
mod recovering;
mod requests;
mod returning;
mod rooms;
