//! The names of one namespace's channels.

use bytes::Bytes;

/// The names of one namespace's channels.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) namespace: Box<str>,
    /// Events for the namespace, and the beginning of the names of its rooms' channels.
    pub(crate) broadcast: Bytes,
    /// What to subscribe to for all of those.
    pub(crate) pattern: Bytes,
    pub(crate) request: Bytes,
    pub(crate) response: Bytes,
    pub(crate) own_response: Bytes,
}

/// What a broadcast channel says about its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// They are for the namespace, or for several rooms of it.
    Namespace,
    /// They are for one room.
    Room(&'a str),
    /// The channel begins like ours and goes on like none.
    Malformed,
}

impl Channels {
    pub(crate) fn new(key: &str, namespace: &str, uid: &str) -> Self {
        let broadcast = format!("{key}#{namespace}#");
        let response = format!("{key}-response#{namespace}#");
        Self {
            pattern: Bytes::from(escape_glob(&broadcast) + "*"),
            broadcast: Bytes::from(broadcast),
            request: Bytes::from(format!("{key}-request#{namespace}#")),
            own_response: Bytes::from(format!("{response}{uid}#")),
            response: Bytes::from(response),
            namespace: namespace.into(),
        }
    }

    /// The channel of one room.
    pub(crate) fn room(&self, room: &str) -> Bytes {
        Bytes::from([&self.broadcast, room.as_bytes(), b"#"].concat())
    }

    /// The channel on which the server `uid` alone reads answers.
    pub(crate) fn response_of(&self, uid: &str) -> Bytes {
        Bytes::from([&self.response, uid.as_bytes(), b"#"].concat())
    }

    /// What a channel that matched the pattern is for; `None` when it is not of this namespace.
    pub(crate) fn scope<'a>(&self, channel: &'a [u8]) -> Option<Scope<'a>> {
        let rest = channel.strip_prefix(&*self.broadcast)?;
        Some(match rest.split_last() {
            // As in Node, a room without a name has no channel of its own.
            None | Some((b'#', [])) => Scope::Namespace,
            Some((b'#', room)) => std::str::from_utf8(room).map_or(Scope::Malformed, Scope::Room),
            Some(_) => Scope::Malformed,
        })
    }
}

/// Takes the meaning from the characters that Redis gives one in patterns. Node does not, so its namespaces with brackets in their name
/// never hear anything; what it publishes goes to the literal channel, which this matches.
fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_node() {
        let channels = Channels::new("socket.io", "/", "o3b0AY");
        assert_eq!(&channels.pattern[..], b"socket.io#/#*");
        assert_eq!(&channels.request[..], b"socket.io-request#/#");
        assert_eq!(&channels.response[..], b"socket.io-response#/#");
        assert_eq!(&channels.own_response[..], b"socket.io-response#/#o3b0AY#");
        assert_eq!(&channels.broadcast[..], b"socket.io#/#");
        assert_eq!(&channels.room("room1")[..], b"socket.io#/#room1#");
        assert_eq!(
            &channels.response_of("rW3s3R")[..],
            b"socket.io-response#/#rW3s3R#"
        );
        assert_eq!(
            &Channels::new("app", "/a*[b]?\\", "u").pattern[..],
            br"app#/a\*\[b\]\?\\#*"
        );
    }

    #[test]
    fn the_room_is_what_stands_before_the_last_hash() {
        let channels = Channels::new("socket.io", "/chat", "o3b0AY");
        for (channel, expected) in [
            ("socket.io#/chat#", Some(Scope::Namespace)),
            ("socket.io#/chat##", Some(Scope::Namespace)),
            ("socket.io#/chat#room1#", Some(Scope::Room("room1"))),
            ("socket.io#/chat#x#y#", Some(Scope::Room("x#y"))),
            ("socket.io#/chat#{tag}\n#", Some(Scope::Room("{tag}\n"))),
            ("socket.io#/chat#room1", Some(Scope::Malformed)),
            ("socket.io#/chats#", None),
            ("socket.io#/#", None),
            ("", None),
        ] {
            assert_eq!(channels.scope(channel.as_bytes()), expected, "{channel}");
        }
        assert_eq!(
            channels.scope(b"socket.io#/chat#\xff#"),
            Some(Scope::Malformed)
        );
    }
}
