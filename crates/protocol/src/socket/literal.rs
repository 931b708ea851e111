//! Pieces of JSON text that is known to be valid: items of an array, and what a string literal stands for.

use std::borrow::Cow;

/// How many bytes in front need no look in a JSON string: neither `"` nor `\` nor a control character.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    // Eight bytes at a time, least significant first. A byte's high bit ends up set where subtracting borrowed: below 0x20, or zero
    // after xor. What lies behind the first such byte may be set wrongly and is not looked at.
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let stops = (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH;
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    bytes[at..]
        .iter()
        .position(|byte| !plain(byte))
        .map_or(bytes.len(), |tail| at + tail)
}

/// The first item of the text of a valid JSON array, and the items after it as [`split_item`] takes them. `None` if the array is empty.
pub(super) fn split_first(array: &str) -> Option<(&str, &str)> {
    split_item(
        array
            .trim_matches(WHITE_SPACE)
            .strip_prefix('[')?
            .strip_suffix(']')?,
    )
}

/// The first of valid JSON values between commas, and the others. `None` if there is none. Does not recurse, because not every
/// text in here came through the scanner.
pub(super) fn split_item(items: &str) -> Option<(&str, &str)> {
    let items = items.trim_matches(WHITE_SPACE);
    if items.is_empty() {
        return None;
    }
    let bytes = items.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += string_bytes(&bytes[at..]) - 1,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => break,
            _ => (),
        }
        at += 1;
    }
    let rest = items.get(at + 1..).unwrap_or_default();
    Some((
        items[..at].trim_end_matches(WHITE_SPACE),
        rest.trim_start_matches(WHITE_SPACE),
    ))
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The length of the string literal in front, with its quotes.
fn string_bytes(bytes: &[u8]) -> usize {
    let mut at = 1;
    loop {
        at += plain_bytes(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return bytes.len(),
        }
    }
}

/// What a valid string literal stands for. Half of a surrogate pair, which no Rust string can hold, becomes U+FFFD.
pub(super) fn unescape(literal: &str) -> Cow<'_, str> {
    let inner = literal
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(literal);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(plain) = rest.find('\\') {
        out.push_str(&rest[..plain]);
        let escape = &rest[plain + 1..];
        let mut taken = 1;
        match escape.as_bytes().first() {
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'n') => out.push('\n'),
            Some(b'r') => out.push('\r'),
            Some(b't') => out.push('\t'),
            Some(b'u') => {
                let high = code_unit(&escape[1..]);
                let low = escape
                    .get(5..)
                    .and_then(|next| next.strip_prefix("\\u"))
                    .map(code_unit);
                let mut units = char::decode_utf16([high].into_iter().chain(low));
                let character = units.next().and_then(Result::ok);
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
                taken = if character.is_some_and(|character| character.len_utf16() == 2) {
                    11
                } else {
                    5
                };
            }
            Some(&byte) => out.push(char::from(byte)),
            None => taken = 0,
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn code_unit(hex: &str) -> u16 {
    hex.get(..4)
        .and_then(|hex| u16::from_str_radix(hex, 16).ok())
        .unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn escapes_stand_for_what_javascript_says() {
        let table = [
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\u20AC!""#, "é€!"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\ud800\n""#, "\u{fffd}\n"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
            (r#""\udc00\ud800""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            ("12", "12"),
        ];
        for (literal, expected) in table {
            assert_eq!(unescape(literal), expected, "{literal}");
        }
        assert!(matches!(unescape(r#""plain""#), Cow::Borrowed("plain")));
    }

    /// A value with white space around it and brackets, commas and quotes where they mean nothing.
    const ITEM: &str = r#"[ \n]{0,2}(-?[0-9]|"[a\]\[,{}é]{0,9}(\\"|\\\\)?"|\[[1-9]\]|\{"[],}]":\[\]\}|true)[ \n]{0,2}"#;

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            // There is no claim about the result, because the text is not what the functions are for. They must not panic.
            let _ = split_first(&text);
            let _ = split_item(&text);
            let _ = unescape(&text);
        }

        #[test]
        fn plain_bytes_stop_where_a_naive_search_does(bytes in proptest::collection::vec(any::<u8>(), 0..40), plain in 0..40_usize) {
            let mut text = vec![b'x'; plain];
            text.extend(bytes);
            let naive = text.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).unwrap_or(text.len());
            prop_assert_eq!(plain_bytes(&text), naive);
        }

        #[test]
        fn a_string_is_unescaped_as_serde_json_does(text in any::<String>()) {
            let ascii: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let literals = [serde_json::to_string(&text).expect("a string serialises"), format!("\"{ascii}\"")];
            for literal in literals {
                prop_assert_eq!(unescape(&literal), text.as_str());
            }
        }

        #[test]
        fn items_are_split_as_serde_json_does(values in proptest::collection::vec(ITEM, 0..5)) {
            let array = format!(" [{}]\n", values.join(","));
            let items: Vec<&RawValue> = serde_json::from_str(&array).expect("the values are JSON");
            let mut rest = split_first(&array);
            for item in items {
                let (first, tail) = rest.expect("as many items as serde_json finds");
                prop_assert_eq!(first, item.get());
                rest = split_item(tail);
            }
            prop_assert_eq!(rest, None);
        }
    }
}
