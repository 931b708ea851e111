//! What each address has of the server: its connections, and how fast it opens them.
//!
//! The table holds an address only while it has a connection or has lately opened one, and at most so many of the second kind, so that a flood
//! of addresses costs no more memory than its limit says.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use synapse_protocol::engine::Timestamp;

use crate::config::Limits;
use crate::core::Core;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refused;

const SHARDS: usize = 16;
/// Time between two looks through a shard for what can be forgotten, in milliseconds.
const SWEEP_MILLIS: u64 = 5_000;

pub(crate) struct Addresses {
    connections_max: Option<usize>,
    rate: Option<Rate>,
    addresses_max: usize,
    shards: [Mutex<Shard>; SHARDS],
    hasher: DefaultHashBuilder,
    server_rate: Option<Rate>,
    server: AtomicU64,
}

/// Who counts as one. A host with IPv6 has a whole /64 to choose from, so that is what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        // A listener on `::` sees IPv4 as ::ffff:a.b.c.d.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [prefix @ .., _, _, _, _, _, _, _, _] = address.octets();
                Self::V6(u64::from_be_bytes(prefix))
            }
        }
    }
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    next_sweep: u64,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    connections: usize,
    bucket: Bucket,
}

impl Shard {
    /// Forgets who has no connection and a full bucket, which is what a stranger has too.
    fn sweep(&mut self, now: Timestamp) {
        if self.next_sweep <= now.as_millis() {
            self.next_sweep = now.as_millis() + SWEEP_MILLIS;
            self.entries
                .retain(|_, entry| entry.connections > 0 || !entry.bucket.is_full(now));
            if self.entries.capacity() > 4 * self.entries.len() {
                self.entries.shrink_to_fit();
            }
        }
    }
}

/// The place of one connection among those of its address, until it is dropped or the connection takes it over.
#[must_use = "the address has one connection less when this is dropped"]
pub(crate) struct Place {
    core: Arc<Core>,
    address: Option<IpAddr>,
}

impl Place {
    pub(crate) fn take(
        core: &Arc<Core>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        core.sessions.addresses.admit(address, now)?;
        Ok(Self {
            core: Arc::clone(core),
            address,
        })
    }

    /// Leaves the place to a connection in the table of sessions, whose removal gives it up.
    pub(crate) fn keep(mut self) {
        self.address = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.sessions.addresses.release(self.address);
    }
}

