use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::member::testing::{Someone, someone};
use super::*;

fn rooms() -> Rooms<Someone> {
    Rooms::new(RoomLimits::default())
}

fn inserted<const N: usize>(rooms: &Rooms<Someone>) -> [Someone; N] {
    let members = std::array::from_fn(|number| someone(number as u64));
    members
        .iter()
        .for_each(|member| assert!(rooms.insert(member.clone())));
    members
}

fn id(member: &Someone) -> String {
    member.id().to_string()
}

fn target(rooms: &[&str], except: &[&str]) -> Target {
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    Target {
        rooms: names(rooms),
        except: names(except),
    }
}

/// The numbers of those who are reached, in order; a member that is reached twice is there twice.
fn reached(
    rooms: &Rooms<Someone>,
    members: &[Someone],
    to: &[&str],
    except: &[&str],
) -> Vec<usize> {
    let mut numbers = Vec::new();
    rooms.select(&target(to, except), |member| {
        numbers.push(
            members
                .iter()
                .position(|other| other.id() == member.id())
                .unwrap(),
        );
    });
    numbers.sort_unstable();
    numbers
}

#[test]
fn targets_reach_whom_they_mean_once() {
    let rooms = rooms();
    let members: [Someone; 4] = inserted(&rooms);
    for (member, room) in [(0, "a"), (1, "a"), (1, "b"), (2, "b"), (3, "c"), (3, "")] {
        assert_eq!(rooms.join(&members[member], room), Ok(true));
    }
    // Number 3 listens to what number 0 gets.
    let private = id(&members[0]);
    assert_eq!(rooms.join(&members[3], &private), Ok(true));

    let check = |to: &[&str], except: &[&str], expected: &[usize]| {
        assert_eq!(
            reached(&rooms, &members, to, except),
            expected,
            "to {to:?} except {except:?}"
        );
    };
    check(&[], &[], &[0, 1, 2, 3]);
    check(&["a"], &[], &[0, 1]);
    check(&["a", "b"], &[], &[0, 1, 2]);
    check(&["a", "a"], &[], &[0, 1]);
    check(&["a", "b", "c"], &["b"], &[0, 3]);
    check(&["a"], &["a"], &[]);
    check(&["nobody"], &[], &[]);
    check(&["nobody", "c"], &["nobody"], &[3]);
    check(&[""], &[], &[3]);
    check(&[&private], &[], &[0, 3]);
    check(&[&private, "a"], &[], &[0, 1, 3]);
    check(&[], &[&private], &[1, 2]);
    check(&["a"], &[&id(&members[1])], &[0]);
    check(&["a", &id(&members[2])], &[], &[0, 1, 2]);
    check(&[], &["a", "b"], &[3]);
    check(&[], &[&id(&members[1]), &id(&members[2])], &[0, 3]);
    check(&[&id(&someone(77))], &[], &[]);
}

#[test]
fn joining_and_leaving_answer_what_they_did() {
    let rooms = rooms();
    let [first, second] = inserted(&rooms);
    assert_eq!(rooms.join(&first, "a"), Ok(true));
    assert_eq!(rooms.join(&first, "a"), Ok(false));
    assert_eq!(rooms.join(&first, &id(&first)), Ok(false));
    assert_eq!(rooms.join(&first, &id(&second)), Ok(true));
    assert!(
        rooms.is_in(&first, "a")
            && rooms.is_in(&first, &id(&first))
            && rooms.is_in(&first, &id(&second))
    );
    assert!(!rooms.is_in(&second, "a") && !rooms.is_in(&second, &id(&first)));
    assert_eq!(
        rooms.rooms_of(&first),
        ["a".into(), Arc::<str>::from(&*id(&second))]
    );
    assert!(rooms.leave(&first, "a"));
    assert!(!rooms.leave(&first, "a"));
    assert!(!rooms.leave(&first, &id(&first)));
    assert!(!rooms.leave(&first, "nobody"));
    assert!(rooms.is_in(&first, &id(&first)));
    assert_eq!(rooms.rooms_of(&first), [Arc::<str>::from(&*id(&second))]);
}

#[test]
fn names_list_each_room_once() {
    let rooms = rooms();
    let [first, second] = inserted(&rooms);
    rooms.join(&first, "a").unwrap();
    rooms.join(&second, "a").unwrap();
    rooms.join(&first, &id(&second)).unwrap();
    let gone = id(&someone(9));
    rooms.join(&first, &gone).unwrap();

    let mut names = rooms.room_names();
    names.sort_unstable();
    let mut expected = vec!["a".to_owned(), id(&first), id(&second), gone.clone()];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(rooms.room_count(), 3);
    assert!(rooms.has_room("a") && rooms.has_room(&id(&first)) && rooms.has_room(&gone));
    assert!(!rooms.has_room("b") && !rooms.has_room(""));
}

