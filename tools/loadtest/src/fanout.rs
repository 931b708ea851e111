//! `fanout`: broadcasts that the server relays to every other client, on one server or across several.

use std::fmt;

use serde::Serialize;

use crate::cli::FanoutArgs;
use crate::client::ClientId;
use crate::error::LoadError;
use crate::latency::Summary;
use crate::opening::close_all;
use crate::process::{CpuClock, CpuUse};
use crate::round::{self, Deliveries, RoundPlan};
use crate::swarm::Swarm;
use crate::target::Target;

/// What was measured, and with what.
#[derive(Debug, Serialize)]
pub(crate) struct FanoutReport {
    servers: usize,
    listeners: usize,
    senders: usize,
    outstanding: usize,
    messages: usize,
    payload_bytes: usize,
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Senders and listeners on every server.
    Spread(Box<Measurement>),
    /// All listeners on one server.
    Hop(Box<Hop>),
}

/// One round. CPU is for one delivery.
#[derive(Debug, Serialize)]
struct Measurement {
    deliveries: Deliveries,
    seconds: f64,
    /// From sending to each receipt.
    latency: Summary,
    same_server: Summary,
    other_server: Summary,
    cpu: Vec<CpuUse>,
    loadtest_cpu: CpuUse,
}

/// The same broadcasts from another server and from the listeners' own.
#[derive(Debug, Serialize)]
struct Hop {
    across: Measurement,
    beside: Measurement,
    /// What crossing adds, at the median and at the 99th percentile.
    added_p50_micros: i64,
    added_p99_micros: i64,
}

/// Opens the listeners and runs the rounds.
pub(crate) fn run(args: &FanoutArgs) -> Result<FanoutReport, LoadError> {
    let (Some(first), Some(last)) = (args.targets.first(), args.targets.last()) else {
        return Err(LoadError::NoTargets);
    };
    if args.hop && first == last {
        return Err(LoadError::HopNeedsTwoServers);
    }
    let mut fanout = Fanout {
        args,
        swarm: Swarm::new(&args.common.path, args.connections + args.senders)?,
        rounds: 0,
    };
    let places = match args.hop {
        true => vec![*last; args.connections],
        false => spread(&args.targets, args.connections),
    };
    let listeners = args.common.opening().open_all(&mut fanout.swarm, &places)?;
    let outcome = match args.hop {
        false => Outcome::Spread(Box::new(
            fanout.measure(&spread(&args.targets, args.senders))?,
        )),
        true => {
            let across = fanout.measure(&[*first])?;
            let beside = fanout.measure(&[*last])?;
            let added = |across: u64, beside: u64| across as i64 - beside as i64;
            Outcome::Hop(Box::new(Hop {
                added_p50_micros: added(across.latency.p50_micros, beside.latency.p50_micros),
                added_p99_micros: added(across.latency.p99_micros, beside.latency.p99_micros),
                across,
                beside,
            }))
        }
    };
    close_all(&mut fanout.swarm, &listeners)?;
    Ok(FanoutReport {
        servers: args.targets.len(),
        listeners: args.connections,
        senders: args.senders,
        outstanding: args.outstanding,
        messages: args.messages,
        payload_bytes: args.payload,
        outcome,
    })
}

/// The servers in turn, `count` times.
fn spread(targets: &[Target], count: usize) -> Vec<Target> {
    targets.iter().copied().cycle().take(count).collect()
}

struct Fanout<'a> {
    args: &'a FanoutArgs,
    swarm: Swarm,
    rounds: u32,
}

impl Fanout<'_> {
    /// Opens senders on these servers, warms up, measures and closes the senders.
    fn measure(&mut self, senders: &[Target]) -> Result<Measurement, LoadError> {
        let args = self.args;
        let senders = args.common.opening().open_all(&mut self.swarm, senders)?;
        if args.warmup > 0 {
            self.round(&senders, args.warmup)?;
        }
        let cpu = CpuClock::start(&args.common.server_pids)?;
        let result = self.round(&senders, args.messages)?;
        let (cpu, loadtest_cpu) = cpu.stop(result.deliveries.received)?;
        close_all(&mut self.swarm, &senders)?;
        Ok(Measurement {
            deliveries: result.deliveries,
            seconds: result.seconds,
            latency: result.latency,
            same_server: result.same_server,
            other_server: result.other_server,
            cpu,
            loadtest_cpu,
        })
    }

    fn round(
        &mut self,
        senders: &[ClientId],
        messages: usize,
    ) -> Result<round::RoundResult, LoadError> {
        self.rounds += 1;
        let plan = RoundPlan {
            event: &self.args.event,
            payload: self.args.payload,
            messages,
            outstanding: self.args.outstanding,
            senders,
            client_count: self.args.connections + senders.len(),
            patience: self.args.common.patience,
            tag: std::process::id().rotate_left(8) ^ self.rounds,
        };
        round::run(&plan, &mut self.swarm)
    }
}

impl FanoutReport {
    /// Whether nothing went wrong that should not.
    pub(crate) fn is_clean(&self) -> bool {
        match &self.outcome {
            Outcome::Spread(all) => all.deliveries.is_clean(),
            Outcome::Hop(hop) => {
                hop.across.deliveries.is_clean() && hop.beside.deliveries.is_clean()
            }
        }
    }
}

impl fmt::Display for FanoutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "fan-out           {} listeners on {} server(s), {} sender(s) with {} outstanding",
            self.listeners, self.servers, self.senders, self.outstanding
        )?;
        writeln!(
            f,
            "events            {} of {} bytes",
            self.messages, self.payload_bytes
        )?;
        match &self.outcome {
            Outcome::Spread(all) => all.fmt(f),
            Outcome::Hop(hop) => {
                writeln!(f, "-- sender on another server than the listeners")?;
                hop.across.fmt(f)?;
                writeln!(f, "-- sender on the listeners' server")?;
                hop.beside.fmt(f)?;
                writeln!(
                    f,
                    "hop adds          p50 {:.3}  p99 {:.3} ms",
                    hop.added_p50_micros as f64 / 1000.0,
                    hop.added_p99_micros as f64 / 1000.0
                )
            }
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deliveries {
            expected,
            received,
            lost,
            duplicates,
            out_of_order,
            foreign,
        } = self.deliveries;
        writeln!(
            f,
            "deliveries        {received} of {expected} in {:.2} s, {:.0} a second",
            self.seconds,
            received as f64 / self.seconds
        )?;
        writeln!(
            f,
            "                  {lost} lost, {duplicates} twice, {out_of_order} out of order, {foreign} foreign"
        )?;
        writeln!(f, "latency           {}", self.latency)?;
        if self.same_server.count > 0 && self.other_server.count > 0 {
            writeln!(f, "  same server     {}", self.same_server)?;
            writeln!(f, "  other server    {}", self.other_server)?;
        }
        crate::report::put_cpu(f, "delivery", &self.cpu, &self.loadtest_cpu)
    }
}
