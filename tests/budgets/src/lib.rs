//! What a connection and an event may cost: see `tests/`.
