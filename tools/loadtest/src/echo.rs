//! `echo`: round trips of events that the server acknowledges, in a closed or an open loop.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bits::Bits;
use crate::cli::EchoArgs;
use crate::client::{ClientId, Ended};
use crate::error::LoadError;
use crate::latency::{Latencies, Summary};
use crate::opening::close_all;
use crate::process::{CpuClock, CpuUse};
use crate::swarm::{Scenario, Swarm};
use crate::target::Target;

/// What was measured. CPU is for one event with its answer.
#[derive(Debug, Serialize)]
pub(crate) struct EchoReport {
    connections: usize,
    mode: Mode,
    sent: u64,
    acknowledged: u64,
    /// Events without an answer.
    lost: u64,
    /// Answers to nothing that was asked, or a second answer.
    unexpected: u64,
    seconds: f64,
    /// Closed loop: from sending until the answer was read. Open loop: from the moment it was due to be sent, so that a server that
    /// stalls is charged for all that would have been sent meanwhile.
    latency: Summary,
    cpu: Vec<CpuUse>,
    loadtest_cpu: CpuUse,
}

/// What decides when the next event is sent.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// An answer, so many events being under way in each connection.
    InFlight(usize),
    /// The clock, so many times a second.
    Rate(u32),
}

/// Warms up, measures and closes.
pub(crate) fn run(args: &EchoArgs) -> Result<EchoReport, LoadError> {
    let mut swarm = Swarm::new(&args.common.path, args.connections)?;
    let clients = args
        .common
        .opening()
        .open_all(&mut swarm, &vec![args.target; args.connections])?;
    if !args.warmup.is_zero() {
        measure(args, &mut swarm, &clients, args.warmup)?;
    }
    let cpu = CpuClock::start(&args.common.server_pids)?;
    let (tally, seconds) = measure(args, &mut swarm, &clients, args.duration)?;
    let (cpu, loadtest_cpu) = cpu.stop(tally.acknowledged)?;
    close_all(&mut swarm, &clients)?;
    Ok(EchoReport {
        connections: args.connections,
        mode: args.rate.map_or(Mode::InFlight(args.in_flight), Mode::Rate),
        sent: tally.sent,
        acknowledged: tally.acknowledged,
        lost: tally.waiting(),
        unexpected: tally.unexpected,
        seconds,
        latency: tally.latencies.summary(),
        cpu,
        loadtest_cpu,
    })
}

fn measure(
    args: &EchoArgs,
    swarm: &mut Swarm,
    clients: &[ClientId],
    duration: Duration,
) -> Result<(Tally, f64), LoadError> {
    let event = Event::new(&args.event, args.payload);
    let started = Instant::now();
    let patience = args.common.patience;
    let tally = match args.rate {
        None => {
            let mut closed = ClosedLoop::new(event, clients, args.in_flight, started + duration);
            closed.begin(swarm, clients);
            swarm.poll_until(started + duration, &mut closed, |closed| {
                closed.tally.broken.is_some()
            })?;
            swarm.poll_to_end(patience, &mut closed, |closed| closed.tally.waiting())?;
            closed.tally
        }
        Some(rate) => {
            let mut open = OpenLoop::new(event, started, rate, duration);
            open.send_all(swarm, clients)?;
            swarm.poll_to_end(patience, &mut open, |open| open.tally.waiting())?;
            open.tally
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    match tally.broken {
        Some((target, ended)) => Err(LoadError::Lost {
            target: target.address(),
            ended,
        }),
        None if tally.acknowledged == 0 => Err(LoadError::NoAck {
            event: args.event.clone(),
            waited: patience,
        }),
        None => Ok((tally, seconds)),
    }
}

impl EchoReport {
    /// Whether nothing went wrong that should not.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.unexpected == 0
    }
}

impl fmt::Display for EchoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::InFlight(count) => format!("{count} in flight each"),
            Mode::Rate(rate) => format!("{rate} a second together"),
        };
        writeln!(f, "connections       {}, {mode}", self.connections)?;
        writeln!(
            f,
            "events            {} sent, {} acknowledged, {:.0} a second, {} lost, {} unexpected",
            self.sent,
            self.acknowledged,
            self.acknowledged as f64 / self.seconds,
            self.lost,
            self.unexpected
        )?;
        writeln!(f, "round trip        {}", self.latency)?;
        crate::report::put_cpu(f, "event and its answer", &self.cpu, &self.loadtest_cpu)
    }
}

