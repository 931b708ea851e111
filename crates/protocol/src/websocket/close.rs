//! How a connection says why it ends.

use super::encode::put_header;
use super::error::WebSocketError;
use super::frame::{CONTROL_BYTES_MAX, Opcode};

/// Longest reason of a close frame: a control frame's payload less the code.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Why a connection ends, as a number (RFC 6455, section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server stops or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted here.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// What a receiver reports when the close frame held no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// What a receiver reports when the connection ended without a close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// The payload does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The message is against a policy for which there is no better code.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message is too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// The server met a condition it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts; the client may come back after a random wait.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded; the client may try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether a close frame may carry this code: the registered ones except those that only a receiver reports (1004 to 1006
    /// and 1015), those of libraries (3000 to 3999) and those of applications (4000 to 4999).
    pub fn is_allowed_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// The payload of a close frame that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The reason as a number; one that is allowed on the wire.
    pub code: CloseCode,
    /// The reason as text, at most 123 bytes. Untrusted: it is meant for a log, not for a user.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// The content of a close frame's payload, `None` for an empty one.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Option<Self>, WebSocketError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((&code, reason)) = payload.split_first_chunk() else {
            return Err(WebSocketError::CloseCodeTruncated);
        };
        let code = CloseCode(u16::from_be_bytes(code));
        if !code.is_allowed_on_wire() {
            return Err(WebSocketError::CloseCodeForbidden { code: code.0 });
        }
        let reason =
            simdutf8::basic::from_utf8(reason).map_err(|_| WebSocketError::CloseReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Appends an unmasked close frame. A reason over 123 bytes is cut at the last character that fits.
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    debug_assert!(
        code.is_allowed_on_wire(),
        "close code {} must not be sent",
        code.0
    );
    let mut reason_len = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(reason_len) {
        reason_len -= 1;
    }
    put_header(out, Opcode::Close, 2 + reason_len);
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..reason_len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_only_receivers_report_or_nobody_registered_are_not_allowed_on_wire() {
        let allowed = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ];
        let refused = [
            0,
            1,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            9999,
            u16::MAX,
        ];
        for code in allowed {
            assert!(CloseCode(code).is_allowed_on_wire(), "{code}");
        }
        for code in refused {
            assert!(!CloseCode(code).is_allowed_on_wire(), "{code}");
        }
    }

    #[test]
    fn long_reason_is_cut_at_a_character() {
        let cases = [
            (String::new(), 0),
            ("x".repeat(123), 123),
            ("x".repeat(124), 123),
            ("ö".repeat(62), 122),
            (format!("x{}", "ö".repeat(61)), 123),
            ("🦀".repeat(31), 120),
        ];
        for (reason, expected_len) in cases {
            let mut out = Vec::new();
            put_close(&mut out, CloseCode::GOING_AWAY, &reason);
            assert_eq!(out[..2], [0x88, expected_len as u8 + 2], "{reason}");
            let expected = CloseFrame {
                code: CloseCode::GOING_AWAY,
                reason: &reason[..expected_len],
            };
            assert_eq!(CloseFrame::parse(&out[2..]), Ok(Some(expected)));
        }
    }
}
