//! What the server runs on: complete and checked before a port opens. It comes from [`Written`], and every fault is one line that
//! names the flag or the variable, never a secret.

use std::path::PathBuf;
use std::time::Duration;

use synapse::redis::{RedisParts, RedisSettings};
use synapse::{Network, Parser};

use crate::log::{LogConfig, LogFormat};
use crate::relay::Relay;
use crate::settings::{self, Setting, Value, Written};
use crate::values::{
    self, cors, heartbeat, host, integer, log_format, networks, parser, path, redis_port,
    server_id, switch,
};

/// All that a server needs to know.
pub(crate) struct Config {
    /// Address or host name to listen on.
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one.
    pub(crate) port: u16,
    /// The Redis that joins this server to others.
    pub(crate) redis: RedisChoice,
    /// Foreign pages that may connect.
    pub(crate) cors: CorsOrigins,
    /// What goes to the log, and how.
    pub(crate) log: LogConfig,
    /// Events that are passed on to other clients.
    pub(crate) relay: Relay,
    /// Name of this server; a random one when there is none.
    pub(crate) server_id: Option<String>,
    /// Whether `/ready` fails while delivery through Redis is not proven.
    pub(crate) ready_needs_redis: bool,
    /// Folder with the official client bundle.
    pub(crate) client_dir: Option<PathBuf>,
    /// The protocol's own settings.
    pub(crate) protocol: ProtocolConfig,
}

/// Whether there is a Redis.
pub(crate) enum RedisChoice {
    /// None: a complete single server. The text says why, for the log.
    Off(String),
    /// This one.
    On(RedisSettings),
}

/// Origins whose pages may connect, besides the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CorsOrigins {
    /// None is named: browsers let foreign pages use WebSocket only.
    Unset,
    /// Any page of the web.
    Any,
    /// These; pages of others are refused.
    List(Vec<String>),
}

/// What clients have to be set to, or are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolConfig {
    /// Path of the Socket.IO requests, with a leading and without a trailing slash.
    pub(crate) path: String,
    /// Time between two heartbeats.
    pub(crate) ping_interval: Duration,
    /// Time a client has for its answer to a heartbeat.
    pub(crate) ping_timeout: Duration,
    /// Bytes of the largest message that a client may send.
    pub(crate) max_http_buffer_size: usize,
    /// How packets are written.
    pub(crate) parser: Parser,
    /// Compress WebSocket messages for clients that offer it.
    pub(crate) per_message_deflate: bool,
    /// Proxies whose word about the client's address is taken.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Most clients of one address.
    pub(crate) connections_per_address: Option<usize>,
    /// Whether clients of Socket.IO 1 and 2 are served.
    pub(crate) allow_eio3: bool,
}

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {fault}")]
pub(crate) struct ConfigError {
    /// The flag or the variable.
    pub(crate) name: &'static str,
    /// What is wrong with it, and what would be right.
    pub(crate) fault: String,
}

impl Config {
    /// Checks what was written.
    pub(crate) fn from_written(written: &Written) -> Result<Self, ConfigError> {
        Ok(Self {
            host: read(written, &settings::HOST, host)?.unwrap_or_else(|| "0.0.0.0".to_owned()),
            port: read(written, &settings::PORT, |text| integer(text, 0, 65_535))?.unwrap_or(3000),
            redis: redis(written)?,
            cors: read(written, &settings::CORS_ORIGIN, cors)?.unwrap_or(CorsOrigins::Unset),
            log: LogConfig {
                filter: read(written, &settings::LOG_LEVEL, crate::log::check_filter)?
                    .unwrap_or_else(|| "info".to_owned()),
                format: read(written, &settings::LOG_FORMAT, log_format)?
                    .unwrap_or(LogFormat::Text),
            },
            relay: read(written, &settings::RELAY, |text| {
                Relay::parse(text).map_err(|error| error.to_string())
            })?
            .unwrap_or_default(),
            server_id: read(written, &settings::SERVER_ID, server_id)?,
            ready_needs_redis: read(written, &settings::READY_NEEDS_REDIS, switch)?
                .unwrap_or(false),
            client_dir: read(written, &settings::CLIENT_DIR, |text| {
                Ok(PathBuf::from(text))
            })?,
            protocol: ProtocolConfig {
                path: read(written, &settings::PATH, path)?
                    .unwrap_or_else(|| "/socket.io".to_owned()),
                ping_interval: read(written, &settings::PING_INTERVAL, heartbeat)?
                    .unwrap_or(Duration::from_secs(25)),
                ping_timeout: read(written, &settings::PING_TIMEOUT, heartbeat)?
                    .unwrap_or(Duration::from_secs(20)),
                max_http_buffer_size: read(written, &settings::MAX_HTTP_BUFFER_SIZE, |text| {
                    integer(text, 1, values::MESSAGE_BYTES_MAX)
                })?
                .unwrap_or(1_000_000),
                parser: read(written, &settings::PARSER, parser)?.unwrap_or_default(),
                per_message_deflate: read(written, &settings::PER_MESSAGE_DEFLATE, switch)?
                    .unwrap_or(false),
                trusted_proxies: read(written, &settings::TRUSTED_PROXIES, networks)?
                    .unwrap_or_default(),
                connections_per_address: read(
                    written,
                    &settings::CONNECTIONS_PER_ADDRESS,
                    |text| integer(text, 1, 1_000_000),
                )?,
                allow_eio3: read(written, &settings::ALLOW_EIO3, switch)?.unwrap_or(false),
            },
        })
    }
}

