//! Binary messages as text.

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};
use base64::engine::{DecodePaddingMode, Engine as _};

use super::packet::PacketError;

/// Node takes base64 without its padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn decode(base64: &str) -> Result<Vec<u8>, PacketError> {
    LENIENT_BASE64
        .decode(base64)
        .map_err(|_| PacketError::Base64)
}

/// How many characters [`put_base64`] appends for so many bytes.
pub(super) const fn encoded_len(data_len: usize) -> usize {
    data_len.div_ceil(3) * 4
}

pub(super) fn put_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + encoded_len(data.len()), 0);
    let written = BASE64
        .encode_slice(data, &mut out[start..])
        .expect("four characters for each three bytes were reserved");
    debug_assert_eq!(start + written, out.len());
}
