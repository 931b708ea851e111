//! `idle`: what a connection costs that says nothing.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::IdleArgs;
use crate::client::{ClientId, Ended};
use crate::error::LoadError;
use crate::opening::close_all;
use crate::process::{KernelMemory, resident_bytes};
use crate::swarm::{Scenario, Swarm};

/// Pause between two looks at the server's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What was measured. Bytes for each connection are growth since before the first one, divided.
#[derive(Debug, Serialize)]
pub(crate) struct IdleReport {
    connections: usize,
    open_seconds: f64,
    hold_seconds: f64,
    /// Connections that ended while they were held.
    lost: usize,
    heartbeats: u64,
    server: Option<Resident>,
    /// Both ends of the connections are on this machine, so these are two sockets each; other programs' are in it as well.
    kernel: Option<KernelGrowth>,
    /// Our own memory for each connection.
    loadtest_bytes_per_connection: f64,
}

#[derive(Debug, Serialize)]
struct Resident {
    before_bytes: u64,
    peak_bytes: u64,
    after_bytes: u64,
    bytes_per_connection: f64,
}

#[derive(Debug, Serialize)]
struct KernelGrowth {
    slab_bytes_per_connection: f64,
    socket_buffer_bytes_per_connection: f64,
}

/// Opens the connections, holds them and closes them.
pub(crate) fn run(args: &IdleArgs) -> Result<IdleReport, LoadError> {
    let mut swarm = Swarm::new(&args.common.path, args.connections)?;
    let pids = &args.common.server_pids;
    let resident = || {
        pids.iter()
            .map(|pid| resident_bytes(*pid))
            .sum::<Result<u64, _>>()
    };
    let before_bytes = resident()?;
    let own_before_bytes = resident_bytes(std::process::id())?;
    let kernel_before = KernelMemory::read();

    let started = Instant::now();
    let clients = args
        .common
        .opening()
        .open_all(&mut swarm, &vec![args.target; args.connections])?;
    let open_seconds = started.elapsed().as_secs_f64();

    let mut held = Held { lost: 0 };
    let mut peak_bytes = resident()?;
    let hold_until = Instant::now() + args.hold;
    while Instant::now() < hold_until {
        let look_at = hold_until.min(Instant::now() + SAMPLE_EVERY);
        swarm.poll_until(look_at, &mut held, |_| false)?;
        peak_bytes = peak_bytes.max(resident()?);
    }
    let after_bytes = resident()?;

    let each = |before: u64, after: u64| (after as f64 - before as f64) / args.connections as f64;
    let kernel = kernel_before
        .zip(KernelMemory::read())
        .map(|(before, after)| KernelGrowth {
            slab_bytes_per_connection: each(before.slab_bytes, after.slab_bytes),
            socket_buffer_bytes_per_connection: each(
                before.socket_buffer_bytes,
                after.socket_buffer_bytes,
            ),
        });
    let report = IdleReport {
        connections: args.connections,
        open_seconds,
        hold_seconds: args.hold.as_secs_f64(),
        lost: held.lost,
        heartbeats: swarm.heartbeats(),
        server: (!pids.is_empty()).then(|| Resident {
            before_bytes,
            peak_bytes,
            after_bytes,
            bytes_per_connection: each(before_bytes, after_bytes),
        }),
        kernel,
        loadtest_bytes_per_connection: each(own_before_bytes, resident_bytes(std::process::id())?),
    };
    close_all(&mut swarm, &clients)?;
    Ok(report)
}

impl IdleReport {
    /// Whether nothing went wrong that should not.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "connections       {}, open after {:.2} s",
            self.connections, self.open_seconds
        )?;
        writeln!(
            f,
            "held              {:.1} s, {} lost, {} heartbeats answered",
            self.hold_seconds, self.lost, self.heartbeats
        )?;
        if let Some(server) = &self.server {
            let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "server RSS        {:.0} B for each connection",
                server.bytes_per_connection
            )?;
            writeln!(
                f,
                "                  {:.1} MiB before, {:.1} peak, {:.1} after",
                mebi(server.before_bytes),
                mebi(server.peak_bytes),
                mebi(server.after_bytes)
            )?;
        }
        if let Some(kernel) = &self.kernel {
            writeln!(
                f,
                "kernel            {:.0} B slab, {:.0} B socket buffers for each connection, both ends",
                kernel.slab_bytes_per_connection, kernel.socket_buffer_bytes_per_connection
            )?;
        }
        writeln!(
            f,
            "load test RSS     {:.0} B for each connection",
            self.loadtest_bytes_per_connection
        )
    }
}

struct Held {
    lost: usize,
}

impl Scenario for Held {
    fn closed(&mut self, _swarm: &mut Swarm, _client: ClientId, _ended: Ended) {
        self.lost += 1;
    }
}
