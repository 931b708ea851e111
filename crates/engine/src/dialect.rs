//! How a request wants to be spoken with: what clients of Engine.IO v3 can ask for in their query.

use synapse_protocol::engine::v3::BinaryForm;
use synapse_protocol::engine::{Jsonp, Version};

/// What a request's query says about the form of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// `EIO`.
    pub(crate) version: Version,
    /// `b64`.
    pub(crate) binary: BinaryForm,
    /// `j`: the packets travel in scripts and forms.
    pub(crate) jsonp: Option<Jsonp>,
}

#[cfg(feature = "webtransport")]
impl Dialect {
    /// What a client speaks that has no query to say it in.
    pub(crate) const V4: Self = Self {
        version: Version::V4,
        binary: BinaryForm::Bytes,
        jsonp: None,
    };
}