#[test]
fn a_member_that_was_removed_is_nowhere_and_stays_out() {
    let rooms = rooms();
    let [first, second] = inserted(&rooms);
    rooms.join(&first, "a").unwrap();
    rooms.join(&first, "b").unwrap();
    rooms.join(&second, "a").unwrap();
    assert_eq!(rooms.remove(&first), ["a".into(), Arc::<str>::from("b")]);
    assert_eq!(rooms.remove(&first), []);
    assert_eq!(rooms.join(&first, "a"), Err(JoinError::Left));
    assert!(!rooms.insert(first.clone()));
    assert!(!rooms.is_in(&first, "a") && !rooms.is_in(&first, &id(&first)));
    assert!(rooms.find(first.id()).is_none());
    assert!(!rooms.has_room("b"));
    assert_eq!(rooms.len(), 1);
    assert_eq!(reached(&rooms, &[first, second], &["a"], &[]), [1]);
}

#[test]
fn middleware_may_join_before_the_member_is_inserted() {
    let rooms = rooms();
    let [accepted, refused] = [someone(1), someone(2)];
    assert_eq!(rooms.join(&accepted, "a"), Ok(true));
    assert_eq!(rooms.join(&refused, "a"), Ok(true));
    assert_eq!(rooms.remove(&refused), [Arc::<str>::from("a")]);
    assert_eq!(rooms.len(), 0);
    assert!(!rooms.has_room(&id(&accepted)));
    assert!(rooms.insert(accepted.clone()));
    assert!(rooms.insert(accepted.clone()));
    assert_eq!(rooms.len(), 1);
    assert_eq!(reached(&rooms, &[accepted, refused], &["a"], &[]), [0]);
}

#[test]
fn a_second_member_of_one_id_takes_the_place_of_the_first() {
    let rooms = rooms();
    let [old, new] = [someone(1), someone(1)];
    assert!(rooms.insert(old.clone()));
    rooms.join(&old, "a").unwrap();
    rooms.join(&new, "b").unwrap();
    assert!(rooms.insert(new.clone()));
    assert_eq!(rooms.len(), 1);
    assert!(!rooms.has_room("a"));
    assert_eq!(rooms.remove(&old), []);
    assert!(rooms.is_in(&new, "b") && rooms.find(new.id()).is_some());
}

#[test]
fn limits_refuse_what_is_over_them() {
    let rooms = Rooms::new(RoomLimits {
        rooms_per_socket_max: 2,
        room_name_bytes_max: 4,
    });
    let member = someone(1);
    assert_eq!(
        rooms.join(&member, "héé"),
        Err(JoinError::NameTooLong { bytes: 5, limit: 4 })
    );
    assert_eq!(rooms.join(&member, "hé"), Ok(true));
    assert_eq!(rooms.join(&member, "four"), Ok(true));
    assert_eq!(
        rooms.join(&member, "c"),
        Err(JoinError::TooManyRooms { limit: 2 })
    );
    assert_eq!(rooms.join(&member, "four"), Ok(false));
    assert_eq!(rooms.room_count(), 2);
    assert!(rooms.leave(&member, "four"));
    assert_eq!(rooms.join(&member, "c"), Ok(true));
}

#[test]
fn memory_is_given_back_after_many_joins_and_leaves() {
    let rooms = Rooms::new(RoomLimits {
        rooms_per_socket_max: 1000,
        ..RoomLimits::default()
    });
    let members: Vec<Someone> = (0..1000).map(someone).collect();
    members
        .iter()
        .for_each(|member| assert!(rooms.insert(member.clone())));
    for (number, member) in members.iter().enumerate() {
        for room in 0..50 {
            assert_eq!(
                rooms.join(member, &format!("alone {number} {room}")),
                Ok(true)
            );
            assert_eq!(rooms.join(member, &format!("shared {room}")), Ok(true));
        }
    }
    assert_eq!(rooms.room_count(), 50_050);
    assert!(rooms.rooms.capacity() >= 50_050);
    for (number, member) in members.iter().enumerate() {
        if number % 2 == 0 {
            assert_eq!(rooms.remove(member).len(), 100);
        } else {
            rooms
                .rooms_of(member)
                .iter()
                .for_each(|room| assert!(rooms.leave(member, room)));
            rooms.remove(member);
        }
    }
    assert_eq!((rooms.room_count(), rooms.len()), (0, 0));
    assert!(
        rooms.rooms.capacity() <= 16 * 64,
        "{}",
        rooms.rooms.capacity()
    );
    assert!(
        rooms.members.capacity() <= 16 * 32,
        "{}",
        rooms.members.capacity()
    );
    // Nobody else holds them: no room was left behind with members inside.
    members
        .iter()
        .for_each(|member| assert_eq!(member.holders(), 1));
}

