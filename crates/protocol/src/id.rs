//! The ids of a client: the secret one of its session, the public one of its socket, and the private one by which it gets that socket back.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of every id as text: 15 bytes in base64url. Node's sharded adapter tells a private room by this length.
pub const ID_CHARS: usize = 20;

const ID_BYTES: usize = 15;

/// Engine.IO session id. Secret: whoever holds it can speak as this client, so `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

/// Socket.IO socket id. Public: it is also the name of the socket's own room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(u128);

/// Private id of a socket (`pid` on the wire). Secret: whoever holds it may come back as this socket, so `Debug` hides it. It has nothing to do
/// with the public one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrivateId(u128);

/// The text is not 20 characters of base64url.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is {ID_CHARS} characters of base64url")]
pub struct InvalidId;

/// The text form of an id, on the stack.
#[derive(Clone, Copy)]
pub struct IdText([u8; ID_CHARS]);

impl IdText {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::ops::Deref for IdText {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

fn parse(text: &str) -> Result<u128, InvalidId> {
    if text.len() != ID_CHARS {
        return Err(InvalidId);
    }
    let mut bytes = [0; 16];
    let written = URL_SAFE_NO_PAD
        .decode_slice(text, &mut bytes[1..])
        .map_err(|_| InvalidId)?;
    debug_assert_eq!(written, ID_BYTES);
    Ok(u128::from_be_bytes(bytes))
}

fn text(id: u128) -> IdText {
    let mut out = [0; ID_CHARS];
    // 15 bytes are exactly 20 characters, so the slice always fits.
    let _ = URL_SAFE_NO_PAD.encode_slice(&id.to_be_bytes()[1..], &mut out);
    IdText(out)
}

fn from_bytes(random: [u8; ID_BYTES]) -> u128 {
    let mut bytes = [0; 16];
    bytes[1..].copy_from_slice(&random);
    u128::from_be_bytes(bytes)
}

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// An id from 15 bytes of a cryptographically secure generator.
            pub fn from_random(random: [u8; ID_BYTES]) -> Self {
                Self(from_bytes(random))
            }

            /// The 20 characters that stand for the id on the wire.
            pub fn text(self) -> IdText {
                text(self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }
    };
}

id!(SessionId);
id!(SocketId);
id!(PrivateId);

impl SessionId {
    /// The session's id as the id of its socket in the main namespace, which clients of Socket.IO 2 take it for. It is public then.
    pub fn to_socket_id(self) -> SocketId {
        SocketId(self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl fmt::Debug for PrivateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateId(..)")
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({})", self.text().as_str())
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        for random in [
            [0; 15],
            [255; 15],
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ] {
            let id = SocketId::from_random(random);
            assert_eq!(id.text().len(), ID_CHARS);
            assert_eq!(id.text().parse(), Ok(id));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "short",
            "lOrW5GMJrrJWKkGqAAA",
            "lOrW5GMJrrJWKkGqAAABx",
            "lOrW5GMJrrJWKkGqAA/B",
            "lOrW5GMJrrJWKkGqAAé",
        ] {
            assert_eq!(text.parse::<SocketId>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn a_secret_id_is_never_printed() {
        assert_eq!(
            format!("{:?}", PrivateId::from_random([7; 15])),
            "PrivateId(..)"
        );
        assert_eq!(
            format!("{:?}", SessionId::from_random([7; 15])),
            "SessionId(..)"
        );
    }
}
