//! Texts inside JSON: escapes written and resolved.

use std::io::Write as _;

/// Writes a JSON string, quotes included.
pub(super) fn put_json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain..index]);
        plain = index + 1;
        if short == 0 {
            write!(out, "\\u{byte:04x}").expect("writing to memory does not fail");
        } else {
            out.extend([b'\\', short]);
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.push(b'"');
}

/// The text up to the closing quote with its escapes resolved, and how long it was with that quote. Half a surrogate pair, which JavaScript
/// strings may hold and UTF-8 cannot, becomes U+FFFD.
pub(super) fn unescape(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut at = 0;
    loop {
        let plain = text[at..]
            .bytes()
            .position(|byte| byte == b'"' || byte == b'\\')?;
        out.push_str(&text[at..at + plain]);
        at += plain + 1;
        if text.as_bytes()[at - 1] == b'"' {
            return Some((out, at));
        }
        let escape = *text.as_bytes().get(at)?;
        at += 1;
        out.push(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = hex(text, at)?;
                at += 4;
                let low = text[at..]
                    .strip_prefix("\\u")
                    .and_then(|_| hex(text, at + 2));
                match (char::from_u32(high), low) {
                    (Some(character), _) => character,
                    (None, Some(low)) if high < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
                        at += 6;
                        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    (None, _) => char::REPLACEMENT_CHARACTER,
                }
            }
            _ => return None,
        });
    }
}

fn hex(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_up_to_the_closing_quote() {
        for (text, expected) in [
            (r#"a"rest"#, Some(("a", 2))),
            (r#"\n\u0041\/" "#, Some(("\nA/", 11))),
            (r#"\ud83d\ude00""#, Some(("\u{1f600}", 13))),
            (r#"\ud83d""#, Some(("\u{fffd}", 7))),
            (r#"\u+041""#, None),
            (r#"\x""#, None),
            ("a", None),
            ("\\", None),
        ] {
            let resolved = unescape(text);
            let resolved = resolved
                .as_ref()
                .map(|(text, length)| (text.as_str(), *length));
            assert_eq!(resolved, expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let every: String = (0..0x80)
            .map(char::from)
            .chain(['\u{e9}', '\u{1f600}'])
            .collect();
        let mut out = Vec::new();
        put_json_text(&mut out, &every);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), every);
        assert_eq!(unescape(&text[1..]), Some((every, text.len() - 1)));
    }
}