impl Addresses {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connections_max: limits.connections_per_address_max,
            rate: limits.handshake_rate_per_address,
            addresses_max: limits.addresses_max,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: DefaultHashBuilder::default(),
            server_rate: limits.handshake_rate,
            server: AtomicU64::new(0),
        }
    }

    /// Counts a handshake. What an address is refused takes nothing of what the server has for all.
    fn admit(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Refused> {
        self.admit_address(address, now)?;
        if let Some(rate) = self.server_rate {
            let taken = self
                .server
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bucket| {
                    let left = Bucket::from_micros(bucket).take(rate, now)?;
                    Some(left.to_micros())
                });
            if taken.is_err() {
                self.release(address);
                return Err(Refused::TooManyHandshakes);
            }
        }
        Ok(())
    }

    fn admit_address(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Refused> {
        let Some(address) = address.filter(|_| self.is_used()) else {
            return Ok(());
        };
        let key = Key::from(address);
        let mut shard = self.shard(key).lock();
        shard.sweep(now);
        let is_known = shard.entries.contains_key(&key);
        let mut entry = shard.entries.get(&key).copied().unwrap_or_default();
        if let Some(max) = self.connections_max {
            if entry.connections >= max {
                return Err(Refused::AddressIsFull);
            }
            entry.connections += 1;
        }
        if let Some(rate) = self.rate {
            entry.bucket = entry
                .bucket
                .take(rate, now)
                .ok_or(Refused::AddressIsTooFast)?;
        }
        // One with a connection is counted in any case, and there are no more of them than sessions. Any other that finds no place is left
        // alone: it has as much as an address that was never seen, and of those a flood has plenty.
        let has_place = shard.entries.len() < self.shard_len_max();
        if is_known || has_place || self.connections_max.is_some() {
            shard.entries.insert(key, entry);
        }
        Ok(())
    }

    /// A connection of this address is over.
    pub(crate) fn release(&self, address: Option<IpAddr>) {
        if let Some(address) = address.filter(|_| self.connections_max.is_some()) {
            let key = Key::from(address);
            let mut shard = self.shard(key).lock();
            // Whoever comes and goes with ever new addresses must not leave them here.
            let is_over = shard.entries.len() > self.shard_len_max();
            if let Some(entry) = shard.entries.get_mut(&key) {
                entry.connections = entry.connections.saturating_sub(1);
                if entry.connections == 0 && (is_over || self.rate.is_none()) {
                    shard.entries.remove(&key);
                }
            }
        }
    }

    fn shard_len_max(&self) -> usize {
        self.addresses_max.div_ceil(SHARDS)
    }

    fn is_used(&self) -> bool {
        self.connections_max.is_some() || self.rate.is_some()
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash >> 40).unwrap_or_default() % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections_per_address_max: Some(2),
            ..Limits::default()
        }
    }

    fn rated(addresses_max: usize) -> Limits {
        Limits {
            handshake_rate_per_address: Some(Rate {
                per_second: 1,
                burst: 3,
            }),
            addresses_max,
            ..Limits::default()
        }
    }

    fn admit(addresses: &Addresses, address: &str, at: u64) -> Result<(), Refused> {
        addresses.admit(
            Some(address.parse().unwrap()),
            Timestamp::from_millis(1_000 + at),
        )
    }

    fn release(addresses: &Addresses, address: &str) {
        addresses.release(Some(address.parse().unwrap()));
    }

    fn len(addresses: &Addresses) -> usize {
        let shards = addresses.shards.iter();
        shards.map(|shard| shard.lock().entries.len()).sum()
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_do_not_mind() {
        let addresses = Addresses::new(&limits());
        for (address, expected) in [
            ("192.0.2.1", Ok(())),
            // The same host, seen by a listener on `::`.
            ("::ffff:192.0.2.1", Ok(())),
            ("192.0.2.1", Err(Refused::AddressIsFull)),
            ("192.0.2.2", Ok(())),
            ("2001:db8:0:1::1", Ok(())),
            ("2001:db8:0:1:ffff::9", Ok(())),
            ("2001:db8:0:1::3", Err(Refused::AddressIsFull)),
            ("2001:db8:0:2::1", Ok(())),
            ("::192.0.2.1", Ok(())),
        ] {
            assert_eq!(admit(&addresses, address, 0), expected, "{address}");
        }
        release(&addresses, "192.0.2.1");
        assert_eq!(admit(&addresses, "192.0.2.1", 0), Ok(()));
        assert!(admit(&addresses, "192.0.2.1", 0).is_err());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let addresses = Addresses::new(&limits());
        for host in 0..=255 {
            let address = format!("192.0.2.{host}");
            assert_eq!(admit(&addresses, &address, 0), Ok(()));
            release(&addresses, &address);
        }
        assert_eq!(len(&addresses), 0);
    }

    #[test]
    fn a_refused_handshake_leaves_no_connection_behind() {
        let addresses = Addresses::new(&Limits {
            handshake_rate: Some(Rate {
                per_second: 1,
                burst: 1,
            }),
            ..limits()
        });
        assert_eq!(admit(&addresses, "192.0.2.1", 0), Ok(()));
        for _ in 0..5 {
            assert_eq!(
                admit(&addresses, "192.0.2.1", 0),
                Err(Refused::TooManyHandshakes)
            );
        }
        // One of two is taken; the refused ones did not take the other.
        assert_eq!(admit(&addresses, "192.0.2.1", 1_000), Ok(()));
        assert_eq!(
            admit(&addresses, "192.0.2.1", 2_000),
            Err(Refused::AddressIsFull)
        );
    }

    #[test]
    fn an_address_that_is_too_fast_takes_nothing_of_what_is_for_all() {
        let mut limits = rated(1_000);
        limits.handshake_rate = Some(Rate {
            per_second: 1,
            burst: 4,
        });
        let addresses = Addresses::new(&limits);
        let flood = (0..50).filter(|_| admit(&addresses, "192.0.2.1", 0).is_ok());
        assert_eq!(flood.count(), 3);
        assert_eq!(admit(&addresses, "192.0.2.2", 0), Ok(()));
        assert_eq!(
            admit(&addresses, "192.0.2.3", 0),
            Err(Refused::TooManyHandshakes)
        );
        assert_eq!(
            admit(&addresses, "192.0.2.1", 500),
            Err(Refused::AddressIsTooFast)
        );
        assert_eq!(admit(&addresses, "192.0.2.1", 1_000), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table_and_locks_nobody_out() {
        const MAX: usize = 8_192;
        let addresses = Addresses::new(&rated(MAX));
        let host = |number: u32| {
            std::net::Ipv6Addr::from_bits(u128::from(number) << 64 | 0x2001 << 112).to_string()
        };
        for number in 0..50_000 {
            assert_eq!(admit(&addresses, &host(number), 0), Ok(()), "{number}");
        }
        assert!(len(&addresses) <= MAX, "{}", len(&addresses));
        assert!(len(&addresses) > MAX / 2, "{}", len(&addresses));
        // When the buckets are full again, a look into each shard forgets them; so many hosts leave no shard out, wherever they fall.
        for number in 0..2_000 {
            assert_eq!(admit(&addresses, &host(number), 10_000), Ok(()));
        }
        assert!(len(&addresses) <= 2_000, "{}", len(&addresses));
    }

    #[test]
    fn a_flood_that_comes_and_goes_leaves_no_more_than_the_table_may_hold() {
        const MAX: usize = 160;
        let addresses = Addresses::new(&Limits {
            connections_per_address_max: Some(2),
            ..rated(MAX)
        });
        for number in 0..5_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(number).to_string();
            assert_eq!(admit(&addresses, &address, 0), Ok(()));
            release(&addresses, &address);
        }
        assert!(len(&addresses) <= MAX, "{}", len(&addresses));
    }

    #[test]
    fn without_limits_or_an_address_nothing_is_kept() {
        let addresses = Addresses::new(&Limits::default());
        assert_eq!(admit(&addresses, "192.0.2.1", 0), Ok(()));
        let strict = Addresses::new(&limits());
        for _ in 0..9 {
            assert_eq!(strict.admit(None, Timestamp::from_millis(0)), Ok(()));
        }
        assert_eq!((len(&addresses), len(&strict)), (0, 0));
    }
}
