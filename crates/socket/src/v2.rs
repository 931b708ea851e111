//! Clients of Socket.IO 2, as far as they tell or are told other things than those of today.

use serde_json::{Map, Value};
use synapse_protocol::{SessionId, query_pairs};

use crate::refusal::Refusal;

/// What a client proves itself with: the query behind the namespace that it asks for, as the text of a JSON object. Of a repeated name, the
/// last value holds.
pub(crate) fn auth(query: &str) -> String {
    let pairs: Map<String, Value> = query_pairs(query)
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    Value::Object(pairs).to_string()
}

/// What a refused client is told: the data of the refusal if there is any that JavaScript takes for true, its message otherwise.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    match refusal.data().filter(|data| is_truthy(data)) {
        Some(data) => data.to_string(),
        None => Value::from(refusal.to_string()).to_string(),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// What a client takes for the id of its socket in a namespace.
pub(crate) fn client_id(namespace: &str, session: SessionId) -> String {
    let id = session.to_socket_id();
    match namespace {
        "/" => id.to_string(),
        _ => format!("{namespace}#{id}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_query_is_an_object() {
        for (query, expected) in [
            ("", "{}"),
            ("token=abc", r#"{"token":"abc"}"#),
            ("a=1&b=%22+%C3%A9&a=2", r#"{"a":"2","b":"\" é"}"#),
            ("__proto__=x&flag", r#"{"__proto__":"x","flag":""}"#),
        ] {
            assert_eq!(auth(query), expected, "{query}");
        }
    }

    #[test]
    fn a_refusal_is_its_data_or_its_message() {
        let refused = Refusal::new("not \"authorized\"");
        let message = r#""not \"authorized\"""#;
        assert_eq!(refusal(&refused), message);
        for (data, expected) in [
            (json!({"code": 401}), r#"{"code":401}"#),
            (json!("why"), r#""why""#),
            (json!([]), "[]"),
            (json!(1), "1"),
            (json!(0), message),
            (json!(""), message),
            (json!(false), message),
            (json!(null), message),
        ] {
            assert_eq!(refusal(&refused.clone().with_data(data)), expected);
        }
    }

    #[test]
    fn an_id_has_its_namespace_in_front_except_in_the_main_one() {
        let id = SessionId::from_random([0; 15]);
        assert_eq!(client_id("/", id), "AAAAAAAAAAAAAAAAAAAA");
        assert_eq!(client_id("/chat", id), "/chat#AAAAAAAAAAAAAAAAAAAA");
    }
}
