//! JSONP polling: a payload inside of a script, for browsers that cannot ask another origin otherwise.

use crate::query::query_pairs;

/// Fields of a form that are looked at, as many as Node looks at. The client's forms have one.
const FIELDS_MAX: usize = 1000;

/// The function that a script calls with the payload: `___eio[<index>]`, where the index is the `j` of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jsonp {
    index: Box<str>,
}

impl Jsonp {
    /// From the request's `j`. Whatever is not a digit is left out, so that nothing of it becomes a part of the script.
    pub fn new(j: &str) -> Self {
        let index: String = j.chars().filter(char::is_ascii_digit).collect();
        Self {
            index: index.into_boxed_str(),
        }
    }

    /// The script that hands the payload over.
    pub fn script(&self, payload: &str) -> String {
        let literal = serde_json::Value::from(payload).to_string();
        // JSON lets these two stand in a string as they are; JavaScript before 2019 takes them for the end of the line.
        let literal = literal
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
        format!("___eio[{}]({literal});", self.index)
    }
}

/// The payload in the body of a form: its field `d`, which has to be there once. Otherwise there is none, and Node takes that for an empty
/// request.
///
/// Browsers change line feeds in forms, so clients write them as `\n`, and each `\n` of theirs as `\\n`.
pub fn decode_jsonp_body(body: &str) -> Option<String> {
    let mut fields = query_pairs(body)
        .take(FIELDS_MAX)
        .filter_map(|(name, value)| (name == "d").then_some(value));
    let data = fields.next()?;
    fields.next().is_none().then(|| unescape_line_feeds(&data))
}

/// One backslash before an `n` makes a line feed; of more than one, the first goes.
fn unescape_line_feeds(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escaped) = rest.split_at(at);
        out.push_str(before);
        let behind = escaped.trim_start_matches('\\');
        let backslashes = &escaped[..escaped.len() - behind.len()];
        match behind.strip_prefix('n') {
            Some(behind) if backslashes.len() == 1 => {
                out.push('\n');
                rest = behind;
            }
            Some(_) => {
                out.push_str(&backslashes[1..]);
                rest = behind;
            }
            None => {
                out.push_str(backslashes);
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each script was answered by the reference server for the same payload.
    #[test]
    fn a_script_holds_the_payload_and_nothing_that_ends_the_string() {
        for (j, payload, script) in [
            ("0", "2:40", r#"___eio[0]("2:40");"#),
            ("12", "6", r#"___eio[12]("6");"#),
            ("", "6", r#"___eio[]("6");"#),
            ("1](alert(1))//", "6", r#"___eio[11]("6");"#),
            ("-1.5e3", "6", r#"___eio[153]("6");"#),
            ("\u{663}", "6", r#"___eio[]("6");"#),
            (
                "0",
                "a\"b\\c\u{1e}\n\r\t\u{8}\u{c}\u{7f}",
                "___eio[0](\"a\\\"b\\\\c\\u001e\\n\\r\\t\\b\\f\u{7f}\");",
            ),
            (
                "0",
                "\u{2028}\u{2029}\u{20ac}\u{1f600}</script>",
                "___eio[0](\"\\u2028\\u2029\u{20ac}\u{1f600}</script>\");",
            ),
        ] {
            assert_eq!(Jsonp::new(j).script(payload), script, "{j:?} {payload:?}");
        }
    }

    #[test]
    fn the_field_d_is_the_payload() {
        for (body, payload) in [
            ("d=2%3A40", Some("2:40")),
            ("d=", Some("")),
            ("d", Some("")),
            ("d=a+b%2Bc", Some("a b+c")),
            ("x=1&d=2%3A40&y=2", Some("2:40")),
            ("", None),
            ("x=1", None),
            ("D=1", None),
            ("d=1&d=2", None),
            ("d=%E2%82%AC", Some("\u{20ac}")),
            ("d=%ff", Some("\u{fffd}")),
        ] {
            assert_eq!(decode_jsonp_body(body).as_deref(), payload, "{body}");
        }
    }

    #[test]
    fn fields_of_a_form_are_counted() {
        let form = |fields: usize| format!("{}d=1&d=2", "x&".repeat(fields));
        assert_eq!(decode_jsonp_body(&form(0)), None);
        assert_eq!(
            decode_jsonp_body(&form(FIELDS_MAX - 1)).as_deref(),
            Some("1")
        );
        assert_eq!(decode_jsonp_body(&form(FIELDS_MAX)), None);
    }

    /// Each result is what the reference's two replacements give.
    #[test]
    fn line_feeds_are_unescaped() {
        for (text, expected) in [
            ("a", "a"),
            (r"a\nb", "a\nb"),
            (r"a\\nb", r"a\nb"),
            (r"a\\\nb", r"a\\nb"),
            (r"\n\n\\n", "\n\n\\n"),
            (r"\\", r"\\"),
            (r"\", r"\"),
            (r"\t\", r"\t\"),
            (r#"\"\\"n"#, r#"\"\\"n"#),
            (r"\u20ac\n", "\\u20ac\n"),
        ] {
            assert_eq!(unescape_line_feeds(text), expected, "{text}");
        }
    }
}
