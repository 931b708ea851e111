//! One round of a fan-out: events are sent, and every delivery of each is accounted for.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bits::Bits;
use crate::client::{ClientId, Ended};
use crate::error::LoadError;
use crate::latency::{Latencies, Summary};
use crate::swarm::{Scenario, Swarm};
use crate::target::Target;

/// Characters that number an event: the round, then the event, in hexadecimal digits.
const NUMBER_CHARS: usize = 16;

/// What a round sends, and how much of it at a time.
pub(crate) struct RoundPlan<'a> {
    pub(crate) event: &'a str,
    /// Characters of the argument, [`NUMBER_CHARS`] at least.
    pub(crate) payload: usize,
    pub(crate) messages: usize,
    /// Events of each sender that are under way at a time: the next is sent once the oldest has reached everyone.
    pub(crate) outstanding: usize,
    pub(crate) senders: &'a [ClientId],
    /// All clients that are connected, senders included: each gets what it did not send itself.
    pub(crate) client_count: usize,
    /// How long to wait without a single delivery.
    pub(crate) patience: Duration,
    /// Tells this round's events from those of others.
    pub(crate) tag: u32,
}

/// How the deliveries of a round went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Deliveries {
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    /// Came after a later event of the same sender.
    pub(crate) out_of_order: u64,
    /// Not as it was sent, sent back to its sender, or no event of this round.
    pub(crate) foreign: u64,
}

impl Deliveries {
    /// Everyone got everything once, in order, and nothing else.
    pub(crate) fn is_clean(&self) -> bool {
        let Self {
            lost,
            duplicates,
            out_of_order,
            foreign,
            ..
        } = self;
        lost + duplicates + out_of_order + foreign == 0
    }
}

/// What a round found out.
pub(crate) struct RoundResult {
    pub(crate) deliveries: Deliveries,
    pub(crate) seconds: f64,
    /// From sending to each receipt: all, and those by the sender's own server and by others.
    pub(crate) latency: Summary,
    pub(crate) same_server: Summary,
    pub(crate) other_server: Summary,
}

/// Sends a round's events and waits for all their deliveries.
pub(crate) fn run(plan: &RoundPlan<'_>, swarm: &mut Swarm) -> Result<RoundResult, LoadError> {
    let mut round = Round::new(plan, swarm);
    let started = Instant::now();
    for sender in 0..plan.senders.len() {
        for _ in 0..plan.outstanding {
            round.send_next(swarm, sender);
        }
    }
    swarm.poll_to_end(plan.patience, &mut round, |round| round.waiting())?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some((target, ended)) = round.broken {
        return Err(LoadError::Lost {
            target: target.address(),
            ended,
        });
    }
    let mut deliveries = round.deliveries;
    deliveries.lost = deliveries.expected - deliveries.received;
    Ok(RoundResult {
        deliveries,
        seconds,
        latency: round.latency.summary(),
        same_server: round.same_server.summary(),
        other_server: round.other_server.summary(),
    })
}

struct Round {
    /// What is in front of the event's number, and behind it.
    head: String,
    tail: String,
    packet: String,
    tag: u32,
    outstanding: usize,
    places: usize,
    receivers: u32,
    senders: Vec<Sender>,
    messages: Vec<Sent>,
    /// A bit for each event and place of a client.
    received: Bits,
    /// For each place and sender, the number after the latest event that came.
    latest: Vec<u32>,
    deliveries: Deliveries,
    latency: Latencies,
    same_server: Latencies,
    other_server: Latencies,
    broken: Option<(Target, Ended)>,
}

/// The n-th of s senders sends the events n, n + s, n + 2s and so on.
struct Sender {
    client: ClientId,
    target: Target,
    next: usize,
    oldest: usize,
}

#[derive(Clone)]
struct Sent {
    at: Option<Instant>,
    missing: u32,
}

impl Round {
    fn new(plan: &RoundPlan<'_>, swarm: &Swarm) -> Self {
        let places = swarm.places();
        let receivers = u32::try_from(plan.client_count - 1).expect("the count is limited");
        let senders = plan
            .senders
            .iter()
            .enumerate()
            .map(|(number, client)| Sender {
                client: *client,
                target: swarm.target(*client),
                next: number,
                oldest: number,
            });
        Self {
            head: format!("2[{},\"", serde_json::Value::from(plan.event)),
            tail: format!("{}\"]", "x".repeat(plan.payload - NUMBER_CHARS)),
            packet: String::new(),
            tag: plan.tag,
            outstanding: plan.outstanding,
            places,
            receivers,
            senders: senders.collect(),
            messages: vec![
                Sent {
                    at: None,
                    missing: receivers
                };
                plan.messages
            ],
            received: Bits::new(plan.messages * places),
            latest: vec![0; places * plan.senders.len()],
            deliveries: Deliveries {
                expected: plan.messages as u64 * u64::from(receivers),
                received: 0,
                lost: 0,
                duplicates: 0,
                out_of_order: 0,
                foreign: 0,
            },
            latency: Latencies::new(),
            same_server: Latencies::new(),
            other_server: Latencies::new(),
            broken: None,
        }
    }

    fn waiting(&self) -> u64 {
        match self.broken {
            Some(_) => 0,
            None => self.deliveries.expected - self.deliveries.received,
        }
    }

    fn send_next(&mut self, swarm: &mut Swarm, sender: usize) {
        let step = self.senders.len();
        let sender = &mut self.senders[sender];
        let Some(sent) = self.messages.get_mut(sender.next) else {
            return;
        };
        self.packet.clear();
        write!(
            self.packet,
            "4{}{:08x}{:08x}{}",
            self.head, self.tag, sender.next, self.tail
        )
        .expect("writing into memory does not fail");
        sent.at = Some(Instant::now());
        sender.next += step;
        swarm.send(sender.client, &self.packet);
    }

