//! What client and server agree on about compression: the header `Sec-WebSocket-Extensions`.

use std::fmt;

use super::deflate::{DEFLATE_BITS_MIN, Deflate, WINDOW_BITS_MAX};

const NAME: &str = "permessage-deflate";
const CLIENT_BITS_MIN: u8 = 8;

/// Compression of WebSocket messages: the extension permessage-deflate of RFC 7692, Socket.IO's option `perMessageDeflate`.
///
/// Both sides begin each message with an empty context, so nothing is kept for a connection between two messages and a broadcast is
/// compressed once for all clients of the same window. The price is time: a message is compressed on the thread that sends it, in about 10 ns
/// a byte at the default level, and inflated where it arrives. Each thread that compresses keeps some 300 KiB for each window in use, and one
/// that inflates 64 KiB.
///
/// Compressing a secret together with text that an attacker chooses tells its length (CRIME, BREACH): leave such messages out by
/// `compress(false)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMessageDeflate {
    /// Payloads of fewer bytes go out as they are. Default: 1,024. Lower spares little traffic and costs the time of a compression for
    /// each message.
    pub threshold: usize,
    /// Largest window that messages for clients are compressed with, as a power of two from 9 to 15; the nearest of them for any other
    /// number. Default: 15, which is 32 KiB. A smaller one spares clients memory and makes messages larger. A client may ask for less.
    pub server_window_bits: u8,
    /// Largest window that clients compress with, as a power of two from 8 to 15; the nearest of them for any other number. Default: 15. It
    /// binds clients that can be told so, such as browsers; what the others send is understood all the same.
    pub client_window_bits: u8,
    /// How hard messages are compressed: 1 (fast) to 9 (small). Default: 2. Node's default, 6, makes JSON some 3 % smaller and takes two to
    /// three times as long; 1 takes half the time and makes it half as large again.
    pub level: u8,
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        Self {
            threshold: 1024,
            server_window_bits: WINDOW_BITS_MAX,
            client_window_bits: WINDOW_BITS_MAX,
            level: 2,
        }
    }
}

/// What was agreed on with one client. Its text is the header that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    server_window_bits: u8,
    /// None for a client that cannot be told.
    client_window_bits: Option<u8>,
}

/// The parameters of one offer that is well formed.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Its value may be missing: then the client tells only that it knows the parameter.
    client_max_window_bits: Option<Option<u8>>,
}

impl PerMessageDeflate {
    /// Answers the offers of a client: the values of its headers `Sec-WebSocket-Extensions`, in their order. The first offer that can be met
    /// is taken. `None`, and with it no compression, when there is none or a header is malformed.
    pub fn accept<'a>(&self, headers: impl IntoIterator<Item = &'a str>) -> Option<Agreement> {
        let mut agreement = None;
        for header in headers {
            for extension in parse(header)? {
                if agreement.is_none() && extension.name == NAME {
                    agreement = Offer::new(&extension).and_then(|offer| self.meet(&offer));
                }
            }
        }
        agreement
    }

    /// How messages are compressed for clients with this window.
    pub fn deflate(&self, window_bits: u8) -> Deflate {
        Deflate {
            window_bits,
            level: self.level,
            threshold: self.threshold,
        }
    }

    fn meet(&self, offer: &Offer) -> Option<Agreement> {
        let own = self
            .server_window_bits
            .clamp(DEFLATE_BITS_MIN, WINDOW_BITS_MAX);
        let server_window_bits = own.min(offer.server_max_window_bits.unwrap_or(own));
        let wished = self
            .client_window_bits
            .clamp(CLIENT_BITS_MIN, WINDOW_BITS_MAX);
        let agreement = Agreement {
            server_window_bits,
            client_window_bits: offer
                .client_max_window_bits
                .map(|bits| bits.unwrap_or(wished).min(wished)),
        };
        (server_window_bits >= DEFLATE_BITS_MIN).then_some(agreement)
    }
}

