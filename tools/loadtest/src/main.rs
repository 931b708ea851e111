//! A swarm of Socket.IO clients that measures a server: memory of idle connections, round trips, broadcasts, coming and going.

#![forbid(unsafe_code)]

mod bits;
mod churn;
mod cli;
mod client;
mod echo;
mod error;
mod fanout;
mod handshake;
mod idle;
mod latency;
mod opening;
mod process;
mod report;
mod round;
mod swarm;
mod target;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::error::LoadError;

/// Something was lost, duplicated or out of order; the report says what.
const NOT_CLEAN: u8 = 1;
/// There is no report. The same as for a wrong command line.
const NOT_MEASURED: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printed = match &cli.command {
        Command::Idle(args) => {
            idle::run(args).map(|report| (print(&report, cli.json), report.is_clean()))
        }
        Command::Echo(args) => {
            echo::run(args).map(|report| (print(&report, cli.json), report.is_clean()))
        }
        Command::Fanout(args) => {
            fanout::run(args).map(|report| (print(&report, cli.json), report.is_clean()))
        }
        Command::Churn(args) => {
            churn::run(args).map(|report| (print(&report, cli.json), report.is_clean()))
        }
    };
    match printed {
        Ok((Ok(()), true)) => ExitCode::SUCCESS,
        Ok((Ok(()), false)) => ExitCode::from(NOT_CLEAN),
        Ok((Err(error), _)) => fail(&LoadError::system("failed to print the report")(error)),
        Err(error) => fail(&error),
    }
}

fn print<R: Display + Serialize>(report: &R, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer(&mut out, report)?;
            writeln!(out)
        }
        false => write!(out, "{report}"),
    }
}

fn fail(error: &LoadError) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "synapse-loadtest: {error}");
    ExitCode::from(NOT_MEASURED)
}