    /// The number of an event of this round that is exactly as it was sent.
    fn number(&self, packet: &str) -> Option<usize> {
        let rest = packet.strip_prefix(&self.head)?.strip_suffix(&self.tail)?;
        if rest.len() != NUMBER_CHARS || !rest.is_char_boundary(NUMBER_CHARS / 2) {
            return None;
        }
        let (tag, number) = rest.split_at(NUMBER_CHARS / 2);
        let is_ours = u32::from_str_radix(tag, 16) == Ok(self.tag);
        let number = usize::from_str_radix(number, 16).ok()?;
        (is_ours && number < self.messages.len()).then_some(number)
    }

    fn deliver(&mut self, swarm: &mut Swarm, client: ClientId, number: usize, sent_at: Instant) {
        let (sender_count, place) = (self.senders.len(), client.index());
        let sender_number = number % sender_count;
        if !self.received.insert(number * self.places + place) {
            self.deliveries.duplicates += 1;
            return;
        }
        self.deliveries.received += 1;
        let latest = &mut self.latest[place * sender_count + sender_number];
        match u32::try_from(number + 1).expect("events are numbered by eight digits") {
            next if next > *latest => *latest = next,
            _ => self.deliveries.out_of_order += 1,
        }

        let latency = swarm.now().saturating_duration_since(sent_at);
        self.latency.record(latency);
        if swarm.target(client) == self.senders[sender_number].target {
            self.same_server.record(latency);
        } else {
            self.other_server.record(latency);
        }

        self.messages[number].missing -= 1;
        while self.oldest_is_complete(sender_number) {
            self.senders[sender_number].oldest += sender_count;
            self.send_next(swarm, sender_number);
        }
    }

    fn oldest_is_complete(&self, sender: usize) -> bool {
        let sender = &self.senders[sender];
        // What is complete was sent, so `next` stays `outstanding` events ahead.
        debug_assert!(sender.next <= sender.oldest + self.outstanding * self.senders.len());
        self.messages
            .get(sender.oldest)
            .is_some_and(|sent| sent.missing == 0 && self.receivers > 0)
    }
}

impl Scenario for Round {
    fn packet(&mut self, swarm: &mut Swarm, client: ClientId, packet: &str) {
        let sent = self.number(packet).and_then(|number| {
            let sender = &self.senders[number % self.senders.len()];
            let sent_at = self.messages[number]
                .at
                .filter(|_| sender.client != client)?;
            Some((number, sent_at))
        });
        match sent {
            Some((number, sent_at)) => self.deliver(swarm, client, number, sent_at),
            None => self.deliveries.foreign += 1,
        }
    }

    fn closed(&mut self, swarm: &mut Swarm, client: ClientId, ended: Ended) {
        self.broken.get_or_insert((swarm.target(client), ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: ClientId = ClientId(0);
    const LISTENER: ClientId = ClientId(1);

    /// A round of four events by one of two clients, all of them sent, without a server.
    fn round() -> (Swarm, Round) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let mut swarm = Swarm::new("/socket.io/", 2).unwrap();
        assert_eq!(
            [swarm.open(target).unwrap(), swarm.open(target).unwrap()],
            [SENDER, LISTENER]
        );
        let plan = RoundPlan {
            event: "test_event",
            payload: 20,
            messages: 4,
            outstanding: 4,
            senders: &[SENDER],
            client_count: 2,
            patience: Duration::from_secs(1),
            tag: 7,
        };
        let mut round = Round::new(&plan, &swarm);
        (0..4).for_each(|_| round.send_next(&mut swarm, 0));
        (swarm, round)
    }

    fn receive(packets: &[(ClientId, &str)]) -> Deliveries {
        let (mut swarm, mut round) = round();
        for (client, packet) in packets {
            round.packet(&mut swarm, *client, packet);
        }
        round.deliveries
    }

    fn packet(number: u32) -> String {
        format!(r#"2["test_event","00000007{number:08x}xxxx"]"#)
    }

    #[test]
    fn deliveries_are_counted() {
        let [zero, one, two] = [0, 1, 2].map(packet);
        let deliveries = receive(&[(LISTENER, &zero), (LISTENER, &one), (LISTENER, &two)]);
        assert_eq!((deliveries.expected, deliveries.received), (4, 3));
        assert!(deliveries.is_clean(), "what is lost is known in the end");
    }

    #[test]
    fn duplicates_and_disorder_are_told_apart() {
        let [zero, one] = [0, 1].map(packet);
        let deliveries = receive(&[(LISTENER, &one), (LISTENER, &zero), (LISTENER, &zero)]);
        assert_eq!(
            (
                deliveries.received,
                deliveries.out_of_order,
                deliveries.duplicates
            ),
            (2, 1, 1)
        );
        assert!(!deliveries.is_clean());
    }

    #[test]
    fn what_is_not_as_sent_is_foreign() {
        let own = packet(0);
        for (client, packet) in [
            (SENDER, own.as_str()),
            (LISTENER, r#"2["test_event","0000000800000000xxxx"]"#),
            (LISTENER, r#"2["test_event","0000000700000004xxxx"]"#),
            (LISTENER, r#"2["test_event","0000000700000000xxx"]"#),
            (LISTENER, r#"2["test_event","0000000700000000xxxxx"]"#),
            (LISTENER, r#"2["other","0000000700000000xxxx"]"#),
            (LISTENER, r#"2["test_event","0000000é0000000xxxx"]"#),
            (LISTENER, "0"),
        ] {
            let deliveries = receive(&[(client, packet)]);
            assert_eq!(
                (deliveries.received, deliveries.foreign),
                (0, 1),
                "{packet}"
            );
        }
    }
}
