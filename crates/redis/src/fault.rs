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
    /// An answer that does not belong where it came.
    Unexpected(&'static str),
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
        let text = String::from_utf8_lossy(line);
        Self::known(&text).unwrap_or_else(|| Self::Refused(quotable(&text)))
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
            _ if starts("NOPERM") => Self::Permission(quotable(text)),
            _ if starts("DENIED") => Self::ProtectedMode,
            _ if starts("LOADING") => Self::Loading,
            _ if starts("ERR max number of clients") => Self::TooManyClients,
            _ if text.contains("DB index") || starts("ERR SELECT") => Self::Database,
            _ => return None,
        })
    }

    /// One line: what happened, and what to check. Never holds a secret.
    pub(crate) fn describe(&self, settings: &RedisSettings) -> String {
        const FROZEN: &str = "check whether Redis is frozen, overloaded or cut off";
        let source = settings.source;
        let (host, host_and_port, tls) = (source.host(), source.host_and_port(), source.tls());
        let (password, login) = (source.password(), source.login());
        match self {
            Self::Resolve => format!("host name could not be resolved: check the host in {host}"),
            Self::Connect(error) => {
                format!("could not connect ({}): check that Redis runs there, and the host and port in {host_and_port}", error.kind())
            }
            Self::ConnectTimeout(after) => {
                format!("no connection within {after:?}: check that Redis answers, that no firewall is between, and the host and port in {host_and_port}")
            }
            Self::Tls(error) => {
                format!("TLS failed ({error}): check that a server speaks TLS at the host and port in {host_and_port}, with a trusted certificate for that host")
            }
            Self::NotRedis(0x15 | 0x16) => format!("the other side speaks TLS: ask for it with {tls}, or check the port in {host_and_port}"),
            Self::NotRedis(_) => format!("the other side is not a Redis server: check the host and port in {host_and_port}"),
            Self::Protocol(error) => {
                format!("the other side sent what Redis never sends ({error}): check the host and port in {host_and_port}")
            }
            Self::Io(error) => format!("the connection broke ({}): check that Redis runs, and the network in between", error.kind()),
            Self::Closed => "the connection was closed by Redis: check whether it was stopped, or its log for a limit that was reached".to_owned(),
            Self::EndedAtLogin => {
                format!("the other side ended the connection at the login: check the host and port in {host_and_port}, and whether it wants TLS ({tls})")
            }
            Self::PasswordNeeded => format!("authentication needed: set the password in {password}"),
            Self::PasswordRefused => format!("authentication refused: check the user name and password in {login}"),
            Self::PasswordNotSet => format!("no password is set at Redis: remove the password from {password}, or set one at Redis"),
            Self::AuthFailed => format!("authentication failed: check the user name and password in {login}"),
            Self::Database => format!("database {} does not exist there: check the number in {}", settings.db, source.db()),
            Self::ProtectedMode => {
                format!("only local connections are taken, because Redis is in protected mode: set a password at Redis and in {password}")
            }
            Self::TooManyClients => "no more connections are taken: raise maxclients of Redis, or the plan (each server needs two)".to_owned(),
            Self::Loading => "data is still being loaded by Redis: wait, and check its log if it takes long".to_owned(),
            Self::Permission(text) => {
                format!("the Redis user may not do what is needed ({text}): allow PUBLISH, SUBSCRIBE and PSUBSCRIBE on the channels of the key")
            }
            Self::Refused(text) => format!("a command was refused by Redis ({text}): check its version, its settings and its log"),
            Self::Unexpected(what) => format!("unexpected {what}: check that Redis itself, and no proxy, is at the host and port in {host_and_port}"),
            Self::ProbeLost(after) => format!("a probe did not come back within {after:?}: {FROZEN}"),
            Self::SubscribeTimeout(after) => format!("subscriptions were not confirmed within {after:?}: {FROZEN}"),
            Self::WriteTimeout(after) => format!("nothing could be written for {after:?}: {FROZEN}"),
            Self::AnswerTimeout(after) => format!("published messages were not confirmed within {after:?}: {FROZEN}"),
            Self::Unsubscribed => "a subscription was ended by Redis: check whether the rights of the Redis user have changed".to_owned(),
            Self::Panicked => "delivery panicked, which is a bug: check the log for the panic and report it".to_owned(),
        }
    }
}