/// Chooses the Redis: flags before variables, a TLS URL before a URL before single values.
fn redis(written: &Written) -> Result<RedisChoice, ConfigError> {
    let tls_url_flag = written.flag(&settings::REDIS_TLS_URL);
    let host_flag = written.flag(&settings::REDIS_HOST);
    let url = match tls_url_flag.or(written.flag(&settings::REDIS_URL)) {
        Some(url) => Some(url),
        None if host_flag.is_some() => None,
        None => variable(written, &settings::REDIS_TLS_URL)?
            .or(variable(written, &settings::REDIS_URL)?),
    };
    let single_values = [
        &settings::REDIS_PORT,
        &settings::REDIS_USERNAME,
        &settings::REDIS_PASSWORD,
        &settings::REDIS_DB,
        &settings::REDIS_TLS,
    ];
    if let Some(url) = url {
        // A flag is meant for this very start, so one without effect is a mistake rather than a left-over.
        if let Some(flag) = host_flag.or_else(|| {
            single_values
                .iter()
                .find_map(|setting| written.flag(setting))
        }) {
            return Err(ConfigError {
                name: flag.name,
                fault: format!("has no effect beside {}: put it into the URL", url.name),
            });
        }
        let settings =
            RedisSettings::from_url(url.name, url.text).map_err(|error| named(url.name, &error))?;
        return Ok(RedisChoice::On(settings));
    }
    let Some(host) = value(written, &settings::REDIS_HOST)? else {
        for setting in single_values {
            let Some(alone) = value(written, setting)? else {
                continue;
            };
            if alone.is_flag {
                return Err(ConfigError {
                    name: alone.name,
                    fault: "needs --redis-host or REDIS_HOST beside it".to_owned(),
                });
            }
            return Ok(RedisChoice::Off(format!(
                "{} is set, but REDIS_HOST is not",
                alone.name
            )));
        }
        return Ok(RedisChoice::Off(
            "neither REDIS_URL nor REDIS_HOST is set".to_owned(),
        ));
    };
    let text = |setting| Ok(value(written, setting)?.map(|value| value.text.to_owned()));
    let parts = RedisParts {
        host: host.text.to_owned(),
        port: read(written, &settings::REDIS_PORT, redis_port)?,
        username: text(&settings::REDIS_USERNAME)?,
        password: text(&settings::REDIS_PASSWORD)?,
        db: read(written, &settings::REDIS_DB, |text| {
            integer(text, 0, 1_000_000)
        })?,
        tls: read(written, &settings::REDIS_TLS, switch)?,
    };
    RedisSettings::from_parts(parts)
        .map(RedisChoice::On)
        .map_err(|error| named(host.name, &error))
}

/// An error about Redis settings. Its text begins with the variable, which may have been written as a flag.
fn named(name: &'static str, error: &synapse::redis::SettingsError) -> ConfigError {
    let text = error.to_string();
    let fault = text
        .strip_prefix(name)
        .or_else(|| text.strip_prefix(settings::REDIS_HOST.variable));
    ConfigError {
        name,
        fault: fault.unwrap_or(&text).trim_start().to_owned(),
    }
}

