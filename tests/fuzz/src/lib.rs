//! What must hold for any bytes whatsoever: one function for each fuzz target.
//!
//! A function panics when its promise is broken. `fuzz/` hands them to libFuzzer, and the test `corpus` replays every input that was ever
//! worth keeping.

#![forbid(unsafe_code)]

mod engine;
mod engine_v3;
mod model;
mod msgpack;
mod msgpack_packet;
mod packet;
mod redis;
mod session;
mod tungstenite;
mod websocket;
mod webtransport;

/// A fuzz target: its name, which is that of its corpus too, and what must hold.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("websocket", websocket::check),
    ("webtransport", webtransport::check),
    ("engine", engine::check),
    ("engine_v3", engine_v3::check),
    ("packet", packet::check),
    ("msgpack", msgpack::check),
    ("msgpack_packet", msgpack_packet::check),
    ("session", session::check),
    ("redis_wire", redis::check_wire),
    ("resp", redis::check_resp),
];

/// Runs one target on one input.
///
/// # Panics
/// If the promise of the target is broken, or there is no target of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, check) = target.expect("a target of that name");
    check(input);
}
