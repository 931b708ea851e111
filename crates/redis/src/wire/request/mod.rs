//! What one server wants of all others, and their answers.
//!
//! Requests are written by us without ([`encode`]) and with ([`encode_ask`]) an answer, which is then read ([`Answer`]); those of others are
//! read ([`decode`]) and answered ([`answer`]).

pub(crate) mod answer;
mod ask;
mod decode;
mod encode;
mod fields;
mod json;
mod response;

pub(crate) use ask::encode_ask;
pub(crate) use decode::{Body, Request, decode};
pub(crate) use encode::encode;
pub(crate) use response::{Answer, Wanted};

use serde::Serialize;

const SOCKETS: u8 = 0;
const ALL_ROOMS: u8 = 1;
const REMOTE_JOIN: u8 = 2;
const REMOTE_LEAVE: u8 = 3;
const REMOTE_DISCONNECT: u8 = 4;
const REMOTE_FETCH: u8 = 5;
const SERVER_SIDE_EMIT: u8 = 6;
const BROADCAST: u8 = 7;
const BROADCAST_CLIENT_COUNT: u8 = 8;
const BROADCAST_ACK: u8 = 9;

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are always JSON")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}