fn variable<'a>(written: &'a Written, setting: &Setting) -> Result<Option<Value<'a>>, ConfigError> {
    written.variable(setting).map_err(not_text)
}

fn value<'a>(written: &'a Written, setting: &Setting) -> Result<Option<Value<'a>>, ConfigError> {
    written.value(setting).map_err(not_text)
}

fn not_text(name: &'static str) -> ConfigError {
    ConfigError {
        name,
        fault: "is not UTF-8".to_owned(),
    }
}

/// Reads a setting with `parse`, whose error says what would be right.
fn read<T>(
    written: &Written,
    setting: &Setting,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = value(written, setting)? else {
        return Ok(None);
    };
    parse(value.text.trim())
        .map(Some)
        .map_err(|fault| ConfigError {
            name: value.name,
            fault,
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;

    fn config(line: &str) -> Result<Config, ConfigError> {
        // Words with a dash are flags, the others are `NAME=value` of the environment.
        let (flags, variables): (Vec<&str>, Vec<&str>) = line
            .split_whitespace()
            .partition(|word| word.starts_with('-'));
        let variables: HashMap<&str, OsString> = variables
            .iter()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, text)| (name, text.into()))
            .collect();
        let arguments = std::iter::once("synapse").chain(flags).map(OsString::from);
        let (_, written) = Written::read(arguments, |name| variables.get(name).cloned()).unwrap();
        Config::from_written(&written)
    }

    fn redis_of(line: &str) -> String {
        match config(line) {
            Ok(Config {
                redis: RedisChoice::On(settings),
                ..
            }) => settings.address(),
            Ok(Config {
                redis: RedisChoice::Off(reason),
                ..
            }) => format!("off: {reason}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn without_settings_the_defaults_of_the_help_hold() {
        let config = config("").unwrap();
        assert_eq!(
            (config.host.as_str(), config.port),
            (settings::HOST.default.unwrap(), 3000)
        );
        assert_eq!(config.cors, CorsOrigins::Unset);
        assert_eq!(config.relay.to_string(), settings::RELAY.default.unwrap());
        assert_eq!(
            config.log,
            LogConfig {
                filter: "info".to_owned(),
                format: LogFormat::Text
            }
        );
        assert!(
            !config.ready_needs_redis && config.server_id.is_none() && config.client_dir.is_none()
        );
        let protocol = config.protocol;
        assert!(!protocol.per_message_deflate);
        assert_eq!(Some(protocol.path.as_str()), settings::PATH.default);
        assert_eq!(
            Some(protocol.ping_interval.as_millis().to_string().as_str()),
            settings::PING_INTERVAL.default
        );
        assert_eq!(
            Some(protocol.ping_timeout.as_millis().to_string().as_str()),
            settings::PING_TIMEOUT.default
        );
        assert_eq!(
            Some(protocol.max_http_buffer_size.to_string().as_str()),
            settings::MAX_HTTP_BUFFER_SIZE.default
        );
        assert_eq!(
            (protocol.parser, settings::PARSER.default),
            (Parser::Json, Some("json"))
        );
        assert_eq!(
            Some(protocol.allow_eio3.to_string().as_str()),
            settings::ALLOW_EIO3.default
        );
    }

    #[test]
    fn every_fault_is_one_line_that_names_its_place() {
        for (line, expect) in [
            (
                "PORT=abc",
                "PORT: `abc` is not a whole number from 0 to 65535",
            ),
            (
                "--port=65536",
                "--port: `65536` is not a whole number from 0 to 65535",
            ),
            (
                "PORT=+80",
                "PORT: `+80` is not a whole number from 0 to 65535",
            ),
            (
                "HOST=localhost:3000",
                "HOST: `localhost:3000` is not an address or a host name without a port",
            ),
            (
                "HOST=http://localhost",
                "HOST: `http://localhost` is not an address or a host name without a port",
            ),
            (
                "SYNAPSE_PARSER=cbor",
                "SYNAPSE_PARSER: `cbor` is neither json nor msgpack",
            ),
            (
                "LOG_FORMAT=xml",
                "LOG_FORMAT: `xml` is neither text nor json",
            ),
            (
                "LOG_LEVEL=loud",
                "LOG_LEVEL: `loud` is not a level: write off, error, warn, info, debug or trace",
            ),
            (
                "SYNAPSE_RELAY=a=b",
                "SYNAPSE_RELAY: `a=b` sends to `b`: write =everyone or =rooms",
            ),
            (
                "--relay=disconnect",
                "--relay: `disconnect` is an event that Socket.IO keeps for itself",
            ),
            (
                "SYNAPSE_READY_NEEDS_REDIS=maybe",
                "SYNAPSE_READY_NEEDS_REDIS: `maybe` is neither true nor false",
            ),
            (
                "SYNAPSE_SERVER_ID=a/b",
                "SYNAPSE_SERVER_ID: `a/b` is not a name of 1 to 64 letters, digits, dots, dashes and underscores",
            ),
            (
                "SYNAPSE_PATH=socket.io",
                "SYNAPSE_PATH: `socket.io` is not a path such as /socket.io",
            ),
            (
                "SYNAPSE_PATH=/",
                "SYNAPSE_PATH: `/` is not a path such as /socket.io",
            ),
            (
                "SYNAPSE_PATH=/a/../b",
                "SYNAPSE_PATH: `/a/../b` is not a path such as /socket.io",
            ),
            (
                "PING_INTERVAL=0",
                "PING_INTERVAL: `0` is not a whole number from 10 to 86400000 (milliseconds)",
            ),
            (
                "PING_TIMEOUT=20s",
                "PING_TIMEOUT: `20s` is not a whole number from 10 to 86400000 (milliseconds)",
            ),
            (
                "MAX_HTTP_BUFFER_SIZE=0",
                "MAX_HTTP_BUFFER_SIZE: `0` is not a whole number from 1 to 1073741824",
            ),
            (
                "CORS_ORIGIN=app.example.com",
                "CORS_ORIGIN: `app.example.com` is not an origin such as https://app.example.com (the scheme is missing)",
            ),
            (
                "CORS_ORIGIN=https://a.example/",
                "CORS_ORIGIN: `https://a.example/` is not an origin such as https://app.example.com (an origin ends before the path)",
            ),
            (
                "CORS_ORIGIN=https://a.example,*",
                "CORS_ORIGIN: * stands alone, without other origins",
            ),
            (
                "CORS_ORIGIN=https://a.example,",
                "CORS_ORIGIN: `` is not an origin such as https://app.example.com (the scheme is missing)",
            ),
            (
                "SYNAPSE_TRUSTED_PROXIES=10.0.0.0/8,proxy",
                "SYNAPSE_TRUSTED_PROXIES: `proxy` is not a network such as 10.0.0.0/8",
            ),
            (
                "SYNAPSE_CONNECTIONS_PER_ADDRESS=0",
                "SYNAPSE_CONNECTIONS_PER_ADDRESS: `0` is not a whole number from 1 to 1000000",
            ),
            (
                "REDIS_HOST=h REDIS_PORT=0",
                "REDIS_PORT: is not a port: give a number from 1 to 65535",
            ),
            (
                "REDIS_HOST=h REDIS_PORT=tcp://10.0.0.1:6379",
                "REDIS_PORT: is a Kubernetes service link rather than a port: set it in the container, or use REDIS_URL",
            ),
            (
                "REDIS_HOST=h REDIS_DB=x",
                "REDIS_DB: `x` is not a whole number from 0 to 1000000",
            ),
            (
                "--redis-db=1 REDIS_URL=redis://h",
                "--redis-db: has no effect beside REDIS_URL: put it into the URL",
            ),
            (
                "--redis-host=h --redis-url=redis://h",
                "--redis-host: has no effect beside --redis-url: put it into the URL",
            ),
            (
                "REDIS_URL=http://h",
                "REDIS_URL: has to start with redis:// or, for TLS, rediss://",
            ),
            (
                "REDIS_HOST=h:1",
                "REDIS_HOST: has to be a host name only: put the port into REDIS_PORT",
            ),
            (
                "--redis-host=h:1",
                "--redis-host: has to be a host name only: put the port into REDIS_PORT",
            ),
            (
                "--redis-db=1",
                "--redis-db: needs --redis-host or REDIS_HOST beside it",
            ),
        ] {
            let error = config(line)
                .err()
                .unwrap_or_else(|| panic!("{line} was accepted"))
                .to_string();
            assert_eq!(error, expect, "{line}");
            assert!(!error.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_redis_is_chosen_in_the_order_of_the_help() {
        for (line, expect) in [
            ("", "off: neither REDIS_URL nor REDIS_HOST is set"),
            ("REDIS_URL=", "off: neither REDIS_URL nor REDIS_HOST is set"),
            (
                "REDIS_PASSWORD=secret",
                "off: REDIS_PASSWORD is set, but REDIS_HOST is not",
            ),
            ("REDIS_URL=redis://u:p@one:1/2", "one:1"),
            (
                "REDIS_URL=redis://one:1 REDIS_TLS_URL=rediss://two:2",
                "two:2",
            ),
            ("REDIS_URL=redis://one:1 REDIS_HOST=three", "one:1"),
            ("REDIS_HOST=three", "three:6379"),
            ("REDIS_HOST=three REDIS_PORT=3", "three:3"),
            (
                "--redis-url=redis://four:4 REDIS_TLS_URL=rediss://two:2",
                "four:4",
            ),
            (
                "--redis-host=five REDIS_URL=redis://one:1 REDIS_PORT=5",
                "five:5",
            ),
            ("--redis-host=five --redis-port=6 REDIS_PORT=5", "five:6"),
        ] {
            let got = redis_of(line);
            assert!(
                got == expect || (!expect.starts_with("off") && got.contains(expect)),
                "{line}: {got}"
            );
        }
    }

    #[test]
    fn no_error_repeats_a_secret() {
        for line in [
            "REDIS_URL=redis://user:hunter2@",
            "REDIS_URL=redis://user:hunter2@host:notaport/0",
            "REDIS_URL=redis://user:hunter2@host:6379/notadb",
            "REDIS_URL=http://user:hunter2@host",
            "REDIS_URL=hunter2",
            "REDIS_TLS_URL=redis://user:hunter2@host:99999",
            "--redis-url=redis://user:hunter2@host:0",
            "REDIS_HOST=redis://user:hunter2@host",
            "REDIS_HOST=user:hunter2@host",
            "REDIS_HOST=host REDIS_PORT=hunter2",
            "CORS_ORIGIN=redis://user:hunter2@host",
            "HOST=redis://user:hunter2@host:1",
        ] {
            let Err(error) = config(line) else { continue };
            assert!(!error.to_string().contains("hunter2"), "{line}: {error}");
        }
        assert!(config("REDIS_URL=redis://user:hunter2@host:notaport/0").is_err());
        assert!(config("REDIS_HOST=redis://user:hunter2@host").is_err());
    }

    #[test]
    fn values_are_taken_over() {
        let config = config(
            "PORT=4000 HOST=[::1] LOG_LEVEL=warn LOG_FORMAT=JSON SYNAPSE_RELAY=off SYNAPSE_SERVER_ID=a-1 --ready-needs-redis \
             SYNAPSE_CLIENT_DIR=/srv/client SYNAPSE_PATH=/rt/ PING_INTERVAL=300 PING_TIMEOUT=200 MAX_HTTP_BUFFER_SIZE=100 \
             PER_MESSAGE_DEFLATE=true --parser=MsgPack --host=:: --allow-eio3 --trusted-proxies=10.0.0.0/8,::1 --connections-per-address=50",
        )
        .unwrap();
        assert_eq!((config.host.as_str(), config.port), ("::", 4000));
        assert_eq!(
            config.log,
            LogConfig {
                filter: "warn".to_owned(),
                format: LogFormat::Json
            }
        );
        assert_eq!(config.relay, Relay::off());
        assert_eq!(config.server_id.as_deref(), Some("a-1"));
        assert!(config.ready_needs_redis);
        assert_eq!(config.client_dir, Some(PathBuf::from("/srv/client")));
        let protocol = ProtocolConfig {
            path: "/rt".to_owned(),
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            max_http_buffer_size: 100,
            parser: Parser::MsgPack,
            per_message_deflate: true,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            connections_per_address: Some(50),
            allow_eio3: true,
        };
        assert_eq!(config.protocol, protocol);
    }
}
