//! Query strings and the bodies of forms, which are written alike.

use percent_encoding::percent_decode_str;

/// The pairs of a query string, decoded, in their order; what is not valid UTF-8 is replaced.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

fn decode(text: &str) -> String {
    if text.contains('+') {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    } else {
        percent_decode_str(text).decode_utf8_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        for (query, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
            ("a=b=c", &[("a", "b=c")]),
            ("x=J%C3%BCrgen+K", &[("x", "J\u{fc}rgen K")]),
            ("%61=%2B", &[("a", "+")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
            ("a=%", &[("a", "%")]),
        ] {
            let pairs: Vec<_> = query_pairs(query).collect();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(pairs, expected, "{query}");
        }
    }
}
