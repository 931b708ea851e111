//! Which server is loaded, and from which addresses. Loopback only: this is no tool to point at machines of others.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

/// A server on this machine, as `127.0.0.1:3000`, `localhost:3000` or only `3000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target(SocketAddrV4);

/// Why a target is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("`{0}` is no address: write one such as 127.0.0.1:3000")]
    Syntax(String),
    #[error(
        "{0} is not a loopback address: this tool only loads servers on the machine it runs on, in 127.0.0.0/8"
    )]
    NotLoopback(String),
}

impl Target {
    /// The address to connect to.
    pub(crate) fn address(self) -> SocketAddr {
        self.0.into()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let syntax = || TargetError::Syntax(text.to_owned());
        let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(syntax)?;
        match host {
            "" => Err(syntax()),
            "localhost" => Ok(Self(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))),
            host => match host.parse::<Ipv4Addr>() {
                Ok(ip) if ip.is_loopback() => Ok(Self(SocketAddrV4::new(ip, port))),
                // Names are not looked up: what they mean may change between the check and the connection.
                Ok(_) | Err(_) => Err(TargetError::NotLoopback(host.to_owned())),
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many source addresses are used. Each has some 28,000 ports of its own, fewer while closed connections linger.
const SOURCES: usize = 200;

/// The address that the n-th connection of this process comes from: 127.0.0.2 to 127.0.0.201 in turn.
pub(crate) fn source(connection: usize) -> SocketAddr {
    let last = 2 + (connection % SOURCES) as u8;
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_targets() {
        for (text, expect) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("127.9.8.7:1", "127.9.8.7:1"),
            ("localhost:65535", "127.0.0.1:65535"),
            ("3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(
                text.parse::<Target>().map(|target| target.to_string()),
                Ok(expect.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for host in [
            "10.0.0.1",
            "128.0.0.1",
            "126.255.255.255",
            "0.0.0.0",
            "8.8.8.8",
            "example.com",
            "localhost.example.com",
            "[::1]",
            "[2001:db8::1]",
        ] {
            assert_eq!(
                format!("{host}:3000").parse::<Target>(),
                Err(TargetError::NotLoopback(host.to_owned())),
                "{host}"
            );
        }
        for text in [
            "",
            ":3000",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:70000",
            "x",
        ] {
            assert_eq!(
                text.parse::<Target>(),
                Err(TargetError::Syntax(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn sources_are_loopback_addresses_in_turn() {
        assert_eq!(source(0).to_string(), "127.0.0.2:0");
        assert_eq!(source(199).to_string(), "127.0.0.201:0");
        assert_eq!(source(200), source(0));
    }
}
