//! The one part of the opening handshake that is WebSocket's own.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

/// RFC 6455, section 1.3: appended to the key before hashing, so that only a server that knows WebSocket can answer.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const KEY_BYTES: usize = 16;

/// 16 bytes in base64, padding included.
const KEY_CHARS: usize = 24;

/// The key is an opaque nonce: the four bits its last character does not need may be anything.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Why an opening handshake is refused. The client is answered with HTTP status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The header is not a nonce as the RFC wants it.
    #[error("sec-websocket-key is not 16 bytes of base64")]
    InvalidKey,
}

/// The value of `Sec-WebSocket-Accept` that answers a client's `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> Result<String, HandshakeError> {
    // Looking at the length first keeps an oversized header from being decoded at all.
    if key.len() != KEY_CHARS {
        return Err(HandshakeError::InvalidKey);
    }
    // Room for 18 bytes because the decoder estimates from the length, padding included.
    let mut nonce = [0; KEY_CHARS / 4 * 3];
    match LENIENT.decode_slice(key, &mut nonce) {
        Ok(KEY_BYTES) => (),
        Ok(_) | Err(_) => return Err(HandshakeError::InvalidKey),
    }
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(KEY_SUFFIX)
        .finalize();
    Ok(STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_key_is_that_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ==").as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
    }

    #[test]
    fn accept_key_depends_on_the_text_not_on_what_it_decodes_to() {
        // `R` leaves the bits behind the sixteenth byte set; ws and browsers' servers take such a key too.
        let other = accept_key("dGhlIHNhbXBsZSBub25jZR==").expect("16 bytes");
        assert_ne!(other, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn key_that_is_not_16_bytes_of_base64_is_refused() {
        let too_long = "A".repeat(1 << 20);
        let cases = [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            " dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==\n",
            "dGhlIHNhbXBsZSBub25jZQA=",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25j====",
            "dGhl_HNhbXBsZSBub25jZQ==",
            "dGhl IHNhbXBsZSBub25jZQ=",
            "ööööööööööö==",
            &too_long,
        ];
        for key in cases {
            assert_eq!(
                accept_key(key),
                Err(HandshakeError::InvalidKey),
                "{key:.30}"
            );
        }
    }
}
