//! What the tests set, all of it by variables of the environment.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use synapse_redis::RedisSettings;
use synapse_socket::{
    ConnectionStateRecovery, Cors, EngineConfig, Origins, Parser, PerMessageDeflate,
};

use crate::options::Options;

pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) engine: EngineConfig,
    pub(crate) parser: Parser,
    pub(crate) redis: Option<RedisSettings>,
    pub(crate) options: Options,
    pub(crate) recovery: Option<ConnectionStateRecovery>,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Self, Box<dyn Error>> {
        let host: IpAddr = variable("HOST")?.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port: u16 = variable("PORT")?.unwrap_or(0);

        let mut engine = EngineConfig::default();
        if let Some(milliseconds) = variable("PING_INTERVAL")? {
            engine.timing.ping_interval = Duration::from_millis(milliseconds);
        }
        if let Some(milliseconds) = variable("PING_TIMEOUT")? {
            engine.timing.ping_timeout = Duration::from_millis(milliseconds);
        }
        if let Some(bytes) = variable("MAX_HTTP_BUFFER_SIZE")? {
            engine.limits.message_bytes_max = bytes;
        }
        if let Some(allow) = variable("ALLOW_EIO3")? {
            engine.allow_eio3 = allow;
        }
        engine.per_message_deflate =
            variable("PER_MESSAGE_DEFLATE")?.map(|threshold| PerMessageDeflate {
                threshold,
                ..PerMessageDeflate::default()
            });
        engine.cors = variable("CORS_ORIGIN")?.map(|origin| Cors {
            origins: Origins::List(vec![origin]),
            credentials: true,
            ..Cors::default()
        });

        let parser: Option<String> = variable("PARSER")?;
        let parser = match parser.as_deref() {
            None | Some("json") => Parser::Json,
            Some("msgpack") => Parser::MsgPack,
            Some(other) => return Err(format!("PARSER: `{other}` is no parser").into()),
        };

        let url: Option<String> = variable("REDIS_URL")?;
        let redis = url
            .map(|url| RedisSettings::from_url("REDIS_URL", &url))
            .transpose()?;
        let recovery = variable("RECOVERY")?.map(|milliseconds| ConnectionStateRecovery {
            max_disconnection_duration: Duration::from_millis(milliseconds),
            ..ConnectionStateRecovery::default()
        });
        Ok(Self {
            address: (host, port).into(),
            engine,
            parser,
            redis,
            options: variable("OPTIONS")?.unwrap_or_default(),
            recovery,
        })
    }
}

/// The value of a variable, if it is set.
fn variable<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>, Box<dyn Error>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|error| format!("{name}: {error}").into())
}