#[test]
fn everyone_and_one_room_are_walked_without_a_set() {
    // An empty set of excepted members has not allocated, and owners lie on the stack.
    let rooms = rooms();
    let [first, second] = inserted(&rooms);
    let except = rooms.except(&[id(&first).into(), id(&second).into(), "nobody".into()]);
    assert_eq!(except.members.capacity(), 0);
    assert!(!except.owners.spilled());
    assert!(except.has(first.id()) && except.has(second.id()));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "must not call rooms again")]
fn rooms_are_not_called_from_inside_of_select() {
    let rooms = rooms();
    let [_first] = inserted(&rooms);
    rooms.select(&Target::default(), |member| drop(rooms.rooms_of(member)));
}

fn wait_until(reached: impl Fn() -> bool) {
    let give_up_at = Instant::now() + Duration::from_secs(10);
    while !reached() && Instant::now() < give_up_at {
        thread::yield_now();
    }
}

/// Runs `begun` until it waits for the room that nobody may change meanwhile, then `second`, then lets both go on.
fn meanwhile<A: Send, B: Send>(
    room: &room::Room<Someone>,
    begun: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    thread::scope(|scope| {
        let hold = room.hold();
        let begun = scope.spawn(begun);
        wait_until(|| room.is_awaited());
        let (done, is_done) = mpsc::sync_channel(1);
        let second = scope.spawn(move || {
            let outcome = second();
            done.send(()).ok();
            outcome
        });
        // It has to wait for the first. If it did not, it would have the time to do its harm.
        let waits = is_done.recv_timeout(Duration::from_millis(100)).is_err();
        drop(hold);
        let outcomes = (begun.join().unwrap(), second.join().unwrap());
        assert!(waits, "the second did not wait for the first");
        outcomes
    })
}

#[test]
fn removing_waits_for_a_join_that_has_begun_and_undoes_it() {
    let rooms = rooms();
    let [other, member] = inserted(&rooms);
    rooms.join(&other, "a").unwrap();
    let room = rooms.rooms.find("a").unwrap();
    let (joined, left) = meanwhile(&room, || rooms.join(&member, "a"), || rooms.remove(&member));
    assert_eq!(joined, Ok(true));
    assert_eq!(left, [Arc::<str>::from("a")]);
    assert!(!rooms.is_in(&member, "a") && rooms.rooms_of(&member).is_empty());
    assert_eq!(member.holders(), 1);
}

#[test]
fn joining_waits_for_a_removal_that_has_begun_and_is_refused() {
    let rooms = rooms();
    let [other, member] = inserted(&rooms);
    rooms.join(&other, "a").unwrap();
    rooms.join(&member, "a").unwrap();
    let room = rooms.rooms.find("a").unwrap();
    let (left, joined) = meanwhile(&room, || rooms.remove(&member), || rooms.join(&member, "b"));
    assert_eq!(left, [Arc::<str>::from("a")]);
    assert_eq!(joined, Err(JoinError::Left));
    assert!(!rooms.has_room("b"));
    assert_eq!(member.holders(), 1);
}

#[test]
fn inserting_waits_for_a_removal_that_has_begun_and_is_refused() {
    let rooms = rooms();
    let [other] = inserted(&rooms);
    let refused = someone(2);
    rooms.join(&other, "a").unwrap();
    rooms.join(&refused, "a").unwrap();
    let room = rooms.rooms.find("a").unwrap();
    let (left, inserted) = meanwhile(
        &room,
        || rooms.remove(&refused),
        || rooms.insert(refused.clone()),
    );
    assert_eq!(left, [Arc::<str>::from("a")]);
    assert!(!inserted);
    assert_eq!(rooms.len(), 1);
    assert_eq!(refused.holders(), 1);
}

#[test]
fn an_insertion_that_has_begun_keeps_removal_waiting() {
    let rooms = rooms();
    let member = someone(1);
    thread::scope(|scope| {
        let hold = rooms.members.hold(member.id());
        scope.spawn(|| rooms.insert(member.clone()));
        wait_until(|| rooms.members.is_awaited(member.id()));
        // Had it looked whether the member has left and let go, a removal could come before it and leave a ghost behind.
        let locked = member.memberships().are_locked();
        drop(hold);
        assert!(locked);
    });
    assert_eq!(rooms.len(), 1);
}
