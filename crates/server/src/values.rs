//! How single values are written: each function reads one kind, and its error says what would be right.

use std::time::Duration;

use synapse::{Network, Parser};

use crate::config::CorsOrigins;
use crate::log::LogFormat;
use crate::settings;

/// Characters of a server id at most: it goes into every log line and page.
const SERVER_ID_CHARS_MAX: usize = 64;
/// Characters of a wrong value that an error repeats at most.
const ECHO_CHARS_MAX: usize = 60;
/// Longest heartbeat interval and timeout: a day. More is a slip of the unit.
const HEARTBEAT_MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Shortest heartbeat interval and timeout.
const HEARTBEAT_MILLIS_MIN: u64 = 10;
/// Largest message size that can be asked for: 1 GiB, since a message is held in memory as a whole.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// A whole number within bounds.
pub(crate) fn integer<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, String> {
    let fault = || format!("{} is not a whole number from {min} to {max}", echo(text));
    // `u64` would also read a plus sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault());
    }
    let number: u64 = text.parse().map_err(|_| fault())?;
    if number < min || number > max {
        return Err(fault());
    }
    T::try_from(number).map_err(|_| fault())
}

/// The port of a Redis.
pub(crate) fn redis_port(text: &str) -> Result<u16, String> {
    if text.starts_with("tcp://") {
        return Err("is a Kubernetes service link rather than a port: set it in the container, or use REDIS_URL".to_owned());
    }
    // The value is not repeated: next to a password, a slip can put that one here.
    integer(text, 1, 65_535).map_err(|_| "is not a port: give a number from 1 to 65535".to_owned())
}

/// A time of the heartbeat, in milliseconds.
pub(crate) fn heartbeat(text: &str) -> Result<Duration, String> {
    integer(text, HEARTBEAT_MILLIS_MIN, HEARTBEAT_MILLIS_MAX)
        .map(Duration::from_millis)
        .map_err(|fault| format!("{fault} (milliseconds)"))
}

/// Yes or no.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{} is neither true nor false", echo(text))),
    }
}

/// An address or a host name, without a port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let is_host = !bare.is_empty()
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
    let has_port = bare.matches(':').count() == 1;
    if is_host && !has_port {
        Ok(bare.to_owned())
    } else {
        Err(format!(
            "{} is not an address or a host name without a port",
            echo(text)
        ))
    }
}

/// The form of log lines.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{} is neither text nor json", echo(text))),
    }
}

/// How packets are written.
pub(crate) fn parser(text: &str) -> Result<Parser, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(Parser::Json),
        "msgpack" => Ok(Parser::MsgPack),
        _ => Err(format!("{} is neither json nor msgpack", echo(text))),
    }
}

/// The name of a server.
pub(crate) fn server_id(text: &str) -> Result<String, String> {
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !text.is_empty() && text.len() <= SERVER_ID_CHARS_MAX && is_name {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not a name of 1 to {SERVER_ID_CHARS_MAX} letters, digits, dots, dashes and underscores",
            echo(text)
        ))
    }
}

/// A path of its own, without a trailing slash.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let bare = text.trim_end_matches('/');
    let is_plain = bare
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte));
    if bare.starts_with('/')
        && is_plain
        && !bare.contains("//")
        && !bare.split('/').any(|part| part == "." || part == "..")
    {
        Ok(bare.to_owned())
    } else {
        Err(format!("{} is not a path such as /socket.io", echo(text)))
    }
}

/// A list of networks.
pub(crate) fn networks(text: &str) -> Result<Vec<Network>, String> {
    let parse = |network: &str| {
        network
            .parse()
            .map_err(|_| format!("{} is not a network such as 10.0.0.0/8", echo(network)))
    };
    text.split(',')
        .map(|network| parse(network.trim()))
        .collect()
}

/// Any origin, or a list of them.
pub(crate) fn cors(text: &str) -> Result<CorsOrigins, String> {
    if text == "*" {
        return Ok(CorsOrigins::Any);
    }
    text.split(',')
        .map(|origin| origin_of(origin.trim()))
        .collect::<Result<_, _>>()
        .map(CorsOrigins::List)
}

/// An origin as browsers write it, which is what it is compared with: scheme and host in lower case, no default port.
fn origin_of(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("* stands alone, without other origins".to_owned());
    }
    let fault = |hint: &str| {
        Err(format!(
            "{} is not an origin such as https://app.example.com{hint}",
            echo(text)
        ))
    };
    let origin = text.to_ascii_lowercase();
    let Some((scheme, authority)) = origin.split_once("://") else {
        return fault(" (the scheme is missing)");
    };
    if authority.contains(['/', '?', '#']) {
        return fault(" (an origin ends before the path)");
    }
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // Only the engine knows what the first label stands for.
    let host = authority.strip_prefix("*.").unwrap_or(authority);
    let is_authority = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    if !is_scheme || !is_authority {
        return fault("");
    }
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let authority = if default_port.is_empty() {
        authority
    } else {
        authority.strip_suffix(default_port).unwrap_or(authority)
    };
    Ok(format!("{scheme}://{authority}"))
}

/// A wrong value, short and with its control characters escaped.
fn echo(text: &str) -> String {
    let text = settings::without_credentials(text);
    let shown: String = text
        .chars()
        .take(ECHO_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    let more = if text.chars().count() > ECHO_CHARS_MAX {
        "…"
    } else {
        ""
    };
    format!("`{shown}{more}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, expect) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:8080", "http://a.example:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://*.Example.com:443", "https://*.example.com"),
        ] {
            assert_eq!(
                cors(text),
                Ok(CorsOrigins::List(vec![expect.to_owned()])),
                "{text}"
            );
        }
        assert_eq!(cors("*"), Ok(CorsOrigins::Any));
        assert_eq!(
            cors("http://a, http://b"),
            Ok(CorsOrigins::List(vec![
                "http://a".to_owned(),
                "http://b".to_owned()
            ]))
        );
    }
}
