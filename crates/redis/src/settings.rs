//! Where Redis is and how to log in there.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

const PORT: u16 = 6379;
const AZURE_DOMAIN: &str = ".redis.cache.windows.net";
const AZURE_TLS_PORT: u16 = 6380;

/// Where Redis is and how to log in there. `Debug` and [`address`](Self::address) never show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: u32,
    pub(crate) tls: bool,
    pub(crate) source: Source,
}

/// The environment variables that the settings came from, so that an error can name the one to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One variable with a URL.
    Url(&'static str),
    /// `REDIS_HOST` and its sisters.
    Parts,
}

impl Source {
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Url(variable) => variable,
            Self::Parts => "REDIS_HOST",
        }
    }

    pub(crate) fn host_and_port(self) -> &'static str {
        match self {
            Self::Url(variable) => variable,
            Self::Parts => "REDIS_HOST and REDIS_PORT",
        }
    }

    pub(crate) fn password(self) -> &'static str {
        match self {
            Self::Url(variable) => variable,
            Self::Parts => "REDIS_PASSWORD",
        }
    }

    pub(crate) fn login(self) -> &'static str {
        match self {
            Self::Url(variable) => variable,
            Self::Parts => "REDIS_USERNAME and REDIS_PASSWORD",
        }
    }

    pub(crate) fn db(self) -> &'static str {
        match self {
            Self::Url(variable) => variable,
            Self::Parts => "REDIS_DB",
        }
    }

    /// What to write to get TLS.
    pub(crate) fn tls(self) -> &'static str {
        match self {
            Self::Url(_) => "rediss://",
            Self::Parts => "REDIS_TLS=true",
        }
    }
}

/// The settings one by one, as the variables `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD` and `REDIS_DB` give them.
#[derive(Clone, Default)]
pub struct RedisParts {
    /// Host name or address, without a scheme and without a port.
    pub host: String,
    /// Default: 6379.
    pub port: Option<u16>,
    /// Default: the user `default`.
    pub username: Option<String>,
    /// Default: no authentication.
    pub password: Option<String>,
    /// Default: 0. Pub/sub reaches across databases, so this does not separate two clusters; a key does.
    pub db: Option<u32>,
    /// Default: TLS on the TLS port of Azure Cache for Redis, plain text elsewhere.
    pub tls: Option<bool>,
}

