//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::opening::Opening;
use crate::target::Target;

/// A swarm of Socket.IO clients that measures a server on this machine.
#[derive(Debug, Parser)]
#[command(name = "synapse-loadtest", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Memory: opens many connections and holds them
    Idle(IdleArgs),
    /// Round trips: events that the server acknowledges
    Echo(EchoArgs),
    /// Broadcasts: events that the server relays to every other client
    Fanout(FanoutArgs),
    /// Coming and going: connects, joins and closes
    Churn(ChurnArgs),
}

/// What every command needs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Server process whose CPU and memory are reported; repeat it for several, Redis among them
    #[arg(long = "server-pid", value_name = "PID")]
    pub(crate) server_pids: Vec<u32>,
    /// Path that Socket.IO is served under
    #[arg(long, default_value = "/socket.io/")]
    pub(crate) path: String,
    /// Handshakes that are under way at a time
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = positive)]
    pub(crate) at_once: usize,
    /// All connections have to be open within this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) open_timeout: Duration,
    /// Give up after this time without an answer or a delivery
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) patience: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Server, a loopback address
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) target: Target,
    /// Connections to hold
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = positive)]
    pub(crate) connections: usize,
    /// How long to hold them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) hold: Duration,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Server, a loopback address
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) target: Target,
    /// Connections that send
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = positive)]
    pub(crate) connections: usize,
    /// Closed loop: events of each connection that are under way at a time
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = positive, conflicts_with = "rate")]
    pub(crate) in_flight: usize,
    /// Open loop: events a second, of all connections together, however long the answers take
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to run before that
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Event that the server acknowledges
    #[arg(long, default_value = "echo")]
    pub(crate) event: String,
    /// Characters of the event's argument
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub(crate) payload: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    /// Servers, loopback addresses separated by commas; listeners and senders are spread over them
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:3000")]
    pub(crate) targets: Vec<Target>,
    /// Connections that listen
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = positive)]
    pub(crate) connections: usize,
    /// Connections that send, besides those that listen
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = positive)]
    pub(crate) senders: usize,
    /// Events of each sender that are under way at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = positive)]
    pub(crate) outstanding: usize,
    /// Events to measure, of all senders together
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = positive)]
    pub(crate) messages: usize,
    /// Events to send before that
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub(crate) warmup: usize,
    /// Characters of the event's argument; 16 of them number the event
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = payload)]
    pub(crate) payload: usize,
    /// Event that the server relays to every other client
    #[arg(long, default_value = "test_event")]
    pub(crate) event: String,
    /// Measure the hop between two servers: listeners on the last one, the sender first on the first one, then beside them
    #[arg(long, conflicts_with = "senders")]
    pub(crate) hop: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ChurnArgs {
    /// Server, a loopback address
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) target: Target,
    /// Connections to open and close, one after the other
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = positive)]
    pub(crate) cycles: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Common {
    /// How connections are opened.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            at_once: self.at_once,
            timeout: self.open_timeout,
        }
    }
}

/// A number with its unit: `500ms`, `10s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("write a number and its unit, such as 500ms, 10s or 2m".to_owned()),
    };
    let number: u32 = number
        .parse()
        .map_err(|error| format!("`{number}`: {error}"))?;
    Ok(Duration::from_millis(u64::from(number) * millis))
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("has to be 1 at least".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

/// The payload has to hold the number of the event, and one event is no denial of service.
fn payload(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 16..=1_000_000) => Ok(bytes),
        Ok(_) => Err("has to be from 16 to 1000000".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "10", "s", "1h", "-1s", "1.5s", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!((positive("1"), payload("16")), (Ok(1), Ok(16)));
        assert!(positive("0").is_err() && positive("x").is_err());
        assert!(payload("15").is_err() && payload("1000001").is_err());
    }

    #[test]
    fn foreign_targets_are_refused() {
        let error = Cli::try_parse_from(["x", "fanout", "--targets", "127.0.0.1:1,10.0.0.1:2"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("10.0.0.1 is not a loopback address"),
            "{error}"
        );
    }
}