/// What is counted in either loop.
struct Tally {
    sent: u64,
    acknowledged: u64,
    unexpected: u64,
    latencies: Latencies,
    /// The first connection that ended; nothing that follows would mean anything.
    broken: Option<(Target, Ended)>,
}

impl Tally {
    fn new() -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            unexpected: 0,
            latencies: Latencies::new(),
            broken: None,
        }
    }

    /// Events whose answer is awaited; nothing is awaited any more once a connection broke.
    fn waiting(&self) -> u64 {
        match self.broken {
            Some(_) => 0,
            None => self.sent - self.acknowledged,
        }
    }

    fn answered(&mut self, latency: Duration) {
        self.acknowledged += 1;
        self.latencies.record(latency);
    }
}

/// The event that is sent, all but its id.
struct Event {
    arguments: String,
    packet: String,
}

impl Event {
    fn new(name: &str, payload: usize) -> Self {
        let name = serde_json::Value::from(name);
        Self {
            arguments: format!("[{name},\"{}\"]", "x".repeat(payload)),
            packet: String::new(),
        }
    }

    fn send(&mut self, swarm: &mut Swarm, client: ClientId, id: u64) {
        self.packet.clear();
        write!(self.packet, "42{id}{}", self.arguments).expect("writing into memory does not fail");
        swarm.send(client, &self.packet);
    }
}

/// The id that an ack answers: `3<id>[...]`.
fn acknowledged_id(packet: &str) -> Option<u64> {
    let (id, _) = packet.strip_prefix('3')?.split_once('[')?;
    id.parse().ok()
}

/// Each connection has so many events under way.
struct ClosedLoop {
    event: Event,
    in_flight: usize,
    stop_at: Instant,
    /// `in_flight` slots for each place of a client. An event's id is its slot's number within them plus a multiple of `in_flight`.
    slots: Vec<Slot>,
    tally: Tally,
}

#[derive(Clone)]
struct Slot {
    id: u64,
    sent_at: Option<Instant>,
}

impl ClosedLoop {
    fn new(event: Event, clients: &[ClientId], in_flight: usize, stop_at: Instant) -> Self {
        let places = clients
            .iter()
            .map(|client| client.index() + 1)
            .max()
            .unwrap_or(0);
        let first = (0..in_flight as u64).map(|id| Slot { id, sent_at: None });
        let slots = std::iter::repeat_n(first.collect::<Vec<_>>(), places)
            .flatten()
            .collect();
        Self {
            event,
            in_flight,
            stop_at,
            slots,
            tally: Tally::new(),
        }
    }

    fn begin(&mut self, swarm: &mut Swarm, clients: &[ClientId]) {
        for client in clients {
            for number in 0..self.in_flight {
                self.send(swarm, *client, client.index() * self.in_flight + number);
            }
        }
    }

    fn send(&mut self, swarm: &mut Swarm, client: ClientId, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.sent_at = Some(Instant::now());
        self.event.send(swarm, client, slot.id);
        self.tally.sent += 1;
    }
}

