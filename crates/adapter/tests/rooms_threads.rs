//! Rooms used from several threads at once.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use support::{Someone, target};
use synapse_adapter::{JoinError, Member, RoomLimits, Rooms};

/// Where two threads meet again and again, to start the next round at the same instant: a barrier that sleeps wakes one long before
/// the other, and then nothing races.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn wait(&self) {
        let arrived = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        let both = arrived.next_multiple_of(2);
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) < both {
            spins += 1;
            if spins % 500 == 0 {
                thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
        }
    }
}

fn rooms() -> Rooms<Someone> {
    Rooms::new(RoomLimits::default())
}

#[test]
fn a_join_that_races_with_the_end_leaves_nobody_in_a_room() {
    const ROUNDS: u64 = 3_000;
    let (rooms, barrier) = (rooms(), Meeting::default());
    let members: Vec<Someone> = (0..ROUNDS).map(Someone::new).collect();
    let (joined, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut stayed = 0;
    // Nothing is asserted between the barriers: a thread that panicked would leave the other one waiting.
    thread::scope(|scope| {
        scope.spawn(|| {
            for member in &members {
                barrier.wait();
                for room in ["a", "b", "c", "d"] {
                    match rooms.join(member, room) {
                        Ok(true) => joined.fetch_add(1, Ordering::Relaxed),
                        Err(JoinError::Left) => refused.fetch_add(1, Ordering::Relaxed),
                        Ok(false) | Err(_) => 0,
                    };
                }
                barrier.wait();
            }
        });
        for member in &members {
            rooms.insert(member.clone());
            barrier.wait();
            rooms.remove(member);
            barrier.wait();
            rooms.select(&target(&["a", "b", "c", "d"], &[]), |_| stayed += 1);
            stayed += rooms.len() + rooms.room_count() + rooms.rooms_of(member).len();
        }
    });
    assert_eq!(stayed, 0);
    assert_eq!(
        joined.into_inner() + refused.into_inner(),
        4 * ROUNDS as usize
    );
    members
        .iter()
        .for_each(|member| assert_eq!(member.holders(), 1));
}

#[test]
fn an_insertion_that_races_with_the_end_leaves_no_member() {
    let (rooms, barrier) = (rooms(), Meeting::default());
    let mut stayed = 0;
    let members: Vec<Someone> = (0..3_000).map(Someone::new).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for member in &members {
                barrier.wait();
                rooms.insert(member.clone());
                barrier.wait();
            }
        });
        for member in &members {
            barrier.wait();
            rooms.remove(member);
            barrier.wait();
            stayed += usize::from(rooms.find(member.id()).is_some());
        }
    });
    assert_eq!(stayed, 0);
}

#[test]
fn a_room_that_empties_and_fills_again_loses_nobody() {
    const JOINS: usize = 25_000;
    let (rooms, running) = (rooms(), AtomicBool::new(true));
    let members: Vec<Someone> = (0..4).map(Someone::new).collect();
    thread::scope(|scope| {
        let joining: Vec<_> = members
            .iter()
            .map(|member| {
                let rooms = &rooms;
                scope.spawn(move || {
                    rooms.insert(member.clone());
                    for count in 0..JOINS {
                        let room = ["a", "b"][count % 2];
                        assert_eq!(rooms.join(member, room), Ok(true));
                        // Had we joined a room that another thread was just taking out of the table, nobody would find us.
                        let mut found = 0;
                        rooms.select(&target(&[room], &[]), |other| {
                            found += usize::from(other.id() == member.id())
                        });
                        assert_eq!(found, 1);
                        assert!(rooms.has_room(room) && rooms.is_in(member, room));
                        assert!(rooms.leave(member, room));
                        assert!(!rooms.is_in(member, room));
                    }
                    rooms.remove(member);
                })
            })
            .collect();
        let walking = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                for to in [&[][..], &["a"], &["a", "b"]] {
                    let mut count = 0;
                    rooms.select(&target(to, &[]), |_| count += 1);
                    assert!(count <= 4, "{count} of 4 reached");
                }
            }
        });
        let ended: Vec<_> = joining
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        running.store(false, Ordering::Relaxed);
        assert!(walking.join().is_ok());
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(
        (rooms.len(), rooms.room_count(), rooms.room_names().len()),
        (0, 0, 0)
    );
    members
        .iter()
        .for_each(|member| assert_eq!(member.holders(), 1));
}

#[test]
fn a_long_broadcast_holds_up_no_other_room() {
    let rooms = rooms();
    let [slow, other] = [Someone::new(1), Someone::new(2)];
    for member in [&slow, &other] {
        rooms.insert(member.clone());
    }
    rooms.join(&slow, "slow").unwrap();
    rooms.select(&target(&["slow"], &[]), |_| {
        thread::scope(|scope| {
            // More names than shards, so that some share one with the room that is being walked.
            scope.spawn(|| {
                for number in 0..200 {
                    let room = format!("room {number}");
                    assert_eq!(rooms.join(&other, &room), Ok(true));
                    assert!(rooms.leave(&other, &room));
                }
                rooms.remove(&other);
            });
        });
    });
    assert_eq!(rooms.len(), 1);
}
