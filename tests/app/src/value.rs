//! A value of a client, whatever it is, with its binary parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use synapse_socket::Binary;

/// JSON in which binary values may stand. The order decides: only a placeholder is read as binary, and what is left is plain.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Binary(Binary),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
    Plain(serde_json::Value),
}
