//! What a client that comes back says of itself.

use std::borrow::Cow;

use serde::Deserialize;
use synapse_protocol::PrivateId;

/// The private id of the socket that the client had, and the offset of the last event it received there: a part of what it sends to join
/// a namespace. A client that has received no event has no offset.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim<'a> {
    pub(super) pid: PrivateId,
    pub(super) offset: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    pid: Cow<'a, str>,
    #[serde(borrow, default)]
    offset: Option<Cow<'a, str>>,
}

impl<'a> Claim<'a> {
    /// Nothing if the client does not come back, or says so in a way that is not ours.
    pub(crate) fn read(auth: &'a str) -> Option<Self> {
        let Auth { pid, offset } = serde_json::from_str(auth).ok()?;
        Some(Self {
            pid: pid.parse().ok()?,
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_and_everything_else_is_none() {
        let pid = "AfvK75wLlKI0iyf2AAAB";
        for (auth, expected) in [
            (format!(r#"{{"pid":"{pid}"}}"#), Some(None)),
            (format!(r#"{{"pid":"{pid}","offset":null}}"#), Some(None)),
            (
                format!(r#"{{"pid":"{pid}","offset":"x"}}"#),
                Some(Some("x")),
            ),
            (
                format!(r#"{{"token":[1],"offset":"\u0041","pid":"{pid}"}}"#),
                Some(Some("A")),
            ),
            (format!(r#"{{"pid":"{pid}","offset":5}}"#), None),
            (r#"{"pid":"short","offset":"x"}"#.to_owned(), None),
            (r#"{"pid":5}"#.to_owned(), None),
            ("{}".to_owned(), None),
            (format!(r#""{pid}""#), None),
        ] {
            let claim = Claim::read(&auth);
            let offset = claim.as_ref().map(|claim| claim.offset.as_deref());
            assert_eq!(offset, expected, "{auth}");
        }
    }
}
