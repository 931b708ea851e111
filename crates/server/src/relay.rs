//! What a server without application code passes on: rules written as `[/namespace:]event[=everyone|=rooms]`.

use std::fmt;

/// The events that are passed on, each with its receivers. Empty when relaying is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    rules: Vec<Rule>,
}

/// One event of one namespace that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The namespace, with its leading slash.
    pub(crate) namespace: String,
    /// The event.
    pub(crate) event: String,
    /// Who gets it.
    pub(crate) receivers: Receivers,
}

/// Who gets an event that is passed on. The sender never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receivers {
    /// Every other client of the namespace, on all servers.
    Everyone,
    /// The other members of the rooms that the sender is in, on all servers. Nobody when it is in none but its own.
    Rooms,
}

/// Why a list of rules is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(
        "a rule is empty: write off, or a list such as test_event=everyone,/chat:message=rooms"
    )]
    Empty,
    #[error("off stands alone, without other rules")]
    OffAmongRules,
    #[error("`{0}` names no event: write /namespace:event")]
    NoEvent(String),
    #[error("`{rule}` sends to `{receivers}`: write =everyone or =rooms")]
    Receivers { rule: String, receivers: String },
    #[error("`{0}` is an event that Socket.IO keeps for itself")]
    Reserved(String),
    #[error("`{0}` has two rules")]
    Twice(String),
    #[error("more than {RULES_MAX} rules")]
    TooMany,
}

/// Most rules that one server takes. Each costs a handler in its namespace.
const RULES_MAX: usize = 256;

const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

impl Relay {
    /// Nothing is passed on.
    pub(crate) fn off() -> Self {
        Self { rules: Vec::new() }
    }

    /// Reads `off` or a list of rules.
    pub(crate) fn parse(text: &str) -> Result<Self, RelayError> {
        if text.trim().eq_ignore_ascii_case("off") {
            return Ok(Self::off());
        }
        let mut rules: Vec<Rule> = Vec::new();
        for written in text.split(',') {
            let rule = Rule::parse(written.trim())?;
            if rules
                .iter()
                .any(|other| other.namespace == rule.namespace && other.event == rule.event)
            {
                return Err(RelayError::Twice(written.trim().to_owned()));
            }
            if rules.len() == RULES_MAX {
                return Err(RelayError::TooMany);
            }
            rules.push(rule);
        }
        Ok(Self { rules })
    }

    /// The rules, in the order they were written.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Default for Relay {
    fn default() -> Self {
        let rule = Rule {
            namespace: "/".to_owned(),
            event: "test_event".to_owned(),
            receivers: Receivers::Everyone,
        };
        Self { rules: vec![rule] }
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, RelayError> {
        let (rest, receivers) = match text.rsplit_once('=') {
            None => (text, Receivers::Everyone),
            Some((rest, "everyone")) => (rest, Receivers::Everyone),
            Some((rest, "rooms")) => (rest, Receivers::Rooms),
            Some((_, other)) => {
                return Err(RelayError::Receivers {
                    rule: text.to_owned(),
                    receivers: other.to_owned(),
                });
            }
        };
        let (namespace, event) = match rest.split_once(':') {
            Some((namespace, event)) if namespace.starts_with('/') => (namespace, event),
            Some(_) | None if rest.starts_with('/') => {
                return Err(RelayError::NoEvent(text.to_owned()));
            }
            Some(_) | None => ("/", rest),
        };
        match event {
            "" if text.is_empty() => Err(RelayError::Empty),
            "" => Err(RelayError::NoEvent(text.to_owned())),
            event if RESERVED.contains(&event) => Err(RelayError::Reserved(event.to_owned())),
            event if event.eq_ignore_ascii_case("off") && text == event => {
                Err(RelayError::OffAmongRules)
            }
            event => Ok(Self {
                namespace: namespace.to_owned(),
                event: event.to_owned(),
                receivers,
            }),
        }
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return f.write_str("off");
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if rule.namespace != "/" || rule.event.starts_with('/') {
                write!(f, "{}:", rule.namespace)?;
            }
            let receivers = match rule.receivers {
                Receivers::Everyone => "everyone",
                Receivers::Rooms => "rooms",
            };
            write!(f, "{}={receivers}", rule.event)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_back() {
        for (text, expect) in [
            ("off", "off"),
            (" OFF ", "off"),
            ("test_event", "test_event=everyone"),
            ("test_event=everyone", "test_event=everyone"),
            ("message=rooms, typing", "message=rooms,typing=everyone"),
            ("chat:message", "chat:message=everyone"),
            ("/chat:message=rooms", "/chat:message=rooms"),
            ("/:test_event", "test_event=everyone"),
            ("/:/odd", "/:/odd=everyone"),
            ("/chat:a:b=rooms", "/chat:a:b=rooms"),
            ("say,/chat:say", "say=everyone,/chat:say=everyone"),
            ("a=b=rooms", "a=b=rooms"),
        ] {
            let relay = Relay::parse(text).unwrap();
            assert_eq!(relay.to_string(), expect, "{text}");
            assert_eq!(Relay::parse(&relay.to_string()).unwrap(), relay, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expect) in [
            (
                "",
                "a rule is empty: write off, or a list such as test_event=everyone,/chat:message=rooms",
            ),
            (
                "a,,b",
                "a rule is empty: write off, or a list such as test_event=everyone,/chat:message=rooms",
            ),
            ("a,off", "off stands alone, without other rules"),
            ("/chat", "`/chat` names no event: write /namespace:event"),
            ("/chat:", "`/chat:` names no event: write /namespace:event"),
            ("=rooms", "`=rooms` names no event: write /namespace:event"),
            (
                "a=room",
                "`a=room` sends to `room`: write =everyone or =rooms",
            ),
            ("a=", "`a=` sends to ``: write =everyone or =rooms"),
            (
                "disconnect",
                "`disconnect` is an event that Socket.IO keeps for itself",
            ),
            (
                "/chat:connect=rooms",
                "`connect` is an event that Socket.IO keeps for itself",
            ),
            ("a,a=rooms", "`a=rooms` has two rules"),
            ("a,/:a", "`/:a` has two rules"),
        ] {
            assert_eq!(
                Relay::parse(text).unwrap_err().to_string(),
                expect,
                "{text}"
            );
        }
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let list = |count: usize| {
            (0..count)
                .map(|n| format!("e{n}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(
            Relay::parse(&list(RULES_MAX)).unwrap().rules().len(),
            RULES_MAX
        );
        assert_eq!(Relay::parse(&list(RULES_MAX + 1)), Err(RelayError::TooMany));
    }

    #[test]
    fn the_default_is_the_event_of_the_guide() {
        assert_eq!(
            Relay::default(),
            Relay::parse(crate::settings::RELAY.default.unwrap()).unwrap()
        );
    }
}