impl Agreement {
    /// The window that messages for this client are compressed with, as a power of two.
    pub fn window_bits(&self) -> u8 {
        self.server_window_bits
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 7692, section 7.1.1: both may be answered to a client that did not ask for them.
        write!(
            f,
            "{NAME}; server_no_context_takeover; client_no_context_takeover"
        )?;
        if self.server_window_bits < WINDOW_BITS_MAX {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        match self.client_window_bits {
            Some(bits) if bits < WINDOW_BITS_MAX => write!(f, "; client_max_window_bits={bits}"),
            Some(_) | None => Ok(()),
        }
    }
}

impl Offer {
    /// RFC 7692, section 7.1: an offer with a parameter that is unknown, repeated or of a wrong value is declined.
    fn new(extension: &Extension<'_>) -> Option<Self> {
        let mut offer = Self::default();
        for parameter in &extension.parameters {
            let is_new = match *parameter {
                ("server_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(bits)) => offer
                    .server_max_window_bits
                    .replace(window_bits(bits)?)
                    .is_none(),
                ("client_max_window_bits", None) => {
                    offer.client_max_window_bits.replace(None).is_none()
                }
                ("client_max_window_bits", Some(bits)) => offer
                    .client_max_window_bits
                    .replace(Some(window_bits(bits)?))
                    .is_none(),
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(offer)
    }
}

/// A decimal integer without leading zeroes between 8 and 15.
fn window_bits(text: &str) -> Option<u8> {
    match text {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

/// One element of the header, as RFC 6455 writes it in section 9.1.
struct Extension<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<&'a str>)>,
}

/// All elements of a header; none if it is malformed.
fn parse(header: &str) -> Option<Vec<Extension<'_>>> {
    let mut scanner = Scanner { rest: header };
    let mut extensions = Vec::new();
    loop {
        let name = scanner.token()?;
        let mut parameters = Vec::new();
        while scanner.skip(';') {
            let parameter = scanner.token()?;
            let value = if scanner.skip('=') {
                Some(scanner.value()?)
            } else {
                None
            };
            parameters.push((parameter, value));
        }
        extensions.push(Extension { name, parameters });
        if scanner.rest.is_empty() {
            return Some(extensions);
        }
        if !scanner.skip(',') {
            return None;
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// Takes a separator and the space behind it. The space before it went with what came before.
    fn skip(&mut self, separator: char) -> bool {
        match self.rest.strip_prefix(separator) {
            Some(rest) => {
                self.rest = trim_start(rest);
                true
            }
            None => false,
        }
    }

    /// A token and the space behind it.
    fn token(&mut self) -> Option<&'a str> {
        let trimmed = trim_start(self.rest);
        let end = trimmed
            .find(|character| !is_token(character))
            .unwrap_or(trimmed.len());
        let (token, rest) = trimmed.split_at(end);
        self.rest = trim_start(rest);
        (!token.is_empty()).then_some(token)
    }

    /// A token, or one in quotes. Quoted pairs, which no value needs, count as malformed.
    fn value(&mut self) -> Option<&'a str> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.token();
        };
        let (value, rest) = quoted.split_once('"')?;
        self.rest = trim_start(rest);
        (!value.is_empty() && value.chars().all(is_token)).then_some(value)
    }
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(config: PerMessageDeflate, headers: &[&str]) -> Option<String> {
        let agreement = config.accept(headers.iter().copied());
        agreement.map(|agreement| agreement.to_string())
    }

    fn check(offer: &str, expected: Option<&str>) {
        let expected = expected.map(|parameters| format!("{BOTH}{parameters}"));
        let config = PerMessageDeflate::default();
        assert_eq!(answer(config, &[offer]), expected, "{offer}");
    }

    #[test]
    fn offers_are_met() {
        for (offer, expected) in [
            // Chromium's, Firefox's and Safari's.
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate", ""),
            ("permessage-deflate; client_no_context_takeover", ""),
            ("permessage-deflate; server_no_context_takeover", ""),
            (
                "permessage-deflate; server_max_window_bits=10",
                "; server_max_window_bits=10",
            ),
            ("permessage-deflate; server_max_window_bits=15", ""),
            (
                "permessage-deflate; client_max_window_bits=8",
                "; client_max_window_bits=8",
            ),
            ("permessage-deflate; client_max_window_bits=15", ""),
            (
                " permessage-deflate\t;client_max_window_bits = \"9\" ; server_max_window_bits=\"11\" ",
                "; server_max_window_bits=11; client_max_window_bits=9",
            ),
            // RFC 7692, section 7.1: a fallback behind it.
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits",
                "",
            ),
            ("permessage-deflate; use_y, permessage-deflate", ""),
            (
                "x-webkit-deflate-frame; no_context_takeover, permessage-deflate",
                "",
            ),
            ("foo; bar=\"baz\", permessage-deflate", ""),
        ] {
            check(offer, Some(expected));
        }
    }

    #[test]
    fn offers_that_cannot_be_met_are_declined() {
        for offer in [
            // No zlib compresses raw data with a window of 256 bytes.
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9.0",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=99999999999999999999",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; unknown",
            "permessage-deflate; __proto__",
            "PerMessage-Deflate",
            "permessage-bzip2",
            "x-webkit-deflate-frame",
        ] {
            check(offer, None);
        }
    }

    #[test]
    fn malformed_headers_are_declined_as_a_whole() {
        for header in [
            "",
            " ",
            ",",
            ";",
            "=",
            "permessage-deflate,",
            ",permessage-deflate",
            "permessage-deflate, ,permessage-deflate",
            "permessage-deflate;",
            "permessage-deflate; ;client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=\"1 0\"",
            "permessage-deflate; client_max_window_bits=\"1\\0\"",
            "permessage-deflate; client_max_window_bits=\"10\"x",
            "permessage-deflate; client_max_window_bits=10 11",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate, foo bar",
            "permessage-deflate, foo;=",
            "permessage-deflate\0",
            "permessage-deflate; dé",
        ] {
            check(header, None);
        }
    }

    #[test]
    fn headers_are_read_in_their_order() {
        let config = PerMessageDeflate::default();
        let second = [
            "foo",
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
        ];
        assert_eq!(
            answer(config, &second),
            Some(format!("{BOTH}; server_max_window_bits=9"))
        );
        assert_eq!(answer(config, &["permessage-deflate", "foo;"]), None);
        assert_eq!(answer(config, &[]), None);
    }

    #[test]
    fn windows_are_the_smaller_of_both_sides() {
        let config = PerMessageDeflate {
            server_window_bits: 11,
            client_window_bits: 10,
            ..PerMessageDeflate::default()
        };
        for (offer, expected) in [
            ("permessage-deflate", "; server_max_window_bits=11"),
            (
                "permessage-deflate; client_max_window_bits",
                "; server_max_window_bits=11; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=12; server_max_window_bits=15",
                "; server_max_window_bits=11; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
                "; server_max_window_bits=10; client_max_window_bits=9",
            ),
        ] {
            assert_eq!(
                answer(config, &[offer]),
                Some(format!("{BOTH}{expected}")),
                "{offer}"
            );
        }
        for (bits, expected) in [(0, 9), (8, 9), (9, 9), (15, 15), (16, 15), (255, 15)] {
            let config = PerMessageDeflate {
                server_window_bits: bits,
                ..PerMessageDeflate::default()
            };
            let agreement = config.accept(["permessage-deflate"]).expect("met");
            assert_eq!(agreement.window_bits(), expected);
        }
    }
}