/// What is wrong with the settings. Names the variable and the fault, and never repeats any part of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The URL cannot be read at all.
    #[error(
        "{variable} is not a URL of the form redis://username:password@host:port/db (characters such as # / ? @ in the password have to be percent-encoded)"
    )]
    NotAUrl {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// Another scheme than the two of Redis.
    #[error("{variable} has to start with redis:// or, for TLS, rediss://")]
    Scheme {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// No host is named.
    #[error(
        "{variable} names no host (characters such as # / ? @ in a password have to be percent-encoded)"
    )]
    NoHost {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// The database is not a number.
    #[error("{variable} has something other than a database number at its end, after the slash")]
    Database {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// User or password are not UTF-8 once percent-decoded.
    #[error("{variable} has a user name or password that is not UTF-8")]
    Credentials {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// The host is written as a URL.
    #[error("{variable} has to be a host name only, not a URL: put a whole URL into REDIS_URL")]
    HostIsUrl {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// The host has a port attached.
    #[error("{variable} has to be a host name only: put the port into REDIS_PORT")]
    HostHasPort {
        /// The variable that holds it.
        variable: &'static str,
    },
}

impl RedisSettings {
    /// Settings from a URL: `redis://username:password@host:port/db`, or `rediss://` for TLS. `variable` is the name of the environment
    /// variable, or of any other setting, that it came from: errors name it instead of the value, which holds a password.
    ///
    /// ```
    /// use synapse_redis::{RedisSettings, SettingsError};
    ///
    /// # fn main() -> Result<(), SettingsError> {
    /// let settings = RedisSettings::from_url("REDIS_URL", "redis://:secret@redis.internal:6379/0")?;
    /// assert_eq!(settings.address(), "redis.internal:6379/0");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it cannot be such a URL. Redis is not asked.
    pub fn from_url(variable: &'static str, url: &str) -> Result<Self, SettingsError> {
        let parsed = Url::parse(url.trim());
        let url = match parsed {
            Ok(url) => url,
            Err(url::ParseError::EmptyHost) => return Err(SettingsError::NoHost { variable }),
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                return Err(SettingsError::Scheme { variable });
            }
            Err(_) => return Err(SettingsError::NotAUrl { variable }),
        };
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(SettingsError::Scheme { variable }),
        };
        // A # or ? in an unescaped password ends the host part, and what stands before it would be taken for the host.
        if url.fragment().is_some() || url.query().is_some_and(|query| query.contains('@')) {
            return Err(SettingsError::NotAUrl { variable });
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(SettingsError::NoHost { variable })?;
        let db = match url.path().trim_matches('/') {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| SettingsError::Database { variable })?,
        };
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| filled(&text))
                .map_err(|_| SettingsError::Credentials { variable })
        };
        Ok(Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port().unwrap_or(PORT),
            username: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?,
            db,
            tls,
            source: Source::Url(variable),
        })
    }

    /// Settings from single values.
    ///
    /// ```
    /// use synapse_redis::{RedisParts, RedisSettings, SettingsError};
    ///
    /// # fn main() -> Result<(), SettingsError> {
    /// let settings = RedisSettings::from_parts(RedisParts {
    ///     host: "redis.internal".to_owned(),
    ///     password: Some("secret".to_owned()),
    ///     ..RedisParts::default()
    /// })?;
    /// assert_eq!(settings.address(), "redis.internal:6379/0");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the host is none, or a URL, or has a port. Redis is not asked.
    pub fn from_parts(parts: RedisParts) -> Result<Self, SettingsError> {
        let host = parts.host.trim();
        let variable = "REDIS_HOST";
        if host.contains(['/', '@']) {
            return Err(SettingsError::HostIsUrl { variable });
        }
        // An IPv6 address has more than one colon.
        if host.matches(':').count() == 1 {
            return Err(SettingsError::HostHasPort { variable });
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(SettingsError::NoHost { variable });
        }
        let port = parts.port.unwrap_or(PORT);
        let azure = port == AZURE_TLS_PORT && host.to_ascii_lowercase().ends_with(AZURE_DOMAIN);
        Ok(Self {
            host: host.to_owned(),
            port,
            username: parts.username.filter(|username| !username.is_empty()),
            password: parts.password.filter(|password| !password.is_empty()),
            db: parts.db.unwrap_or(0),
            tls: parts.tls.unwrap_or(azure),
            source: Source::Parts,
        })
    }

    /// `host:port/db`, for logs.
    pub fn address(&self) -> String {
        let Self { host, port, db, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}/{db}")
        } else {
            format!("{host}:{port}/{db}")
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

/// An empty variable is one that is not set.
fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("tls", &self.tls)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

impl fmt::Debug for RedisParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A host may hold a whole URL by mistake, password included, so nothing is shown.
        f.write_str("RedisParts(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<RedisSettings, SettingsError> {
        RedisSettings::from_url("REDIS_URL", text)
    }

    #[test]
    fn urls_are_read() {
        let settings = url("redis://alice:p%40ss%23@db.example.com:7000/3").unwrap();
        assert_eq!(settings.address(), "db.example.com:7000/3");
        assert_eq!(
            (
                settings.username.as_deref(),
                settings.password.as_deref(),
                settings.tls
            ),
            (Some("alice"), Some("p@ss#"), false)
        );
        let settings = url(" rediss://:secret@red-abc \n").unwrap();
        assert_eq!(
            (settings.address().as_str(), settings.tls),
            ("red-abc:6379/0", true)
        );
        assert_eq!(
            (settings.username, settings.password.as_deref()),
            (None, Some("secret"))
        );
        assert_eq!(url("redis://[::1]:7/").unwrap().address(), "[::1]:7/0");
        assert_eq!(url("redis://localhost").unwrap().password, None);
    }

    #[test]
    fn faults_name_the_variable_and_never_the_value() {
        let variable = "REDIS_URL";
        for (text, expected) in [
            ("http://:hunter2@host", SettingsError::Scheme { variable }),
            ("hunter2", SettingsError::Scheme { variable }),
            ("", SettingsError::Scheme { variable }),
            (
                "redis://:hunter2@host:70000",
                SettingsError::NotAUrl { variable },
            ),
            ("redis://:hunt#er2@host", SettingsError::NoHost { variable }),
            (
                "redis://alice:12#er2@host",
                SettingsError::NotAUrl { variable },
            ),
            (
                "redis://alice:12?er2@host",
                SettingsError::NotAUrl { variable },
            ),
            (
                "redis://alice:12/er2@host",
                SettingsError::Database { variable },
            ),
            ("redis://host/hunter2", SettingsError::Database { variable }),
            ("redis://host/-1", SettingsError::Database { variable }),
            ("redis://:%ff@host", SettingsError::Credentials { variable }),
            ("redis:///0", SettingsError::NoHost { variable }),
            ("redis://:hunter2@/0", SettingsError::NoHost { variable }),
        ] {
            let error = url(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            let said = format!("{error} {error:?}");
            assert!(
                said.contains(variable) && !said.contains("hunter2") && !said.contains("er2"),
                "{said}"
            );
        }
    }

    #[test]
    fn parts_are_read_and_azure_means_tls() {
        let part = |host: &str, port, tls| {
            RedisSettings::from_parts(RedisParts {
                host: host.to_owned(),
                port,
                tls,
                ..RedisParts::default()
            })
        };
        assert_eq!(
            part("localhost", None, None).unwrap().address(),
            "localhost:6379/0"
        );
        assert!(
            part("cache.redis.cache.windows.net", Some(6380), None)
                .unwrap()
                .tls
        );
        assert!(
            part("Cache.Redis.Cache.Windows.Net", Some(6380), None)
                .unwrap()
                .tls
        );
        assert!(
            !part("cache.redis.cache.windows.net", Some(6379), None)
                .unwrap()
                .tls
        );
        assert!(
            !part("redis.cache.windows.net.evil.example", Some(6380), None)
                .unwrap()
                .tls
        );
        assert!(
            !part("cache.redis.cache.windows.net", Some(6380), Some(false))
                .unwrap()
                .tls
        );
        assert!(part("localhost", None, Some(true)).unwrap().tls);
        let variable = "REDIS_HOST";
        assert_eq!(
            part("redis://:hunter2@host", None, None),
            Err(SettingsError::HostIsUrl { variable })
        );
        assert_eq!(
            part("host:6379", None, None),
            Err(SettingsError::HostHasPort { variable })
        );
        assert_eq!(
            part(" ", None, None),
            Err(SettingsError::NoHost { variable })
        );
        assert_eq!(part("::1", None, None).unwrap().address(), "[::1]:6379/0");
    }

    #[test]
    fn the_password_is_never_shown() {
        let settings = url("redis://alice:hunter2@host").unwrap();
        assert!(!format!("{settings:?} {}", settings.address()).contains("hunter2"));
        assert!(
            !format!(
                "{:?}",
                RedisParts {
                    host: "redis://:hunter2@h".into(),
                    ..RedisParts::default()
                }
            )
            .contains("hunter2")
        );
    }
}