/// A line of Redis that can stand in ours.
fn quotable(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars()
        .take(CHARS_MAX)
        .filter(|character| !character.is_control())
        .collect()
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
    use crate::settings::RedisParts;

    fn from_url() -> RedisSettings {
        RedisSettings::from_url("REDIS_URL", "redis://alice:hunter2@db.example.com:7000/99")
            .unwrap()
    }

    fn from_parts() -> RedisSettings {
        RedisSettings::from_parts(RedisParts {
            host: "db.example.com".to_owned(),
            username: Some("alice".to_owned()),
            password: Some("hunter2".to_owned()),
            db: Some(99),
            ..RedisParts::default()
        })
        .unwrap()
    }

    /// Every fault, what it says with a URL, and what it says with single variables where that is something else.
    fn table() -> Vec<(Fault, &'static str, Option<&'static str>)> {
        let after = Duration::from_secs(2);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        vec![
            (
                Fault::Resolve,
                "host name could not be resolved: check the host in REDIS_URL",
                Some("host name could not be resolved: check the host in REDIS_HOST"),
            ),
            (
                Fault::Connect(refused()),
                "could not connect (connection refused): check that Redis runs there, and the host and port in REDIS_URL",
                Some(
                    "could not connect (connection refused): check that Redis runs there, and the host and port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::ConnectTimeout(after),
                "no connection within 2s: check that Redis answers, that no firewall is between, and the host and port in REDIS_URL",
                Some(
                    "no connection within 2s: check that Redis answers, that no firewall is between, and the host and port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::Tls(io::Error::other("unknown issuer")),
                "TLS failed (unknown issuer): check that a server speaks TLS at the host and port in REDIS_URL, with a trusted certificate for that host",
                Some(
                    "TLS failed (unknown issuer): check that a server speaks TLS at the host and port in REDIS_HOST and REDIS_PORT, with a trusted certificate for that host",
                ),
            ),
            (
                Fault::NotRedis(0x15),
                "the other side speaks TLS: ask for it with rediss://, or check the port in REDIS_URL",
                Some(
                    "the other side speaks TLS: ask for it with REDIS_TLS=true, or check the port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::NotRedis(b'H'),
                "the other side is not a Redis server: check the host and port in REDIS_URL",
                Some(
                    "the other side is not a Redis server: check the host and port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::Protocol(RespError::Length),
                "the other side sent what Redis never sends (reply has a malformed length or line): check the host and port in REDIS_URL",
                Some(
                    "the other side sent what Redis never sends (reply has a malformed length or line): check the host and port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::Io(refused()),
                "the connection broke (connection refused): check that Redis runs, and the network in between",
                None,
            ),
            (
                Fault::Closed,
                "the connection was closed by Redis: check whether it was stopped, or its log for a limit that was reached",
                None,
            ),
            (
                Fault::EndedAtLogin,
                "the other side ended the connection at the login: check the host and port in REDIS_URL, and whether it wants TLS (rediss://)",
                Some(
                    "the other side ended the connection at the login: check the host and port in REDIS_HOST and REDIS_PORT, and whether it wants TLS (REDIS_TLS=true)",
                ),
            ),
            (
                Fault::PasswordNeeded,
                "authentication needed: set the password in REDIS_URL",
                Some("authentication needed: set the password in REDIS_PASSWORD"),
            ),
            (
                Fault::PasswordRefused,
                "authentication refused: check the user name and password in REDIS_URL",
                Some(
                    "authentication refused: check the user name and password in REDIS_USERNAME and REDIS_PASSWORD",
                ),
            ),
            (
                Fault::PasswordNotSet,
                "no password is set at Redis: remove the password from REDIS_URL, or set one at Redis",
                Some(
                    "no password is set at Redis: remove the password from REDIS_PASSWORD, or set one at Redis",
                ),
            ),
            (
                Fault::AuthFailed,
                "authentication failed: check the user name and password in REDIS_URL",
                Some(
                    "authentication failed: check the user name and password in REDIS_USERNAME and REDIS_PASSWORD",
                ),
            ),
            (
                Fault::Database,
                "database 99 does not exist there: check the number in REDIS_URL",
                Some("database 99 does not exist there: check the number in REDIS_DB"),
            ),
            (
                Fault::ProtectedMode,
                "only local connections are taken, because Redis is in protected mode: set a password at Redis and in REDIS_URL",
                Some(
                    "only local connections are taken, because Redis is in protected mode: set a password at Redis and in REDIS_PASSWORD",
                ),
            ),
            (
                Fault::TooManyClients,
                "no more connections are taken: raise maxclients of Redis, or the plan (each server needs two)",
                None,
            ),
            (
                Fault::Loading,
                "data is still being loaded by Redis: wait, and check its log if it takes long",
                None,
            ),
            (
                Fault::Permission("NOPERM no".to_owned()),
                "the Redis user may not do what is needed (NOPERM no): allow PUBLISH, SUBSCRIBE and PSUBSCRIBE on the channels of the key",
                None,
            ),
            (
                Fault::Refused("ERR no".to_owned()),
                "a command was refused by Redis (ERR no): check its version, its settings and its log",
                None,
            ),
            (
                Fault::Unexpected("answer to PUBLISH"),
                "unexpected answer to PUBLISH: check that Redis itself, and no proxy, is at the host and port in REDIS_URL",
                Some(
                    "unexpected answer to PUBLISH: check that Redis itself, and no proxy, is at the host and port in REDIS_HOST and REDIS_PORT",
                ),
            ),
            (
                Fault::ProbeLost(after),
                "a probe did not come back within 2s: check whether Redis is frozen, overloaded or cut off",
                None,
            ),
            (
                Fault::SubscribeTimeout(after),
                "subscriptions were not confirmed within 2s: check whether Redis is frozen, overloaded or cut off",
                None,
            ),
            (
                Fault::WriteTimeout(after),
                "nothing could be written for 2s: check whether Redis is frozen, overloaded or cut off",
                None,
            ),
            (
                Fault::AnswerTimeout(after),
                "published messages were not confirmed within 2s: check whether Redis is frozen, overloaded or cut off",
                None,
            ),
            (
                Fault::Unsubscribed,
                "a subscription was ended by Redis: check whether the rights of the Redis user have changed",
                None,
            ),
            (
                Fault::Panicked,
                "delivery panicked, which is a bug: check the log for the panic and report it",
                None,
            ),
        ]
    }

    #[test]
    fn every_fault_says_what_happened_and_what_to_check() {
        for (fault, with_url, with_parts) in table() {
            for (settings, expected) in [
                (from_url(), with_url),
                (from_parts(), with_parts.unwrap_or(with_url)),
            ] {
                let said = fault.describe(&settings);
                assert_eq!(said, expected);
                assert!(
                    !said.contains("hunter2") && !said.contains("alice"),
                    "{said}"
                );
                assert!(!said.contains('\n') && !said.ends_with('.'), "{said}");
                assert!(
                    said.starts_with(|first: char| first.is_lowercase())
                        || said.starts_with("TLS "),
                    "{said}"
                );
                assert!(
                    said.contains(": ") && said.matches("REDIS_URL").count() <= 1,
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn known_answers_are_told_apart() {
        for (line, expected) in [
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Fault::PasswordRefused,
            ),
            ("NOAUTH Authentication required.", Fault::PasswordNeeded),
            ("ERR DB index is out of range", Fault::Database),
            (
                "NOPERM this user has no permissions",
                Fault::Permission("NOPERM this user has no permissions".to_owned()),
            ),
            ("ERR max number of clients reached", Fault::TooManyClients),
            (
                "DENIED Redis is running in protected mode",
                Fault::ProtectedMode,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Fault::Loading,
            ),
            (
                "ERR something\x1b[31m new",
                Fault::Refused("ERR something[31m new".to_owned()),
            ),
        ] {
            let fault = Fault::from_error_line(line.as_bytes());
            assert_eq!(format!("{fault:?}"), format!("{expected:?}"));
        }
        let long = Fault::from_error_line(&[b'x'; 60_000]).describe(&from_url());
        assert!(long.len() < 300, "{}", long.len());
    }

    #[test]
    fn an_answer_to_auth_is_never_repeated() {
        for (line, expected) in [
            (
                "ERR unknown command `AUTH`, with args beginning with: `hunter2`, ",
                Fault::AuthFailed,
            ),
            ("NOPERM hunter2", Fault::AuthFailed),
            (
                "ERR AUTH <password> called without any password configured for the default user. hunter2",
                Fault::PasswordNotSet,
            ),
            (
                "ERR Client sent AUTH, but no password is set",
                Fault::PasswordNotSet,
            ),
            ("WRONGPASS hunter2", Fault::PasswordRefused),
        ] {
            let fault = Fault::from_auth_error_line(line.as_bytes());
            assert_eq!(format!("{fault:?}"), format!("{expected:?}"));
            assert!(!fault.describe(&from_url()).contains("hunter2"));
        }
    }
}