impl Scenario for ClosedLoop {
    fn packet(&mut self, swarm: &mut Swarm, client: ClientId, packet: &str) {
        let Some(id) = acknowledged_id(packet) else {
            // Other events of the server are none of our business.
            return;
        };
        let in_flight = self.in_flight as u64;
        let at = client.index() * self.in_flight + (id % in_flight) as usize;
        let slot = &mut self.slots[at];
        match slot.sent_at.take_if(|_| slot.id == id) {
            Some(sent_at) => {
                self.tally.answered(swarm.now() - sent_at);
                slot.id += in_flight;
                if swarm.now() < self.stop_at {
                    self.send(swarm, client, at);
                }
            }
            None => self.tally.unexpected += 1,
        }
    }

    fn closed(&mut self, swarm: &mut Swarm, client: ClientId, ended: Ended) {
        self.tally
            .broken
            .get_or_insert((swarm.target(client), ended));
    }
}

/// Events leave when they are due, whatever the server does. The n-th is due n / rate seconds after the start, so its id tells.
struct OpenLoop {
    event: Event,
    started: Instant,
    rate: u64,
    total: u64,
    answered: Bits,
    tally: Tally,
}

impl OpenLoop {
    fn new(event: Event, started: Instant, rate: u32, duration: Duration) -> Self {
        let rate = u64::from(rate);
        let total = ((duration.as_secs_f64() * rate as f64) as u64).max(1);
        Self {
            event,
            started,
            rate,
            total,
            answered: Bits::new(total as usize),
            tally: Tally::new(),
        }
    }

    fn due_at(&self, id: u64) -> Instant {
        // In two steps, because nanoseconds times a number of events outgrow 64 bits.
        let seconds = Duration::from_secs(id / self.rate);
        let rest = Duration::from_nanos(id % self.rate * 1_000_000_000 / self.rate);
        self.started + seconds + rest
    }

    fn send_all(&mut self, swarm: &mut Swarm, clients: &[ClientId]) -> Result<(), LoadError> {
        while self.tally.sent < self.total && self.tally.broken.is_none() {
            let id = self.tally.sent;
            let wait = self.due_at(id).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.event
                    .send(swarm, clients[id as usize % clients.len()], id);
                self.tally.sent += 1;
            }
            // Being late is no reason not to read: a look costs little, and what was not read would look slower than it was.
            if !wait.is_zero() || id.is_multiple_of(64) {
                swarm.poll(wait, self)?;
            }
        }
        Ok(())
    }
}

impl Scenario for OpenLoop {
    fn packet(&mut self, swarm: &mut Swarm, _client: ClientId, packet: &str) {
        let Some(id) = acknowledged_id(packet) else {
            return;
        };
        if id < self.tally.sent && self.answered.insert(id as usize) {
            self.tally
                .answered(swarm.now().saturating_duration_since(self.due_at(id)));
        } else {
            self.tally.unexpected += 1;
        }
    }

    fn closed(&mut self, swarm: &mut Swarm, client: ClientId, ended: Ended) {
        self.tally
            .broken
            .get_or_insert((swarm.target(client), ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_acks_are_read() {
        for (packet, expect) in [
            ("30[]", Some(0)),
            ("3123[\"x\"]", Some(123)),
            ("2[\"event\"]", None),
            ("3[\"no id\"]", None),
            ("3/admin,1[]", None),
            ("31", None),
            ("", None),
        ] {
            assert_eq!(acknowledged_id(packet), expect, "{packet}");
        }
    }

    #[test]
    fn events_of_an_open_loop_are_due_at_even_distances() {
        let started = Instant::now();
        let event = Event::new("echo", 1);
        let open = OpenLoop::new(event, started, 4, Duration::from_millis(2500));
        assert_eq!(open.total, 10);
        assert_eq!(open.due_at(0), started);
        assert_eq!(open.due_at(1), started + Duration::from_millis(250));
        assert_eq!(open.due_at(9), started + Duration::from_millis(2250));
    }

    #[test]
    fn names_of_events_are_quoted() {
        assert_eq!(Event::new("a\"b", 2).arguments, r#"["a\"b","xx"]"#);
    }
}
