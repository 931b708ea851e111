//! `churn`: what coming and going costs.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::cli::ChurnArgs;
use crate::client::{ClientId, Ended};
use crate::error::LoadError;
use crate::latency::{Latencies, Summary};
use crate::process::{CpuClock, CpuUse};
use crate::swarm::{Scenario, Swarm};
use crate::target::Target;

/// What was measured. CPU is for one cycle: TCP, WebSocket, Engine.IO and Socket.IO handshake, goodbye.
#[derive(Debug, Serialize)]
pub(crate) struct ChurnReport {
    cycles: usize,
    failed: usize,
    /// Why the first of them failed.
    first_failure: Option<String>,
    seconds: f64,
    /// From the start of the connection until the namespace is joined.
    join_latency: Summary,
    cpu: Vec<CpuUse>,
    loadtest_cpu: CpuUse,
}

/// Opens and closes connections, `at_once` at a time.
pub(crate) fn run(args: &ChurnArgs) -> Result<ChurnReport, LoadError> {
    let at_once = args.common.at_once.min(args.cycles);
    let mut swarm = Swarm::new(&args.common.path, at_once)?;
    let mut cycles = Cycles {
        target: args.target,
        left: args.cycles,
        under_way: 0,
        begun: vec![Instant::now(); at_once],
        latencies: Latencies::new(),
        failed: 0,
        first_failure: None,
    };
    let cpu = CpuClock::start(&args.common.server_pids)?;
    let started = Instant::now();
    let mut remaining_before = usize::MAX;
    while cycles.under_way > 0 || cycles.left > 0 {
        while cycles.left > 0 && cycles.under_way < at_once {
            cycles.begin(&mut swarm)?;
        }
        let remaining = cycles.left + cycles.under_way;
        if remaining == remaining_before {
            return Err(LoadError::OpeningTooSlow {
                joined: args.cycles - remaining,
                count: args.cycles,
                waited: args.common.patience,
            });
        }
        remaining_before = remaining;
        // Places are free from the next poll on, so that is the moment to begin the next cycles.
        swarm.poll_until(
            Instant::now() + args.common.patience,
            &mut cycles,
            |cycles| cycles.left + cycles.under_way < remaining,
        )?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, loadtest_cpu) = cpu.stop(args.cycles as u64)?;
    Ok(ChurnReport {
        cycles: args.cycles,
        failed: cycles.failed,
        first_failure: cycles.first_failure.map(|ended| ended.to_string()),
        seconds,
        join_latency: cycles.latencies.summary(),
        cpu,
        loadtest_cpu,
    })
}

impl ChurnReport {
    /// Whether nothing went wrong that should not.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for ChurnReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "cycles            {} in {:.2} s, {:.0} a second, {} failed",
            self.cycles,
            self.seconds,
            self.cycles as f64 / self.seconds,
            self.failed
        )?;
        if let Some(failure) = &self.first_failure {
            writeln!(f, "first failure     {failure}")?;
        }
        writeln!(f, "until joined      {}", self.join_latency)?;
        crate::report::put_cpu(f, "cycle", &self.cpu, &self.loadtest_cpu)
    }
}

struct Cycles {
    target: Target,
    left: usize,
    under_way: usize,
    /// When the client of each place was begun.
    begun: Vec<Instant>,
    latencies: Latencies,
    failed: usize,
    first_failure: Option<Ended>,
}

impl Cycles {
    fn begin(&mut self, swarm: &mut Swarm) -> Result<(), LoadError> {
        let begun = Instant::now();
        let client = swarm.open(self.target)?;
        // A place that was left in this poll is not free yet, so there may be more places than clients at a time.
        if self.begun.len() <= client.index() {
            self.begun.resize(client.index() + 1, begun);
        }
        self.begun[client.index()] = begun;
        self.left -= 1;
        self.under_way += 1;
        Ok(())
    }
}

impl Scenario for Cycles {
    fn joined(&mut self, swarm: &mut Swarm, client: ClientId) {
        self.latencies
            .record(swarm.now() - self.begun[client.index()]);
        swarm.close(client);
    }

    fn closed(&mut self, _swarm: &mut Swarm, _client: ClientId, ended: Ended) {
        self.under_way -= 1;
        if !matches!(ended, Ended::Asked) {
            self.failed += 1;
            self.first_failure.get_or_insert(ended);
        }
    }
}
