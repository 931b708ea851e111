//! Why a connection to Redis ended, said so that the reader knows what to check.

use std::io;
use std::time::Duration;

use crate::resp::RespError;
use crate::settings::RedisSettings;

/// The end of a pair of connections.
#[derive(Debug)]
pub(crate) enum Fault {
    Resolve,
    Connect(io::Error),
    ConnectTimeout(Duration),
    Tls(io::Error),
    /// The peer speaks something else; the first byte it sent.
    NotRedis(u8),
    Protocol(RespError),
    Io(io::Error),
    Closed,
    /// Ended before the login was answered, as servers do that want TLS.
    EndedAtLogin,
    PasswordNeeded,
    PasswordRefused,
    PasswordNotSet,
    Database,
    ProtectedMode,
    TooManyClients,
    Loading,
    /// The ACL does not allow something. Redis says what.
    Permission(String),
    /// Anything else that Redis answered, apart from answers to AUTH, which may repeat the password.
    Refused(String),
    AuthFailed,
    ProbeLost(Duration),
    SubscribeTimeout(Duration),
    WriteTimeout(Duration),
    AnswerTimeout(Duration),
    /// Redis ended a subscription that we want.
    Unsubscribed,
    /// A bug of ours, or of a listener that runs on our task.
    Panicked,
}

impl Fault {
    /// An error line of Redis that was not the answer to AUTH.
    pub(crate) fn from_error_line(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line).into_owned();
        Self::known(&text).unwrap_or(Self::Refused(text))
    }

    /// An error line that answers AUTH. Some of them repeat what was sent, so an unknown one is kept to ourselves.
    pub(crate) fn from_auth_error_line(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        if text.contains("without any password") || text.contains("no password is set") {
            return Self::PasswordNotSet;
        }
        match Self::known(&text) {
            Some(Self::Permission(_)) | None => Self::AuthFailed,
            Some(fault) => fault,
        }
    }

    fn known(text: &str) -> Option<Self> {
        let starts = |code: &str| text.starts_with(code);
        Some(match text {
            _ if starts("NOAUTH") => Self::PasswordNeeded,
            _ if starts("WRONGPASS") || starts("ERR invalid password") => Self::PasswordRefused,
            _ if starts("NOPERM") => Self::Permission(text.chars().take(200).collect()),
            _ if starts("DENIED") => Self::ProtectedMode,
            _ if starts("LOADING") => Self::Loading,
            _ if starts("ERR max number of clients") => Self::TooManyClients,
            _ if text.contains("DB index") || starts("ERR SELECT") => Self::Database,
            _ => return None,
        })
    }

    /// One line: what happened, and what to check. Never holds a secret.
    pub(crate) fn describe(&self, settings: &RedisSettings) -> String {
        let source = settings.source;
        let (host, port, password, db) =
            (source.host(), source.port(), source.password(), source.db());
        match self {
            Self::Resolve => format!("host name could not be resolved: check the host in {host}"),
            Self::Connect(error) => format!("could not connect ({}): check that Redis runs there and the host and port in {host} and {port}", error.kind()),
            Self::ConnectTimeout(after) => {
                format!("no connection within {after:?}: check that Redis answers and that no firewall is between, and the host in {host}")
            }
            Self::Tls(error) => format!("TLS failed ({error}): check that the port in {port} speaks TLS and that the certificate is for the host in {host}"),
            Self::NotRedis(0x15 | 0x16) => format!("the other side speaks TLS: use rediss:// or the plain port in {port}"),
            Self::NotRedis(_) => format!("the other side is not a Redis server: check the host and port in {host} and {port}"),
            Self::Protocol(error) => format!("Redis sent something that is not its protocol ({error})"),
            Self::Io(error) => format!("connection broke ({})", error.kind()),
            Self::Closed => "Redis closed the connection".to_owned(),
            Self::EndedAtLogin => {
                format!("the other side ended the connection at the login: check the host and port in {host} and {port}, and whether it wants TLS (rediss://)")
            }
            Self::PasswordNeeded => format!("authentication needed: set the password in {password}"),
            Self::PasswordRefused => format!("authentication refused: check the password (and the user name) in {password}"),
            Self::PasswordNotSet => format!("Redis has no password set: remove the password from {password} or set one at Redis"),
            Self::AuthFailed => format!("authentication failed: check the user name and password in {password}"),
            Self::Database => format!("database {} does not exist there: check the number in {db}", settings.db),
            Self::ProtectedMode => "Redis is in protected mode and takes only local connections: set a password at Redis".to_owned(),
            Self::TooManyClients => "Redis allows no more connections: raise maxclients or the plan (two are needed per server)".to_owned(),
            Self::Loading => "Redis is loading its data set".to_owned(),
            Self::Permission(text) => {
                format!("the Redis user may not do what is needed ({text}): allow PUBLISH, SUBSCRIBE and PSUBSCRIBE on the channels of the key")
            }
            Self::Refused(text) => format!("Redis refused: {}", text.chars().take(200).collect::<String>()),
            Self::ProbeLost(after) => format!("a probe did not come back within {after:?}: Redis is frozen, overloaded or cut off"),
            Self::SubscribeTimeout(after) => format!("subscriptions were not confirmed within {after:?}"),
            Self::WriteTimeout(after) => format!("Redis took nothing for {after:?}"),
            Self::AnswerTimeout(after) => format!("Redis did not answer within {after:?}"),
            Self::Unsubscribed => "Redis ended a subscription".to_owned(),
            Self::Panicked => "delivery panicked, which is a bug: please report it with the log".to_owned(),
        }
    }
}

impl From<RespError> for Fault {
    fn from(error: RespError) -> Self {
        match error {
            RespError::Type(byte) => Self::NotRedis(byte),
            RespError::Length | RespError::Parts => Self::Protocol(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_say_what_to_check() {
        let settings = RedisSettings::from_url("REDIS_URL", "redis://:hunter2@host/99").unwrap();
        for (line, part) in [
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "check the password (and the user name) in REDIS_URL",
            ),
            (
                "NOAUTH Authentication required.",
                "set the password in REDIS_URL",
            ),
            (
                "ERR DB index is out of range",
                "database 99 does not exist there: check the number in REDIS_URL",
            ),
            (
                "NOPERM this user has no permissions to access the 'x' channel",
                "may not do what is needed",
            ),
            ("ERR max number of clients reached", "maxclients"),
            (
                "DENIED Redis is running in protected mode",
                "protected mode",
            ),
            ("ERR something new", "Redis refused: ERR something new"),
        ] {
            let said = Fault::from_error_line(line.as_bytes()).describe(&settings);
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn an_answer_to_auth_is_never_repeated() {
        let settings = RedisSettings::from_url("REDIS_URL", "redis://:hunter2@host").unwrap();
        for line in [
            "ERR unknown command `AUTH`, with args beginning with: `hunter2`, ",
            "NOPERM hunter2",
            "ERR AUTH <password> called without any password configured for the default user. hunter2",
        ] {
            let fault = Fault::from_auth_error_line(line.as_bytes());
            assert!(!fault.describe(&settings).contains("hunter2"));
            assert!(!format!("{fault:?}").contains("hunter2"));
        }
    }
}
